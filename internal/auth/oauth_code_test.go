package auth_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/caddy-matrix/caddy-matrix-auth/internal/auth"
	"github.com/caddy-matrix/caddy-matrix-auth/internal/authtest"
	"github.com/caddy-matrix/caddy-matrix-auth/internal/mxid"
	"github.com/caddy-matrix/caddy-matrix-auth/internal/token"
	"github.com/caddy-matrix/caddy-matrix-auth/store"
)

// The whole flow: the device is known to Synapse before the answer, the tokens work, and the refresh token comes with them
// (TOK-10, TOK-12, E7, E8).
func TestTOK10_CodeBecomesASession(t *testing.T) {
	k := provider(t)
	client := mustRegister(t, k, public("App"))
	p := signIn(t, k, "alice")
	g := p.startAs(store.Grant{ClientID: client.ID, Scope: onDevice(phone, "openid"), Nonce: "n-0S6", ACR: true, State: "xyz", HasState: true})
	approved, err := p.approve(g)
	must(t, err)
	if strings.ContainsFunc(approved.Code.Reveal(), func(r rune) bool { return !isBase62(r) }) || len(approved.Code.Reveal()) < 38 {
		t.Errorf("the code is not base62 of a MAC: %d characters", len(approved.Code.Reveal()))
	}
	k.Synapse.ForgetCalls()
	out, err := k.Redeem(t.Context(), auth.RedeemParams{
		Code: approved.Code, ClientID: client.ID, RedirectURI: redirect, Verifier: verifier, Arrived: k.Now(), From: auth.From{Addr: authtest.Addr},
	})
	must(t, err)
	if diff := cmp.Diff([]string{"upsert_device"}, ops(k)); diff != "" {
		t.Errorf("calls (-want +got):\n%s", diff)
	}
	if got := jobs(t, k); len(got) != 0 {
		t.Errorf("jobs: got %v", got)
	}
	in := p.signedIn()
	if out.UserID != "@alice:example.org" || out.DeviceID != phone || out.Subject != in.User.ID || out.Nonce != "n-0S6" || !out.ACR || !out.AuthTime.Equal(in.Session.AuthenticatedAt) {
		t.Errorf("got %+v", out)
	}
	if !slices.Equal(out.Scope, g.Scope) || out.RefreshToken.Empty() || !out.ExpiresAt.Equal(k.Now().Add(accessTTL)) {
		t.Errorf("got scope %v, refresh token %v, end %v", out.Scope, out.RefreshToken, out.ExpiresAt)
	}
	mustJudge(t, k, "the access token", out.AccessToken, auth.Active)
	info, err := k.Introspect(t.Context(), out.AccessToken.Reveal())
	must(t, err)
	stable, unstable, _ := phone.Scopes()
	want := strings.Join([]string{mxid.ScopeAPI, mxid.ScopeAPIUnstable, stable, unstable, "openid"}, " ")
	if info.Scope != want || info.ClientID != client.ID || info.Localpart != "alice" || info.DeviceID != phone {
		t.Errorf("introspection: got %+v", info)
	}
	if got := grantNow(t, k, g); got.Status != store.GrantExchanged || got.SessionID != out.SessionID {
		t.Errorf("the grant: got %+v", got)
	}
}

func isBase62(r rune) bool {
	return '0' <= r && r <= '9' || 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z'
}

// Whoever presents a code with something wrong gets invalid_grant and changes nothing, whether it is good, redeemed a moment ago
// or long ago (AUZ-17, TOK-08, TOK-09, F2 "missing client binding").
func TestTOK08_AWrongPresentationChangesNothingWhateverTheState(t *testing.T) {
	k := provider(t)
	client, other := mustRegister(t, k, public("App")), mustRegister(t, k, public("Other"))
	p := signIn(t, k, "alice")
	right := p.code(client.ID, onDevice(phone))
	wrong := map[string]func(r *auth.RedeemParams){
		"another client":          func(r *auth.RedeemParams) { r.ClientID = other.ID },
		"a client that is none":   func(r *auth.RedeemParams) { r.ClientID = "" },
		"another redirect URI":    func(r *auth.RedeemParams) { r.RedirectURI += "/" },
		"no redirect URI":         func(r *auth.RedeemParams) { r.RedirectURI = "" },
		"another verifier":        func(r *auth.RedeemParams) { r.Verifier = strings.ToUpper(verifier) },
		"no verifier (downgrade)": func(r *auth.RedeemParams) { r.Verifier = "" },
		"the challenge (plain)":   func(r *auth.RedeemParams) { r.Verifier = challenge },
		"a code that is none":     func(r *auth.RedeemParams) { r.Code = token.NewSecret("") },
		"a code with one more":    func(r *auth.RedeemParams) { r.Code = token.NewSecret(r.Code.Reveal() + "0") },
		"all of it for a moment":  func(r *auth.RedeemParams) { r.ClientID, r.RedirectURI, r.Verifier = other.ID, "", "" },
	}
	presentWrong := func(state string) {
		t.Helper()
		revision := revisionOf(t, k)
		for name, change := range wrong {
			r := right
			r.Arrived = k.Now()
			change(&r)
			if _, err := k.Redeem(t.Context(), r); !errors.Is(err, auth.ErrGrantInvalid) || errors.Is(err, auth.ErrGrantReplayed) {
				t.Errorf("%s, %s: got %v, want an invalid grant", state, name, err)
			}
		}
		if got := revisionOf(t, k); got != revision {
			t.Errorf("%s: something was written", state)
		}
	}
	presentWrong("fulfilled")
	out, err := k.Redeem(t.Context(), right)
	must(t, err)
	presentWrong("exchanged")
	k.Clock.Advance(time.Hour)
	presentWrong("exchanged long ago")
	mustJudge(t, k, "the session", mustRefreshOAuth(t, k, client.ID, out.RefreshToken).AccessToken, auth.Active)
}

// revisionOf grows with every commit.
func revisionOf(t *testing.T, k *authtest.Kit) (r uint64) {
	t.Helper()
	must(t, k.DB.View(func(tx *store.Tx) error { r = tx.Revision(); return nil }))
	return r
}

// Should a grant without a challenge ever get into the store, nothing redeems it, whereas the library takes that for no PKCE (F1
// "downgrade impossible").
func TestRFC9700_NothingRedeemsAGrantWithoutAChallenge(t *testing.T) {
	k := provider(t)
	p := signIn(t, k, "alice")
	g := p.start(staticID, onDevice(phone))
	must(t, k.DB.Update(t.Context(), func(tx *store.Tx) error {
		bare, err := tx.Grant(g.ID)
		must(t, err)
		bare.Challenge = ""
		return tx.UpdateGrant(bare)
	}))
	approved, err := p.approve(g)
	must(t, err)
	for _, v := range []string{"", verifier, challenge} {
		_, err := k.Redeem(t.Context(), auth.RedeemParams{Code: approved.Code, ClientID: staticID, RedirectURI: redirect, Verifier: v, Arrived: k.Now()})
		mustBe(t, "with verifier "+v, err, auth.ErrGrantInvalid)
	}
}

// A grant is bound to the browser that started it and to the person who approves (F2 "consent/approval CSRF").
func TestAGrantIsBoundToItsBrowser(t *testing.T) {
	k := provider(t)
	k.MustAddUser(t, "mallory")
	client := mustRegister(t, k, public("App"))
	p, m := signIn(t, k, "alice"), signIn(t, k, "mallory")
	g := p.start(client.ID, onDevice(phone))
	_, _, err := k.Grant(t.Context(), g.ID, m.browser.Digest())
	mustBe(t, "looking from another browser", err, auth.ErrOtherBrowser)
	_, err = m.approve(g)
	mustBe(t, "approving in another browser", err, auth.ErrOtherBrowser)
	_, err = k.DenyGrant(t.Context(), auth.DenyParams{ID: g.ID, Browser: m.browser.Digest()})
	mustBe(t, "denying in another browser", err, auth.ErrOtherBrowser)
	_, _, err = k.Grant(t.Context(), g.ID, auth.Browser{}.Digest())
	mustBe(t, "looking without a cookie", err, auth.ErrOtherBrowser)
	unknown := g
	unknown.ID[15]++
	_, err = p.approve(unknown)
	mustBe(t, "a grant that is none", err, auth.ErrNotFound)

	got, c, err := k.Grant(t.Context(), g.ID, p.browser.Digest())
	must(t, err)
	if got.Status != store.GrantPending || c.Name != "App" {
		t.Errorf("got %+v, %+v", got, c)
	}
	p.cookie = token.NewSecret("nobody's")
	_, err = p.approve(g)
	mustBe(t, "approving without a sign-in", err, auth.ErrSignInNeeded)
}

// Twenty redemptions of one code at once: one winner, and its session lives (E3, F1 "code single use").
func TestRFC9700_CVE202546815_TwentyParallelRedemptionsHaveOneWinner(t *testing.T) {
	t.Parallel()
	for name, scope := range map[string][]string{"on a device": onDevice(phone), "without a device": {"openid"}} {
		k := providerWith(t, authtest.Options{})
		client := mustRegister(t, k, public("App"))
		p := signIn(t, k, "alice")
		code := p.code(client.ID, scope)
		var won atomic.Pointer[auth.Redeemed]
		var wins, losses atomic.Int32
		var wg sync.WaitGroup
		for range 20 {
			wg.Go(func() {
				switch out, err := k.Redeem(t.Context(), code); {
				case err == nil:
					wins.Add(1)
					won.Store(&out)
				case errors.Is(err, auth.ErrGrantInvalid):
					losses.Add(1)
				default:
					t.Errorf("%s: got %v", name, err)
				}
			})
		}
		wg.Wait()
		if wins.Load() != 1 || losses.Load() != 19 {
			t.Fatalf("%s: got %d winners and %d losers", name, wins.Load(), losses.Load())
		}
		if _, err := k.Introspect(t.Context(), won.Load().AccessToken.Reveal()); err != nil {
			t.Errorf("%s: the winner's session: %v", name, err)
		}
		waitFor(t, "all jobs", func() bool { return len(jobs(t, k)) == 0 })
		if got := k.Synapse.Devices("alice"); scope[0] == mxid.ScopeAPI && !slices.Equal(got, []mxid.DeviceID{phone}) {
			t.Errorf("%s: devices: got %v", name, got)
		}
	}
}

// A replay of a redeemed code is only refused for 20 s: a client tries again. Later somebody has stolen it, and the session ends,
// on disk, with its device (AUZ-18).
func TestAUZ18_ALateReplayEndsTheSession(t *testing.T) {
	k := provider(t)
	client := mustRegister(t, k, public("App"))
	p := signIn(t, k, "alice")
	code := p.code(client.ID, onDevice(phone))
	out, err := k.Redeem(t.Context(), code)
	must(t, err)
	for range 2 {
		_, err = k.Redeem(t.Context(), code)
		mustBe(t, "a replay soon after", err, auth.ErrGrantInvalid)
		mustJudge(t, k, "after a replay soon after", out.AccessToken, auth.Active)
		k.Clock.Advance(store.CodeReplayLeeway / 2)
	}
	_, err = k.Redeem(t.Context(), code)
	mustBe(t, "a replay after 20 s", err, auth.ErrGrantInvalid)
	mustJudge(t, k, "after a replay after 20 s", out.AccessToken, auth.Active)
	k.Clock.Advance(time.Microsecond)
	k.Synapse.Fail(authtest.Down) // the end is ours, not Synapse's
	code.Arrived = k.Now()
	_, err = k.Redeem(t.Context(), code)
	mustBe(t, "a late replay", err, auth.ErrGrantReplayed)
	mustJudge(t, k, "after a late replay", out.AccessToken, auth.Unknown)
	if got := jobs(t, k); len(got) != 1 || got[0].DeviceID != phone {
		t.Errorf("jobs: got %+v, want the device's", got)
	}
	if got := k.Events("session_ended"); len(got) != 1 || got[0].Reason != "code_replayed" || got[0].SessionID != out.SessionID {
		t.Errorf("audit: got %+v", got)
	}
	_, err = k.Redeem(t.Context(), code)
	mustBe(t, "once more", err, auth.ErrGrantReplayed)
	if got := k.Events("session_ended"); len(got) != 1 {
		t.Errorf("audit: got %+v, want one end", got)
	}
	_, err = k.RefreshOAuth(t.Context(), auth.RefreshParams{Text: out.RefreshToken.Reveal(), ClientID: client.ID})
	mustBeUnknown(t, "refreshing after a late replay", err)
}

// A late replay that cannot be committed is no verdict: the session is not said to be over while it lives.
func TestALateReplayIsCommittedOrTriedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var free atomic.Uint64
		free.Store(1 << 40)
		k := providerWith(t, authtest.Options{RealClock: true, Idle: true, Store: store.Options{FreeBytes: func(string) (uint64, error) { return free.Load(), nil }}})
		p := signIn(t, k, "alice")
		code := p.code(staticID, onDevice(phone))
		out, err := k.Redeem(t.Context(), code)
		must(t, err)
		time.Sleep(time.Minute)
		free.Store(1 << 20)
		_, err = k.Redeem(t.Context(), code)
		mustBe(t, "with a full disk", err, auth.ErrUnavailable)
		mustJudge(t, k, "meanwhile", out.AccessToken, auth.Active)
		free.Store(1 << 40)
		_, err = k.Redeem(t.Context(), code)
		mustBe(t, "with room", err, auth.ErrGrantReplayed)
		mustJudge(t, k, "then", out.AccessToken, auth.Unknown)
	})
}

// A code lives for a minute, judged when the request arrives, however long it then takes.
func TestAUZ17_ACodeLivesAMinuteFromItsArrival(t *testing.T) {
	k := provider(t)
	p := signIn(t, k, "alice")
	late, slow, timeless := p.code(staticID, onDevice(phone)), p.code(staticID, onDevice(phone)), p.code(staticID, onDevice(phone))
	slow.Arrived = k.Clock.Advance(59 * time.Second)
	late.Arrived, timeless.Arrived = k.Clock.Advance(time.Second), time.Time{}
	_, err := k.Redeem(t.Context(), late)
	mustBe(t, "after 60 s", err, auth.ErrGrantInvalid)
	_, err = k.Redeem(t.Context(), timeless)
	mustBe(t, "with no time of arrival, after 60 s", err, auth.ErrGrantInvalid)
	if _, err := k.Redeem(t.Context(), slow); err != nil {
		t.Errorf("having arrived after 59 s: got %v", err)
	}
}

// A double click gives the same code, until it is redeemed or too old: then the page says that it was done.
func TestADoubleApprovalGivesTheSameCode(t *testing.T) {
	k := provider(t)
	k.MustAddUser(t, "bob")
	p := signIn(t, k, "alice")
	g := p.start(staticID, onDevice(phone))
	first, err := p.approve(g)
	must(t, err)
	k.Clock.Advance(59 * time.Second)
	again, err := p.approve(g)
	must(t, err)
	if again.Code.Reveal() != first.Code.Reveal() {
		t.Error("another code")
	}
	if got := grantNow(t, k, g); !got.FulfilledAt.Equal(first.Grant.FulfilledAt) {
		t.Error("the second click made the code live longer")
	}
	_, err = k.DenyGrant(t.Context(), auth.DenyParams{ID: g.ID, Browser: p.browser.Digest()})
	mustBe(t, "denying what was approved", err, auth.ErrDone)
	bob := signIn(t, k, "bob")
	bob.browser = p.browser
	_, err = bob.approve(g)
	mustBe(t, "approving for another person", err, auth.ErrDone)

	_, err = k.Redeem(t.Context(), auth.RedeemParams{Code: first.Code, ClientID: staticID, RedirectURI: redirect, Verifier: verifier, Arrived: k.Now()})
	must(t, err)
	out, err := p.approve(g)
	mustBe(t, "approving what was redeemed (AUZ-24)", err, auth.ErrDone)
	if !out.Code.Empty() {
		t.Error("a code came with the refusal")
	}
	old := p.start(staticID, onDevice(phone))
	_, err = p.approve(old)
	must(t, err)
	k.Clock.Advance(store.CodeFor)
	_, err = p.approve(old)
	mustBe(t, "approving again after a minute", err, auth.ErrDone)
}

// A code that was approved in a sign-in that is over is no use, so a second click in a later one does not hand it out.
func TestASecondClickInALaterSignInGetsNoDeadCode(t *testing.T) {
	k := provider(t)
	p := signIn(t, k, "alice")
	g := p.start(staticID, onDevice(phone))
	_, err := p.approve(g)
	must(t, err)
	must(t, k.SignOut(t.Context(), p.cookie, auth.From{}))
	p.cookie = signIn(t, k, "alice").cookie
	_, err = p.approve(g)
	mustBe(t, "a second click", err, auth.ErrDone)
}

// Between the request and the answer a client may change or go: nothing is then sent to where it wanted the answer, and nothing
// is written (RFC 9700 §2.1).
func TestRFC9700_ARedirectURIIsComparedAgainAtTheAnswer(t *testing.T) {
	for name, c := range map[string]struct {
		change func(c *auth.Client)
		want   error
	}{
		"another redirect URI": {func(c *auth.Client) { c.RedirectURIs = []string{redirect + "/new"} }, auth.ErrRedirectUnknown},
		"none":                 {func(c *auth.Client) { c.RedirectURIs = nil }, auth.ErrRedirectUnknown},
		"gone":                 {nil, auth.ErrClientUnknown},
		"one more":             {func(c *auth.Client) { c.RedirectURIs = []string{redirect + "/new", redirect} }, nil},
	} {
		k := provider(t)
		p := signIn(t, k, "alice")
		yes, no, twice := p.start(staticID, []string{"openid"}), p.start(staticID, []string{"openid"}), p.start(staticID, []string{"openid"})
		_, err := p.approve(twice)
		must(t, err)
		reload(k, func(set *auth.Settings) {
			client := set.Clients[staticID]
			set.Clients = nil
			if c.change != nil {
				c.change(&client)
				set.Clients = map[string]auth.Client{staticID: client}
			}
		})
		_, _, err = k.Grant(t.Context(), yes.ID, p.browser.Digest())
		mustBe(t, name+": looking", err, c.want)
		_, err = p.approve(yes)
		mustBe(t, name+": approving", err, c.want)
		_, err = k.DenyGrant(t.Context(), auth.DenyParams{ID: no.ID, Browser: p.browser.Digest()})
		mustBe(t, name+": denying", err, c.want)
		_, err = p.approve(twice)
		mustBe(t, name+": the same answer again", err, c.want)
		if y, n := grantNow(t, k, yes).Status, grantNow(t, k, no).Status; c.want != nil && (y != store.GrantPending || n != store.GrantPending) {
			t.Errorf("%s: got states %v and %v", name, y, n)
		}
	}
}

// A port on loopback is the client's to choose, still when it answers.
func TestALoopbackPortIsGoodAtTheAnswer(t *testing.T) {
	k := provider(t)
	p := signIn(t, k, "alice")
	meta := public("Desktop")
	meta.RedirectURIs = []string{"http://127.0.0.1/cb"}
	g := store.Grant{
		ClientID: mustRegister(t, k, meta).ID, RedirectURI: "http://127.0.0.1:8765/cb", Challenge: challenge, Browser: p.browser.Digest(), Scope: []string{"openid"},
	}
	g, err := k.StartGrant(t.Context(), g, auth.From{Addr: authtest.Addr})
	must(t, err)
	_, err = p.approve(g)
	must(t, err)
}

// A denial is final, and may be repeated; a request that nobody decided is over after ten minutes (AUZ-16).
func TestAUZ16_DenyAndExpiry(t *testing.T) {
	k := provider(t)
	p := signIn(t, k, "alice")
	g := p.start(staticID, onDevice(phone))
	for range 2 {
		_, err := k.DenyGrant(t.Context(), auth.DenyParams{ID: g.ID, Browser: p.browser.Digest()})
		must(t, err)
	}
	_, err := p.approve(g)
	mustBe(t, "approving what was denied", err, auth.ErrDone)
	g = p.start(staticID, onDevice(phone))
	k.Clock.Advance(store.GrantPendingFor)
	_, err = p.approve(g)
	mustBe(t, "approving too late", err, auth.ErrExpired)
	_, err = k.DenyGrant(t.Context(), auth.DenyParams{ID: g.ID, Browser: p.browser.Digest()})
	mustBe(t, "denying too late", err, auth.ErrExpired)
	_, _, err = k.Grant(t.Context(), g.ID, p.browser.Digest())
	mustBe(t, "looking too late", err, auth.ErrExpired)
}

// A request whose client was told an error is over: the first error stands, and no code comes after it. One that was decided does
// not fail any more (OIDC Core §3.1.2.6).
func TestAFailedGrantIsOver(t *testing.T) {
	k := provider(t)
	p, other := signIn(t, k, "alice"), signIn(t, k, "alice")
	first := store.Failure{Error: "login_required", Description: "nobody is signed in"}
	g := p.start(staticID, []string{"openid"})
	_, err := k.FailGrant(t.Context(), g.ID, other.browser.Digest(), first)
	mustBe(t, "failing another browser's", err, auth.ErrOtherBrowser)
	for _, why := range []store.Failure{first, {Error: "consent_required"}} {
		got, err := k.FailGrant(t.Context(), g.ID, p.browser.Digest(), why)
		if err != nil || got.Status != store.GrantFailed || got.Failure != first {
			t.Errorf("got %+v, %v", got.Failure, err)
		}
	}
	_, err = p.approve(g)
	mustBe(t, "approving what has failed", err, auth.ErrDone)
	_, err = k.DenyGrant(t.Context(), auth.DenyParams{ID: g.ID, Browser: p.browser.Digest()})
	mustBe(t, "denying what has failed", err, auth.ErrDone)
	if got := grantNow(t, k, g); got.Status != store.GrantFailed || got.Failure != first {
		t.Errorf("got %+v", got)
	}
	approved, denied := p.start(staticID, []string{"openid"}), p.start(staticID, []string{"openid"})
	must(t, errorOf(p.approve(approved)))
	must(t, errorOf(k.DenyGrant(t.Context(), auth.DenyParams{ID: denied.ID, Browser: p.browser.Digest()})))
	for _, g := range []store.Grant{approved, denied} {
		_, err := k.FailGrant(t.Context(), g.ID, p.browser.Digest(), first)
		mustBe(t, "failing what was decided", err, auth.ErrDone)
	}
	late := p.start(staticID, []string{"openid"})
	k.Clock.Advance(store.GrantPendingFor)
	_, err = k.FailGrant(t.Context(), late.ID, p.browser.Digest(), first)
	mustBe(t, "failing too late", err, auth.ErrExpired)
	k.Clock.Advance(store.GrantPendingFor + time.Second)
	must(t, k.SweepOAuth(t.Context()))
	_, _, err = k.Grant(t.Context(), g.ID, p.browser.Digest())
	mustBe(t, "after the sweep", err, auth.ErrNotFound)
}

// What is granted is a part of what was asked for.
func TestOnlyWhatWasAskedForIsGranted(t *testing.T) {
	k := provider(t)
	p := signIn(t, k, "alice")
	g := p.start(staticID, []string{"openid", "profile"})
	more := g
	more.Scope = append(onDevice(phone), "openid")
	_, err := p.approve(more)
	mustBe(t, "approving more", err, auth.ErrScopeDenied)
	g.Scope = g.Scope[:1]
	_, err = p.approve(g)
	must(t, err)
	if got := grantNow(t, k, g); !slices.Equal(got.Scope, []string{"openid"}) {
		t.Errorf("got %v", got.Scope)
	}
}

// prompt=login and max_age need a password that was entered late enough; re-authentication keeps the sign-in (AUZ-12).
func TestAUZ12_ARecentSignInIsNeeded(t *testing.T) {
	k := provider(t)
	p := signIn(t, k, "alice")
	before := p.signedIn()
	k.Clock.Advance(time.Minute)
	g := p.startAs(store.Grant{ClientID: staticID, Scope: onDevice(phone), MinAuthTime: k.Now()})
	_, err := p.approve(g)
	mustBe(t, "with an old sign-in", err, auth.ErrSignInNeeded)
	again := signInParams("alice")
	again.Cookie = p.cookie
	in, err := k.SignIn(t.Context(), again)
	must(t, err)
	p.cookie = in.Cookie
	if in.Session.ID != before.Session.ID {
		t.Error("re-authentication made another sign-in")
	}
	approved, err := p.approve(g)
	must(t, err)
	if !approved.Grant.AuthTime.Equal(k.Now()) {
		t.Errorf("auth_time: got %v, want %v", approved.Grant.AuthTime, k.Now())
	}
}

// Between approval and redemption the sign-in may end, or the user be locked or closed: the code is no good then, and Synapse
// hears nothing of it.
func TestACodeIsWorthWhatItsApproverIs(t *testing.T) {
	for name, c := range map[string]struct {
		end    func(k *authtest.Kit, p *person) error
		undone func(k *authtest.Kit) error // nil: it cannot be
	}{
		"signed out": {end: func(k *authtest.Kit, p *person) error { return k.SignOut(p.Context(), p.cookie, auth.From{}) }},
		"password": {end: func(k *authtest.Kit, p *person) error {
			return k.SetPassword(p.Context(), "alice", token.NewSecret("another"), false)
		}},
		"ended by the administrator": {end: func(k *authtest.Kit, p *person) error {
			_, err := k.EndSessions(p.Context(), "alice", "test")
			return err
		}},
		"deactivated": {end: func(k *authtest.Kit, p *person) error { return k.Deactivate(p.Context(), "alice", false) }},
		"locked": {
			end:    func(k *authtest.Kit, p *person) error { return k.Lock(p.Context(), "alice") },
			undone: func(k *authtest.Kit) error { return k.Unlock(t.Context(), "alice") },
		},
	} {
		k := provider(t)
		p := signIn(t, k, "alice")
		code := p.code(staticID, onDevice(phone))
		must(t, c.end(k, p))
		k.Synapse.ForgetCalls()
		_, err := k.Redeem(t.Context(), code)
		mustBe(t, name, err, auth.ErrGrantInvalid)
		if got := ops(k); len(got) != 0 {
			t.Errorf("%s: synapse was asked: %v", name, got)
		}
		if c.undone != nil {
			must(t, c.undone(k))
			if _, err := k.Redeem(t.Context(), code); err != nil {
				t.Errorf("%s, and undone: got %v, want a session: nothing was consumed", name, err)
			}
		}
	}
}

// The same while the redemption is at Synapse: the Update is the gate.
func TestARedemptionIsCheckedAgainInItsUpdate(t *testing.T) {
	t.Parallel()
	for name, meanwhile := range map[string]func(k *authtest.Kit, p *person) error{
		"signed out":  func(k *authtest.Kit, p *person) error { return k.SignOut(p.Context(), p.cookie, auth.From{}) },
		"locked":      func(k *authtest.Kit, p *person) error { return k.Lock(p.Context(), "alice") },
		"deactivated": func(k *authtest.Kit, p *person) error { return k.Deactivate(p.Context(), "alice", false) },
	} {
		k := providerWith(t, authtest.Options{})
		p := signIn(t, k, "alice")
		code := p.code(staticID, onDevice(phone))
		k.Synapse.FailOp("upsert_device", authtest.Slow)
		result := make(chan error, 1)
		go func() {
			_, err := k.Redeem(t.Context(), code)
			result <- err
		}()
		waitFor(t, "the call", func() bool { return slices.Contains(ops(k), "upsert_device") })
		must(t, meanwhile(k, p))
		k.Synapse.Heal()
		mustBe(t, name, <-result, auth.ErrGrantInvalid)
		waitFor(t, "the job to be done", func() bool { return len(jobs(t, k)) == 0 })
		if got := k.Synapse.Devices("alice"); len(got) != 0 {
			t.Errorf("%s: devices left: %v", name, got)
		}
	}
}

// Synapse is down: the redemption is held for ten seconds, the wait for the mutex included, and consumes nothing.
func TestARedemptionWaitsForSynapse(t *testing.T) {
	for _, fault := range []authtest.Fault{authtest.Down, authtest.Slow, authtest.Broken} {
		synctest.Test(t, func(t *testing.T) {
			k := providerWith(t, authtest.Options{RealClock: true, Idle: true})
			p := signIn(t, k, "alice")
			code := p.code(staticID, onDevice(phone))
			code.Assertion = &auth.Assertion{ID: "once", ExpiresAt: k.Now().Add(time.Minute)}
			k.Synapse.Fail(fault)
			began := time.Now()
			var wg sync.WaitGroup
			for range 3 {
				wg.Go(func() {
					_, err := k.Redeem(t.Context(), code)
					if !errors.Is(err, auth.ErrUnavailable) {
						t.Errorf("fault %v: got %v, want unavailable", fault, err)
					}
				})
			}
			wg.Wait()
			if took := time.Since(began); took < 9*time.Second || took > 11*time.Second {
				t.Errorf("fault %v: held for %v, want 10 s", fault, took)
			}
			for s, err := range k.Sessions("alice") {
				t.Errorf("fault %v: there is a session: %v %v", fault, s, err)
			}
			time.AfterFunc(3*time.Second, k.Synapse.Heal)
			out, err := k.Redeem(t.Context(), code) // within its minute, with the same assertion
			if err != nil {
				t.Fatalf("fault %v, healed meanwhile: got %v", fault, err)
			}
			mustJudge(t, k, "the session", out.AccessToken, auth.Active)
		})
	}
}

// A client that goes away while Synapse is asked has consumed nothing, and says nothing of Synapse.
func TestARedemptionWhoseClientGoesAway(t *testing.T) {
	t.Parallel()
	k := provider(t)
	p := signIn(t, k, "alice")
	code := p.code(staticID, onDevice(phone))
	k.Synapse.FailOp("upsert_device", authtest.Slow)
	ctx, cancel := context.WithCancel(t.Context())
	result := make(chan error, 1)
	go func() {
		_, err := k.Redeem(ctx, code)
		result <- err
	}()
	waitFor(t, "the call", func() bool { return slices.Contains(ops(k), "upsert_device") })
	cancel()
	mustBe(t, "gone away", <-result, auth.ErrUnavailable)
	if got := k.Events("synapse_unreachable"); len(got) != 0 {
		t.Errorf("audit: got %+v", got)
	}
	k.Synapse.Heal()
	if _, err := k.Redeem(t.Context(), code); err != nil {
		t.Errorf("again: got %v", err)
	}
}

// A device that is signed in already exists: Synapse is not needed for its next session.
func TestARedemptionOnASignedInDeviceWorksWithoutSynapse(t *testing.T) {
	k := provider(t)
	p := signIn(t, k, "alice")
	old := p.session(staticID, onDevice(phone))
	code := p.code(staticID, onDevice(phone))
	k.Synapse.Fail(authtest.Down)
	out, err := k.Redeem(t.Context(), code)
	must(t, err)
	mustJudge(t, k, "before", old.AccessToken, auth.Unknown)
	mustJudge(t, k, "now", out.AccessToken, auth.Active)
}

// A sign-in on a device that another client holds ends that client's session, and the device with its keys stays (TOK-11, SCP-10).
func TestTOK11_TheDeviceIsTakenOver(t *testing.T) {
	k := providerWith(t, authtest.Options{})
	legacy := k.MustLogin(t, "alice", phone)
	first, second := mustRegister(t, k, public("First")), mustRegister(t, k, public("Second"))
	p := signIn(t, k, "alice")
	k.Synapse.ForgetCalls()
	a := p.session(first.ID, onDevice(phone))
	mustJudge(t, k, "the legacy session", legacy.AccessToken, auth.Unknown)
	b := p.session(second.ID, onDevice(phone))
	mustJudge(t, k, "the first client's session", a.AccessToken, auth.Unknown)
	mustJudge(t, k, "the second client's session", b.AccessToken, auth.Active)
	waitFor(t, "all jobs", func() bool { return len(jobs(t, k)) == 0 })
	if slices.Contains(ops(k), "delete_device") || !slices.Equal(k.Synapse.Devices("alice"), []mxid.DeviceID{phone}) {
		t.Errorf("the device did not stay: calls %v, devices %v", ops(k), k.Synapse.Devices("alice"))
	}
	for _, e := range k.Events("session_ended") {
		if e.Reason != "replaced" {
			t.Errorf("audit: got %+v", e)
		}
	}
	_, err := k.RefreshOAuth(t.Context(), auth.RefreshParams{Text: a.RefreshToken.Reveal(), ClientID: first.ID})
	mustBeUnknown(t, "refreshing what was replaced", err)
}

// Two sign-ins of one device at once: one session is left.
func TestTwoRedemptionsOnOneDevice(t *testing.T) {
	t.Parallel()
	k := providerWith(t, authtest.Options{})
	p := signIn(t, k, "alice")
	codes := []auth.RedeemParams{p.code(staticID, onDevice(phone)), p.code(staticID, onDevice(phone)), p.code(staticID, onDevice(phone))}
	var wg sync.WaitGroup
	for _, code := range codes {
		wg.Go(func() {
			if _, err := k.Redeem(t.Context(), code); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	n := 0
	for _, err := range k.Sessions("alice") {
		must(t, err)
		n++
	}
	if n != 1 {
		t.Errorf("got %d live sessions, want 1", n)
	}
}
