package web

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"path"
	"strings"
	"sync"
	"testing"
	"unicode"
	"unicode/utf8"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/caddy-matrix/caddy-matrix-auth/internal/authtest"
	"github.com/caddy-matrix/caddy-matrix-auth/internal/route"
	"github.com/caddy-matrix/caddy-matrix-auth/store"
)

func TestAssets(t *testing.T) {
	s := newSite(t, authtest.Options{})
	b := s.surfer(t)
	b.get("/login")
	style := ""
	for n := range b.all("link") {
		if attr(n, "rel") == "stylesheet" {
			style = attr(n, "href")
		}
	}
	b.once(http.MethodGet, style, "")
	if b.status != http.StatusOK || b.head.Get("Cache-Control") != "public, max-age=31536000, immutable" || !strings.HasPrefix(b.head.Get("Content-Type"), "text/css") {
		t.Errorf("got %d %v", b.status, b.head)
	}
	if len(b.body) > 10_000 {
		t.Errorf("the stylesheet has %d bytes", len(b.body))
	}
	now := b.body
	b.once(http.MethodGet, "/assets/style.aaaaaaaaaaaaaaaa.css", "") // A page from before an upgrade asks for it.
	if b.status != http.StatusOK || b.head.Get("Cache-Control") != "no-store" || b.body != now {
		t.Errorf("the style sheet of another version: got %d %v", b.status, b.head)
	}
	for _, name := range []string{
		"/assets/style.css", "/assets/style..", "/assets/", "/assets/brand.aaaaaaaaaaaaaaaa.css", "/assets/..%2fweb.go", "/assets/" + strings.ToUpper(path.Base(style)),
	} {
		b.once(http.MethodGet, name, "")
		if b.status != http.StatusNotFound {
			t.Errorf("%s: got %d", name, b.status)
		}
	}
	for ext := range assetKinds {
		found := false
		for name := range assets {
			found = found || path.Ext(name) == ext
		}
		if !found {
			t.Errorf("no asset %s", ext)
		}
	}
}

func TestHEADHasNoEffect(t *testing.T) {
	s := newSite(t, authtest.Options{})
	b := s.surfer(t)
	for _, target := range []string{"/login", "/link", "/account/", "/logout", "/", "/consent/01JD9K7W3QAAAAAAAAAAAAAAAA"} {
		b.once(http.MethodHead, target, "")
		if b.status != http.StatusOK || b.body != "" || len(b.jar.Cookies(b.at)) > 0 || b.head.Get("Content-Security-Policy") == "" {
			t.Errorf("%s: got %d, %d bytes", target, b.status, len(b.body))
		}
	}
}

func TestProblem(t *testing.T) {
	s := newSite(t, authtest.Options{})
	for kind := range problems {
		for _, lang := range []string{"en", "de"} {
			r := httptest.NewRequest(http.MethodGet, issuer+"/authorize?client_id=x", nil)
			r.Header.Set("Accept-Language", lang)
			w := httptest.NewRecorder()
			s.Problem(w, r, http.StatusBadRequest, kind, "ABCDEFGH")
			if w.Code != http.StatusBadRequest || !strings.Contains(w.Body.String(), "ABCDEFGH") || w.Header().Get("Content-Language") != lang {
				t.Errorf("%s: got %d", kind, w.Code)
			}
			on := `href="/account/"` // An address that nobody has checked is never one of ours.
			if kind == problemTooManyRequests || kind == problemUnavailable || kind == problemStale {
				on = `href="/authorize?client_id=x"` // The same may be asked for later.
			}
			if !strings.Contains(w.Body.String(), on) || strings.Count(w.Body.String(), `class="button"`) != 1 {
				t.Errorf("%s: no way on by %s: %s", kind, on, w.Body)
			}
		}
	}
	w := httptest.NewRecorder()
	s.Problem(w, httptest.NewRequest(http.MethodGet, issuer+"/authorize", nil), http.StatusBadRequest, "<b>", "X")
	if w.Code != http.StatusBadRequest || !strings.Contains(w.Body.String(), "This link is broken") {
		t.Errorf("got %d", w.Code)
	}
}

// TestReferencesAreInTheLog: what a person reads to those who run the service can be found by them, at the usual level.
func TestReferencesAreInTheLog(t *testing.T) {
	s := newSite(t, authtest.Options{})
	core, logs := observer.New(zap.InfoLevel)
	s.Handler.Log = zap.New(core)
	s.MustAddUser(t, "alice")
	c := s.client(t, store.Client{Name: "Element"})
	stranger, b := s.surfer(t), s.signedInSurfer(t, "alice")
	path := b.start(c, store.Grant{})
	stranger.get("/login")
	for what, visit := range map[string]func() *surfer{
		"not found":         func() *surfer { b.get("/account/nowhere"); return b },
		"another browser's": func() *surfer { stranger.get(path); return stranger },
		"no cookie":         func() *surfer { fresh := s.surfer(t); fresh.get(path); return fresh },
		"unknown":           func() *surfer { b.get("/consent/01JD9K7W3QAAAAAAAAAAAAAAAA"); return b },
		"malformed":         func() *surfer { b.get("/login?kind=nonsense"); return b },
		"stale":             func() *surfer { b.do(http.MethodPost, path, "decision=allow"); return b },
	} {
		at := visit()
		_, after, found := strings.Cut(at.text(), "Reference")
		reference := after[:min(len(after), 8)]
		if !found || logs.FilterField(zap.String("reference", reference)).Len() != 1 {
			t.Errorf("%s: %q is not in the log: %s", what, reference, at.text())
		}
	}
	s.Handler.Log = zap.NewNop() // One that is not in the log is not on the page.
	b.get("/account/nowhere")
	b.expect(http.StatusNotFound, "There is no such page")
	if strings.Contains(b.text(), "Reference") {
		t.Errorf("the log is not written: %s", b.text())
	}
}

// TestLongNames: pages hold the longest names there are.
func TestLongNames(t *testing.T) {
	s := newSite(t, authtest.Options{})
	long := strings.Repeat("a", 64)
	s.MustAddUser(t, "alice")
	host := strings.Repeat(strings.Repeat("h", 62)+".", 4)[:249] + ".org"
	c := s.client(t, store.Client{Name: strings.Repeat("N", 100), RedirectURIs: []string{"https://" + host + "/cb"}})
	b := s.surfer(t)
	b.get(b.start(c, store.Grant{LoginHint: long}))
	b.expect(http.StatusOK, strings.Repeat("N", 100))
	b.signIn("alice", authtest.Password)
	b.expect(http.StatusOK, host)
	if len(b.body) > 30_000 {
		t.Errorf("the page has %d bytes", len(b.body))
	}
}

func TestUnknownEndpoints(t *testing.T) {
	s := newSite(t, authtest.Options{})
	w := httptest.NewRecorder()
	s.ServeEndpoint(w, httptest.NewRequest(http.MethodGet, issuer+"/x", nil), route.Token)
	if w.Code != http.StatusNotFound {
		t.Errorf("got %d", w.Code)
	}
}

func TestAgents(t *testing.T) {
	for ua, want := range map[string]string{
		"": "",
		"Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0":                                                                 "Firefox, Linux",
		"Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/140.0 Safari/537.36 Edg/140.0":                  "Edge, Windows",
		"Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.0 Safari/605.1.15":                  "Safari, macOS",
		"Mozilla/5.0 (iPhone; CPU iPhone OS 18_0 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) CriOS/140.0 Mobile/15E148 Safari/604.1": "Chrome, iPhone",
		"ElementX/25.09.1 (iPhone; iOS 18.6; Scale/3.00)":                                                                                        "ElementX 25.09.1, iPhone",
		"curl/8.5.0":    "curl 8.5.0",
		"\x00\u202ebad": "bad",
	} {
		if got := describeAgent(ua); got != want {
			t.Errorf("%q: got %q, want %q", ua, got, want)
		}
	}
}

// TestManyAtOnce: pages are made in parallel from the first one on.
func TestManyAtOnce(t *testing.T) {
	s := newSite(t, authtest.Options{})
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for _, target := range []string{"/login", "/link", "/logout", "/device/x", "/login?kind=nonsense"} {
				for _, lang := range []string{"en", "de"} {
					r := httptest.NewRequest(http.MethodGet, issuer+target, nil)
					r.Header.Set("Accept-Language", lang)
					w := httptest.NewRecorder()
					s.Handler.ServeEndpoint(w, r, route.Match(r.URL.EscapedPath()).Endpoint)
					if w.Code >= 500 || w.Header().Get("Content-Language") != lang {
						t.Errorf("%s: got %d", target, w.Code)
					}
				}
			}
		})
	}
	wg.Wait()
}

func FuzzQuery(f *testing.F) {
	for _, q := range []string{"kind=consent&id=01JD9K7W3QAAAAAAAAAAAAAAAA", "kind=session_view&id=PHONE", "kind=account&id=//evil.example", "kind=a&kind=b", "%zz", "x=%00"} {
		f.Add(q)
	}
	f.Fuzz(func(t *testing.T, query string) {
		p, err := parseQuery(query)
		if err != nil {
			return
		}
		d, err := parseDestination(p)
		if err != nil {
			return
		}
		for _, path := range []string{d.path(), d.signIn()} {
			u, err := url.Parse(issuer + path)
			if err != nil || u.Host != "auth.example.org" || strings.Contains(u.Path, "//") || strings.ContainsAny(path, "\r\n\\") {
				t.Fatalf("%q leads to %q, %v", query, path, err)
			}
		}
		again, err := parseDestination(must(parseQuery(strings.TrimPrefix(d.signIn(), "/login?"))))
		if err != nil || again != d {
			t.Fatalf("got %v, %v, want %v", again, err, d)
		}
	})
}

func must(p params, err error) params {
	if err != nil {
		panic(err)
	}
	return p
}

func FuzzShown(f *testing.F) {
	for _, s := range []string{"Mozilla/5.0 (X11) Firefox/1", "https://b\u00fccher.example/", "http://[::1]:1/", "com.example:/", "\u202e\x00", "\xbc"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		_, host := returnTo(s)
		for _, shown := range []string{describeAgent(s), oneLine(s, maxProgramName), host} {
			if !utf8.ValidString(shown) || strings.ContainsFunc(shown, unicode.IsControl) || strings.ContainsFunc(shown, func(r rune) bool { return unicode.Is(unicode.Bidi_Control, r) }) {
				t.Fatalf("%q is shown as %q", s, shown)
			}
		}
		if text, _ := returnTo(s); text != "return.app" && strings.ContainsFunc(host, func(r rune) bool { return r > '~' }) {
			t.Fatalf("%q is shown as %q", s, host)
		}
		mark(s)
	})
}
