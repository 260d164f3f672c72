//go:build e2e

package e2e

import (
	"context"
	"fmt"
	"html"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// person is somebody at our pages with a browser of their own, which knows cookies, redirects and forms and runs no scripts.
type person struct {
	t    *testing.T
	user user
	http *http.Client
	home string // the origin of our pages
}

// page is what the browser shows, or where it was sent to outside of our pages.
type page struct {
	url      *url.URL
	status   int
	header   http.Header
	html     string
	location string
}

// newPerson gives somebody a new browser.
func (s *stack) newPerson(t *testing.T, u user) *person {
	t.Helper()
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	client := *http.DefaultClient
	if s.HTTP != nil {
		client = *s.HTTP
	}
	client.Jar = jar
	client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	return &person{t: t, user: u, http: &client, home: s.Base}
}

// open follows a link.
func (p *person) open(link string) page { return p.follow(http.MethodGet, link, nil) }

func (p *person) follow(method, link string, form url.Values) page {
	p.t.Helper()
	got, err := p.tryFollow(method, link, form)
	if err != nil {
		p.t.Fatal(err)
	}
	return got
}

// tryFollow makes a request and goes on as long as redirects stay at our pages.
func (p *person) tryFollow(method, link string, form url.Values) (page, error) {
	for range 10 {
		got, err := p.request(method, link, form)
		if err != nil || got.location == "" {
			return got, err
		}
		next, err := got.url.Parse(got.location)
		if err != nil || !strings.HasPrefix(next.String(), p.home+"/") {
			return got, nil
		}
		method, link, form = http.MethodGet, next.String(), nil
	}
	return page{}, fmt.Errorf("too many redirects, the last to %s", link)
}

func (p *person) request(method, link string, form url.Values) (page, error) {
	ctx, cancel := context.WithTimeout(p.t.Context(), callTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, link, strings.NewReader(form.Encode()))
	if err != nil {
		return page{}, err
	}
	req.Header.Set("Accept-Language", "en")
	if method == http.MethodPost {
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		req.Header.Set("Origin", p.home)
	}
	resp, err := p.http.Do(req)
	if err != nil {
		return page{}, err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	return page{req.URL, resp.StatusCode, resp.Header, string(text), resp.Header.Get("Location")}, err
}

var (
	formText  = regexp.MustCompile(`(?s)<form\b([^>]*)>(.*?)</form>`)
	fieldText = regexp.MustCompile(`<(input|button)\b([^>]*)>`)
	attribute = regexp.MustCompile(`([a-z-]+)="([^"]*)"`)
)

func attributes(tag string) map[string]string {
	found := map[string]string{}
	for _, m := range attribute.FindAllStringSubmatch(tag, -1) {
		found[m[1]] = html.UnescapeString(m[2])
	}
	return found
}

// formWith finds the form of a page that has a field or button of this name and, unless it is empty, value. It returns where
// the form goes and its hidden fields.
func (g page) formWith(name, value string) (action string, hidden url.Values, err error) {
	for _, form := range formText.FindAllStringSubmatch(g.html, -1) {
		hidden, found := url.Values{}, false
		for _, field := range fieldText.FindAllStringSubmatch(form[2], -1) {
			a := attributes(field[2])
			found = found || a["name"] == name && (value == "" || a["value"] == value)
			if a["type"] == "hidden" {
				hidden.Add(a["name"], a["value"])
			}
		}
		if !found {
			continue
		}
		target, err := g.url.Parse(attributes(form[1])["action"])
		if err != nil {
			return "", nil, err
		}
		if attributes(form[1])["action"] == "" {
			target = g.url
		}
		return target.String(), hidden, nil
	}
	return "", nil, fmt.Errorf("no form with %s=%s at %s (%d): %.1500s", name, value, g.url, g.status, g.html)
}

// submit sends the form that has a field of this name, with what was typed.
func (p *person) submit(g page, name, value string, typed url.Values) page {
	p.t.Helper()
	action, form, err := g.formWith(name, value)
	if err != nil {
		p.t.Fatal(err)
	}
	for k, v := range typed {
		form[k] = v
	}
	return p.follow(http.MethodPost, action, form)
}

// signIn enters name and password if the page asks for them.
func (p *person) signIn(g page) page {
	p.t.Helper()
	if _, hidden, err := g.formWith("password", ""); err != nil || hidden == nil {
		return g
	}
	return p.submit(g, "password", "", url.Values{"username": {p.user.localpart}, "password": {p.user.password}})
}

// decide presses "allow" or "cancel", ticking what there is to tick.
func (p *person) decide(g page, decision string) page {
	p.t.Helper()
	typed := url.Values{"decision": {decision}}
	if strings.Contains(g.html, `name="mine"`) {
		typed.Set("mine", "yes")
	}
	return p.submit(g, "decision", decision, typed)
}

// authorize goes from an authorization request to where the app gets its answer, with a yes.
func (p *person) authorize(link string) string {
	p.t.Helper()
	g := p.signIn(p.open(link))
	if g.location == "" {
		g = p.decide(g, "allow")
	}
	if g.location == "" {
		p.t.Fatalf("got a page (%d) at %s, want to be sent back: %.1500s", g.status, g.url, g.html)
	}
	return g.location
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
