package browser

import (
	"bytes"
	"crypto/rand"
	"encoding/base64"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/caddy-matrix/caddy-matrix-auth/internal/auth"
	"github.com/caddy-matrix/caddy-matrix-auth/internal/token"
)

func parse(t testing.TB, s string) *url.URL {
	t.Helper()
	u, err := url.Parse(s)
	if err != nil {
		t.Fatal(err)
	}
	return u
}

func request(cookies ...*http.Cookie) *http.Request {
	r := httptest.NewRequest(http.MethodPost, "https://auth.example.org/login", nil)
	for _, c := range cookies {
		r.AddCookie(c)
	}
	return r
}

func TestASVS_CookieFlags(t *testing.T) {
	for issuer, prefix := range map[string]string{"https://auth.example.org/": "__Host-", "http://localhost:8080/": "", "http://[::1]:1/": ""} {
		c := NewCookies(parse(t, issuer))
		w := httptest.NewRecorder()
		if _, err := c.Ensure(w, request(), rand.Reader); err != nil {
			t.Fatal(err)
		}
		c.SetSession(w, token.NewSecret("s"))
		set := w.Result().Cookies()
		if len(set) != 2 || set[0].Name != prefix+"matrix_auth_browser" || set[1].Name != prefix+"matrix_auth_session" {
			t.Fatalf("%s: got %v", issuer, set)
		}
		for _, k := range set {
			if !k.HttpOnly || k.SameSite != http.SameSiteLaxMode || k.Path != "/" || k.Domain != "" || k.Secure != (prefix != "") {
				t.Errorf("%s: got %v", issuer, k)
			}
		}
		if names := c.Names(); names[0] != set[0].Name || names[1] != set[1].Name {
			t.Errorf("got %v", names)
		}
	}
}

func TestBrowserCookie(t *testing.T) {
	c := NewCookies(parse(t, "https://auth.example.org/"))
	w := httptest.NewRecorder()
	b, err := c.Ensure(w, request(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	set := w.Result().Cookies()[0]

	// Case 1: it comes back, and is not set again.
	w = httptest.NewRecorder()
	again, err := c.Ensure(w, request(set), rand.Reader)
	if err != nil || again != b || len(w.Result().Cookies()) != 0 {
		t.Errorf("got another browser, %v, %v", err, w.Result().Cookies())
	}

	// Case 2: what is none of ours is as if there was none.
	for _, value := range []string{"", "x", set.Value + "A", set.Value[1:], strings.Repeat("A", 44), set.Value[:42] + "\x7f"} {
		if _, ok := c.Browser(request(&http.Cookie{Name: set.Name, Value: value})); ok {
			t.Errorf("took %q", value)
		}
	}
	for _, name := range []string{"matrix_auth_browser", "__Secure-matrix_auth_browser", "__host-matrix_auth_browser"} {
		if _, ok := c.Browser(request(&http.Cookie{Name: name, Value: set.Value})); ok {
			t.Errorf("took %s", name)
		}
	}

	// Case 3: renewed at sign-out.
	w = httptest.NewRecorder()
	if other, err := c.Renew(w, rand.Reader); err != nil || other == b {
		t.Errorf("got the same browser, %v", err)
	}

	// Case 4: no randomness, no cookie.
	w = httptest.NewRecorder()
	if _, err := c.Ensure(w, request(), strings.NewReader("short")); err == nil || len(w.Result().Cookies()) != 0 {
		t.Errorf("got %v, %v", err, w.Result().Cookies())
	}
}

func TestSessionCookie(t *testing.T) {
	c := NewCookies(parse(t, "https://auth.example.org/"))
	w := httptest.NewRecorder()
	c.SetSession(w, token.NewSecret("value"))
	if got := c.Session(request(w.Result().Cookies()...)); got.Reveal() != "value" {
		t.Errorf("got %q", got.Reveal())
	}
	if got := c.Session(request()); !got.Empty() {
		t.Errorf("got %q", got.Reveal())
	}
	if got := c.Session(request(&http.Cookie{Name: "__Host-matrix_auth_session", Value: strings.Repeat("x", 1000)})); !got.Empty() {
		t.Error("took a long one")
	}
	w = httptest.NewRecorder()
	c.ClearSession(w)
	if k := w.Result().Cookies()[0]; k.MaxAge >= 0 || k.Value != "" || k.Path != "/" || !k.Secure {
		t.Errorf("got %v", k)
	}
}

func TestProof(t *testing.T) {
	a, b := auth.Browser{Secret: [32]byte{1}}, auth.Browser{Secret: [32]byte{2}}
	p := Proof{Form: "consent", Object: "01", Session: "S"}
	made := make(map[string]bool)
	for range 20 {
		token, err := p.Token(a, rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		if !p.Holds(a, token) {
			t.Errorf("%s: not ours", token)
		}
		made[token[:43]], made[token[43:]] = true, true
	}
	if len(made) != 40 {
		t.Errorf("got %d different halves of 20 tokens", len(made))
	}
	if _, err := p.Token(a, strings.NewReader("short")); err == nil {
		t.Error("no randomness, and a token")
	}
	token, err := p.Token(a, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := base64.RawURLEncoding.DecodeString(token)
	if err != nil || len(raw) != 64 {
		t.Fatalf("got %d bytes, %v", len(raw), err)
	}
	for i := range raw {
		changed := bytes.Clone(raw)
		changed[i] ^= 1
		if p.Holds(a, base64.RawURLEncoding.EncodeToString(changed)) {
			t.Errorf("taken with byte %d changed", i)
		}
	}
	for name, c := range map[string]struct {
		p Proof
		b auth.Browser
		t string
	}{
		"another browser": {p, b, token}, "another form": {Proof{"device", "01", "S"}, a, token},
		"another object": {Proof{"consent", "02", "S"}, a, token}, "another person": {Proof{"consent", "01", "T"}, a, token},
		"nobody": {Proof{"consent", "01", ""}, a, token}, "moved": {Proof{"consent0", "1", "S"}, a, token}, "moved again": {Proof{"consent", "01S", ""}, a, token},
		"empty": {p, a, ""}, "longer": {p, a, token + "A"}, "a byte longer": {p, a, token + "AA"}, "shorter": {p, a, token[1:]}, "padded": {p, a, token + "=="},
		"in lines": {p, a, token[:40] + "\n" + token[40:]}, "the mac alone": {p, a, token[43:]}, "nothing but zeros": {p, a, strings.Repeat("A", 86)},
	} {
		if c.p.Holds(c.b, c.t) {
			t.Errorf("%s: taken", name)
		}
	}
}

func TestRFC9700_CheckPost(t *testing.T) {
	o := NewOrigin(parse(t, "https://Auth.example.org/"))
	for _, c := range []struct {
		name string
		h    map[string]string
		ok   bool
	}{
		{"a browser of today", map[string]string{"Sec-Fetch-Site": "same-origin", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document", "Origin": "https://auth.example.org"}, true},
		{"an old browser", map[string]string{"Origin": "https://auth.example.org"}, true},
		{"with the port", map[string]string{"Origin": "https://auth.example.org:443"}, true},
		{"says nothing", nil, true},
		{"another site", map[string]string{"Sec-Fetch-Site": "cross-site", "Origin": "https://auth.example.org"}, false},
		{"a sibling", map[string]string{"Sec-Fetch-Site": "same-site"}, false},
		{"typed in", map[string]string{"Sec-Fetch-Site": "none"}, false},
		{"a script", map[string]string{"Sec-Fetch-Site": "same-origin", "Sec-Fetch-Mode": "cors", "Sec-Fetch-Dest": "empty"}, false},
		{"a script without CORS", map[string]string{"Sec-Fetch-Site": "same-origin", "Sec-Fetch-Mode": "no-cors"}, false},
		{"in a frame", map[string]string{"Sec-Fetch-Site": "same-origin", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "iframe"}, false},
		{"null", map[string]string{"Origin": "null"}, false},
		{"null from here", map[string]string{"Sec-Fetch-Site": "same-origin", "Origin": "null"}, false},
		{"another origin", map[string]string{"Origin": "https://evil.example"}, false},
		{"another scheme", map[string]string{"Origin": "http://auth.example.org"}, false},
		{"another port", map[string]string{"Origin": "https://auth.example.org:8443"}, false},
		{"a longer host", map[string]string{"Origin": "https://auth.example.org.evil.example"}, false},
	} {
		r := request()
		for name, v := range c.h {
			r.Header.Set(name, v)
		}
		if got := o.CheckPost(r); (got == nil) != c.ok {
			t.Errorf("%s: got %v", c.name, got)
		}
	}
}

func TestCaddySecurity269_Here(t *testing.T) {
	for _, c := range []struct {
		issuer, host string
		here         bool
	}{
		{"https://auth.example.org/", "auth.example.org", true}, {"https://auth.example.org/", "AUTH.example.org:443", true},
		{"https://auth.example.org:443/", "auth.example.org", true}, {"https://auth.example.org/", "auth.example.org:80", false},
		{"https://auth.example.org/", "example.org", false}, {"https://auth.example.org/", "", false}, {"https://auth.example.org/", "auth.example.org.", false},
		{"http://localhost:8080/", "localhost:8080", true}, {"http://localhost/", "localhost:80", true}, {"http://[::1]:1/", "[::1]:1", true},
		{"http://localhost:8080/", "localhost", false},
	} {
		r := request()
		r.Host = c.host
		r.Header.Set("X-Forwarded-Host", "auth.example.org")
		if got := NewOrigin(parse(t, c.issuer)).Here(r); got != c.here {
			t.Errorf("%s at %q: got %v", c.issuer, c.host, got)
		}
	}
}

func TestRedirect(t *testing.T) {
	o := NewOrigin(parse(t, "https://auth.example.org/"))
	for target, want := range map[string]string{
		"https://example.org/login?kind=account&x=a%2Fb+c": "https://auth.example.org/login?kind=account&x=a%2Fb+c",
		"https://example.org//evil.example/":               "https://auth.example.org//evil.example/",
		"https://example.org/a%2Fb%0d%0a":                  "https://auth.example.org/a%2Fb%0d%0a",
		"https://example.org/":                             "https://auth.example.org/",
	} {
		w := httptest.NewRecorder()
		o.Redirect(w, httptest.NewRequest(http.MethodGet, target, nil))
		if got := w.Header().Get("Location"); w.Code != http.StatusSeeOther || got != want {
			t.Errorf("%s: got %d to %s, want %s", target, w.Code, got, want)
		}
		if w.Header().Get("Cache-Control") != "no-store" {
			t.Error("may be stored")
		}
	}
	for _, method := range []string{http.MethodPost, http.MethodPut, http.MethodDelete, http.MethodOptions} {
		w := httptest.NewRecorder()
		o.Redirect(w, httptest.NewRequest(method, "https://example.org/login", nil))
		if w.Code != http.StatusNotFound || w.Header().Get("Location") != "" {
			t.Errorf("%s: got %d", method, w.Code)
		}
	}
}

func TestRFC9700_Headers(t *testing.T) {
	const base = "default-src 'none'; style-src 'self'; img-src 'self'; base-uri 'none'; frame-ancestors 'none'"
	for _, c := range []struct {
		page Page
		want string
	}{
		{Page{}, base + "; form-action 'self'"},
		{Page{RedirectURI: "https://app.example.com/cb"}, base + "; form-action 'self' https:"},
		{Page{RedirectURI: "http://[::1]:1/"}, base + "; form-action 'self' http:"},
		{Page{RedirectURI: "io.element.App:/x"}, base + "; form-action 'self' io.element.app:"},
		{Page{RedirectURI: "https://a.example/", Script: true}, base + "; script-src 'self'; form-action 'self' https:"},
		{Page{RedirectURI: "evil; script-src *:/"}, base + "; form-action 'self'"},
		{Page{RedirectURI: "1x:/"}, base + "; form-action 'self'"},
		{Page{RedirectURI: "no scheme"}, base + "; form-action 'self'"},
		{Page{RedirectURI: ":x"}, base + "; form-action 'self'"},
	} {
		h := http.Header{}
		c.page.SetHeaders(h)
		if got := h.Get("Content-Security-Policy"); got != c.want {
			t.Errorf("%v: got %s, want %s", c.page, got, c.want)
		}
		for name, want := range map[string]string{
			"X-Frame-Options": "DENY", "X-Content-Type-Options": "nosniff", "Referrer-Policy": "same-origin", "Cache-Control": "no-store",
		} {
			if h.Get(name) != want {
				t.Errorf("%s: got %s", name, h.Get(name))
			}
		}
	}
}
