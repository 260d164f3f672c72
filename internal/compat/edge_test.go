package compat_test

import (
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/caddy-matrix/caddy-matrix-auth/internal/auth"
	"github.com/caddy-matrix/caddy-matrix-auth/internal/authtest"
	"github.com/caddy-matrix/caddy-matrix-auth/internal/compat"
	"github.com/caddy-matrix/caddy-matrix-auth/internal/matrixerr"
	"github.com/caddy-matrix/caddy-matrix-auth/internal/route"
)

var update = flag.Bool("update", false, "write the golden replies")

// edge is the legacy API over a real service, with the paths of route in front.
type edge struct {
	*authtest.Kit
	handler *compat.Handler
	logs    *observer.ObservedLogs
}

func newEdge(t *testing.T, o authtest.Options) *edge {
	t.Helper()
	e := &edge{Kit: authtest.NewService(t, o)}
	core, logs := observer.New(zap.DebugLevel)
	e.logs = logs
	e.handler = compat.New(compat.Config{
		Service:    e.Service,
		ServerName: authtest.ServerName,
		BaseURL:    &url.URL{Scheme: "https", Host: "matrix.example.org", Path: "/"},
		Support: compat.Support{
			Contacts: []compat.Contact{
				{Role: "m.role.admin", MatrixID: "@admin:example.org", Email: "admin@example.org"},
				{Role: "m.role.security", Email: "security@example.org"},
			},
			Page: "https://example.org/support",
		},
		From: from,
		Now:  e.Now,
		Log:  zap.New(core),
	})
	return e
}

// from is what the web server knows of a request.
func from(r *http.Request) auth.From {
	addr, _ := netip.ParseAddrPort(r.RemoteAddr)
	return auth.From{Addr: addr.Addr(), UserAgent: r.UserAgent(), Unproven: r.Header.Get("Early-Data") == "1"}
}

// ServeHTTP sends a request where its path belongs.
func (e *edge) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	d := route.Match(r.URL.EscapedPath())
	if d.Kind != route.Ours {
		matrixerr.NotRecognized(w, r)
		return
	}
	e.handler.ServeEndpoint(w, r, d.Endpoint)
}

// reply is an answer with its decoded object.
type reply struct {
	*httptest.ResponseRecorder
	object map[string]any
}

func (p reply) str(name string) string {
	s, _ := p.object[name].(string)
	return s
}

// ask sends a request. Headers are "Name: value".
func (e *edge) ask(t *testing.T, method, path, body string, headers ...string) reply {
	t.Helper()
	return e.askContext(t, t.Context(), method, path, body, headers...)
}

func (e *edge) askContext(t *testing.T, ctx context.Context, method, path, body string, headers ...string) reply {
	t.Helper()
	r := httptest.NewRequestWithContext(ctx, method, path, strings.NewReader(body))
	r.RemoteAddr = "192.0.2.7:1234"
	for _, line := range headers {
		name, value, _ := strings.Cut(line, ": ")
		r.Header.Add(name, value)
	}
	p := reply{ResponseRecorder: httptest.NewRecorder()}
	e.ServeHTTP(p, r)
	if p.Body.Len() > 0 {
		if err := json.Unmarshal(p.Body.Bytes(), &p.object); err != nil {
			t.Fatalf("%s %s: got %s: %v", method, path, p.Body, err)
		}
	}
	checkHeaders(t, method, p)
	return p
}

// checkHeaders is what every reply has: each CORS header once, and a type if and only if there is a body.
func checkHeaders(t *testing.T, method string, p reply) {
	t.Helper()
	for _, name := range []string{
		"Access-Control-Allow-Origin", "Access-Control-Allow-Methods",
		"Access-Control-Allow-Headers", "Access-Control-Expose-Headers",
	} {
		if got := p.Header().Values(name); len(got) != 1 {
			t.Errorf("got %s %q, want one", name, got)
		}
	}
	if got := p.Header().Get("Access-Control-Allow-Credentials"); got != "" {
		t.Errorf("COR-06: got credentials %q", got)
	}
	contentType := "application/json"
	if p.Body.Len() == 0 && method != http.MethodHead {
		contentType = ""
	}
	if got := p.Header().Get("Content-Type"); got != contentType {
		t.Errorf("got Content-Type %q for %d bytes, want %q", got, p.Body.Len(), contentType)
	}
}

// want checks status and errcode; errcode "" is success.
func (p reply) want(t *testing.T, status int, errcode string) {
	t.Helper()
	if p.Code != status || p.str("errcode") != errcode {
		t.Fatalf("got %d %s, want %d %s", p.Code, p.Body, status, errcode)
	}
	if errcode != "" && p.str("error") == "" {
		t.Errorf("ERR-01: got %s, want an error text", p.Body)
	}
}

// wantSoftLogout checks soft_logout.
func (p reply) wantSoftLogout(t *testing.T, want bool) {
	t.Helper()
	if got, ok := p.object["soft_logout"].(bool); !ok || got != want {
		t.Errorf("got %s, want soft_logout %v", p.Body, want)
	}
}

// The paths of one version; TestLGN02 has the others.
const (
	v3          = "/_matrix/client/v3"
	loginPath   = v3 + "/login"
	logoutPath  = v3 + "/logout"
	allPath     = v3 + "/logout/all"
	refreshPath = v3 + "/refresh"
)

// loginBody is the body of a login by alice, with further members: `,"a":1`.
func loginBody(user, password, more string) string {
	return fmt.Sprintf(`{"type":"m.login.password","identifier":{"type":"m.id.user","user":%q},"password":%q%s}`, user, password, more)
}

// mustLogin logs in over HTTP.
func (e *edge) mustLogin(t *testing.T, more string) reply {
	t.Helper()
	p := e.ask(t, "POST", loginPath, loginBody("alice", authtest.Password, more))
	p.want(t, 200, "")
	return p
}

func (e *edge) refresh(t *testing.T, refreshToken string) reply {
	t.Helper()
	return e.ask(t, "POST", refreshPath, fmt.Sprintf(`{"refresh_token":%q}`, refreshToken))
}

func bearer(token string) string { return "Authorization: Bearer " + token }

// verdict judges an access token as the gate does.
func (e *edge) verdict(t *testing.T, access string) auth.Verdict {
	t.Helper()
	a, err := e.Judge(t.Context(), access, auth.From{Addr: authtest.Addr})
	if err != nil {
		t.Fatal(err)
	}
	a.Release()
	return a.Verdict
}

var tokenText = regexp.MustCompile(`m[cap][trp]_[0-9A-Za-z]{30}_[0-9A-Za-z]{6}`)

// golden compares a reply with the file of that name, tokens aside.
func golden(t *testing.T, name string, p reply) {
	t.Helper()
	var b bytes.Buffer
	fmt.Fprintln(&b, p.Code)
	for _, key := range slices.Sorted(maps.Keys(p.Header())) {
		for _, value := range p.Header()[key] {
			fmt.Fprintf(&b, "%s: %s\n", key, value)
		}
	}
	fmt.Fprintf(&b, "\n%s\n", p.Body)
	got := tokenText.ReplaceAll(b.Bytes(), []byte("TOKEN"))
	file := filepath.Join("testdata", name+".golden")
	if *update {
		if err := os.WriteFile(file, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), string(got)); diff != "" {
		t.Errorf("%s (-want +got):\n%s", name, diff)
	}
}
