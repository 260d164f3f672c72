package auth_test

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/oklog/ulid/v2"

	"github.com/caddy-matrix/caddy-matrix-auth/internal/auth"
	"github.com/caddy-matrix/caddy-matrix-auth/internal/authtest"
	"github.com/caddy-matrix/caddy-matrix-auth/internal/token"
	"github.com/caddy-matrix/caddy-matrix-auth/store"
)

func clientCount(t *testing.T, k *authtest.Kit) (n int) {
	t.Helper()
	must(t, k.DB.View(func(tx *store.Tx) error {
		for _, err := range tx.Clients("") {
			if err != nil {
				return err
			}
			n++
		}
		return nil
	}))
	return n
}

// Clients without a secret and with the same metadata are one (MSC2966), however many register at once.
func TestClientsWithoutASecretMerge(t *testing.T) {
	k := provider(t)
	var ids sync.Map
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() {
			c, secret, err := k.RegisterClient(t.Context(), public("App"), auth.From{})
			if err != nil || !secret.Empty() || c.Static {
				t.Errorf("got %+v, %v", c, err)
			}
			ids.Store(c.ID, true)
		})
	}
	wg.Wait()
	if got := clientCount(t, k); got != 1 {
		t.Fatalf("got %d clients, want 1", got)
	}
	first := mustRegister(t, k, public("App"))
	if _, ok := ids.Load(first.ID); !ok {
		t.Error("another client for the same metadata")
	}
	keys := public("App")
	keys.AuthMethod, keys.JWKS = "private_key_jwt", []byte(`{"keys":[]}`)
	if a, b := mustRegister(t, k, keys), mustRegister(t, k, keys); a.ID != b.ID || a.ID == first.ID {
		t.Error("clients with keys: those with the same are one, and another than those without")
	}
	other := public("App")
	other.RedirectURIs = append(other.RedirectURIs, "https://app.example.com/other")
	if mustRegister(t, k, other).ID == first.ID {
		t.Error("other redirect URIs are another client")
	}
}

// Clients with a secret never merge; each has its own, told once and kept as a hash.
func TestSecretsNeverMerge(t *testing.T) {
	k := provider(t)
	meta := public("App")
	meta.AuthMethod = "client_secret_basic"
	a, secretA, err := k.RegisterClient(t.Context(), meta, auth.From{})
	must(t, err)
	b, secretB, err := k.RegisterClient(t.Context(), meta, auth.From{})
	must(t, err)
	if a.ID == b.ID || secretA.Reveal() == secretB.Reveal() || len(secretA.Reveal()) < 43 {
		t.Fatal("two clients with one secret, or a weak one")
	}
	if a.Secret != sha256.Sum256([]byte(secretA.Reveal())) || a.Digest != (store.Digest{}) {
		t.Error("the secret is not kept as a hash, or the metadata is indexed")
	}
	if got, err := k.AuthenticateClient(t.Context(), a.ID, secretA); err != nil || got.ID != a.ID {
		t.Errorf("got %v, %v", got.ID, err)
	}
	none := mustRegister(t, k, public("Without"))
	for name, c := range map[string]struct {
		id     string
		secret token.Secret
	}{
		"another client's secret": {a.ID, secretB},
		"no secret":               {a.ID, token.Secret{}},
		"a client without one":    {none.ID, token.NewSecret("")},
		"an unknown client":       {"unknown", secretA},
		"no client":               {"", secretA},
		"a long name":             {strings.Repeat("x", 256), secretA},
		"NUL":                     {"a\x00b", secretA},
	} {
		_, err := k.AuthenticateClient(t.Context(), c.id, c.secret)
		mustBe(t, name, err, auth.ErrClientUnknown)
	}
	if got, err := k.AuthenticateClient(t.Context(), serviceID, token.NewSecret("service secret")); err != nil || !got.Static {
		t.Errorf("a configured client: got %v, %v", got, err)
	}
}

// The metadata that a registration hands in chooses neither its ID nor its secret, and a client of the configuration wins over a
// stored one.
func TestARegistrationChoosesNoIdentity(t *testing.T) {
	k := provider(t)
	meta := public("App")
	meta.ID, meta.Secret, meta.Digest = staticID, sha256.Sum256([]byte("mine")), store.Digest{1}
	c := mustRegister(t, k, meta)
	if c.ID == staticID || c.Secret != (store.Digest{}) || c.Digest == (store.Digest{1}) {
		t.Errorf("got %+v", c)
	}
	reload(k, func(set *auth.Settings) {
		set.Clients = map[string]auth.Client{c.ID: {Static: true, Client: store.Client{ID: c.ID, Name: "Ours"}}}
	})
	if got, err := k.Client(t.Context(), c.ID); err != nil || got.Name != "Ours" || !got.Static {
		t.Errorf("got %+v, %v", got, err)
	}
}

// Registration, authorization requests: limited per address, IPv6 per /64.
func TestASVS_StrangersAreLimited(t *testing.T) {
	k := provider(t, func(set *auth.Settings) {
		set.RegisterLimit, set.AuthorizeLimit = auth.Limit{Burst: 3, Window: time.Minute}, auth.Limit{Burst: 3, Window: time.Minute}
	})
	from := func(addr string) auth.From { return auth.From{Addr: netip.MustParseAddr(addr)} }
	for name, do := range map[string]func(auth.From) error{
		"register": func(f auth.From) error { _, _, err := k.RegisterClient(t.Context(), public("App"), f); return err },
		"authorize": func(f auth.From) error {
			_, err := k.StartGrant(t.Context(), store.Grant{ClientID: staticID, RedirectURI: redirect, Challenge: challenge}, f)
			return err
		},
	} {
		for i := range 3 {
			must(t, do(from(fmt.Sprintf("2001:db8::%d", i))))
		}
		mustBe(t, name, do(from("2001:db8::ffff")), auth.ErrRateLimited)
		must(t, do(from("2001:db8:0:1::1")))
	}
}

// A client's assertion buys one thing, in the Update that grants it; what fails consumes nothing (F2 "client-assertion replay").
func TestGHSA3p3gvpw64w66_AssertionsAreUsedOnce(t *testing.T) {
	k := provider(t)
	client := mustRegister(t, k, public("App"))
	p := signIn(t, k, "alice")
	once := func(jti string) *auth.Assertion {
		return &auth.Assertion{ID: jti, ExpiresAt: k.Now().Add(5 * time.Minute)}
	}

	code := p.code(client.ID, onDevice(phone))
	wrong := code
	wrong.Verifier, wrong.Assertion = "", once("1")
	_, err := k.Redeem(t.Context(), wrong)
	mustBe(t, "a wrong verifier", err, auth.ErrGrantInvalid)
	code.Assertion = once("1")
	out, err := k.Redeem(t.Context(), code)
	must(t, err)

	next := p.code(client.ID, onDevice(phone))
	next.Assertion = once("1")
	_, err = k.Redeem(t.Context(), next)
	mustBe(t, "a code with a used assertion", err, auth.ErrClientUnknown)
	refresh := auth.RefreshParams{Text: out.RefreshToken.Reveal(), ClientID: client.ID, Assertion: once("1")}
	_, err = k.RefreshOAuth(t.Context(), refresh)
	mustBe(t, "a refresh with a used assertion", err, auth.ErrClientUnknown)
	mustJudge(t, k, "the session", out.AccessToken, auth.Active)
	refresh.Assertion = once("2")
	_, err = k.RefreshOAuth(t.Context(), refresh)
	must(t, err)
	d := p.device(client.ID, onDevice("TABLET000A")).decided(true)
	_, err = k.RedeemDevice(t.Context(), auth.RedeemDeviceParams{DeviceCode: d.code, ClientID: client.ID, Assertion: once("2")})
	mustBe(t, "a device code with a used assertion", err, auth.ErrClientUnknown)
	k.Clock.Advance(store.DevicePollInterval)
	_, err = k.RedeemDevice(t.Context(), auth.RedeemDeviceParams{DeviceCode: d.code, ClientID: client.ID, Assertion: once("3")})
	must(t, err)
	start := auth.StartDeviceParams{ClientID: client.ID, Scope: onDevice(phone), Assertion: once("3"), From: auth.From{Addr: authtest.Addr}}
	before := deviceGrants(t, k)
	_, _, err = k.StartDeviceGrant(t.Context(), start)
	mustBe(t, "a device grant with a used assertion", err, auth.ErrClientUnknown)
	if got := deviceGrants(t, k); got != before {
		t.Errorf("got %d device grants, want %d", got, before)
	}
	start.Assertion = once("7")
	_, _, err = k.StartDeviceGrant(t.Context(), start)
	must(t, err)
	start.Assertion = once("7")
	_, _, err = k.StartDeviceGrant(t.Context(), start)
	mustBe(t, "the next device grant with the same", err, auth.ErrClientUnknown)
	service, err := k.Client(t.Context(), serviceID)
	must(t, err)
	_, err = k.ClientCredentials(t.Context(), auth.ClientCredentialsParams{Client: service, Assertion: once("1")})
	if err != nil {
		t.Errorf("another client's assertion with the same jti: got %v", err)
	}
	_, err = k.ClientCredentials(t.Context(), auth.ClientCredentialsParams{Client: service, Assertion: once("1")})
	mustBe(t, "client credentials with a used assertion", err, auth.ErrClientUnknown)
	must(t, k.UseAssertion(t.Context(), client.ID, *once("4")))
	mustBe(t, "used for nothing", k.UseAssertion(t.Context(), client.ID, *once("4")), auth.ErrClientUnknown)

	next.Assertion, next.Arrived = once("5"), k.Now()
	_, err = k.Redeem(t.Context(), next)
	must(t, err)
	k.Clock.Advance(time.Minute)
	next.Assertion = once("5")
	_, err = k.Redeem(t.Context(), next)
	mustBe(t, "a late replay with a used assertion", err, auth.ErrClientUnknown)
	next.Assertion = once("6")
	_, err = k.Redeem(t.Context(), next)
	mustBe(t, "a late replay with a good assertion", err, auth.ErrGrantReplayed)
	next.Assertion = once("6")
	_, err = k.Redeem(t.Context(), next)
	mustBe(t, "once more with the same", err, auth.ErrClientUnknown)
}

// What is refused leaves the assertion good: a device that has to wait signs no other.
func TestARefusedDeviceGrantUsesNoAssertion(t *testing.T) {
	k := provider(t, func(set *auth.Settings) { set.DeviceCodeLimit = auth.Limit{Burst: 1, Window: time.Minute} })
	client := mustRegister(t, k, public("App"))
	start := auth.StartDeviceParams{ClientID: client.ID, Scope: onDevice(phone), From: auth.From{Addr: authtest.Addr}}
	_, _, err := k.StartDeviceGrant(t.Context(), start)
	must(t, err)
	start.Assertion = &auth.Assertion{ID: "jti", ExpiresAt: k.Now().Add(5 * time.Minute)}
	_, _, err = k.StartDeviceGrant(t.Context(), start)
	mustBe(t, "too soon", err, auth.ErrRateLimited)
	k.Clock.Advance(time.Minute)
	_, _, err = k.StartDeviceGrant(t.Context(), start)
	must(t, err)
}

func deviceGrants(t *testing.T, k *authtest.Kit) (n int) {
	t.Helper()
	must(t, k.DB.View(func(tx *store.Tx) error {
		n = 0
		for _, err := range tx.DeviceGrants(ulid.ULID{}) {
			must(t, err)
			n++
		}
		return nil
	}))
	return n
}

// One assertion presented twenty times at once buys one thing.
func TestOneAssertionInParallel(t *testing.T) {
	k := provider(t)
	service, err := k.Client(t.Context(), serviceID)
	must(t, err)
	a := auth.Assertion{ID: "jti", ExpiresAt: k.Now().Add(time.Minute)}
	var wins atomic.Int32
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() {
			a := a
			_, err := k.ClientCredentials(t.Context(), auth.ClientCredentialsParams{Client: service, Assertion: &a})
			if err == nil {
				wins.Add(1)
			} else if !errors.Is(err, auth.ErrClientUnknown) {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if wins.Load() != 1 {
		t.Errorf("got %d winners", wins.Load())
	}
}

// A used assertion is remembered until its end, also while the clock is in doubt, and not for ever.
func TestUsedAssertionsAreForgottenAfterTheirEnd(t *testing.T) {
	k := provider(t)
	a := auth.Assertion{ID: "jti", ExpiresAt: k.Now().Add(2 * time.Hour)}
	must(t, k.UseAssertion(t.Context(), "client", a))
	k.Clock.Advance(2 * time.Hour)
	must(t, k.SweepOAuth(t.Context()))
	mustBe(t, "at its end", k.UseAssertion(t.Context(), "client", a), auth.ErrClientUnknown)
	k.Clock.Advance(time.Second)
	must(t, k.SweepOAuth(t.Context()))
	must(t, k.UseAssertion(t.Context(), "client", a))
}

// Consent is remembered for websites alone: never for a Matrix device, the API or an admin scope, and not after a change of the
// client's redirect URIs.
func TestConsentIsRememberedForWebsitesAlone(t *testing.T) {
	k := provider(t)
	k.MustAddUser(t, "bob")
	client := mustRegister(t, k, public("App"))
	p := signIn(t, k, "alice")
	alice, bob := p.signedIn().User.ID, signIn(t, k, "bob").signedIn().User.ID
	remembered := func(user [16]byte, c auth.Client, scope ...string) bool {
		t.Helper()
		ok, err := k.ConsentRemembered(t.Context(), user, &c, scope)
		must(t, err)
		return ok
	}
	if remembered(alice, client, "openid", "email") {
		t.Error("before anything was granted")
	}
	p.code(client.ID, []string{"email", "openid"})
	if !remembered(alice, client, "openid", "email") || !remembered(alice, client, "openid", "email", "openid") {
		t.Error("the same scope in another order is not remembered")
	}
	for name, got := range map[string]bool{
		"another person": remembered(bob, client, "openid", "email"),
		"another client": remembered(alice, mustRegister(t, k, public("Other")), "openid", "email"),
		"less":           remembered(alice, client, "openid"),
		"more":           remembered(alice, client, "openid", "email", "profile"),
		"nothing":        remembered(alice, client),
	} {
		if got {
			t.Errorf("%s: remembered", name)
		}
	}
	p.code(client.ID, onDevice(phone, "openid"))
	p.code(client.ID, []string{"openid", "urn:mas:admin"}) // dropped: no right, and then remembered as openid alone
	if remembered(alice, client, onDevice(phone, "openid")...) || remembered(alice, client, "openid", "urn:mas:admin") {
		t.Error("a device or an admin scope is remembered")
	}
	if !remembered(alice, client, "openid") {
		t.Error("what was granted without the admin scope is not remembered")
	}
	moved := client
	moved.RedirectURIs = []string{"https://evil.example/"}
	if remembered(alice, moved, "openid", "email") {
		t.Error("remembered for other redirect URIs")
	}
}

// So it is for clients of the configuration, whose redirect URIs an operator may change.
func TestConsentOfAConfiguredClient(t *testing.T) {
	k := provider(t)
	p := signIn(t, k, "alice")
	p.code(staticID, []string{"openid"})
	remembered := func() bool {
		t.Helper()
		c, err := k.Client(t.Context(), staticID)
		must(t, err)
		ok, err := k.ConsentRemembered(t.Context(), p.signedIn().User.ID, &c, []string{"openid"})
		must(t, err)
		return ok
	}
	if !remembered() {
		t.Error("not remembered")
	}
	reload(k, func(set *auth.Settings) {
		c := set.Clients[staticID]
		c.RedirectURIs = []string{"https://app.example.com/new"}
		set.Clients = map[string]auth.Client{staticID: c}
	})
	if remembered() {
		t.Error("remembered after a change of its redirect URIs")
	}
}
