package auth_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddy-matrix/caddy-matrix-auth/internal/auth"
	"github.com/caddy-matrix/caddy-matrix-auth/internal/authtest"
	"github.com/caddy-matrix/caddy-matrix-auth/internal/mxid"
	"github.com/caddy-matrix/caddy-matrix-auth/internal/token"
	"github.com/caddy-matrix/caddy-matrix-auth/store"
)

func refreshAs(t *testing.T, k *authtest.Kit, client string, refresh token.Secret, scope ...string) (auth.Tokens, error) {
	t.Helper()
	return k.RefreshOAuth(t.Context(), auth.RefreshParams{Text: refresh.Reveal(), ClientID: client, Scope: scope})
}

// A refresh token is its client's: another one learns nothing and changes nothing, not even with a token of the past (REF-11, F2
// "missing client binding").
func TestREF11_ARefreshTokenIsBoundToItsClient(t *testing.T) {
	k := provider(t)
	client, other := mustRegister(t, k, public("App")), mustRegister(t, k, public("Other"))
	p := signIn(t, k, "alice")
	out := p.session(client.ID, onDevice(phone))
	second := mustRefreshOAuth(t, k, client.ID, out.RefreshToken)
	mustJudge(t, k, "first use of the successor", second.AccessToken, auth.Active)
	k.Clock.Advance(2 * time.Minute)
	revision := revisionOf(t, k)
	for _, c := range []string{other.ID, "", staticID} {
		for _, text := range []token.Secret{second.RefreshToken, out.RefreshToken} {
			_, err := refreshAs(t, k, c, text)
			mustBe(t, "client "+c, err, auth.ErrGrantInvalid)
		}
	}
	if revisionOf(t, k) != revision {
		t.Error("something was written")
	}
	if got, err := k.ClientOfRefresh(out.RefreshToken.Reveal()); err != nil || got != client.ID {
		t.Errorf("whose it is: got %q, %v", got, err)
	}
	mustRefreshOAuth(t, k, client.ID, second.RefreshToken)
	_, err := refreshAs(t, k, client.ID, out.RefreshToken)
	mustBeUnknown(t, "its own client with a token of the past (REF-05)", err)
	if _, err := k.ClientOfRefresh(out.RefreshToken.Reveal()); !errors.Is(err, auth.ErrTokenUnknown) {
		t.Errorf("whose it was: got %v", err)
	}
}

// A refresh may ask for a part of the scope, with the device in it; what it gets stays what was granted (REF-12).
func TestREF12_ScopeAtRefresh(t *testing.T) {
	k := provider(t)
	p := signIn(t, k, "alice")
	scope := onDevice(phone, "openid")
	out := p.session(staticID, scope)
	stable, unstable, _ := phone.Scopes()
	other, _, _ := mxid.DeviceID("TABLET000A").Scopes()
	for name, asked := range map[string][]string{
		"another device":     {mxid.ScopeAPI, other},
		"two devices":        {mxid.ScopeAPI, stable, other},
		"the other spelling": {mxid.ScopeAPI, unstable},
		"no device":          {mxid.ScopeAPI},
		"more":               append([]string{mxid.ScopeAdmin}, scope...),
		"nothing":            {},
	} {
		_, err := k.RefreshOAuth(t.Context(), auth.RefreshParams{Text: out.RefreshToken.Reveal(), ClientID: staticID, Scope: asked})
		mustBe(t, name, err, auth.ErrScopeDenied)
	}
	next, err := refreshAs(t, k, staticID, out.RefreshToken, mxid.ScopeAPI, stable)
	must(t, err)
	if next.DeviceID != phone || !slices.Equal(next.Scope, scope) {
		t.Errorf("got %v, %v", next.DeviceID, next.Scope)
	}
	next, err = refreshAs(t, k, staticID, next.RefreshToken)
	must(t, err)
	if !slices.Equal(next.Scope, scope) {
		t.Errorf("without a scope: got %v, want all that was granted", next.Scope)
	}
	site := p.session(staticID, []string{"openid", "email"})
	if _, err := refreshAs(t, k, staticID, site.RefreshToken, "email"); err != nil {
		t.Errorf("a session without a device: got %v", err)
	}
}

// Refresh tokens of OAuth and of legacy sessions never cross (E29).
func TestE29_RefreshNeverCrosses(t *testing.T) {
	k := provider(t)
	p := signIn(t, k, "alice")
	out, legacy := p.session(staticID, onDevice(phone)), k.MustLogin(t, "alice", "")
	_, err := k.Refresh(t.Context(), out.RefreshToken.Reveal(), token.CompatRefresh, auth.From{})
	mustBeUnknown(t, "an OAuth token at /refresh", err)
	for _, client := range []string{staticID, ""} {
		_, err = refreshAs(t, k, client, legacy.RefreshToken)
		mustBeUnknown(t, "a legacy token at the token endpoint", err)
		_, err = refreshAs(t, k, client, out.AccessToken)
		mustBeUnknown(t, "an access token at the token endpoint", err)
	}
	mustRefreshOAuth(t, k, staticID, out.RefreshToken)
	k.MustRefresh(t, legacy.RefreshToken)
}

// Twenty refreshes of one client at once: one pair for all (E3, REF-06).
func TestREF06_TwentyParallelOAuthRefreshes(t *testing.T) {
	k := provider(t)
	out := signIn(t, k, "alice").session(staticID, onDevice(phone))
	var mu sync.Mutex
	pairs := make(map[string]bool)
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() {
			got, err := k.RefreshOAuth(t.Context(), auth.RefreshParams{Text: out.RefreshToken.Reveal(), ClientID: staticID})
			if err != nil {
				t.Error(err)
				return
			}
			mu.Lock()
			defer mu.Unlock()
			pairs[got.AccessToken.Reveal()+got.RefreshToken.Reveal()] = true
		})
	}
	wg.Wait()
	if len(pairs) != 1 {
		t.Errorf("got %d pairs, want 1", len(pairs))
	}
}

// A locked user's client may refresh; a closed account's may not (REF-15).
func TestREF15_OAuthSessions(t *testing.T) {
	k := provider(t)
	out := signIn(t, k, "alice").session(staticID, onDevice(phone))
	must(t, k.Lock(t.Context(), "alice"))
	mustJudge(t, k, "locked", out.AccessToken, auth.Locked)
	next := mustRefreshOAuth(t, k, staticID, out.RefreshToken)
	must(t, k.Deactivate(t.Context(), "alice", false))
	_, err := refreshAs(t, k, staticID, next.RefreshToken)
	mustBeUnknown(t, "deactivated", err)
	mustJudge(t, k, "deactivated", next.AccessToken, auth.Unknown)
}

// The right to an admin scope is asked for whenever the scope counts: at approval, redemption, the gate, introspection, refresh
// (SCP-09). Given back, it counts again.
func TestSCP09_AdminScopesFollowTheRight(t *testing.T) {
	k := provider(t)
	p := signIn(t, k, "alice")
	scope := onDevice(phone, mxid.ScopeAdmin, mxid.ScopeMASAdmin)
	if got := p.session(staticID, scope); !slices.Equal(got.Scope, onDevice(phone)) {
		t.Errorf("without the right: got %v", got.Scope)
	}
	must(t, k.SetAdmin(t.Context(), "alice", true))
	code := p.code(staticID, scope)
	must(t, k.SetAdmin(t.Context(), "alice", false))
	out, err := k.Redeem(t.Context(), code)
	must(t, err)
	if !slices.Equal(out.Scope, onDevice(phone)) {
		t.Errorf("lost between approval and redemption: got %v", out.Scope)
	}
	check := func(when string, want bool) {
		t.Helper()
		a, err := k.Judge(t.Context(), out.AccessToken.Reveal(), auth.From{})
		must(t, err)
		if a.Admin() != want || a.Verdict != auth.Active {
			t.Errorf("%s, the gate: got %v", when, a.Admin())
		}
		a.Release()
		info, err := k.Introspect(t.Context(), out.AccessToken.Reveal())
		must(t, err)
		for _, sc := range []string{mxid.ScopeAdmin, mxid.ScopeMASAdmin} {
			if slices.Contains(strings.Fields(info.Scope), sc) != want {
				t.Errorf("%s, introspection: got %v", when, info.Scope)
			}
		}
		next := mustRefreshOAuth(t, k, staticID, out.RefreshToken)
		if slices.Contains(next.Scope, mxid.ScopeAdmin) != want || slices.Contains(next.Scope, mxid.ScopeMASAdmin) != want {
			t.Errorf("%s, refresh: got %v", when, next.Scope)
		}
		out.Tokens = next
	}
	check("taken", false)
	must(t, k.SetAdmin(t.Context(), "alice", true))
	check("given by the administrator", true)
	must(t, k.SetAdmin(t.Context(), "alice", false))
	check("taken again", false)
	reload(k, func(set *auth.Settings) { set.Admins = map[mxid.Localpart]bool{"alice": true} })
	check("given by the configuration", true)
	reload(k, func(*auth.Settings) {})
	check("taken from the configuration", false)
}

// Where nothing is left to be granted, nothing is: a right was all that was asked for, and is gone between the page and the answer.
func TestSCP09_NothingLeftIsNoGrant(t *testing.T) {
	k := provider(t, func(set *auth.Settings) { set.Admins = map[mxid.Localpart]bool{"alice": true} })
	p := signIn(t, k, "alice")
	g := p.start(staticID, []string{mxid.ScopeMASAdmin})
	reload(k, func(set *auth.Settings) { set.Admins = nil })
	_, err := p.approve(g)
	mustBe(t, "approving", err, auth.ErrScopeDenied)
	if got := grantNow(t, k, g); got.Status != store.GrantPending {
		t.Errorf("got %+v", got)
	}
}

// An admin scope needs a password of a moment ago.
func TestSCP09_AdminScopesNeedAFreshPassword(t *testing.T) {
	k := provider(t, func(set *auth.Settings) { set.Admins = map[mxid.Localpart]bool{"alice": true} })
	p := signIn(t, k, "alice")
	k.Clock.Advance(5 * time.Minute)
	_, err := p.approve(p.start(staticID, onDevice(phone, mxid.ScopeAdmin)))
	must(t, err)
	k.Clock.Advance(time.Microsecond)
	g := p.start(staticID, onDevice(phone, mxid.ScopeAdmin))
	_, err = p.approve(g)
	mustBe(t, "with an old password", err, auth.ErrSignInNeeded)
	g.Scope = onDevice(phone)
	_, err = p.approve(g)
	must(t, err)
}

// A token that an administrator issues may carry the scope by either right.
func TestIssuedAdminTokenByConfiguredRight(t *testing.T) {
	k := provider(t)
	p := auth.IssueTokenParams{Localpart: "alice", Scope: []string{mxid.ScopeAdmin}}
	_, err := k.IssueToken(t.Context(), p)
	mustBe(t, "without the right", err, auth.ErrConflict)
	reload(k, func(set *auth.Settings) { set.Admins = map[mxid.Localpart]bool{"alice": true} })
	_, err = k.IssueToken(t.Context(), p)
	must(t, err)
}

// A client that was taken out of the configuration, perhaps by mistake, is called dead nowhere; put back, its sessions live.
func TestAConfiguredClientTakenOutAndPutBack(t *testing.T) {
	k := provider(t)
	own := mustRegister(t, k, public("App"))
	p := signIn(t, k, "alice")
	out, stays := p.session(staticID, onDevice(phone)), p.session(own.ID, onDevice("TABLET000A"))
	reload(k, func(set *auth.Settings) { set.Clients = nil })
	for _, fresh := range []bool{false, true} {
		if fresh {
			k.ForgetLive(true)
		}
		mustJudge(t, k, "taken out, at the gate", out.AccessToken, auth.Expired)
		_, err := k.Introspect(t.Context(), out.AccessToken.Reveal())
		mustBe(t, "taken out, introspection", err, auth.ErrClientRemoved)
		mustJudge(t, k, "a self-registered client's", stays.AccessToken, auth.Active)
	}
	_, err := k.Client(t.Context(), staticID)
	mustBe(t, "taken out, a new request", err, auth.ErrClientUnknown)
	if got, err := k.ClientOfRefresh(out.RefreshToken.Reveal()); err != nil || got != staticID {
		t.Errorf("taken out, whose the refresh token is: got %q, %v", got, err)
	}
	reload(k, func(*auth.Settings) {})
	mustJudge(t, k, "put back", out.AccessToken, auth.Active)
	mustRefreshOAuth(t, k, staticID, out.RefreshToken)
	reload(k, func(set *auth.Settings) { set.Clients = nil })
	must(t, k.EndSession(t.Context(), out.SessionID, "test"))
	mustJudge(t, k, "taken out and ended", out.AccessToken, auth.Unknown)
	reload(k, func(*auth.Settings) {})
	mustJudge(t, k, "ended and put back", out.AccessToken, auth.Unknown)
}

// Revocation of an access and a refresh token at once: both are fine, and one session ends once, with its device (REV-02, REV-07).
func TestREV07_ParallelRevocations(t *testing.T) {
	k := providerWith(t, authtest.Options{})
	p := signIn(t, k, "alice")
	out, other := p.session(staticID, onDevice(phone)), p.session(staticID, onDevice("TABLET000A"))
	var wg sync.WaitGroup
	for i := range 20 {
		text := out.AccessToken
		if i%2 == 0 {
			text = out.RefreshToken
		}
		wg.Go(func() {
			if err := k.Revoke(t.Context(), text.Reveal(), auth.From{Addr: authtest.Addr}); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	mustJudge(t, k, "REV-10: at once", out.AccessToken, auth.Unknown)
	_, err := refreshAs(t, k, staticID, out.RefreshToken)
	mustBeUnknown(t, "refreshing", err)
	if got := k.Events("session_ended"); len(got) != 1 || got[0].Reason != "revoked" || got[0].UserID != "@alice:example.org" {
		t.Errorf("audit: got %+v, want one end", got)
	}
	mustJudge(t, k, "another session", other.AccessToken, auth.Active)
	waitFor(t, "the device to go", func() bool { return slices.Equal(k.Synapse.Devices("alice"), []mxid.DeviceID{"TABLET000A"}) })
}

// Any token of ours that still says whose it is ends its session, however old; anything else is fine and ends nothing (REV-03,
// REV-05, REV-06, REV-11).
func TestREV06_AnyTokenOfASessionEndsIt(t *testing.T) {
	k := provider(t)
	p := signIn(t, k, "alice")
	stays := p.session(staticID, onDevice("TABLET000A"))
	parsed, err := token.Parse(stays.AccessToken.Reveal())
	must(t, err)
	forged, err := token.NewMint(token.Key{1}, authtest.NewRand(1)).New(token.Access, parsed.Handle)
	must(t, err)
	for name, text := range map[string]string{
		"nothing": "", "foreign": "syt_abc", "malformed": "mat_abc", "forged": forged.Reveal(), "truncated": stays.AccessToken.Reveal()[:40],
	} {
		if err := k.Revoke(t.Context(), text, auth.From{}); err != nil {
			t.Errorf("%s: got %v", name, err)
		}
	}
	for name, of := range map[string]func(first, last auth.Tokens) token.Secret{
		"an access token of two years ago": func(first, _ auth.Tokens) token.Secret { return first.AccessToken },
		"a consumed refresh token":         func(first, _ auth.Tokens) token.Secret { return first.RefreshToken },
		"the current refresh token":        func(_, last auth.Tokens) token.Secret { return last.RefreshToken },
	} {
		first := p.session(staticID, onDevice(phone)).Tokens
		last := first
		for range 12 {
			k.Clock.Advance(60 * 24 * time.Hour)
			p.cookie = signIn(t, k, "alice").cookie
			last = mustRefreshOAuth(t, k, staticID, last.RefreshToken)
		}
		must(t, k.Revoke(t.Context(), of(first, last).Reveal(), auth.From{}))
		mustJudge(t, k, name, last.AccessToken, auth.Unknown)
		must(t, k.Revoke(t.Context(), of(first, last).Reveal(), auth.From{}))
	}
	legacy := k.MustLogin(t, "alice", "LEGACY")
	must(t, k.Revoke(t.Context(), legacy.AccessToken.Reveal(), auth.From{}))
	mustJudge(t, k, "a legacy session", legacy.AccessToken, auth.Unknown)
	if v := k.MustVerdict(t, stays.AccessToken); v != auth.Expired {
		t.Errorf("the session that nobody revoked: got %v", v)
	}
}

// Legacy logout with an OAuth token ends the whole session (REV-12).
func TestREV12_LegacyLogoutWithAnOAuthToken(t *testing.T) {
	k := provider(t)
	p := signIn(t, k, "alice")
	out := p.session(staticID, onDevice(phone))
	must(t, k.Logout(t.Context(), out.AccessToken.Reveal(), auth.From{}))
	mustJudge(t, k, "the access token", out.AccessToken, auth.Unknown)
	_, err := refreshAs(t, k, staticID, out.RefreshToken)
	mustBeUnknown(t, "the refresh token", err)
}

// A client's own token: no user, no device, no refresh token; the gate refuses it, introspection knows it, and it goes when it is
// over (oauth client credentials).
func TestClientCredentials(t *testing.T) {
	k := provider(t)
	service, err := k.Client(t.Context(), serviceID)
	must(t, err)
	out, err := k.ClientCredentials(t.Context(), auth.ClientCredentialsParams{Client: service, Scope: []string{mxid.ScopeMASAdmin}})
	must(t, err)
	if out.UserID != "" || out.DeviceID != "" || !out.RefreshToken.Empty() || !out.ExpiresAt.Equal(k.Now().Add(accessTTL)) {
		t.Errorf("got %+v", out)
	}
	mustJudge(t, k, "at the gate", out.AccessToken, auth.Unknown)
	_, err = k.UserInfo(t.Context(), out.AccessToken.Reveal(), auth.From{})
	mustBeUnknown(t, "userinfo", err)
	introspect := func() auth.Introspection {
		t.Helper()
		info, err := k.Introspect(t.Context(), out.AccessToken.Reveal())
		must(t, err)
		return info
	}
	if info := introspect(); !info.Subject.IsZero() || info.Localpart != "" || info.ClientID != serviceID || info.Scope != mxid.ScopeMASAdmin {
		t.Errorf("introspection: got %+v", info)
	}
	reload(k, func(set *auth.Settings) {
		c := set.Clients[serviceID]
		c.Admin = false
		set.Clients = map[string]auth.Client{serviceID: c}
	})
	if info := introspect(); info.Scope != "" {
		t.Errorf("introspection once the client is no admin client: got %v", info.Scope)
	}
	reload(k, func(*auth.Settings) {})
	if err := k.LogoutAll(t.Context(), out.AccessToken.Reveal(), auth.From{}); !errors.Is(err, auth.ErrTokenUnknown) {
		t.Errorf("logout all: got %v", err)
	}
	revoked, err := k.ClientCredentials(t.Context(), auth.ClientCredentialsParams{Client: service})
	must(t, err)
	must(t, k.Revoke(t.Context(), revoked.AccessToken.Reveal(), auth.From{}))
	_, err = k.Introspect(t.Context(), revoked.AccessToken.Reveal())
	mustBeUnknown(t, "a revoked one", err)

	k.Clock.Advance(time.Hour + accessTTL + store.StaleAccess) // well after the start
	must(t, k.Sweep(t.Context()))
	_, err = k.Introspect(t.Context(), out.AccessToken.Reveal())
	mustBeUnknown(t, "after its end", err)
	for s, err := range k.Sessions("") {
		t.Errorf("left after the sweep: %+v, %v", s, err)
	}
	for i, want := range []auth.Event{{Reason: "revoked", SessionID: revoked.SessionID}, {Reason: "expired", SessionID: out.SessionID}} {
		want.Name, want.Method, want.ClientID = "session_ended", "client", serviceID
		if got := k.Events("session_ended"); len(got) != 2 || got[i] != want {
			t.Errorf("audit: got %+v, want %+v", got, want)
		}
	}
}

// Who may have a token of its own, and for what.
func TestClientCredentialsAreForVouchedClientsWithAProof(t *testing.T) {
	k := provider(t)
	service, err := k.Client(t.Context(), serviceID)
	must(t, err)
	own := mustRegister(t, k, func() store.Client {
		c := public("App")
		c.GrantTypes = append(c.GrantTypes, auth.GrantTypeClientCredentials)
		return c
	}())
	open, other, plain := service, service, service
	open.AuthMethod = "none"
	other.GrantTypes = []string{auth.GrantTypeAuthorizationCode}
	plain.Admin = false
	for name, c := range map[string]struct {
		client auth.Client
		scope  []string
		want   error
	}{
		"self-registered":       {own, nil, auth.ErrClientNotAllowed},
		"without a proof":       {open, nil, auth.ErrClientNotAllowed},
		"without the grant":     {other, nil, auth.ErrClientNotAllowed},
		"no admin client":       {plain, []string{mxid.ScopeMASAdmin}, auth.ErrScopeDenied},
		"synapse's admin scope": {service, []string{mxid.ScopeAdmin}, auth.ErrScopeDenied},
		"the API":               {service, []string{mxid.ScopeAPI}, auth.ErrScopeDenied},
		"a device":              {service, onDevice(phone), auth.ErrScopeDenied},
		"openid":                {service, []string{"openid"}, auth.ErrScopeDenied},
	} {
		_, err := k.ClientCredentials(t.Context(), auth.ClientCredentialsParams{Client: c.client, Scope: c.scope})
		mustBe(t, name, err, c.want)
	}
}

// Userinfo answers for openid alone, and counts as use.
func TestUserInfo(t *testing.T) {
	k := provider(t)
	p := signIn(t, k, "alice")
	out, without := p.session(staticID, onDevice(phone, "openid", "profile")), p.session(staticID, onDevice("TABLET000A"))
	claims, err := k.UserInfo(t.Context(), out.AccessToken.Reveal(), auth.From{})
	must(t, err)
	if claims.Subject != out.Subject || claims.Localpart != "alice" || !slices.Contains(claims.Scope, "profile") {
		t.Errorf("got %+v", claims)
	}
	_, err = k.UserInfo(t.Context(), without.AccessToken.Reveal(), auth.From{})
	mustBe(t, "without openid", err, auth.ErrScopeDenied)
	for name, text := range map[string]string{"nothing": "", "foreign": "syt_x", "a refresh token": out.RefreshToken.Reveal()} {
		_, err := k.UserInfo(t.Context(), text, auth.From{})
		mustBe(t, name, err, auth.ErrTokenUnknown)
	}
	must(t, k.Lock(t.Context(), "alice"))
	_, err = k.UserInfo(t.Context(), out.AccessToken.Reveal(), auth.From{})
	mustBe(t, "locked", err, auth.ErrUserLocked)
	must(t, k.Unlock(t.Context(), "alice"))
	k.Clock.Advance(accessTTL)
	_, err = k.UserInfo(t.Context(), out.AccessToken.Reveal(), auth.From{})
	mustBe(t, "expired", err, auth.ErrTokenExpired)
	must(t, k.Revoke(t.Context(), out.AccessToken.Reveal(), auth.From{}))
	_, err = k.UserInfo(t.Context(), out.AccessToken.Reveal(), auth.From{})
	mustBe(t, "revoked", err, auth.ErrTokenUnknown)
}

// A session without the API is no one's at the gate (SCP-01).
func TestSCP01_ASessionForAWebsiteIsNoneAtTheGate(t *testing.T) {
	k := provider(t)
	out := signIn(t, k, "alice").session(staticID, []string{"openid"})
	mustJudge(t, k, "at the gate", out.AccessToken, auth.Unknown)
	if out.DeviceID != "" || out.RefreshToken.Empty() {
		t.Errorf("got %+v", out)
	}
}

// A client that proves itself by an assertion is not told that the assertion has been used where the request itself has used it:
// what panics after its commit is tried again, and a commit that fails has used nothing.
func TestARetryInsideIsNoReplayOfTheAssertion(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := new(trouble)
		o := authtest.Options{RealClock: true, Idle: true}
		f.options(&o.Store)
		k := providerWith(t, o)
		p := auth.RefreshParams{ClientID: staticID, Text: signIn(t, k, "alice").session(staticID, onDevice(phone)).RefreshToken.Reveal()}
		jti := 0
		next := func() {
			jti++
			p.Assertion = &auth.Assertion{ID: fmt.Sprint(jti), ExpiresAt: k.Now().Add(time.Minute)}
		}

		// Case 1: the answer is lost inside.
		var panicked atomic.Bool
		reload(k, func(set *auth.Settings) {
			emit := set.Emit
			set.Emit = func(e auth.Event) {
				if e.Name == "token_refreshed" && !panicked.Swap(true) {
					panic("a bug")
				}
				emit(e)
			}
		})
		next()
		out, err := k.RefreshOAuth(t.Context(), p)
		if must(t, err); !panicked.Load() {
			t.Fatal("nothing panicked")
		}
		again := p
		again.Assertion = &auth.Assertion{ID: p.Assertion.ID, ExpiresAt: p.Assertion.ExpiresAt}
		_, err = k.RefreshOAuth(t.Context(), again)
		mustBe(t, "the same assertion in another request", err, auth.ErrClientUnknown)

		// Case 2: the commit fails, for as long as the request is held, and the client sends the same again.
		p.Text = out.RefreshToken.Reveal()
		next()
		f.commits.Store(true)
		_, err = k.RefreshOAuth(t.Context(), p)
		mustBe(t, "in trouble", err, auth.ErrUnavailable)
		f.commits.Store(false)
		time.Sleep(time.Minute / 2) // The store opens again.
		again.Text, again.Assertion = p.Text, &auth.Assertion{ID: p.Assertion.ID, ExpiresAt: p.Assertion.ExpiresAt}
		must(t, errorOf(k.RefreshOAuth(t.Context(), again)))
	})
}

// Client credentials that are tried again inside are granted.
func TestARetryInsideGrantsClientCredentials(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := providerWith(t, authtest.Options{RealClock: true, Idle: true})
		var panicked atomic.Bool
		reload(k, func(set *auth.Settings) {
			set.Emit = func(e auth.Event) {
				if !panicked.Swap(true) {
					panic("a bug")
				}
			}
		})
		_, err := k.ClientCredentials(t.Context(), auth.ClientCredentialsParams{
			Client: k.Settings.Clients[serviceID], Assertion: &auth.Assertion{ID: "jti", ExpiresAt: k.Now().Add(time.Minute)},
		})
		if must(t, err); !panicked.Load() {
			t.Fatal("nothing panicked")
		}
	})
}
