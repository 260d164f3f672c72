package compat_test

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"testing"

	"go.uber.org/zap"

	"github.com/caddy-matrix/caddy-matrix-auth/internal/auth"
	"github.com/caddy-matrix/caddy-matrix-auth/internal/authtest"
	"github.com/caddy-matrix/caddy-matrix-auth/internal/compat"
	"github.com/caddy-matrix/caddy-matrix-auth/internal/route"
)

func TestDSC19_WellKnown(t *testing.T) {
	e := newEdge(t, authtest.Options{})
	golden(t, "wellknown_client", e.ask(t, "GET", "/.well-known/matrix/client", ""))
	golden(t, "wellknown_server", e.ask(t, "GET", "/.well-known/matrix/server", ""))
	golden(t, "wellknown_support", e.ask(t, "GET", "/.well-known/matrix/support", ""))
}

func TestDSC17_NoOAuth(t *testing.T) {
	e := newEdge(t, authtest.Options{})
	for _, path := range []string{
		"/_matrix/client/v1/auth_metadata",
		"/_matrix/client/unstable/org.matrix.msc2965/auth_metadata",
		"/_matrix/client/unstable/org.matrix.msc2965/auth_issuer",
	} {
		golden(t, "unrecognized", e.ask(t, "GET", path, ""))
	}
}

// TestDSC01_Metadata: the provider's document is somebody else's to make, at both addresses; the issuer stands alone.
func TestDSC01_Metadata(t *testing.T) {
	h := compat.New(compat.Config{
		BaseURL: &url.URL{Scheme: "https", Host: "matrix.example.org", Path: "/"},
		Issuer:  "https://matrix.example.org/",
		Account: "https://matrix.example.org/account/",
		Metadata: func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("ETag", `"x"`)
			w.Write([]byte("{}"))
		},
		From: func(*http.Request) auth.From { return auth.From{} }, Log: zap.NewNop(),
	})
	ask := func(method string, e route.Endpoint) *httptest.ResponseRecorder {
		w := httptest.NewRecorder()
		h.ServeEndpoint(w, httptest.NewRequest(method, "/", nil), e)
		return w
	}
	if w := ask("GET", route.AuthMetadata); w.Code != 200 || w.Body.String() != "{}" || w.Header().Get("ETag") != `"x"` {
		t.Errorf("metadata: got %d %s", w.Code, w.Body)
	}
	if w := ask("OPTIONS", route.AuthMetadata); w.Code != 204 || w.Header().Get("Access-Control-Allow-Origin") != "*" {
		t.Errorf("preflight: got %d", w.Code)
	}
	if w := ask("POST", route.AuthMetadata); w.Code != 405 {
		t.Errorf("POST: got %d, want 405", w.Code)
	}
	const wantClient = `{"m.homeserver":{"base_url":"https://matrix.example.org"},"org.matrix.msc2965.authentication":` +
		`{"issuer":"https://matrix.example.org/","account":"https://matrix.example.org/account/"}}`
	if got := ask("GET", route.WellKnownClient).Body.String(); got != wantClient {
		t.Errorf("DSC-19: got %s, want %s", got, wantClient)
	}
}

// TestDSC03_AuthIssuer: old clients ask for the issuer alone.
func TestDSC03_AuthIssuer(t *testing.T) {
	h := compat.New(compat.Config{
		BaseURL: &url.URL{Scheme: "https", Host: "example.org"}, Issuer: "https://matrix.example.org/", Metadata: http.NotFound,
		From: func(*http.Request) auth.From { return auth.From{} }, Log: zap.NewNop(),
	})
	w := httptest.NewRecorder()
	h.ServeEndpoint(w, httptest.NewRequest("GET", "/", nil), route.AuthIssuer)
	if w.Code != 200 || w.Body.String() != `{"issuer":"https://matrix.example.org/"}` || w.Header().Get("Cache-Control") != "public, max-age=600" {
		t.Errorf("got %d %s, Cache-Control %q", w.Code, w.Body, w.Header().Get("Cache-Control"))
	}
}

// document asks a handler with another configuration for one document.
func document(t *testing.T, base string, e route.Endpoint) *httptest.ResponseRecorder {
	t.Helper()
	u, err := url.Parse(base)
	if err != nil {
		t.Fatal(err)
	}
	h := compat.New(compat.Config{BaseURL: u, From: func(*http.Request) auth.From { return auth.From{} }, Log: zap.NewNop()})
	w := httptest.NewRecorder()
	h.ServeEndpoint(w, httptest.NewRequest("GET", "/", nil), e)
	return w
}

func TestWellKnown_BaseURLs(t *testing.T) {
	for _, tc := range []struct{ base, client, server string }{
		{"https://example.org", "https://example.org", "example.org:443"},
		{"https://example.org/", "https://example.org", "example.org:443"},
		{"https://example.org:8448/", "https://example.org:8448", "example.org:8448"},
		{"http://localhost:8080", "http://localhost:8080", "localhost:8080"},
		{"https://[::1]/", "https://[::1]", "[::1]:443"},
		{"https://example.org/matrix/", "https://example.org/matrix", "example.org:443"},
	} {
		got := document(t, tc.base, route.WellKnownClient).Body.String()
		if want := `{"m.homeserver":{"base_url":"` + tc.client + `"}}`; got != want {
			t.Errorf("%s: got %s, want %s", tc.base, got, want)
		}
		got = document(t, tc.base, route.WellKnownServer).Body.String()
		if want := `{"m.server":"` + tc.server + `"}`; got != want {
			t.Errorf("%s: got %s, want %s", tc.base, got, want)
		}
	}
}

func TestWellKnown_NoSupport(t *testing.T) {
	w := document(t, "https://example.org", route.WellKnownSupport)
	const want = `{"errcode":"M_NOT_FOUND","error":"No support contacts are published"}`
	if w.Code != 404 || w.Body.String() != want {
		t.Errorf("got %d %s, want 404 %s", w.Code, w.Body, want)
	}
}

// TestCOR_Methods: OPTIONS is 204 without logic and a wrong method 405, on every path (COR-01, COR-03, COR-07, ERR-08, LGN-22).
func TestCOR_Methods(t *testing.T) {
	e := newEdge(t, authtest.Options{})
	for path, allow := range map[string]string{
		loginPath:                     "GET, HEAD, POST, OPTIONS",
		logoutPath:                    "POST, OPTIONS",
		allPath:                       "POST, OPTIONS",
		refreshPath:                   "POST, OPTIONS",
		"/.well-known/matrix/client":  "GET, HEAD, OPTIONS",
		"/.well-known/matrix/server":  "GET, HEAD, OPTIONS",
		"/.well-known/matrix/support": "GET, HEAD, OPTIONS",
	} {
		golden(t, "preflight", e.ask(t, "OPTIONS", path, "{", "Origin: https://app.example", "Early-Data: 1"))
		wrong := []string{"PUT", "DELETE", "PATCH", "TRACE", "get"}
		if allow == "POST, OPTIONS" {
			wrong = append(wrong, "GET", "HEAD")
		}
		if allow == "GET, HEAD, OPTIONS" {
			wrong = append(wrong, "POST")
		}
		for _, method := range wrong {
			p := e.ask(t, method, path, "")
			if method != "HEAD" {
				p.want(t, 405, "M_UNRECOGNIZED")
			}
			if got := p.Header().Get("Allow"); p.Code != 405 || got != allow {
				t.Errorf("%s %s: got %d, Allow %q, want 405, %q", method, path, p.Code, got, allow)
			}
		}
	}
	golden(t, "preflight", e.ask(t, "OPTIONS", "/_matrix/client/v1/auth_metadata", ""))
}

// TestERR08_OtherSpellings: what is not exactly a path of ours is not served.
func TestERR08_OtherSpellings(t *testing.T) {
	e := newEdge(t, authtest.Options{})
	for _, path := range []string{
		loginPath + "/", "/_matrix/client/v3%2Flogin", "//_matrix/client/v3/login", "/_matrix/client/v3/./login", "/_matrix/client/v4/login",
		"/_matrix/client/v3/LOGIN", "/_matrix/client/v3/%6cogin",
	} {
		golden(t, "unrecognized", e.ask(t, "POST", path, loginBody("alice", authtest.Password, "")))
	}
}
