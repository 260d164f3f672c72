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
	own := s.client(t, store.Client{Name: "Console"})
	app := s.client(t, store.Client{Name: "Console", RedirectURIs: []string{"com.example.app:/cb"}})
	b := s.surfer(t)
	for _, page := range []struct {
		what                   string
		configured, named, app []string // what the page says of a program
		open                   func(auth.Client)
	}{
		{
			"where the password goes", []string{"to continue to Console"},
			[]string{"A program that calls itself Console wants to use your account. Afterwards you go back to app.example.com."},
			[]string{"A program that calls itself Console wants to use your account. Afterwards you go back to the app com.example.app on this device."},
			func(c auth.Client) { b.get(b.start(c, store.Grant{})) },
		},
		{
			"where it is let in", []string{"Allow Console", "go back to console.example.org"},
			[]string{"The program calls itself Console. Example has not checked that.", "go back to app.example.com"},
			[]string{"The program calls itself Console. Example has not checked that.", "the app com.example.app"},
			func(c auth.Client) {
				b = s.signedInSurfer(t, "alice")
				b.get(b.start(c, store.Grant{}))
			},
		},
		{
			"where it has a session", []string{"ProgramConsole"}, []string{"Programcalls itself Console"}, []string{"Programcalls itself Console"},
			func(c auth.Client) {
				b.approved(c)
				b.get("/account/?action=session_view&device_id=KFJWQZNB")
			},
		},
		{
			"where its session would end", []string{"of Console, last used"}, []string{"of a program that calls itself Console, last used"},
			[]string{"of a program that calls itself Console, last used"},
			func(c auth.Client) {
				b.approved(c)
				b.get(b.start(s.client(t, store.Client{RedirectURIs: []string{"https://third.example.com/"}}), store.Grant{}))
			},
		},
		{
			"among all", []string{"Console"}, []string{"Console", "The names are what the programs call themselves."},
			[]string{"Console", "The names are what the programs call themselves."},
			func(c auth.Client) {
				b.approved(c)
				b.get("/account/")
			},
		},
	} {
		for _, of := range []struct {
			client auth.Client
			texts  []string
		}{{c, page.configured}, {own, page.named}, {app, page.app}} {
			page.open(of.client)
			for _, text := range of.texts {
				if !strings.Contains(b.text(), text) {
					t.Errorf("%s: %q is not on the page: %s", page.what, text, b.text())
				}
			}
			if of.client.Static && strings.Contains(b.text(), "call") {
				t.Errorf("%s: the operator's own program is doubted: %s", page.what, b.text())
			}
		}
	}
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
	b.expect(http.StatusOK, line, "ProgramConsole")
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
	b := s.surfer(t)
	b.get(b.start(s.client(t, store.Client{}), store.Grant{}))
	b.expect(http.StatusOK, "to continue to app.example.com")
	b.signIn("alice", authtest.Password)
	b.expect(http.StatusOK, "Allow app.example.com to use your account?", "Example does not know this program.")
}
