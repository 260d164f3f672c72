package web

import (
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/caddy-matrix/caddy-matrix-auth/internal/auth"
	"github.com/caddy-matrix/caddy-matrix-auth/internal/authtest"
	"github.com/caddy-matrix/caddy-matrix-auth/internal/mxid"
	"github.com/caddy-matrix/caddy-matrix-auth/store"
)

// configured makes a site with one client of the configuration, whose administrator is alice.
func configured(t *testing.T) (*site, auth.Client) {
	t.Helper()
	c := auth.Client{Static: true, Client: store.Client{
		ID: "console", Name: "Console", AuthMethod: "none", RedirectURIs: []string{"https://console.example.org/cb"},
		GrantTypes: []string{auth.GrantTypeAuthorizationCode, auth.GrantTypeDeviceCode},
	}}
	return newSite(t, authtest.Options{Settings: func(set *auth.Settings) {
		set.Clients = map[string]auth.Client{c.ID: c}
		set.Admins = map[mxid.Localpart]bool{"alice": true}
	}}), c
}

func TestSelfRegisteredProgramsAreToldApart(t *testing.T) {
	s, c := configured(t)
	s.MustAddUser(t, "alice")
	b := s.signedInSurfer(t, "alice")
	b.get(b.start(c, store.Grant{}))
	b.expect(http.StatusOK, "Allow Console", "console.example.org")
	if strings.Contains(b.text(), "calls itself") {
		t.Error("the operator's own program is doubted")
	}
	b.get(b.start(s.client(t, store.Client{Name: "Console"}), store.Grant{}))
	b.expect(http.StatusOK, "The program calls itself Console. Example has not checked that.")
}

// TestDeviceWithRightsOverTheServer: never for a program that registered itself, and for a fresh password.
func TestDeviceWithRightsOverTheServer(t *testing.T) {
	s, c := configured(t)
	s.MustAddUser(t, "alice")
	b := s.signedInSurfer(t, "alice")
	const line = "Administer the whole server"
	open := func(id string) {
		t.Helper()
		d, _, err := s.StartDeviceGrant(t.Context(), auth.StartDeviceParams{ClientID: id, Scope: append(slices.Clone(matrixScope), mxid.ScopeAdmin), From: auth.From{Addr: authtest.Addr}})
		if err != nil {
			t.Fatal(err)
		}
		b.get("/link")
		b.press("", url.Values{"code": {d.UserCode}})
		b.expect(http.StatusOK, "Sign another device in?")
	}
	open(s.client(t, store.Client{Name: "Other"}).ID)
	if strings.Contains(b.text(), line) {
		t.Error("a program that registered itself is offered the server")
	}
	open(c.ID)
	b.expect(http.StatusOK, line)
	s.Clock.Advance(6 * time.Minute)
	b.press("allow", url.Values{"mine": {"yes"}})
	b.expect(http.StatusOK, "Is it still you?", "to continue to Console", "@alice:example.org")
	b.press("", url.Values{"password": {authtest.Password}})
	b.press("allow", url.Values{"mine": {"yes"}})
	b.expect(http.StatusOK, "Your other device is being signed in")
}

// TestOnlyWhatWasShownIsGranted: a right that a person gets while the page is open is not granted before it was on the page.
func TestOnlyWhatWasShownIsGranted(t *testing.T) {
	s, c := configured(t)
	s.MustAddUser(t, "bob")
	b := s.signedInSurfer(t, "bob")
	const line = "Administer the whole server"
	scope := append(slices.Clone(matrixScope), mxid.ScopeAdmin)
	d, _, err := s.StartDeviceGrant(t.Context(), auth.StartDeviceParams{ClientID: c.ID, Scope: scope, From: auth.From{Addr: authtest.Addr}})
	if err != nil {
		t.Fatal(err)
	}
	b.get(b.claim(d))
	deviceTarget, deviceForm := b.form("allow")
	deviceForm.Set("mine", "yes")
	b.get(b.start(c, store.Grant{Scope: scope}))
	target, form := b.form("allow")
	if strings.Contains(b.text(), line) {
		t.Fatal("bob is asked for a right that he has not")
	}
	if err := s.SetAdmin(t.Context(), "bob", true); err != nil {
		t.Fatal(err)
	}
	b.do(http.MethodPost, deviceTarget, deviceForm.Encode())
	b.expect(http.StatusOK, "Sign another device in?", line)
	b.press("allow", url.Values{"mine": {"yes"}})
	b.expect(http.StatusOK, "Your other device is being signed in")
	b.do(http.MethodPost, target, form.Encode())
	b.expect(http.StatusOK, "Allow Console", line)
	b.press("allow", nil)
	b.away("https://console.example.org/cb?")
}

func TestProgramsWithoutAName(t *testing.T) {
	s := newSite(t, authtest.Options{})
	s.MustAddUser(t, "alice")
	b := s.signedInSurfer(t, "alice")
	b.get(b.start(s.client(t, store.Client{}), store.Grant{}))
	b.expect(http.StatusOK, "Allow app.example.com to use your account?")
}
