//go:build e2e

package e2e

import (
	"net/url"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/caddy-matrix/caddy-matrix-auth/internal/e2e/rig"
)

// person is somebody at our pages with a browser of their own, which runs no scripts.
type person struct {
	t       *testing.T
	user    user
	browser *rig.Browser
}

// newPerson gives somebody a new browser. It goes as far as the app's own website.
func (s *stack) newPerson(t *testing.T, u user) *person {
	t.Helper()
	b, err := rig.NewBrowser("https://app.example.com/")
	if err != nil {
		t.Fatal(err)
	}
	b.HTTP.Timeout = callTimeout
	if s.HTTP != nil {
		b.HTTP.Transport = s.HTTP.Transport
	}
	return &person{t, u, b}
}

// open follows a link.
func (p *person) open(link string) rig.Page {
	p.t.Helper()
	g, err := p.browser.Open(p.t.Context(), link)
	if err != nil {
		p.t.Fatal(err)
	}
	return g
}

// submit sends the form of a page with what was typed.
func (p *person) submit(g rig.Page, typed url.Values) rig.Page {
	p.t.Helper()
	g, err := p.browser.Submit(p.t.Context(), g, typed)
	if err != nil {
		p.t.Fatal(err)
	}
	return g
}

// signIn enters name and password if the page asks for them.
func (p *person) signIn(g rig.Page) rig.Page {
	p.t.Helper()
	if !strings.Contains(g.HTML, `name="password"`) {
		return g
	}
	return p.submit(g, url.Values{"username": {p.user.localpart}, "password": {p.user.password}})
}

// allow says yes, ticking what there is to tick.
func (p *person) allow(g rig.Page) rig.Page {
	p.t.Helper()
	typed := url.Values{"decision": {"allow"}}
	if strings.Contains(g.HTML, `name="mine"`) {
		typed.Set("mine", "yes")
	}
	return p.submit(g, typed)
}

// authorize goes from an authorization request to where the app gets its answer, with a yes.
func (p *person) authorize(link string) string {
	p.t.Helper()
	g := p.signIn(p.open(link))
	if g.HTML != "" {
		g = p.allow(g)
	}
	if g.HTML != "" {
		p.t.Fatalf("got a page at %s, want to be sent back: %.1500s", g.URL, g.HTML)
	}
	return g.URL.String()
}

// TestOAuthPersonLooks looks with Debian's Chromium, without scripts, at the pages as people see them whose system is set up in
// their own way, and in the states that few people meet.
func TestOAuthPersonLooks(t *testing.T) {
	t.Parallel()
	s := newStack(t, func(s *stack) {
		s.edge.TLS = true
		s.edge.Options = unlimited + `
client console {
	name "Server console"
	auth none
	redirect_uri https://console.example.com/callback
	grant_types authorization_code refresh_token urn:ietf:params:oauth:grant-type:device_code
}`
	})
	s.HTTP = s.trusting(t)
	screenshots, err := filepath.Abs(filepath.Join("..", "..", ".cache", "screenshots"))
	if err != nil {
		t.Fatal(err)
	}
	u, other := s.newUser(t), s.newUser(t)
	s.command(t, "", "user", "set-admin", u.localpart)
	for range 30 {
		s.login(t, u, "")
	}
	s.program(t, "looks.mjs", u, nil, s.Base, u.id, u.localpart, other.localpart, screenshots, strconv.Itoa(s.edge.Process().PID()))
}
