package caddymodule

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
	_ "github.com/caddyserver/caddy/v2/modules/standard"

	"github.com/caddy-matrix/caddy-matrix-auth/internal/auth"
	"github.com/caddy-matrix/caddy-matrix-auth/internal/authtest"
	"github.com/caddy-matrix/caddy-matrix-auth/internal/e2e/rig"
	"github.com/caddy-matrix/caddy-matrix-auth/internal/mxid"
	"github.com/caddy-matrix/caddy-matrix-auth/internal/password"
	"github.com/caddy-matrix/caddy-matrix-auth/internal/token"
)

// TestMain lets the test binary serve as the hasher's child, and keeps Caddy out of the home directory.
func TestMain(m *testing.M) {
	if len(os.Args) == 2 && os.Args[1] == hasherName {
		if err := password.ChildMain(os.Stdin, os.Stdout); err != nil {
			os.Exit(1)
		}
		return
	}
	home, err := os.MkdirTemp("", "caddymodule")
	if err != nil {
		panic(err)
	}
	for _, name := range []string{"HOME", "XDG_DATA_HOME", "XDG_CONFIG_HOME"} {
		os.Setenv(name, home)
	}
	code := m.Run()
	os.RemoveAll(home)
	os.Exit(code)
}

// edge is a Caddy in this process, in front of a fake Synapse. There can be one at a time.
type edge struct {
	t        *testing.T
	synapse  *fakeSynapse
	dir      string // of the secret and the data
	public   string // host:port
	internal string
	log      string // file of Caddy's log
}

// newEdge prepares an edge. Nothing runs before load.
func newEdge(t *testing.T) *edge {
	t.Helper()
	e := &edge{t: t, dir: t.TempDir(), public: freeAddr(t), internal: freeAddr(t)}
	e.log = filepath.Join(e.dir, "caddy.log")
	e.synapse = newFakeSynapse(t, "http://"+e.internal)
	writeFile(t, filepath.Join(e.dir, "secret"), authtest.Secret+"\n")
	t.Cleanup(func() {
		if err := caddy.Stop(); err != nil {
			t.Errorf("stopping Caddy: %v", err)
		}
	})
	return e
}

// config is a whole Caddyfile. Further lines go into the app, and further sites behind the two.
func (e *edge) config(app, sites string) string {
	return fmt.Sprintf(`{
	admin off
	persist_config off
	auto_https off
	metrics
	grace_period 5s
	storage file_system %[1]s/caddy
	log {
		output file %[7]s
		level DEBUG
	}
	matrix_auth example.org {
		issuer http://%[2]s
		data_dir %[1]s/data
		synapse %[3]s {
			secret_file %[1]s/secret
		}
		%[5]s
	}
}
http://%[2]s {
	bind 127.0.0.1
	log
	matrix_homeserver
}
http://%[4]s {
	bind 127.0.0.1
	route {
		metrics /metrics
		matrix_auth internal
	}
}
%[6]s
`, e.dir, e.public, e.synapse.url, e.internal, app, sites, e.log)
}

// load loads a Caddyfile as a reload does.
func load(caddyfile string) error {
	cfg, _, err := caddyconfig.GetAdapter("caddyfile").Adapt([]byte(caddyfile), map[string]any{"filename": "Caddyfile"})
	if err != nil {
		return err
	}
	return caddy.Load(cfg, true)
}

func (e *edge) mustLoad(caddyfile string) {
	e.t.Helper()
	if err := load(caddyfile); err != nil {
		e.t.Fatalf("loading the configuration: %v", err)
	}
}

// app is the running app.
func (e *edge) app() *App {
	e.t.Helper()
	app, err := caddy.ActiveContext().AppIfConfigured(appName)
	if err != nil {
		e.t.Fatal(err)
	}
	return app.(*App)
}

func (e *edge) mustAddUser(name mxid.Localpart) {
	e.t.Helper()
	p := auth.AddUserParams{Localpart: name, Password: token.NewSecret(authtest.Password)}
	if _, err := e.app().engine.service.AddUser(e.t.Context(), p); err != nil {
		e.t.Fatalf("adding %s: %v", name, err)
	}
}

// answer is a response with its body read.
type answer struct {
	status int
	header http.Header
	body   string
	last   bool // of its connection
}

// field is a member of the answer's JSON object.
func (a answer) field(name string) any {
	var object map[string]any
	if json.Unmarshal([]byte(a.body), &object) != nil {
		return nil
	}
	return object[name]
}

func (a answer) text(name string) string {
	s, _ := a.field(name).(string)
	return s
}

// request asks the public site. A body makes it a POST.
func (e *edge) request(method, path, bearer, body string) answer {
	e.t.Helper()
	return fetch(e.t, method, "http://"+e.public+path, bearer, body)
}

// transport makes a connection for each request: Caddy closes idle ones at a reload, which can meet the next request.
var transport = &http.Transport{DisableKeepAlives: true}

// fetch tries again if the connection fails: those that wait in the old socket's queue when a reload closes it are reset.
func fetch(t *testing.T, method, url, bearer, body string) answer {
	t.Helper()
	var a answer
	var err error
	for range 3 {
		if a, err = tryFetch(method, url, bearer, body); err == nil {
			return a
		}
	}
	t.Fatal(err)
	return a
}

func tryFetch(method, url, bearer, body string) (answer, error) {
	return roundTrip(transport, method, url, bearer, body)
}

func roundTrip(transport *http.Transport, method, url, bearer, body string) (answer, error) {
	req, err := http.NewRequest(method, url, strings.NewReader(body))
	if err != nil {
		return answer{}, err
	}
	if bearer != "" {
		req.Header.Set("Authorization", "Bearer "+bearer)
	}
	resp, err := transport.RoundTrip(req)
	if err != nil {
		return answer{}, err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	return answer{resp.StatusCode, resp.Header, string(text), resp.Close}, err
}

func (e *edge) login(name, device string) answer {
	e.t.Helper()
	return e.request("POST", "/_matrix/client/v3/login", "", fmt.Sprintf(
		`{"type":"m.login.password","identifier":{"type":"m.id.user","user":%q},"password":%q,"device_id":%q,"refresh_token":true}`,
		name, authtest.Password, device))
}

func (e *edge) mustLogin(name, device string) (access, refresh string) {
	e.t.Helper()
	a := e.login(name, device)
	if a.status != 200 {
		e.t.Fatalf("login: %d %s", a.status, a.body)
	}
	return a.text("access_token"), a.text("refresh_token")
}

func (e *edge) whoami(token string) answer {
	e.t.Helper()
	return e.request("GET", "/_matrix/client/v3/account/whoami", token, "")
}

// logged reports whether a line of Caddy's log holds all of the texts.
func (e *edge) logged(texts ...string) bool {
	e.t.Helper()
	log, err := os.ReadFile(e.log)
	if err != nil {
		e.t.Fatal(err)
	}
lines:
	for line := range bytes.Lines(log) {
		for _, s := range texts {
			if !bytes.Contains(line, []byte(s)) {
				continue lines
			}
		}
		return true
	}
	return false
}

func (e *edge) mustLog(texts ...string) {
	e.t.Helper()
	if !e.logged(texts...) {
		e.t.Errorf("no line of the log has all of %q", texts)
	}
}

// fakeSynapse is authtest's Synapse with a client API that asks the edge about each token, as the real one does.
type fakeSynapse struct {
	*authtest.Synapse
	url      string
	internal string

	mu   sync.Mutex
	seen []*http.Request // of the client API
	hold chan struct{}   // /sync answers when it is closed
}

func newFakeSynapse(t *testing.T, internal string) *fakeSynapse {
	s := &fakeSynapse{Synapse: authtest.NewSynapse(t, authtest.ServerName), internal: internal, hold: make(chan struct{})}
	mux := http.NewServeMux()
	mux.Handle("/_synapse/mas/", s.Synapse)
	mux.HandleFunc("/_matrix/client/v3/account/whoami", s.whoami)
	mux.HandleFunc("/_matrix/client/v3/sync", s.sync)
	mux.HandleFunc("/_matrix/client/v3/early", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusTeapot) })
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		s.note(r)
		io.Copy(io.Discard, r.Body)
		fmt.Fprintf(w, `{"path":%q}`, r.URL.EscapedPath())
	})
	server := httptest.NewServer(mux)
	t.Cleanup(server.Close)
	s.url = server.URL
	return s
}

func (s *fakeSynapse) note(r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.seen = append(s.seen, r)
}

// last is the last request of the client API.
func (s *fakeSynapse) last(t *testing.T) *http.Request {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.seen) == 0 {
		t.Fatal("no request has reached Synapse")
	}
	return s.seen[len(s.seen)-1]
}

func (s *fakeSynapse) count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.seen)
}

func (s *fakeSynapse) whoami(w http.ResponseWriter, r *http.Request) {
	s.note(r)
	text := strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")
	resp := ask(s.internal+"/oauth2/introspect", url.Values{"token": {text}}.Encode())
	if resp == nil {
		w.WriteHeader(http.StatusServiceUnavailable)
		return
	}
	defer resp.Body.Close()
	io.Copy(w, resp.Body)
}

// ask asks the internal site, and like fetch again if the connection fails; nil: in vain.
func ask(url, form string) *http.Response {
	for range 3 {
		req, err := http.NewRequest("POST", url, strings.NewReader(form))
		if err != nil {
			return nil
		}
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		req.Header.Set("Authorization", "Bearer "+authtest.Secret)
		if resp, err := transport.RoundTrip(req); err == nil {
			return resp
		}
	}
	return nil
}

// sync is a long poll.
func (s *fakeSynapse) sync(w http.ResponseWriter, r *http.Request) {
	s.note(r)
	select {
	case <-s.hold:
		io.WriteString(w, `{"next_batch":"s1"}`)
	case <-r.Context().Done():
	}
}

// freeAddr is an address that nobody listens on, and that no outgoing connection takes before we do.
func freeAddr(t *testing.T) string {
	t.Helper()
	ports, err := rig.FreePorts(1)
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("127.0.0.1:%d", ports[0])
}

func writeFile(t *testing.T, name, text string) {
	t.Helper()
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// eventually waits for what happens on another goroutine.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	deadline := time.Now().Add(time.Minute)
	for tick := time.NewTicker(5 * time.Millisecond); ; <-tick.C {
		if ok() {
			tick.Stop()
			return
		}
		if time.Now().After(deadline) {
			tick.Stop()
			t.Fatalf("it did not happen: %s", what)
		}
	}
}
