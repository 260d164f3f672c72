package auth_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/oklog/ulid/v2"

	"github.com/caddy-matrix/caddy-matrix-auth/internal/auth"
	"github.com/caddy-matrix/caddy-matrix-auth/internal/authtest"
	"github.com/caddy-matrix/caddy-matrix-auth/internal/token"
	"github.com/caddy-matrix/caddy-matrix-auth/store"
)

const week = 7 * 24 * time.Hour

func hasClient(t *testing.T, k *authtest.Kit, c auth.Client) bool {
	t.Helper()
	_, err := k.Client(t.Context(), c.ID)
	if err != nil && !errors.Is(err, auth.ErrClientUnknown) {
		t.Fatal(err)
	}
	return err == nil
}

// A registration that nobody uses goes after a week. A session is use, and a grant holds it while somebody may still decide; to
// have asked for one is nothing, which anybody can do.
func TestUnusedClientsGoAfterAWeek(t *testing.T) {
	k := provider(t)
	p := signIn(t, k, "alice")
	names := map[string]struct{ week, hour, month bool }{ // stays: a week after its registration, an hour, a month later
		"unused":                      {false, false, false},
		"with a session":              {true, true, true},
		"with a device's session":     {true, true, true},
		"with an ended session":       {true, true, false},
		"with a pending grant":        {true, false, false},
		"with a pending device grant": {true, false, false},
		"asked for each day":          {false, false, false},
		"approved, never redeemed":    {true, false, false},
		"a device's approval":         {true, false, false},
		"denied":                      {false, false, false},
		"registered again":            {true, true, false},
	}
	clients := make(map[string]auth.Client)
	for name := range names {
		clients[name] = mustRegister(t, k, public(name))
	}
	mustJudge(t, k, "the session", p.session(clients["with a session"].ID, onDevice(phone)).AccessToken, auth.Active)
	onTablet, err := p.device(clients["with a device's session"].ID, onDevice("TABLET000A")).decided(true).poll()
	must(t, err)
	mustJudge(t, k, "the device's session", onTablet.AccessToken, auth.Active)
	ended := p.session(clients["with an ended session"].ID, onDevice("ENDED0000A"))
	mustJudge(t, k, "the session that ends", ended.AccessToken, auth.Active)
	for range 6 {
		k.Clock.Advance(24 * time.Hour)
		p.start(clients["asked for each day"].ID, []string{"openid"})
		p.device(clients["asked for each day"].ID, onDevice(phone))
	}
	must(t, k.EndSession(t.Context(), ended.SessionID, "test"))
	k.Clock.Advance(24*time.Hour - 5*time.Minute)
	p.start(clients["with a pending grant"].ID, []string{"openid"})
	p.device(clients["with a pending device grant"].ID, onDevice(phone))
	p.code(clients["approved, never redeemed"].ID, onDevice(phone))
	p.device(clients["a device's approval"].ID, onDevice(phone)).decided(true)
	_, err = k.DenyGrant(t.Context(), auth.DenyParams{ID: p.start(clients["denied"].ID, []string{"openid"}).ID, Browser: p.browser.Digest()})
	must(t, err)
	if mustRegister(t, k, public("registered again")).ID != clients["registered again"].ID {
		t.Fatal("another client")
	}
	must(t, k.SweepOAuth(t.Context()))
	for name := range names {
		if !hasClient(t, k, clients[name]) {
			t.Errorf("%s: gone before a week", name)
		}
	}
	check := func(when string, want func(name string) bool) {
		t.Helper()
		must(t, k.SweepOAuth(t.Context()))
		for name := range names {
			if got := hasClient(t, k, clients[name]); got != want(name) {
				t.Errorf("%s: there after %s: %v, want %v", name, when, got, want(name))
			}
		}
	}
	k.Clock.Advance(5*time.Minute + time.Second)
	check("a week", func(name string) bool { return names[name].week })
	k.Clock.Advance(time.Hour)
	check("a week and an hour", func(name string) bool { return names[name].hour })
	k.Clock.Advance(30 * 24 * time.Hour)
	check("a month", func(name string) bool { return names[name].month })
	verify(t, k)
}

func verify(t *testing.T, k *authtest.Kit) {
	t.Helper()
	r, err := k.DB.Verify(t.Context())
	must(t, err)
	if !r.OK() {
		t.Fatalf("the store: %q", r.Problems)
	}
}

// A grant whose client was swept meanwhile says so (E28). That its code is refused is the token endpoint's business.
func TestE28_AGrantOfAClientThatIsGone(t *testing.T) {
	k := provider(t)
	client := mustRegister(t, k, public("App"))
	p := signIn(t, k, "alice")
	g := p.start(client.ID, onDevice(phone))
	must(t, k.DB.Update(t.Context(), func(tx *store.Tx) error { return tx.RemoveClient(client.ID) }))
	_, _, err := k.Grant(t.Context(), g.ID, p.browser.Digest())
	mustBe(t, "the consent page", err, auth.ErrClientUnknown)
}

// Beyond the bound the oldest registrations that were never used give way, and no other. To ask for a grant does not make a
// registration a used one: what a flood keeps beyond the bound are the clients of grants that are pending, which are bounded.
func TestTooManyClients(t *testing.T) {
	k := provider(t)
	k.SetBounds(3, 2, 1<<20)
	p := signIn(t, k, "alice")
	register := func(n int) (all []auth.Client) {
		for range n {
			k.Clock.Advance(time.Second)
			all = append(all, mustRegister(t, k, public(k.Now().String())))
		}
		return all
	}
	check := func(when string, clients []auth.Client, want ...bool) {
		t.Helper()
		must(t, k.SweepOAuth(t.Context()))
		for i, c := range clients {
			if got := hasClient(t, k, c); got != want[i] {
				t.Errorf("%s: client %d: there: %v, want %v", when, i, got, want[i])
			}
		}
	}
	used := register(2)
	p.session(used[0].ID, []string{"openid"})
	must(t, errorOf(p.device(used[1].ID, onDevice(phone)).decided(true).poll()))
	clients := register(5)
	p.start(clients[0].ID, []string{"openid"})
	p.device(clients[1].ID, onDevice(phone))
	check("two asked", clients, true, true, false, false, true)
	check("two used", used, true, true)

	flood := register(9)
	for _, c := range flood {
		k.Clock.Advance(time.Second)
		p.start(c.ID, []string{"openid"})
		p.device(c.ID, onDevice(phone))
	}
	fresh := register(1)
	check("a flood of requests", append(flood, fresh...), false, false, false, false, false, false, false, true, true, true)
	check("two used", used, true, true)
	k.Clock.Advance(store.DeviceGrantFor)
	check("nobody decided", append(flood, fresh...), false, false, false, false, false, false, false, false, false, true)
	check("two used", used, true, true)
	if n := clientCount(t, k); n != 3 {
		t.Errorf("got %d clients", n)
	}
}

func errorOf[T any](_ T, err error) error { return err }

// Beyond the bound the oldest pending grants give way, and none that was decided.
func TestTooManyPendingGrants(t *testing.T) {
	k := provider(t)
	k.SetBounds(100, 2, 1<<20)
	p := signIn(t, k, "alice")
	approved := p.start(staticID, onDevice(phone))
	first, err := p.approve(approved)
	must(t, err)
	decided := p.device(staticID, onDevice("TABLET000A")).decided(true)
	var all []store.Grant
	var devices []*device
	for range 5 {
		k.Clock.Advance(time.Second)
		all, devices = append(all, p.start(staticID, []string{"openid"})), append(devices, p.device(staticID, onDevice(phone)))
	}
	must(t, k.SweepOAuth(t.Context()))
	for i := range all {
		_, _, err := k.Grant(t.Context(), all[i].ID, p.browser.Digest())
		_, polled := devices[i].poll()
		if (err == nil) != (i >= 3) || errors.Is(polled, auth.ErrPending) != (i >= 3) {
			t.Errorf("grant %d: got %v, %v", i, err, polled)
		}
	}
	if again, err := p.approve(approved); err != nil || again.Code.Reveal() != first.Code.Reveal() {
		t.Errorf("an approved grant: got %v", err)
	}
	decided.mustPoll(nil)
	verify(t, k)
}

// What is denied or has failed counts as what is pending: neither takes a sign-in.
func TestTooManyDeniedGrants(t *testing.T) {
	k := provider(t)
	k.SetBounds(100, 2, 1<<20)
	p := signIn(t, k, "alice")
	var all []store.Grant
	for i := range 5 {
		k.Clock.Advance(time.Second)
		g := p.start(staticID, []string{"openid"})
		if i%2 == 0 {
			must(t, errorOf(k.DenyGrant(t.Context(), auth.DenyParams{ID: g.ID, Browser: p.browser.Digest()})))
		} else {
			must(t, errorOf(k.FailGrant(t.Context(), g.ID, p.browser.Digest(), store.Failure{Error: "login_required"})))
		}
		all = append(all, g)
	}
	must(t, k.SweepOAuth(t.Context()))
	for i, g := range all {
		if _, _, err := k.Grant(t.Context(), g.ID, p.browser.Digest()); (err == nil) != (i >= 3) {
			t.Errorf("grant %d: got %v", i, err)
		}
	}
}

// Beyond the bytes the oldest of the large ones give way: what a stranger sends is bounded, and drives out nobody who sends
// little.
func TestTooManyBytes(t *testing.T) {
	k := provider(t)
	k.SetBounds(100, 100, 40_000) // 400 each
	p := signIn(t, k, "alice")
	long := strings.Repeat("x", 8000)
	var small, large []store.Grant
	var smallClients, largeClients []auth.Client
	for range 8 {
		k.Clock.Advance(time.Second)
		small = append(small, p.start(staticID, []string{"openid"}))
		large = append(large, p.startAs(store.Grant{ClientID: staticID, Scope: []string{"openid"}, State: long}))
		meta := public(k.Now().String())
		smallClients = append(smallClients, mustRegister(t, k, meta))
		meta.Localized = map[string]string{"client_name#de": long}
		largeClients = append(largeClients, mustRegister(t, k, meta))
	}
	p.session(largeClients[0].ID, []string{"openid"})
	p.start(largeClients[1].ID, []string{"openid"}) // holds it no longer than the bound allows
	must(t, k.SweepOAuth(t.Context()))
	kept := func(g store.Grant) bool {
		_, _, err := k.Grant(t.Context(), g.ID, p.browser.Digest())
		return err == nil
	}
	for i := range small {
		if !kept(small[i]) || !hasClient(t, k, smallClients[i]) {
			t.Errorf("small one %d is gone", i)
		}
		if got := kept(large[i]); got != (i >= 4) {
			t.Errorf("large grant %d: there: %v", i, got)
		}
		if got := hasClient(t, k, largeClients[i]); got != (i == 0 || i >= 5) {
			t.Errorf("large client %d: there: %v", i, got)
		}
	}
}

// Grants go once nothing depends on them: what was exchanged is known for a day.
func TestGrantsAreSwept(t *testing.T) {
	k := provider(t)
	p := signIn(t, k, "alice")
	count := func() (n int) {
		t.Helper()
		must(t, k.SweepOAuth(t.Context()))
		must(t, k.DB.View(func(tx *store.Tx) error {
			for _, err := range tx.Grants(ulid.ULID{}) {
				must(t, err)
				n++
			}
			for _, err := range tx.DeviceGrants(ulid.ULID{}) {
				must(t, err)
				n++
			}
			return nil
		}))
		return n
	}
	p.start(staticID, []string{"openid"})
	p.code(staticID, []string{"openid"})
	exchanged := p.code(staticID, onDevice(phone))
	out, err := k.Redeem(t.Context(), exchanged)
	must(t, err)
	p.device(staticID, onDevice(phone))
	p.device(staticID, onDevice("TABLET000A")).decided(true).mustPoll(nil)
	if got := count(); got != 5 {
		t.Fatalf("got %d, want all 5", got)
	}
	k.Clock.Advance(45 * time.Minute)
	if got := count(); got != 2 {
		t.Errorf("after 45 minutes: got %d, want the exchanged ones", got)
	}
	k.Clock.Advance(23 * time.Hour)
	count()
	_, err = k.Redeem(t.Context(), exchanged)
	mustBe(t, "a replay within a day", err, auth.ErrGrantReplayed)
	k.Clock.Advance(time.Hour)
	if got := count(); got != 0 {
		t.Errorf("after a day: got %d", got)
	}
	_, err = k.Redeem(t.Context(), exchanged)
	mustBe(t, "a replay after a day", err, auth.ErrGrantInvalid)
	mustJudge(t, k, "the session that a replay ended", out.AccessToken, auth.Unknown)
}

// A redeemed session on a device none of whose tokens was seen for an hour ends, with its device. Seen anywhere, it lives.
func TestARedeemedSessionThatNobodyUsesEnds(t *testing.T) {
	for name, c := range map[string]struct {
		use   func(t *testing.T, k *authtest.Kit, in auth.Tokens)
		lives bool
	}{
		"never":       {func(*testing.T, *authtest.Kit, auth.Tokens) {}, false},
		"at the gate": {func(t *testing.T, k *authtest.Kit, in auth.Tokens) { k.MustVerdict(t, in.AccessToken) }, true},
		"by synapse": {func(t *testing.T, k *authtest.Kit, in auth.Tokens) {
			_, err := k.Introspect(t.Context(), in.AccessToken.Reveal())
			must(t, err)
		}, true},
		"at userinfo": {func(t *testing.T, k *authtest.Kit, in auth.Tokens) {
			_, err := k.UserInfo(t.Context(), in.AccessToken.Reveal(), auth.From{})
			must(t, err)
		}, true},
		"at refresh": {func(t *testing.T, k *authtest.Kit, in auth.Tokens) { mustRefreshOAuth(t, k, staticID, in.RefreshToken) }, true},
		"while locked": {func(t *testing.T, k *authtest.Kit, in auth.Tokens) {
			must(t, k.Lock(t.Context(), "alice"))
			k.MustVerdict(t, in.AccessToken)
		}, true},
		"at the gate, past its end": {func(t *testing.T, k *authtest.Kit, in auth.Tokens) {
			k.Clock.Advance(accessTTL)
			mustJudge(t, k, "past its end", in.AccessToken, auth.Expired)
		}, true},
		"by synapse, past its end": {func(t *testing.T, k *authtest.Kit, in auth.Tokens) {
			k.Clock.Advance(accessTTL + store.StaleAccess)
			_, err := k.Introspect(t.Context(), in.AccessToken.Reveal())
			mustBe(t, "past its end", err, auth.ErrTokenExpired)
		}, true},
		"at userinfo, past its end": {func(t *testing.T, k *authtest.Kit, in auth.Tokens) {
			k.Clock.Advance(accessTTL)
			_, err := k.UserInfo(t.Context(), in.AccessToken.Reveal(), auth.From{})
			mustBe(t, "past its end", err, auth.ErrTokenExpired)
		}, true},
		"in early data, past its end": {func(t *testing.T, k *authtest.Kit, in auth.Tokens) {
			k.Clock.Advance(accessTTL)
			unproven(t, k, in)
		}, false},
		"in early data":  {func(t *testing.T, k *authtest.Kit, in auth.Tokens) { unproven(t, k, in) }, false},
		"a forged token": {func(t *testing.T, k *authtest.Kit, in auth.Tokens) { forge(t, k, in) }, false},
	} {
		for _, forgotten := range []bool{false, true} {
			k := provider(t)
			p := signIn(t, k, "alice")
			code, device := p.session(staticID, onDevice(phone, "openid")), p.device(staticID, onDevice("TABLET000A", "openid")).decided(true)
			other, err := device.poll()
			must(t, err)
			redeemed := k.Now()
			c.use(t, k, code.Tokens)
			if forgotten { // seen, written and evicted
				must(t, k.Flush(t.Context()))
				k.ForgetLive(false)
			}
			k.Clock.Advance(redeemed.Add(time.Hour - time.Second).Sub(k.Now()))
			must(t, k.SweepOAuth(t.Context()))
			if got := liveSessions(t, k); len(got) != 2 {
				t.Fatalf("%s: got %d sessions within the hour", name, len(got))
			}
			k.Clock.Advance(time.Second)
			must(t, k.SweepOAuth(t.Context()))
			got := liveSessions(t, k)
			if got[code.SessionID] != c.lives || got[other.SessionID] != (name == "while locked") {
				t.Errorf("%s (evicted: %v): the session lives: %v, want %v; the unused one beside it: %v", name, forgotten, got[code.SessionID], c.lives, got[other.SessionID])
			}
			for _, e := range k.Events("session_ended") {
				if e.Reason != "unused" || e.UserID != "@alice:example.org" {
					t.Errorf("%s: audit: got %+v", name, e)
				}
			}
		}
	}
}

func liveSessions(t *testing.T, k *authtest.Kit) map[ulid.ULID]bool {
	t.Helper()
	all := make(map[ulid.ULID]bool)
	for s, err := range k.Sessions("") {
		must(t, err)
		all[s.ID] = true
	}
	return all
}

func unproven(t *testing.T, k *authtest.Kit, in auth.Tokens) {
	t.Helper()
	a, err := k.Judge(t.Context(), in.AccessToken.Reveal(), auth.From{Unproven: true})
	must(t, err)
	a.Release()
}

func forge(t *testing.T, k *authtest.Kit, in auth.Tokens) {
	t.Helper()
	parsed, err := token.Parse(in.AccessToken.Reveal())
	must(t, err)
	forged, err := token.NewMint(token.Key{1}, authtest.NewRand(1)).New(token.Access, parsed.Handle)
	must(t, err)
	k.MustVerdict(t, token.NewSecret(forged.Reveal()))
}

// Nothing else ends for being unused: a legacy session, a session without a device, and what was redeemed before a restart.
func TestNothingElseEndsForBeingUnused(t *testing.T) {
	k := provider(t)
	p := signIn(t, k, "alice")
	k.MustLogin(t, "alice", "LEGACY")
	p.session(staticID, []string{"openid"})
	p.session(staticID, onDevice(phone))
	again, err := auth.New(auth.Config{DB: k.DB, ServerName: authtest.ServerName, Hasher: k.Hasher, Now: k.Now, Rand: authtest.NewRand(1)}, k.Settings)
	must(t, err)
	k.Clock.Advance(2 * time.Hour)
	must(t, again.SweepOAuth(t.Context()))
	if got := liveSessions(t, k); len(got) != 3 {
		t.Errorf("after a restart: got %d sessions, want 3", len(got))
	}
	must(t, k.SweepOAuth(t.Context()))
	if got := liveSessions(t, k); len(got) != 2 {
		t.Errorf("without one: got %d sessions, want 2", len(got))
	}
}

// Keys: the private halves of retired ones are erased, the public ones go when no hint is signed with them any more.
func TestRetiredKeysAreErased(t *testing.T) {
	k := provider(t)
	keys := func() (signing, retired int) {
		t.Helper()
		must(t, k.DB.View(func(tx *store.Tx) error {
			for rec, err := range tx.SigningKeys() {
				must(t, err)
				switch {
				case rec.RetiredAt.IsZero() && len(rec.Private) > 0 && rec.ID != "":
					signing++
				case !rec.RetiredAt.IsZero() && len(rec.Private) == 0:
					retired++
				default:
					t.Errorf("got key %s, retired %v, with %d private bytes", rec.ID, rec.RetiredAt, len(rec.Private))
				}
			}
			return nil
		}))
		return signing, retired
	}
	_, err := k.Keys(t.Context())
	must(t, err)
	must(t, k.RotateKeys(t.Context()))
	if a, b := keys(); a != 2 || b != 2 {
		t.Errorf("got %d and %d", a, b)
	}
	k.Clock.Advance(store.KeyHintFor)
	must(t, k.SweepOAuth(t.Context()))
	if a, b := keys(); a != 2 || b != 2 {
		t.Errorf("after 90 days: got %d and %d", a, b)
	}
	k.Clock.Advance(time.Second)
	must(t, k.SweepOAuth(t.Context()))
	if a, b := keys(); a != 2 || b != 0 {
		t.Errorf("after more than 90 days: got %d and %d", a, b)
	}
}

// Keys are made once, however many ask at once, by however many services.
func TestKeysAreMadeOnce(t *testing.T) {
	k := provider(t)
	other, err := auth.New(auth.Config{DB: k.DB, ServerName: authtest.ServerName, Hasher: k.Hasher, Now: k.Now, Rand: authtest.NewRand(2)}, k.Settings)
	must(t, err)
	ids := make(chan string, 4)
	for _, s := range []*auth.Service{k.Service, other, k.Service, other} {
		go func() {
			keys, err := s.Keys(t.Context())
			if err != nil {
				t.Error(err)
			}
			ids <- keys.Signing["RS256"].ID + keys.Signing["ES256"].ID
		}()
	}
	first := <-ids
	for range 3 {
		if got := <-ids; got != first || got == "" {
			t.Errorf("got other keys, %q and %q", first, got)
		}
	}
}

// Nothing that opens anything is in the store in clear: codes, cookies, secrets, tokens, passwords, private state.
func TestNothingIsStoredInClear(t *testing.T) {
	dir := t.TempDir()
	k := providerWith(t, authtest.Options{Idle: true, Store: store.Options{Dir: dir}})
	meta := public("A name that is stored")
	meta.AuthMethod = "client_secret_basic"
	client, secret, err := k.RegisterClient(t.Context(), meta, auth.From{})
	must(t, err)
	p := signIn(t, k, "alice")
	code := p.code(client.ID, onDevice(phone))
	out, err := k.Redeem(t.Context(), code)
	must(t, err)
	next := mustRefreshOAuth(t, k, client.ID, out.RefreshToken)
	d := p.device(client.ID, onDevice("TABLET000A")).decided(true)
	other, err := d.poll()
	must(t, err)
	waiting := p.device(client.ID, onDevice("TABLET000A"))
	must(t, k.UseAssertion(t.Context(), client.ID, auth.Assertion{ID: "the-jti-of-an-assertion", ExpiresAt: k.Now().Add(time.Hour)}))
	browser := p.browser.Secret[:]
	secrets := map[string][]byte{
		"code": []byte(code.Code.Reveal()), "verifier": []byte(verifier), "device code": []byte(d.code.Reveal()), "waiting device code": []byte(waiting.code.Reveal()),
		"cookie": []byte(p.cookie.Reveal()), "client secret": []byte(secret.Reveal()), "password": []byte(authtest.Password), "jti": []byte("the-jti-of-an-assertion"),
		"browser": browser, "browser in base64": []byte(base64.RawURLEncoding.EncodeToString(browser)),
		"access": []byte(out.AccessToken.Reveal()), "refresh": []byte(out.RefreshToken.Reveal()), "next access": []byte(next.AccessToken.Reveal()),
		"next refresh": []byte(next.RefreshToken.Reveal()), "device's access": []byte(other.AccessToken.Reveal()),
	}
	for name, s := range map[string]token.Secret{"code": code.Code, "device code": d.code, "cookie": p.cookie, "client secret": secret} {
		if raw, err := base64.RawURLEncoding.DecodeString(s.Reveal()); err == nil {
			secrets[name+", decoded"] = raw
		}
	}
	found := false
	must(t, filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		content, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		found = found || bytes.Contains(content, []byte("A name that is stored"))
		for name, s := range secrets {
			if bytes.Contains(content, s) {
				t.Errorf("%s holds the %s", filepath.Base(path), name)
			}
		}
		return nil
	}))
	if !found {
		t.Error("the search does not find what is stored")
	}
}

// A sign-in that is used between a sweep's look at it and its Update lives on.
func TestASignInUsedDuringASweepLivesOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := authtest.NewService(t, authtest.Options{RealClock: true, Idle: true})
		k.MustAddUser(t, "alice")
		used, idle := signIn(t, k, "alice"), signIn(t, k, "alice")
		lastUsed := func(before time.Duration, people ...*person) func(*store.Tx) error {
			return func(tx *store.Tx) error {
				for _, p := range people {
					b, err := tx.BrowserSessionByCookie(sha256.Sum256([]byte(p.cookie.Reveal())))
					must(t, err)
					b.UsedAt = tx.Now().Add(-before)
					must(t, tx.UpdateBrowserSession(b))
				}
				return nil
			}
		}
		time.Sleep(time.Hour + time.Second) // Ages are to be believed.
		must(t, k.DB.Update(t.Context(), lastUsed(30*24*time.Hour+time.Second, used, idle)))
		looked := make(chan struct{})
		var wg sync.WaitGroup
		wg.Go(func() {
			must(t, k.DB.Update(t.Context(), func(tx *store.Tx) error {
				<-looked
				return lastUsed(0, used)(tx)
			}))
		})
		synctest.Wait()
		wg.Go(func() { must(t, k.SweepOAuth(t.Context())) })
		synctest.Wait() // The sweep has looked, and waits for its Update.
		close(looked)
		wg.Wait()
		used.signedIn()
		idle.mustBeOut("unused for thirty days")
		if n := len(signIns(t, k)); n != 1 {
			t.Errorf("got %d records, want the used one", n)
		}
	})
}

// A client that nobody has used for a week lives on if it gets a session between a sweep's look at it and its Update.
func TestAClientUsedDuringASweepLivesOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := providerWith(t, authtest.Options{RealClock: true, Idle: true})
		used, idle := mustRegister(t, k, public("used")), mustRegister(t, k, public("idle"))
		change := func(change func(now time.Time, c *store.Client), clients ...auth.Client) func(*store.Tx) error {
			return func(tx *store.Tx) error {
				for i := range clients {
					c, err := tx.Client(clients[i].ID)
					must(t, err)
					change(tx.Now(), &c)
					must(t, tx.UpdateClient(c))
				}
				return nil
			}
		}
		weekAgo := func(now time.Time, c *store.Client) { c.RegisteredAt = now.Add(-7*24*time.Hour - time.Second) }
		use := func(now time.Time, c *store.Client) { c.UsedAt = now }
		time.Sleep(time.Hour + time.Second) // Ages are to be believed.
		must(t, k.DB.Update(t.Context(), change(weekAgo, used, idle)))
		looked := make(chan struct{})
		var wg sync.WaitGroup
		wg.Go(func() {
			must(t, k.DB.Update(t.Context(), func(tx *store.Tx) error { <-looked; return change(use, used)(tx) }))
		})
		synctest.Wait()
		wg.Go(func() { must(t, k.SweepOAuth(t.Context())) })
		synctest.Wait() // The sweep has looked, and waits for its Update.
		close(looked)
		wg.Wait()
		if !hasClient(t, k, used) || hasClient(t, k, idle) {
			t.Errorf("got the used client %v and the other one %v, want the used one alone", hasClient(t, k, used), hasClient(t, k, idle))
		}
	})
}
