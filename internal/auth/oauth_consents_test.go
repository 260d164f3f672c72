package auth_test

import (
	"crypto/sha256"
	"fmt"
	"maps"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/caddy-matrix/caddy-matrix-auth/internal/auth"
	"github.com/caddy-matrix/caddy-matrix-auth/internal/authtest"
	"github.com/caddy-matrix/caddy-matrix-auth/internal/token"
	"github.com/caddy-matrix/caddy-matrix-auth/store"
)

// checkConsents sweeps and compares the remembered decisions that are left, by client. The whole store is verified, and holds no
// other.
func checkConsents(t *testing.T, k *authtest.Kit, when string, want map[string]int) {
	t.Helper()
	must(t, k.SweepOAuth(t.Context()))
	got, all := make(map[string]int), 0
	must(t, k.DB.View(func(tx *store.Tx) error {
		for c, err := range tx.Consents() {
			must(t, err)
			got[c.ClientID]++
			all++
		}
		return nil
	}))
	if !maps.Equal(got, want) {
		t.Errorf("%s: got %v, want %v", when, got, want)
	}
	r, err := k.DB.Verify(t.Context())
	must(t, err)
	if !r.OK() || r.Tables["consents"].Records != all {
		t.Errorf("%s: the store: %q, %+v", when, r.Problems, r.Tables["consents"])
	}
}

// Remembered decisions go with the person's account, a removed user's too; those of a person who is locked stay.
func TestConsentsGoWithTheAccount(t *testing.T) {
	k := provider(t)
	k.MustAddUser(t, "bob")
	k.MustAddUser(t, "carol")
	k.MustAddUser(t, "dave")
	for _, user := range []*person{signIn(t, k, "alice"), signIn(t, k, "bob"), signIn(t, k, "carol"), signIn(t, k, "dave")} {
		user.code(staticID, []string{"openid"})
		user.code(staticID, []string{"openid", "profile"})
	}
	checkConsents(t, k, "at first", map[string]int{staticID: 8})
	must(t, k.Lock(t.Context(), "carol"))
	dave, err := k.User("dave")
	must(t, err)
	must(t, k.DB.Update(t.Context(), func(tx *store.Tx) error { return tx.RemoveUser(dave.ID) }))
	checkConsents(t, k, "one locked, one removed", map[string]int{staticID: 6})
	must(t, k.Deactivate(t.Context(), "bob", false))
	checkConsents(t, k, "one deactivated", map[string]int{staticID: 4})
	must(t, k.Reactivate(t.Context(), "bob", token.NewSecret(authtest.Password)))
	p := signIn(t, k, "bob")
	c, err := k.Client(t.Context(), staticID)
	must(t, err)
	if ok, err := k.ConsentRemembered(t.Context(), p.signedIn().User.ID, &c, []string{"openid"}); err != nil || ok {
		t.Errorf("after the account was opened again: got %v, %v", ok, err)
	}
	p.code(staticID, []string{"openid"})
	checkConsents(t, k, "one reactivated", map[string]int{staticID: 5})
}

// Remembered decisions go with a registered client, however many they are. A client of the configuration that was taken out may
// come back, and nobody is asked again; once it returns to other places, everybody is.
func TestConsentsGoWithTheClient(t *testing.T) {
	k := provider(t)
	gone, stays := mustRegister(t, k, public("Gone")), mustRegister(t, k, public("Stays"))
	p := signIn(t, k, "alice")
	for _, id := range []string{gone.ID, stays.ID, staticID} {
		p.code(id, []string{"openid"})
	}
	must(t, k.DB.Update(t.Context(), func(tx *store.Tx) error {
		c, err := tx.Consent(p.signedIn().User.ID, gone.ID, oneScope("openid"))
		must(t, err)
		for i := range 1200 { // more than go at once
			c.Scope = oneScope(fmt.Sprint(i))
			must(t, tx.PutConsent(c))
		}
		return nil
	}))
	checkConsents(t, k, "at first", map[string]int{gone.ID: 1201, stays.ID: 1, staticID: 1})
	must(t, k.DB.Update(t.Context(), func(tx *store.Tx) error { return tx.RemoveClient(gone.ID) }))
	configured := k.Settings.Clients
	reload(k, func(set *auth.Settings) { set.Clients = nil })
	checkConsents(t, k, "both taken out", map[string]int{stays.ID: 1, staticID: 1})
	c := configured[staticID]
	c.RedirectURIs = []string{"https://app.example.com/new"}
	reload(k, func(set *auth.Settings) { set.Clients = map[string]auth.Client{staticID: c} })
	checkConsents(t, k, "with another redirect URI", map[string]int{stays.ID: 1})
	k.Clock.Advance(2 * week)
	checkConsents(t, k, "the client unused for long", nil)
}

func oneScope(s string) store.Digest { return sha256.Sum256([]byte(s)) }

// Who ends a session of a client, or all of them, is asked again. A client that ends its own session takes nothing back.
func TestConsentsGoWithTheSessions(t *testing.T) {
	all, none := map[string]bool{}, map[string]bool{staticID: true, "another": true}
	for name, c := range map[string]struct {
		end  func(k *authtest.Kit, p *person, in auth.Redeemed) error
		left map[string]bool // clients that need not ask
	}{
		"end of one": {func(k *authtest.Kit, p *person, in auth.Redeemed) error {
			return k.EndOwnSession(t.Context(), p.signedIn(), in.SessionID, auth.From{})
		}, map[string]bool{"another": true}},
		"an administrator's end of one": {func(k *authtest.Kit, _ *person, in auth.Redeemed) error {
			return k.EndSession(t.Context(), in.SessionID, "test")
		}, map[string]bool{"another": true}},
		"end of a legacy session": {func(k *authtest.Kit, p *person, _ auth.Redeemed) error {
			return k.EndOwnSession(t.Context(), p.signedIn(), k.MustLogin(t, "alice", "").SessionID, auth.From{})
		}, none},
		"end of all others": {func(k *authtest.Kit, p *person, _ auth.Redeemed) error {
			return errorOf(k.EndOtherSessions(t.Context(), p.signedIn(), auth.From{}))
		}, all},
		"an administrator's end of all": {func(k *authtest.Kit, _ *person, _ auth.Redeemed) error {
			return errorOf(k.EndSessions(t.Context(), "alice", "test"))
		}, all},
		"logout all": {func(k *authtest.Kit, _ *person, _ auth.Redeemed) error {
			return k.LogoutAll(t.Context(), k.MustLogin(t, "alice", "").AccessToken.Reveal(), auth.From{})
		}, all},
		"a new password": {func(k *authtest.Kit, _ *person, _ auth.Redeemed) error {
			return k.SetPassword(t.Context(), "alice", token.NewSecret("another"), false)
		}, all},
		"deactivation": {func(k *authtest.Kit, _ *person, _ auth.Redeemed) error {
			return k.Deactivate(t.Context(), "alice", false)
		}, all},
		"revocation by the client": {func(k *authtest.Kit, _ *person, in auth.Redeemed) error {
			return k.Revoke(t.Context(), in.RefreshToken.Reveal(), auth.From{})
		}, none},
	} {
		k := provider(t, func(set *auth.Settings) { set.Clients["another"] = set.Clients[staticID] })
		k.MustAddUser(t, "bob")
		p, bob := signIn(t, k, "alice"), signIn(t, k, "bob")
		alice := p.signedIn().User.ID
		scope := []string{"openid", "profile"}
		in := p.session(staticID, scope)
		p.code(staticID, []string{"openid"})
		p.code("another", scope)
		bob.code(staticID, scope)
		must(t, c.end(k, p, in))
		for _, id := range []string{staticID, "another"} {
			client := k.Settings.Clients[id]
			client.ID = id
			if got, err := k.ConsentRemembered(t.Context(), alice, &client, scope); err != nil || got != c.left[id] {
				t.Errorf("%s: %s need not ask: got %v, %v, want %v", name, id, got, err, c.left[id])
			}
			if got, err := k.ConsentRemembered(t.Context(), bob.signedIn().User.ID, &client, scope); err != nil || got != (id == staticID) {
				t.Errorf("%s: %s need not ask somebody else: got %v, %v", name, id, got, err)
			}
		}
	}
}

// However many decisions there are of one person: they go in as many Updates as it takes.
func TestManyConsentsGoWithTheSessions(t *testing.T) {
	k := provider(t)
	in := signIn(t, k, "alice").signedIn()
	c := store.Consent{UserID: in.User.ID, ClientID: staticID, GrantedAt: k.Now(), Redirects: oneScope(redirect)}
	n := 0
	for n < 20_000 {
		must(t, k.DB.Update(t.Context(), func(tx *store.Tx) error {
			for ; !tx.Full(); n++ {
				c.Scope = oneScope(fmt.Sprint(n))
				must(t, tx.PutConsent(c))
			}
			return nil
		}))
	}
	checkConsents(t, k, "at first", map[string]int{staticID: n})
	must(t, errorOf(k.EndOtherSessions(t.Context(), in, auth.From{})))
	checkConsents(t, k, "all ended", map[string]int{})
}

// A decision that is made anew between a sweep's look at it and its Update, when the client returns to other places, is kept.
func TestADecisionMadeDuringASweepIsKept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := providerWith(t, authtest.Options{RealClock: true, Idle: true})
		p := signIn(t, k, "alice")
		p.code(staticID, []string{"openid"})
		var again store.Consent
		must(t, k.DB.Update(t.Context(), func(tx *store.Tx) (err error) {
			if again, err = tx.Consent(p.signedIn().User.ID, staticID, oneScope("openid")); err != nil {
				return err
			}
			old := again
			old.Redirects = oneScope("https://app.example.com/before")
			return tx.PutConsent(old)
		}))
		looked := make(chan struct{})
		var wg sync.WaitGroup
		wg.Go(func() {
			must(t, k.DB.Update(t.Context(), func(tx *store.Tx) error {
				<-looked
				return tx.PutConsent(again)
			}))
		})
		synctest.Wait()
		wg.Go(func() { must(t, k.SweepOAuth(t.Context())) })
		synctest.Wait() // The sweep has looked, and waits for its Update.
		close(looked)
		wg.Wait()
		checkConsents(t, k, "made anew", map[string]int{staticID: 1})
	})
}
