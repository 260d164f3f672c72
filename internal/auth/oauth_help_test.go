package auth_test

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"github.com/caddy-matrix/caddy-matrix-auth/internal/auth"
	"github.com/caddy-matrix/caddy-matrix-auth/internal/authtest"
	"github.com/caddy-matrix/caddy-matrix-auth/internal/mxid"
	"github.com/caddy-matrix/caddy-matrix-auth/internal/token"
	"github.com/caddy-matrix/caddy-matrix-auth/store"
)

// The example of RFC 7636 §B.
const (
	verifier  = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"
	challenge = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"
)

const (
	redirect    = "https://app.example.com/callback"
	accessTTL   = 5 * time.Minute
	phone       = mxid.DeviceID("PHONE0000A")
	staticID    = "configured"
	serviceID   = "service"
	deviceGrant = auth.GrantTypeDeviceCode
)

// onDevice is the scope of a sign-in on a device, as today's clients ask for it.
func onDevice(d mxid.DeviceID, more ...string) []string {
	stable, _, _ := d.Scopes()
	return append([]string{mxid.ScopeAPI, stable}, more...)
}

func oauthSettings(set *auth.Settings) {
	set.AccessTTL = accessTTL
	set.Clients = map[string]auth.Client{
		staticID: {Static: true, Client: store.Client{
			ID: staticID, Name: "Configured", AuthMethod: "none", RedirectURIs: []string{redirect},
			GrantTypes: []string{auth.GrantTypeAuthorizationCode, deviceGrant},
		}},
		serviceID: {Static: true, Admin: true, Client: store.Client{
			ID: serviceID, AuthMethod: "client_secret_basic", Secret: sha256.Sum256([]byte("service secret")),
			GrantTypes: []string{auth.GrantTypeClientCredentials},
		}},
	}
}

// provider is a service with an OAuth provider and the user alice, whose own work is not started.
func provider(t *testing.T, change ...func(*auth.Settings)) *authtest.Kit {
	t.Helper()
	return providerWith(t, authtest.Options{Idle: true}, change...)
}

func providerWith(t *testing.T, o authtest.Options, change ...func(*auth.Settings)) *authtest.Kit {
	t.Helper()
	o.Settings = func(set *auth.Settings) {
		oauthSettings(set)
		for _, c := range change {
			c(set)
		}
	}
	k := authtest.NewService(t, o)
	k.MustAddUser(t, "alice")
	return k
}

// reload changes the settings in force.
func reload(k *authtest.Kit, change func(*auth.Settings)) {
	set := k.Settings
	change(&set)
	k.Claim(set)
}

// public is the metadata of a client that keeps no secret.
func public(name string) store.Client {
	return store.Client{
		Name: name, URI: "https://app.example.com/", ApplicationType: "web", AuthMethod: "none", RedirectURIs: []string{redirect},
		GrantTypes: []string{auth.GrantTypeAuthorizationCode, deviceGrant}, ResponseTypes: []string{"code"},
	}
}

func mustRegister(t *testing.T, k *authtest.Kit, c store.Client) auth.Client {
	t.Helper()
	got, _, err := k.RegisterClient(t.Context(), c, auth.From{Addr: authtest.Addr})
	must(t, err)
	return got
}

// person is somebody who is signed in, in a browser.
type person struct {
	*testing.T
	k       *authtest.Kit
	browser auth.Browser
	cookie  token.Secret
}

var browsers atomic.Uint64

// newBrowser is a browser that has been here before, with nobody signed in.
func newBrowser() (b auth.Browser) {
	binary.BigEndian.PutUint64(b.Secret[:], 0xb20b20<<32|browsers.Add(1))
	return b
}

func signInParams(user mxid.Localpart) auth.SignInParams {
	return auth.SignInParams{
		Name: string(user), Localpart: user, Password: token.NewSecret(authtest.Password), From: auth.From{Addr: authtest.Addr, UserAgent: "Browser/1"},
	}
}

func signIn(t *testing.T, k *authtest.Kit, user mxid.Localpart) *person {
	t.Helper()
	in, err := k.SignIn(t.Context(), signInParams(user))
	must(t, err)
	return &person{T: t, k: k, browser: newBrowser(), cookie: in.Cookie}
}

func (p *person) signedIn() auth.SignedIn {
	p.Helper()
	in, err := p.k.BrowserSession(p.Context(), p.cookie)
	must(p.T, err)
	return in
}

// start begins an authorization request of a client in this browser.
func (p *person) start(client string, scope []string) store.Grant {
	p.Helper()
	return p.startAs(store.Grant{ClientID: client, Scope: scope})
}

func (p *person) startAs(g store.Grant) store.Grant {
	p.Helper()
	g.RedirectURI, g.Challenge, g.Browser = redirect, challenge, p.browser.Digest()
	g, err := p.k.StartGrant(p.Context(), g, auth.From{Addr: authtest.Addr})
	must(p.T, err)
	return g
}

func (p *person) approve(g store.Grant) (auth.Approved, error) {
	return p.k.ApproveGrant(p.Context(), auth.ApproveParams{ID: g.ID, Browser: p.browser, Cookie: p.cookie, Scope: g.Scope})
}

// code is a fresh code of a client for a scope.
func (p *person) code(client string, scope []string) auth.RedeemParams {
	p.Helper()
	got, err := p.approve(p.start(client, scope))
	must(p.T, err)
	return auth.RedeemParams{
		Code: got.Code, ClientID: client, RedirectURI: redirect, Verifier: verifier, Arrived: p.k.Now(), From: auth.From{Addr: authtest.Addr},
	}
}

// session is the whole flow.
func (p *person) session(client string, scope []string) auth.Redeemed {
	p.Helper()
	out, err := p.k.Redeem(p.Context(), p.code(client, scope))
	must(p.T, err)
	return out
}

func mustRefreshOAuth(t *testing.T, k *authtest.Kit, client string, refresh token.Secret) auth.Tokens {
	t.Helper()
	out, err := k.RefreshOAuth(t.Context(), auth.RefreshParams{Text: refresh.Reveal(), ClientID: client, From: auth.From{Addr: authtest.Addr}})
	must(t, err)
	return out
}

// mustBe checks which error something came to.
func mustBe(t *testing.T, doing string, got, want error) {
	t.Helper()
	if !errors.Is(got, want) {
		t.Fatalf("%s: got %v, want %v", doing, got, want)
	}
}

func mustJudge(t *testing.T, k *authtest.Kit, what string, access token.Secret, want auth.Verdict) {
	t.Helper()
	if got := k.MustVerdict(t, access); got != want {
		t.Fatalf("%s: got verdict %v, want %v", what, got, want)
	}
}

func grantNow(t *testing.T, k *authtest.Kit, g store.Grant) store.Grant {
	t.Helper()
	must(t, k.DB.View(func(tx *store.Tx) (err error) {
		g, err = tx.Grant(g.ID)
		return err
	}))
	return g
}
