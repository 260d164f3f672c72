package doctor

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/caddy-matrix/caddy-matrix-auth/internal/authtest"
	"github.com/caddy-matrix/caddy-matrix-auth/internal/homeserver"
	"github.com/caddy-matrix/caddy-matrix-auth/internal/token"
)

// world is everything around a service, by host. All is well at first.
type world struct {
	Config
	synapse *authtest.Synapse
	hosts   map[string]http.HandlerFunc // :: host → its answers; none: connection refused
	fail    map[string]error            // :: host → what happens to connections

	mu      sync.Mutex
	bearers []string // sent anywhere but to Synapse
}

// synapseHost is where Synapse is, unless a test puts something else there.
const synapseHost = "127.0.0.1:8008"

var now = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{hosts: make(map[string]http.HandlerFunc), fail: make(map[string]error), synapse: authtest.NewSynapse(t, authtest.ServerName)}
	const metadata = `{"issuer":"https://matrix.example.org/"}`
	w.hosts["matrix.example.org"] = serve(map[string]string{
		"/":                                 "",
		"/login":                            "<!doctype html>",
		"/.well-known/openid-configuration": metadata,
		"/.well-known/oauth-authorization-server": metadata,
		"/_matrix/client/v1/auth_metadata":        metadata,
		"/oauth2/keys.json":                       `{"keys":[{"kid":"new"}]}`,

		"/_matrix/client/v3/login": `{"flows":[{"type":"m.login.password"}]}`,
		"/_matrix/client/versions": `{"versions":["v1.12"]}`,
	})
	w.hosts["example.org"] = serve(map[string]string{
		"/.well-known/matrix/client": `{"m.homeserver":{"base_url":"https://matrix.example.org"}}`,
		"/.well-known/matrix/server": `{"m.server":"matrix.example.org:443"}`,
	})
	w.hosts["127.0.0.1:8090"] = internalSite("https://matrix.example.org/")
	w.hosts["localhost:8090"] = empty
	base, err := url.Parse("https://matrix.example.org/")
	if err != nil {
		t.Fatal(err)
	}
	w.Config = Config{
		ServerName: authtest.ServerName,
		Issuer:     base,
		PublicBase: base,
		SynapseURL: "http://" + synapseHost + "/",
		Secret:     token.NewSecret(authtest.Secret),
		Homeserver: w.synapse.Client(t, homeserver.Config{URL: "http://" + synapseHost, Transport: w}),
		Endpoints:  []string{"http://127.0.0.1:8090/", "http://localhost:8090/"},
		Store:      Store{Writable: true, Bytes: 3 << 20},
		Reread:     func() error { return nil },
		Keys:       []string{"new"},
		SignInPage: func(*http.Request) (int, http.Header) { return http.StatusOK, nil },
		Now:        func() time.Time { return now },
		Public:     w,
		Internal:   w,
	}
	return w
}

// RoundTrip implements http.RoundTripper.
func (w *world) RoundTrip(r *http.Request) (*http.Response, error) {
	if err := w.fail[r.URL.Host]; err != nil {
		return nil, err
	}
	h, ok := w.hosts[r.URL.Host]
	if !ok {
		if r.URL.Host != synapseHost {
			return nil, &net.OpError{Op: "dial", Err: syscall.ECONNREFUSED}
		}
		resp, err := w.synapse.RoundTrip(r)
		if err == nil {
			resp.Header.Set("Date", now.Format(http.TimeFormat))
		}
		return resp, err
	}
	if a := r.Header.Get("Authorization"); a != "" {
		w.mu.Lock()
		w.bearers = append(w.bearers, r.URL.Host+" "+a)
		w.mu.Unlock()
	}
	rec := httptest.NewRecorder()
	in := r.Clone(r.Context())
	if in.Body == nil {
		in.Body = http.NoBody
	}
	h(rec, in)
	return rec.Result(), nil
}

// serve answers paths with bodies, and others with 404.
func serve(paths map[string]string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		body, ok := paths[r.URL.Path]
		if !ok {
			w.WriteHeader(http.StatusNotFound)
		}
		fmt.Fprint(w, body)
	}
}

// internalSite answers Synapse's calls as our internal site does.
func internalSite(issuer string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.URL.Path == "/.well-known/openid-configuration":
			fmt.Fprintf(w, `{"issuer":%q}`, issuer)
		case r.URL.Path != "/oauth2/introspect" || r.Method != http.MethodPost:
			w.WriteHeader(http.StatusNotFound)
		case r.Header.Get("Authorization") != "Bearer "+authtest.Secret:
			w.WriteHeader(http.StatusUnauthorized)
		case r.FormValue("token") != "" && r.FormValue("token_type_hint") == "access_token":
			fmt.Fprint(w, `{"active":false}`)
		}
	}
}

// empty answers as Caddy does for a host that no site has.
func empty(http.ResponseWriter, *http.Request) {}

func status(code int, headers ...string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		for i := 0; i < len(headers); i += 2 {
			w.Header().Set(headers[i], headers[i+1])
		}
		w.WriteHeader(code)
	}
}

// find returns the check of a name.
func find(t *testing.T, all []Check, name string) Check {
	t.Helper()
	for _, c := range all {
		if c.Name == name {
			return c
		}
	}
	t.Fatalf("there is no check %q among %v", name, all)
	return Check{}
}

func TestAllIsWell(t *testing.T) {
	w := newWorld(t)
	w.Delegation = goodDelegation()
	for _, c := range Run(t.Context(), w.Config) {
		if !c.OK || strings.Contains(c.Message, warning) {
			t.Errorf("%s: got %v, %s", c.Name, c.OK, c.Message)
		}
	}
}

// TestWrong makes one thing wrong at a time. The check that is about it says so, in words that help.
func TestWrong(t *testing.T) {
	for _, tc := range []struct {
		name  string
		spoil func(*world)
		check string
		ok    bool
		want  string
	}{
		{"a group is nowhere", func(w *world) { w.Unserved = []string{"nobody can log in"} }, "sites", false, "nobody can log in"},
		{"issuer down", func(w *world) { delete(w.hosts, "matrix.example.org") }, "issuer", false, "nothing listens there"},
		{"issuer without DNS", func(w *world) {
			w.fail["matrix.example.org"] = &net.DNSError{Name: "matrix.example.org", Err: "no such host", IsNotFound: true}
		}, "issuer", false, "does not exist in DNS"},
		{"issuer hangs", func(w *world) { w.fail["matrix.example.org"] = context.DeadlineExceeded }, "issuer", false, "no answer within"},
		{"issuer elsewhere", func(w *world) { w.fail["matrix.example.org"] = errors.New("strange") }, "issuer", false, "strange"},
		{"login goes to Synapse", func(w *world) { w.hosts["matrix.example.org"] = status(404, "Server", "Synapse/1.163.2") }, "login", false, "answered by Synapse (404)"},
		{"login goes nowhere", func(w *world) { w.hosts["matrix.example.org"] = status(404, "Server", "nginx") }, "login", false, "404 Not Found of nginx"},
		{"login redirected", func(w *world) {
			w.hosts["matrix.example.org"] = status(308, "Location", "https://elsewhere.example/?token=secret")
		}, "login", false, "a redirect to https://elsewhere.example/"},
		{"no site", func(w *world) { w.hosts["matrix.example.org"] = empty }, "login", false, "for a host that no site has"},
		{"no passwords", func(w *world) {
			w.hosts["matrix.example.org"] = serve(map[string]string{"/_matrix/client/v3/login": `{"flows":[]}`})
		}, "login", true, "switched off"},
		{"Synapse behind the proxy is down", func(w *world) { w.hosts["matrix.example.org"] = status(502) }, "client_api", false, "the proxy does not reach Synapse"},
		{"client API not proxied", func(w *world) { w.hosts["matrix.example.org"] = empty }, "client_api", false, "is the path proxied?"},
		{"client API unreachable", func(w *world) { delete(w.hosts, "matrix.example.org") }, "client_api", false, "nothing listens"},
		{"no well-known", func(w *world) { delete(w.hosts, "example.org") }, "well_known_client", true, warning},
		{"well-known is HTML", func(w *world) {
			w.hosts["example.org"] = serve(map[string]string{"/.well-known/matrix/client": "<html>"})
		}, "well_known_client", true, "not JSON"},
		{"well-known leads elsewhere", func(w *world) {
			w.hosts["example.org"] = serve(map[string]string{"/.well-known/matrix/client": `{"m.homeserver":{"base_url":"https://old.example.org"}}`})
		}, "well_known_client", false, `"https://old.example.org"`},
		{"no server well-known", func(w *world) { delete(w.hosts, "example.org") }, "well_known_server", true, warning},
		{"server well-known leads elsewhere", func(w *world) {
			w.hosts["example.org"] = serve(map[string]string{"/.well-known/matrix/server": `{"m.server":"old.example.org"}`})
		}, "well_known_server", true, `"old.example.org"`},
		{"Synapse too old", func(w *world) { w.synapse.Version = "1.135.2" }, "synapse", false, "too old"},
		{"Synapse forgets paths", func(w *world) { w.synapse.Version = "1.142.1" }, "synapse", true, "ignores the path"},
		{"not Synapse", func(w *world) { w.hosts[synapseHost] = status(200) }, "synapse", false, "does not say that it is Synapse"},
		{"Synapse down", func(w *world) { w.synapse.Fail(authtest.Down) }, "synapse", false, "nothing listens there"},
		{"Synapse down, secret", func(w *world) { w.synapse.Fail(authtest.Down) }, "secret_at_synapse", false, "nothing listens there"},
		{"wrong secret", func(w *world) { w.synapse.Fail(authtest.WrongSecret) }, "secret_at_synapse", false, "the shared secrets differ"},
		{"no delegation", func(w *world) { w.synapse.Fail(authtest.Undelegated) }, "secret_at_synapse", false, "matrix_authentication_service is not enabled"},
		{"an error page", func(w *world) { w.synapse.Fail(authtest.Garbage) }, "secret_at_synapse", false, "not one of synapse's"},
		{"internal site nowhere", func(w *world) { w.Endpoints = nil }, "introspection", false, "no site with the group internal"},
		{"internal site by one name", func(*world) {}, "introspection", true, "http://127.0.0.1:8090/ (but not at http://localhost:8090/"},
		{"internal site by no name", func(w *world) { w.hosts["127.0.0.1:8090"] = empty }, "introspection", false, "add http://127.0.0.1:8090 to the addresses"},
		{"internal site is public", func(w *world) { w.hosts["127.0.0.1:8090"] = status(404) }, "introspection", false, "does not serve the group internal"},
		{"internal site redirects", func(w *world) {
			w.hosts["127.0.0.1:8090"] = status(308, "Location", "https://127.0.0.1/")
		}, "introspection", false, "a redirect to https://127.0.0.1/"},
		{"another service", func(w *world) { w.hosts["127.0.0.1:8090"] = internalSite("https://mas.example.org/") }, "introspection", false, "another service is there"},
		{"another secret", func(w *world) { w.hosts["127.0.0.1:8090"] = status(401) }, "introspection", false, "the bearer is refused"},
		{"the secret changed", func(w *world) { w.Reread = func() error { return errors.New("reload") } }, "secret", false, "reload"},
		{"clocks differ", func(w *world) { w.Now = func() time.Time { return now.Add(-time.Minute) } }, "clock", false, "differ by 1m0s"},
		{"no clock", func(w *world) { w.hosts[synapseHost] = empty }, "clock", true, "not compared"},
		{"Synapse down, clock", func(w *world) { w.synapse.Fail(authtest.Down) }, "clock", true, "not compared"},
		{"disk full", func(w *world) { w.Store = Store{Reason: "63 MiB left"} }, "disk", false, "63 MiB left"},
		{"jobs", func(w *world) { w.Jobs, w.OldestJob = 2, time.Minute }, "jobs", true, "2 users wait"},
		{"old jobs", func(w *world) { w.Jobs, w.OldestJob = 2, time.Hour }, "jobs", false, "1h0m0s"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			w := newWorld(t)
			tc.spoil(w)
			all := Run(t.Context(), w.Config)
			c := find(t, all, tc.check)
			if c.OK != tc.ok || !strings.Contains(c.Message, tc.want) {
				t.Errorf("got %v, %s, want %v with %q", c.OK, c.Message, tc.ok, tc.want)
			}
			noSecrets(t, all)
		})
	}
}

// noSecrets makes sure that no message holds one.
func noSecrets(t *testing.T, all []Check) {
	t.Helper()
	for _, c := range all {
		for _, s := range []string{authtest.Secret, hash(authtest.Secret), "token=secret"} {
			if strings.Contains(c.Message, s) {
				t.Errorf("%s holds a secret: %s", c.Name, c.Message)
			}
		}
	}
}

// TestTLS has a server whose certificate nobody knows.
func TestTLS(t *testing.T) {
	server := httptest.NewTLSServer(internalSite("x"))
	defer server.Close()
	u, err := url.Parse(server.URL + "/")
	if err != nil {
		t.Fatal(err)
	}
	w := newWorld(t)
	w.Issuer, w.Public = u, nil
	c := find(t, Run(t.Context(), w.Config), "issuer")
	if c.OK || !strings.Contains(c.Message, "does not trust its certificate") {
		t.Errorf("unknown authority: got %v, %s", c.OK, c.Message)
	}
	w.Public = server.Client().Transport
	c = find(t, Run(t.Context(), w.Config), "issuer")
	if !c.OK || !strings.Contains(c.Message, "a certificate that is good until 20") {
		t.Errorf("known authority: got %v, %s", c.OK, c.Message)
	}
}

func TestPrintable(t *testing.T) {
	for in, want := range map[string]string{
		"plain":                        "plain",
		"a\x1b[31m\nb\u0085c\xff":      "a[31mbc",
		strings.Repeat("é", 150):       strings.Repeat("é", 100) + "…",
		strings.Repeat("x", 199) + "é": strings.Repeat("x", 199) + "…",
	} {
		if got := printable(in); got != want {
			t.Errorf("%q: got %q, want %q", in, got, want)
		}
	}
}
