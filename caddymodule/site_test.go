package caddymodule

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"github.com/caddy-matrix/caddy-matrix-auth/internal/auth"
	"github.com/caddy-matrix/caddy-matrix-auth/internal/authtest"
	"github.com/caddy-matrix/caddy-matrix-auth/internal/route"
	"github.com/caddy-matrix/caddy-matrix-auth/internal/token"
)

// TestPublicSite asks matrix_homeserver for what it serves, what it passes on, and what it keeps to itself.
func TestPublicSite(t *testing.T) {
	e := newEdge(t)
	e.mustLoad(e.config("support {\ncontact admin email admin@example.org\n}", ""))
	for _, tc := range []struct {
		method, path, bearer, body string
		status                     int
		want                       string // in the body
	}{
		{"GET", "/.well-known/matrix/client", "", "", 200, `{"m.homeserver":{"base_url":"http://` + e.public +
			`"},"org.matrix.msc2965.authentication":{"issuer":"http://` + e.public + `/","account":"http://` + e.public + `/account/"}}`},
		{"GET", "/.well-known/matrix/server", "", "", 200, `{"m.server":"` + e.public + `"}`},
		{"GET", "/.well-known/matrix/support", "", "", 200, `admin@example.org`},
		{"GET", "/_matrix/client/v3/login", "", "", 200, "m.login.password"},
		{"PUT", "/_matrix/client/v3/login", "", "", 405, "M_UNRECOGNIZED"},
		{"OPTIONS", "/_matrix/client/v3/login", "", "", 204, ""},
		{"GET", "/_matrix/client/v1/auth_metadata", "", "", 200, `{"issuer":"http://` + e.public + `/"`},
		{"GET", "/_matrix/client/unstable/org.matrix.msc2965/auth_metadata", "", "", 200, `"authorization_endpoint":"http://` + e.public + `/authorize"`},
		{"GET", "/_matrix/client/unstable/org.matrix.msc2965/auth_issuer", "", "", 200, `{"issuer":"http://` + e.public + `/"}`},
		{"GET", "/.well-known/openid-configuration", "", "", 200, `{"issuer":"http://` + e.public + `/"`},
		{"GET", "/.well-known/oauth-authorization-server", "", "", 200, `{"issuer":"http://` + e.public + `/"`},
		{"GET", "/oauth2/keys.json", "", "", 200, `"keys"`},
		{"POST", "/oauth2/token", "", "", 400, "invalid_request"},
		{"OPTIONS", "/oauth2/token", "", "", 204, ""},
		{"GET", "/authorize", "", "", 400, ""},
		{"GET", "/Authorize", "", "", 404, "M_UNRECOGNIZED"},
		{"GET", "/oauth2/", "", "", 200, ""},
		{"GET", "/_matrix/client/v3/login/", "", "", 404, "M_UNRECOGNIZED"},
		{"GET", "//_matrix/client/versions", "", "", 404, "M_UNRECOGNIZED"},
		{"GET", "/_MATRIX/client/versions", "", "", 404, "M_UNRECOGNIZED"},
		{"GET", "/_synapse/mas/query_user", "", "", 404, "M_UNRECOGNIZED"},
		{"GET", "//_synapse/mas/query_user", "", "", 404, "M_UNRECOGNIZED"},
		{"GET", "/x/..%2f_synapse/mas/query_user", "", "", 404, "M_UNRECOGNIZED"},
		{"GET", "/_synapse/admin/v1/users", "", "", 404, "M_UNRECOGNIZED"},
		{"GET", "/_synapse/metrics", "", "", 404, "M_UNRECOGNIZED"},
		{"GET", "/_matrix/client/versions", "", "", 200, `{"path":"/_matrix/client/versions"}`},
		{"GET", "/_matrix/client/v3/rooms/%21a%2Fb/state", "syt_foreign", "", 200, `{"path":"/_matrix/client/v3/rooms/%21a%2Fb/state"}`},
		{"GET", "/_matrix/client/v3/sync", "mct_short", "", 401, "M_UNKNOWN_TOKEN"},
		{"GET", "/_synapse/client/x", "", "", 200, `{"path":"/_synapse/client/x"}`},
		{"PUT", "/_matrix/federation/v1/send/1", "", "{}", 200, `{"path":"/_matrix/federation/v1/send/1"}`},
		{"GET", "/oauth2/introspect", "", "", 405, "method not allowed"},
		{"POST", "/oauth2/introspect", authtest.Secret, "", 400, "invalid_request"}, // the secret is for the internal site
		{"GET", "/elsewhere", "", "", 200, ""},                                      // Caddy's answer where nothing is configured
	} {
		a := e.request(tc.method, tc.path, tc.bearer, tc.body)
		if a.status != tc.status || !strings.Contains(a.body, tc.want) {
			t.Errorf("%s %s: got %d %s, want %d with %s", tc.method, tc.path, a.status, a.body, tc.status, tc.want)
		}
		if strings.Contains(tc.path, "_matrix/client") && tc.status != 200 && a.header.Get("Access-Control-Allow-Origin") != "*" {
			t.Errorf("%s %s: no CORS headers", tc.method, tc.path)
		}
	}
}

// TestForwardedFor tells Synapse one address, whatever the client claims.
func TestForwardedFor(t *testing.T) {
	e := newEdge(t)
	e.mustLoad(e.config("", ""))
	req, err := http.NewRequest("GET", "http://"+e.public+"/_matrix/client/versions", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Add("X-Forwarded-For", "192.0.2.66")
	req.Header.Add("X-Forwarded-For", "192.0.2.67")
	resp, err := transport.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if got := e.synapse.last(t).Header.Values("X-Forwarded-For"); len(got) != 1 || got[0] != "127.0.0.1" {
		t.Errorf("X-Forwarded-For: got %q, want 127.0.0.1 alone", got)
	}
}

// TestForwardedFor_TrustedProxy: behind a proxy that Caddy trusts, Synapse is told the client's address, and not the proxy's beside.
func TestForwardedFor_TrustedProxy(t *testing.T) {
	e := newEdge(t)
	e.mustLoad(strings.Replace(e.config("", ""), "\tmatrix_auth example.org {", "\tservers {\n\t\ttrusted_proxies static 127.0.0.1/32\n\t}\n\tmatrix_auth example.org {", 1))
	for _, path := range []string{"/_matrix/client/versions", "/_matrix/federation/v1/version"} {
		req, err := http.NewRequest("GET", "http://"+e.public+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("X-Forwarded-For", "203.0.113.9")
		resp, err := transport.RoundTrip(req)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if got := e.synapse.last(t).Header.Values("X-Forwarded-For"); len(got) != 1 || got[0] != "203.0.113.9" {
			t.Errorf("%s: got X-Forwarded-For %q, want 203.0.113.9 alone", path, got)
		}
	}
}

// TestDeadSynapse gets Matrix errors with CORS headers, and the log says why.
func TestDeadSynapse(t *testing.T) {
	e := newEdge(t)
	config := e.config("", "")
	dead := strings.Replace(config, "\tmatrix_homeserver\n", "\tmatrix_homeserver "+freeAddr(t)+"\n", 1)
	e.mustLoad(dead)
	a := e.request("GET", "/_matrix/client/versions", "", "")
	if a.status != 502 || a.text("errcode") != "M_UNKNOWN" || a.header.Get("Access-Control-Allow-Origin") != "*" {
		t.Errorf("got %d %s %v", a.status, a.body, a.header)
	}
	e.mustLog("http.handlers.matrix_auth", "passing on a request", "connection refused")

	// A site that does not serve compat passes refresh on; trouble there must not look like a verdict.
	e.mustLoad(strings.Replace(dead, "\tmatrix_homeserver", "\tmatrix_auth discovery\n\treverse_proxy", 1))
	a = e.request("POST", "/_matrix/client/v3/refresh", "", `{"refresh_token":"x"}`)
	if a.status != 503 || a.body != "" || a.header.Get("Retry-After") == "" {
		t.Errorf("refresh: got %d %q %v", a.status, a.body, a.header)
	}
}

// TestMaxBodySize refuses what Synapse would reset.
func TestMaxBodySize(t *testing.T) {
	e := newEdge(t)
	e.mustLoad(strings.Replace(e.config("", ""), "\tmatrix_homeserver\n", "\tmatrix_homeserver {\nmax_body_size 1KiB\n}\n", 1))
	if a := e.request("POST", "/_matrix/media/v3/upload", "", strings.Repeat("x", 1024)); a.status != 200 {
		t.Errorf("1,024 bytes: got %d %s", a.status, a.body)
	}
	if a := e.request("POST", "/_matrix/media/v3/upload", "", strings.Repeat("x", 1025)); a.status != 413 || a.text("errcode") != "M_TOO_LARGE" {
		t.Errorf("1,025 bytes: got %d %s", a.status, a.body)
	}
}

// TestAdminAPI lets the addresses that are named reach Synapse's admin API, and nobody else.
func TestAdminAPI(t *testing.T) {
	e := newEdge(t)
	with := func(ranges string) string {
		return strings.Replace(e.config("", ""), "\tmatrix_homeserver\n", "\tmatrix_homeserver {\nadmin_api "+ranges+"\n}\n", 1)
	}
	e.mustLoad(with("127.0.0.0/8 ::1"))
	if a := e.request("GET", "/_synapse/admin/v1/server_version", "syt_foreign", ""); a.status != 200 {
		t.Errorf("from an allowed address: got %d %s", a.status, a.body)
	}
	e.mustLoad(with("192.0.2.0/24"))
	if a := e.request("GET", "/_synapse/admin/v1/server_version", "syt_foreign", ""); a.status != 404 {
		t.Errorf("from another address: got %d %s", a.status, a.body)
	}
}

// TestInternalSite is for Synapse alone, and answers everything.
func TestInternalSite(t *testing.T) {
	e := newEdge(t)
	e.mustLoad(e.config("", ""))
	get := func(path string) answer { return fetch(t, "GET", "http://"+e.internal+path, "", "") }
	if a := get("/health"); a.status != 200 || a.text("status") != "ok" {
		t.Errorf("health: got %d %s", a.status, a.body)
	}
	if a := get("/.well-known/openid-configuration"); a.text("issuer") != "http://"+e.public+"/" {
		t.Errorf("metadata: got %d %s", a.status, a.body)
	}
	for _, path := range []string{"/", "/_matrix/client/v3/login", "/_synapse/mas/query_user", "/oauth2/token"} {
		if a := get(path); a.status != 404 || a.text("errcode") != "M_UNRECOGNIZED" {
			t.Errorf("%s: got %d %s", path, a.status, a.body)
		}
	}
	if a := fetch(t, "DELETE", "http://"+e.internal+"/health", "", ""); a.status != 405 {
		t.Errorf("DELETE /health: got %d", a.status)
	}
	if a := fetch(t, "POST", "http://"+e.internal+"/oauth2/introspect", "wrong", ""); a.status != 401 {
		t.Errorf("introspection with a wrong secret: got %d", a.status)
	}
}

// TestWellKnownSite serves three documents and nothing else.
func TestWellKnownSite(t *testing.T) {
	e := newEdge(t)
	other := freeAddr(t)
	e.mustLoad(e.config("public_baseurl https://matrix.example.org", "http://"+other+" {\nbind 127.0.0.1\nmatrix_wellknown\nrespond teapot 418\n}"))
	get := func(path string) answer { return fetch(t, "GET", "http://"+other+path, "", "") }
	if a := get("/.well-known/matrix/server"); a.body != `{"m.server":"matrix.example.org:443"}` {
		t.Errorf("server: got %d %s", a.status, a.body)
	}
	for _, path := range []string{"/_matrix/client/v3/login", "/_synapse/mas/x", "/"} {
		if a := get(path); a.status != 418 {
			t.Errorf("%s: got %d %s, want the next handler", path, a.status, a.body)
		}
	}
}

// TestSiteWithoutPages leaves paths like those of the pages to whoever else is there, but no path of Synapse's in disguise.
func TestSiteWithoutPages(t *testing.T) {
	e := newEdge(t)
	other := freeAddr(t)
	e.mustLoad(e.config("", "http://"+other+" {\nbind 127.0.0.1\nmatrix_auth compat\nrespond teapot 418\n}"))
	for path, want := range map[string]int{
		"/": 418, "/login": 418, "/Login": 418, "/login/": 418, "/account//x": 418, "/authorize": 418, "/assets/x.css": 418,
		"/oauth2/token": 418, "/_matrix/../login": 404, "/_matrix/%2e%2e/login": 404, "/_synapse/mas/../login": 404,
	} {
		if a := fetch(t, "GET", "http://"+other+path, "", ""); a.status != want {
			t.Errorf("%s: got %d %s, want %d", path, a.status, a.body, want)
		}
	}
}

// TestNotReady: while there is no engine, nothing looks like a verdict.
func TestNotReady(t *testing.T) {
	for path, want := range map[string]string{
		"/_matrix/client/v3/refresh":                          "",
		"/oauth2/token":                                       "",
		"/oauth2/revoke":                                      "",
		"/oauth2/keys.json":                                   "",
		"/login":                                              "Not available",
		"/authorize":                                          "Not available",
		"/assets/style.css":                                   "Not available",
		"/_matrix/client/v3/login":                            "M_UNKNOWN",
		"/.well-known/oauth-authorization-server":             "M_UNKNOWN",
		"/oauth2/introspect":                                  "M_UNKNOWN",
		"/consent/01ARZ3NDEKTSV4RRFFQ69G5FAV":                 "Not available",
		"/_matrix/client/v1/auth_metadata":                    "M_UNKNOWN",
		"/.well-known/openid-configuration":                   "M_UNKNOWN",
		"/_matrix/client/unstable/org.matrix.msc2918/refresh": "",
	} {
		w := httptest.NewRecorder()
		answerNotReady(w, httptest.NewRequest("GET", path, nil), route.Match(path))
		got := w.Body.String()
		if w.Code != 503 || w.Header().Get("Retry-After") == "" || !strings.Contains(got, want) || want == "" && got != "" {
			t.Errorf("%s: got %d %q, want %q", path, w.Code, got, want)
		}
	}
}

// TestCOR01_COR04_PreflightWithoutEngine: what browsers ask before a request is answered at once, whatever becomes of the request. Where no
// script of another origin has any business they are not told to go on.
func TestCOR01_COR04_PreflightWithoutEngine(t *testing.T) {
	a := &App{ctx: caddy.Context{Context: dead()}, ready: make(chan struct{})}
	for path, want := range map[string]int{
		"/_matrix/client/v3/login":          204,
		"/_matrix/client/v3/refresh":        204,
		"/_matrix/client/v1/auth_metadata":  204,
		"/.well-known/matrix/client":        204,
		"/.well-known/openid-configuration": 204,
		"/oauth2/token":                     204,
		"/oauth2/userinfo":                  204,
		"/oauth2/keys.json":                 204,
		"/oauth2/introspect":                503,
		"/authorize":                        503,
		"/login":                            503,
		"/account/":                         503,
		"/health":                           503,
	} {
		w := httptest.NewRecorder()
		a.answer(w, httptest.NewRequest("OPTIONS", path, nil), route.Match(path), false)
		if w.Code != want || want == 204 && w.Header().Get("Access-Control-Allow-Origin") != "*" {
			t.Errorf("%s: got %d %v, want %d", path, w.Code, w.Header(), want)
		}
	}
}

// TestDEV05_NotReady: what polls is told to come back (RFC 8628 §3.5), and nobody else.
func TestDEV05_NotReady(t *testing.T) {
	const poll = "grant_type=urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Adevice_code&client_id=c&device_code=d"
	for what, c := range map[string]struct {
		path, mime, form string
		status           int
		body             string
	}{
		"a poll":                    {"/oauth2/token", "application/x-www-form-urlencoded", poll, 400, `{"error":"slow_down"}`},
		"a poll, with a charset":    {"/oauth2/token", "application/x-www-form-urlencoded; charset=UTF-8", poll, 400, `{"error":"slow_down"}`},
		"a refresh":                 {"/oauth2/token", "application/x-www-form-urlencoded", "grant_type=refresh_token&refresh_token=r", 503, ""},
		"a code":                    {"/oauth2/token", "application/x-www-form-urlencoded", "grant_type=authorization_code&code=c", 503, ""},
		"no form":                   {"/oauth2/token", "application/json", poll, 503, ""},
		"too long":                  {"/oauth2/token", "application/x-www-form-urlencoded", poll + "&x=" + strings.Repeat("x", 1<<20), 503, ""},
		"not the endpoint of polls": {"/oauth2/device", "application/x-www-form-urlencoded", poll, 503, ""},
	} {
		r := httptest.NewRequest("POST", c.path, strings.NewReader(c.form))
		r.Header.Set("Content-Type", c.mime)
		w := httptest.NewRecorder()
		answerNotReady(w, r, route.Match(c.path))
		if w.Code != c.status || w.Body.String() != c.body || w.Header().Get("Access-Control-Allow-Origin") != "*" {
			t.Errorf("%s: got %d %q, %v", what, w.Code, w.Body, w.Header())
		}
	}
}

// TestEarlyData: what comes before the end of the handshake can be replayed, so it starts no session.
func TestEarlyData(t *testing.T) {
	e := newEdge(t)
	e.mustLoad(e.config("", ""))
	req, err := http.NewRequest("POST", "http://"+e.public+"/_matrix/client/v3/login", strings.NewReader("{}"))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Early-Data", "1")
	resp, err := transport.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusTooEarly {
		t.Errorf("got %d, want 425", resp.StatusCode)
	}
}

// TestMetrics scrapes the metrics endpoint, and holds the collectors to Caddy's pedantic registry, over a reload.
func TestMetrics(t *testing.T) {
	e := newEdge(t)
	e.mustLoad(e.config("", ""))
	e.mustAddUser("alice")
	access, _ := e.mustLogin("alice", "PHONE")
	e.whoami(access)
	for range 2 {
		scrape := fetch(t, "GET", "http://"+e.internal+"/metrics", "", "")
		for _, want := range []string{
			`caddy_matrix_auth_requests_total{code="200",endpoint="login"}`,
			`caddy_matrix_auth_request_duration_seconds_count{endpoint="introspect"}`,
			`caddy_matrix_auth_logins_total{method="password",result="success"}`,
			`caddy_matrix_auth_tokens_issued_total{grant="password"}`,
			`caddy_matrix_auth_introspections_total{result="active"}`,
			`caddy_matrix_auth_synapse_requests_total{code="201",op="upsert_device"}`,
			`caddy_matrix_auth_sessions_in_memory 1`,
			`caddy_matrix_auth_job_queue_length 0`,
			`caddy_matrix_auth_store_size_bytes{part="tree"}`,
			`caddy_matrix_auth_build_info{version=`,
		} {
			if !strings.Contains(scrape.body, want) {
				t.Errorf("no metric %s", want)
			}
		}
		e.mustLoad(e.config("", ""))
	}
	registry := prometheus.NewPedanticRegistry()
	if err := registerMetrics(registry); err != nil {
		t.Fatal(err)
	}
	if err := registerMetrics(registry); err != nil {
		t.Errorf("registering again: %v", err)
	}
	if _, err := registry.Gather(); err != nil {
		t.Errorf("gathering: %v", err)
	}
}

// TestWarnings: what is allowed and is probably a mistake.
func TestWarnings(t *testing.T) {
	e := newEdge(t)
	config := e.config("password {\npepper in-the-clear\n}", "")
	config = config[:strings.Index(config, "http://"+e.internal+" {")]
	e.mustLoad(config)
	e.mustLog(`"level":"warn"`, "no site serves the group internal", `"source":"`+standsAt(config, "matrix_auth example.org")+`"`)
	e.mustLog(`"level":"warn"`, "a secret stands in the configuration itself", "password: pepper", `"source":"`+standsAt(config, "pepper")+`"`)
	if e.logged("in-the-clear") {
		t.Error("the log holds the secret")
	}
	if e.logged("no site serves the group compat") {
		t.Error("a warning about a group that is served")
	}
	for range 2 {
		e.request("GET", "/_matrix/client/versions?access_token=syt_x", "", "")
	}
	log, err := os.ReadFile(e.log)
	if err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(string(log), "a client sends its access token in the query"); n != 1 {
		t.Errorf("warnings about a token in the query: got %d, want 1", n)
	}
}

// TestLiveLogger follows a change of destination, also for loggers that were made before it.
func TestLiveLogger(t *testing.T) {
	first, firstLog := observer.New(zap.InfoLevel)
	second, secondLog := observer.New(zap.DebugLevel)
	live := newLiveLogger(zap.New(first).Named("matrix_auth"))
	log := live.logger("store").With(zap.String("dir", "x"))
	log.Info("one")
	log.Debug("not enabled")
	live.set(zap.New(second))
	log.Debug("two")
	if got := fmt.Sprint(texts(firstLog)); got != "[matrix_auth.store one map[dir:x]]" {
		t.Errorf("first: got %s", got)
	}
	if got := fmt.Sprint(texts(secondLog)); got != "[matrix_auth.store two map[dir:x]]" {
		t.Errorf("second: got %s", got)
	}
}

func texts(logs *observer.ObservedLogs) (list []string) {
	for _, l := range logs.All() {
		list = append(list, fmt.Sprint(l.LoggerName, " ", l.Message, " ", l.ContextMap()))
	}
	return list
}

// TestHasherCommand starts the child: it ends with its input, and is nobody's command by name.
func TestHasherCommand(t *testing.T) {
	cmd := hasherCommand()
	cmd.Stdin = strings.NewReader("")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("got %v and %s", err, out)
	}
	if _, err := exec.LookPath(cmd.Path); err != nil {
		t.Error(err)
	}
}

// recorder is an event handler that remembers names and users.
type recorder struct{}

var recorded = make(chan string, 100)

func init() { caddy.RegisterModule(new(recorder)) }

func (*recorder) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "events.handlers.matrix_auth_test", New: func() caddy.Module { return new(recorder) }}
}

func (*recorder) Handle(_ context.Context, e caddy.Event) error {
	recorded <- fmt.Sprint(e.Name(), " ", e.Data["user_id"])
	return nil
}

// TestEvents: Caddy's event handlers hear of what happens.
func TestEvents(t *testing.T) {
	e := newEdge(t)
	const happens = "user_registered session_started login_succeeded login_failed password_changed user_locked session_ended" +
		" synapse_unreachable login_failed key_rotated"
	on := ""
	for _, name := range slices.Compact(slices.Sorted(strings.FieldsSeq(happens))) {
		on += "on " + name + " matrix_auth_test\n"
	}
	e.mustLoad(strings.Replace(e.config("", ""), "\tgrace_period", "\tevents {\n"+on+"}\n\tgrace_period", 1))
	service := e.app().engine.service
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Error(err)
		}
	}
	e.mustAddUser("alice")
	access, _ := e.mustLogin("alice", "PHONE")
	e.request("POST", "/_matrix/client/v3/login", "", `{"type":"m.login.password","user":"alice","password":"wrong"}`)
	must(service.SetPassword(t.Context(), "alice", token.NewSecret(authtest.Password+"!"), false))
	must(service.Lock(t.Context(), "alice"))
	e.request("POST", "/_matrix/client/v3/logout", access, "")
	must(service.Unlock(t.Context(), "alice"))
	e.synapse.Fail(authtest.Down)
	e.request("POST", "/_matrix/client/v3/login", "", `{"type":"m.login.password","user":"alice","password":"`+authtest.Password+`!"}`)
	e.synapse.Heal()
	must(service.RotateKeys(t.Context()))
	for name := range strings.FieldsSeq(happens) {
		want := name + " @alice:example.org"
		if name == "synapse_unreachable" || name == "key_rotated" {
			want = name + " <nil>" // They are about nobody.
		}
		if got := <-recorded; got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}

// TestEventDropped: a handler that hangs does not hold up the one who reports.
func TestEventDropped(t *testing.T) {
	core, logs := observer.New(zapcore.WarnLevel)
	e := newEdge(t)
	e.mustLoad(strings.Replace(e.config("", ""), "\tgrace_period", "\tevents {\non login_failed matrix_auth_test\n}\n\tgrace_period", 1))
	a := e.app()
	stuck := &App{bounded: zap.New(core), audit: zap.NewNop(), events: a.events, pending: make(chan auth.Event, 1)}
	for range 2 {
		stuck.emit(auth.Event{Name: "login_failed", Method: "password"})
	}
	if n := logs.FilterMessageSnippet("event dropped").Len(); n != 1 {
		t.Errorf("dropped events: got %d, want 1", n)
	}
}

// UnmarshalCaddyfile implements caddyfile.Unmarshaler.
func (*recorder) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next()
	return nil
}

// TestPlaceholders: the handlers behind the gate, and logs, learn who asks and what was asked for. From a token that is not ours they
// learn nothing: Caddy leaves a placeholder as it is that nobody has set.
func TestPlaceholders(t *testing.T) {
	e := newEdge(t)
	other := freeAddr(t)
	e.mustLoad(e.config("", "http://"+other+` {
	bind 127.0.0.1
	route {
		header >X-Endpoint "[{http.matrix_auth.endpoint}]"
		matrix_auth compat
		respond "[{http.auth.user.id}] [{http.auth.user.device_id}] [{http.auth.user.client_id}] [{http.auth.user.session_id}]"
	}
}`))
	e.mustAddUser("alice")
	access, _ := e.mustLogin("alice", "PHONE")
	var session string
	for s, err := range e.app().engine.service.Sessions("alice") {
		if err != nil {
			t.Fatal(err)
		}
		session = s.ID.String()
	}
	get := func(path, token string) answer { return fetch(t, "GET", "http://"+other+path, token, "") }
	const unset = "[{http.auth.user.id}] [{http.auth.user.device_id}] [{http.auth.user.client_id}] [{http.auth.user.session_id}]"
	for token, want := range map[string]string{
		access:        "[@alice:example.org] [PHONE] [] [" + session + "]",
		"syt_foreign": unset,
		"":            unset,
	} {
		a := get("/_matrix/client/v3/sync", token)
		if a.body != want || a.header.Get("X-Endpoint") != "[{http.matrix_auth.endpoint}]" {
			t.Errorf("got %s and endpoint %s, want %s", a.body, a.header.Get("X-Endpoint"), want)
		}
	}
	if a := get("/_matrix/client/v3/login", ""); a.header.Get("X-Endpoint") != "[login]" {
		t.Errorf("got endpoint %s, want login", a.header.Get("X-Endpoint"))
	}
}
