package auth_test

import (
	"crypto/sha256"
	"fmt"
	"maps"
	"testing"

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
