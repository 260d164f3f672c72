package web

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"io"
	"maps"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest"
	"golang.org/x/net/html"

	"github.com/caddy-matrix/caddy-matrix-auth/internal/auth"
	"github.com/caddy-matrix/caddy-matrix-auth/internal/authtest"
	"github.com/caddy-matrix/caddy-matrix-auth/internal/browser"
	"github.com/caddy-matrix/caddy-matrix-auth/internal/mxid"
	"github.com/caddy-matrix/caddy-matrix-auth/internal/route"
	"github.com/caddy-matrix/caddy-matrix-auth/internal/token"
	"github.com/caddy-matrix/caddy-matrix-auth/store"
)

const (
	issuer = "https://auth.example.org"
	device = "urn:matrix:client:device:KFJWQZNB"
)

var matrixScope = []string{mxid.ScopeAPI, device}

// site is the pages over a real service.
type site struct {
	*authtest.Kit
	*Handler
}

func newSite(t testing.TB, o authtest.Options) *site {
	t.Helper()
	k := authtest.NewService(t, o)
	u, err := url.Parse(issuer + "/")
	if err != nil {
		t.Fatal(err)
	}
	h, err := New(Config{
		Service: k.Service, Issuer: u, ServerName: authtest.ServerName,
		Brand: Brand{Name: "Example", PolicyURI: "https://example.org/privacy", TOSURI: "https://example.org/terms"},
		From: func(r *http.Request) auth.From {
			return auth.From{Addr: authtest.Addr, UserAgent: r.UserAgent(), Unproven: r.Header.Get("Early-Data") == "1"}
		},
		Now: k.Now, Rand: rand.Reader, Log: zaptest.NewLogger(t, zaptest.Level(zap.InfoLevel)),
	})
	if err != nil {
		t.Fatal(err)
	}
	return &site{k, h}
}

// RoundTrip serves a request in place, as Caddy would.
func (s *site) RoundTrip(r *http.Request) (*http.Response, error) {
	w := httptest.NewRecorder()
	in := r.Clone(r.Context())
	in.Host = r.URL.Host
	if r.Host != "" {
		in.Host = r.Host
	}
	if in.Body == nil {
		in.Body = http.NoBody
	}
	d := route.Match(r.URL.EscapedPath())
	if d.Kind != route.Ours {
		w.WriteHeader(http.StatusNotFound)
		return w.Result(), nil
	}
	s.ServeEndpoint(w, in, d.Endpoint)
	res := w.Result()
	res.Request = r
	return res, nil
}

// client registers a client.
func (s *site) client(t testing.TB, c store.Client) auth.Client {
	t.Helper()
	if c.RedirectURIs == nil {
		c.RedirectURIs = []string{"https://app.example.com/cb"}
	}
	c.AuthMethod = "none"
	c.GrantTypes = []string{auth.GrantTypeAuthorizationCode, auth.GrantTypeDeviceCode}
	made, _, err := s.RegisterClient(t.Context(), c, auth.From{Addr: authtest.Addr})
	if err != nil {
		t.Fatal(err)
	}
	return made
}

// surfer is a browser: it keeps cookies, shows one page, and follows redirects within the site.
type surfer struct {
	t      testing.TB
	site   *site
	jar    *cookiejar.Jar
	header http.Header
	at     *url.URL
	status int
	head   http.Header
	body   string
	page   *html.Node
}

func (s *site) surfer(t testing.TB) *surfer {
	t.Helper()
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	return &surfer{t: t, site: s, jar: jar, header: http.Header{}}
}

func (b *surfer) do(method, target, body string) {
	b.t.Helper()
	for range 10 {
		b.once(method, target, body)
		next := b.head.Get("Location")
		if b.status != http.StatusSeeOther || !strings.HasPrefix(next, issuer+"/") {
			return
		}
		method, target, body = http.MethodGet, next, ""
	}
	b.t.Fatalf("a loop of redirects at %s", target)
}

// once sends a request and follows nothing.
func (b *surfer) once(method, target, body string) {
	b.t.Helper()
	u, err := url.Parse(issuer)
	if err != nil {
		b.t.Fatal(err)
	}
	if u, err = u.Parse(target); err != nil {
		b.t.Fatal(err)
	}
	r, err := http.NewRequestWithContext(context.Background(), method, u.String(), strings.NewReader(body))
	if err != nil {
		b.t.Fatal(err)
	}
	if method == http.MethodPost {
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		r.Header.Set("Origin", issuer)
	}
	maps.Copy(r.Header, b.header)
	for _, c := range b.jar.Cookies(u) {
		r.AddCookie(c)
	}
	res, err := b.site.RoundTrip(r)
	if err != nil {
		b.t.Fatal(err)
	}
	raw, err := io.ReadAll(res.Body)
	if err != nil {
		b.t.Fatal(err)
	}
	b.jar.SetCookies(u, res.Cookies())
	b.at, b.status, b.head, b.body = u, res.StatusCode, res.Header, string(raw)
	if b.page, err = html.Parse(strings.NewReader(b.body)); err != nil {
		b.t.Fatal(err)
	}
}

func (b *surfer) get(target string) { b.t.Helper(); b.do(http.MethodGet, target, "") }

// press sends the form that has a button with this decision ("": the first form), with further fields.
func (b *surfer) press(decision string, fields url.Values) {
	b.t.Helper()
	target, values := b.form(decision)
	maps.Copy(values, fields)
	b.do(http.MethodPost, target, values.Encode())
}

// form reads what a form of the page would send.
func (b *surfer) form(decision string) (target string, values url.Values) {
	b.t.Helper()
	for form := range b.all("form") {
		values = url.Values{}
		found := decision == ""
		for n := range form.Descendants() {
			switch {
			case n.Data == "input" && attr(n, "type") != "checkbox":
				values.Set(attr(n, "name"), attr(n, "value"))
			case n.Data == "button" && decision != "" && attr(n, "value") == decision:
				values.Set(attr(n, "name"), decision)
				found = true
			}
		}
		if !found {
			continue
		}
		target = b.at.String()
		if a := attr(form, "action"); a != "" {
			u, err := b.at.Parse(a)
			if err != nil {
				b.t.Fatal(err)
			}
			target = u.String()
		}
		return target, values
	}
	b.t.Fatalf("no form with %q at %s: %d\n%s", decision, b.at, b.status, b.text())
	return "", nil
}

func (b *surfer) all(tag string) func(func(*html.Node) bool) {
	return func(yield func(*html.Node) bool) {
		for n := range b.page.Descendants() {
			if n.Type == html.ElementNode && n.Data == tag && !yield(n) {
				return
			}
		}
	}
}

func attr(n *html.Node, name string) string {
	for _, a := range n.Attr {
		if a.Key == name {
			return a.Val
		}
	}
	return ""
}

// text is what a person reads, without the isolates.
func (b *surfer) text() string {
	var s strings.Builder
	for n := range b.page.Descendants() {
		if n.Type == html.TextNode {
			s.WriteString(n.Data)
		}
	}
	return strings.Join(strings.Fields(plain(s.String())), " ")
}

// plain is a text without the isolates.
func plain(s string) string { return strings.NewReplacer("\u2068", "", "\u2069", "").Replace(s) }

func (b *surfer) title() string {
	for n := range b.all("h1") {
		return plain(n.FirstChild.Data)
	}
	return ""
}

// expect makes sure that the browser shows a page.
func (b *surfer) expect(status int, texts ...string) {
	b.t.Helper()
	if b.status != status {
		b.t.Fatalf("%s: got %d, want %d: %s", b.at, b.status, status, b.text())
	}
	for _, want := range texts {
		if !strings.Contains(b.text(), want) {
			b.t.Fatalf("%s: %q is not on the page: %s", b.at, want, b.text())
		}
	}
}

// away is where the browser was sent, off the site.
func (b *surfer) away(prefix string) url.Values {
	b.t.Helper()
	location := b.head.Get("Location")
	rest, ok := strings.CutPrefix(location, prefix)
	if b.status != http.StatusSeeOther || !ok {
		b.t.Fatalf("%s: got %d to %q, want 303 to %s…: %s", b.at, b.status, location, prefix, b.text())
	}
	q, err := url.ParseQuery(strings.Trim(rest, "?#&"))
	if err != nil {
		b.t.Fatal(err)
	}
	return q
}

func (b *surfer) signIn(user, password string) {
	b.t.Helper()
	b.press("", url.Values{"username": {user}, "password": {password}})
}

// secret is the browser's cookie, made if there is none.
func (b *surfer) secret() auth.Browser {
	b.t.Helper()
	r := httptest.NewRequest(http.MethodGet, issuer+"/", nil)
	for _, c := range b.jar.Cookies(r.URL) {
		r.AddCookie(c)
	}
	cookies := browser.NewCookies(r.URL)
	if s, ok := cookies.Browser(r); ok {
		return s
	}
	w := httptest.NewRecorder()
	s, err := cookies.Ensure(w, r, rand.Reader)
	if err != nil {
		b.t.Fatal(err)
	}
	b.jar.SetCookies(r.URL, w.Result().Cookies())
	return s
}

// cookie is the browser's sign-in.
func (b *surfer) cookie() token.Secret {
	r := httptest.NewRequest(http.MethodGet, issuer+"/", nil)
	for _, c := range b.jar.Cookies(r.URL) {
		r.AddCookie(c)
	}
	return browser.NewCookies(r.URL).Session(r)
}

// start begins an authorization request in this browser, as /authorize does, and returns its page.
func (b *surfer) start(c auth.Client, g store.Grant) (path string) {
	b.t.Helper()
	g.ClientID, g.Browser = c.ID, b.secret().Digest()
	if g.RedirectURI == "" {
		g.RedirectURI = c.RedirectURIs[0]
	}
	if g.Scope == nil {
		g.Scope = matrixScope
	}
	g.Challenge = "challenge"
	made, err := b.site.StartGrant(b.t.Context(), g, auth.From{Addr: authtest.Addr})
	if err != nil {
		b.t.Fatal(err)
	}
	return "/consent/" + made.ID.String()
}

const signInEndpoint = route.SignInPage

func mustJar(t testing.TB) *cookiejar.Jar {
	t.Helper()
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	return jar
}

// forgetSession loses the cookie of the sign-in.
func (b *surfer) forgetSession() {
	b.t.Helper()
	kept := b.jar.Cookies(b.at)
	b.jar = mustJar(b.t)
	for _, c := range kept {
		if !strings.HasSuffix(c.Name, "session") {
			c.Path, c.Secure = "/", true
			b.jar.SetCookies(b.at, []*http.Cookie{c})
		}
	}
}

// s256 is the challenge of a verifier (RFC 7636 §4.2).
func s256(verifier string) string {
	sum := sha256.Sum256([]byte(verifier))
	return base64.RawURLEncoding.EncodeToString(sum[:])
}
