package gate

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/netip"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/zap"

	"github.com/caddy-matrix/caddy-matrix-auth/internal/auth"
	"github.com/caddy-matrix/caddy-matrix-auth/internal/token"
)

const foreign = "as_token_of_a_bridge"

// bench is an edge: a gate in front of a reverse proxy in front of a server that reads requests as Synapse does.
type bench struct {
	*httptest.Server
	gate    *Gate
	judge   *tableJudge
	synapse *fakeSynapse
	next    Next
	live    string // an active token
	dead    string // of an ended session
}

func newBench(t *testing.T) *bench {
	t.Helper()
	b := &bench{live: newToken(t, token.CompatAccess), dead: newToken(t, token.Access)}
	b.judge = &tableJudge{verdicts: map[string]auth.Verdict{b.live: auth.Active, b.dead: auth.Unknown}}
	b.synapse = newFakeSynapse(t)
	b.next = b.synapse.proxy()
	b.gate = New(Config{
		Judge: b.judge,
		From:  func(*http.Request) auth.From { return auth.From{Addr: netip.MustParseAddr("192.0.2.7")} },
		Now:   time.Now,
		Log:   zap.NewNop(),
	})
	b.Server = httptest.NewUnstartedServer(b)
	b.Config.ConnContext = ConnContext
	b.Start()
	t.Cleanup(b.Close)
	return b
}

// ServeHTTP does as Caddy: it wraps the body of net/http's own request, and turns an error of the chain into an answer.
func (b *bench) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	r.Body = struct{ io.ReadCloser }{r.Body}
	w.Header().Set("Server", "edge")
	if err := b.gate.ServeHTTP(w, r, r.URL.EscapedPath(), b.next); err != nil {
		http.Error(w, err.Error(), http.StatusBadGateway)
	}
}

func newToken(t testing.TB, k token.Kind) string {
	t.Helper()
	m := token.NewMint(token.Key{1}, rand.Reader)
	h, err := m.Handle()
	if err != nil {
		t.Fatal(err)
	}
	tok, err := m.New(k, h)
	if err != nil {
		t.Fatal(err)
	}
	return tok.Reveal()
}

// tableJudge knows the verdicts of tokens beforehand. auth's own rules are tested there.
type tableJudge struct {
	mu       sync.Mutex
	verdicts map[string]auth.Verdict
	err      error
	asked    []string
}

func (j *tableJudge) Judge(_ context.Context, text string, _ auth.From) (auth.Admission, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.asked = append(j.asked, text)
	if j.err != nil {
		return auth.Admission{}, j.err
	}
	if v, known := j.verdicts[text]; known {
		return auth.Admission{Verdict: v}, nil
	}
	if _, err := token.Parse(text); err == token.ErrForeign {
		return auth.Admission{Verdict: auth.Foreign}, nil
	}
	return auth.Admission{Verdict: auth.Unknown}, nil
}

func (j *tableJudge) set(text string, v auth.Verdict) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.verdicts[text] = v
}

// fakeSynapse records what it gets, and answers by handle.
type fakeSynapse struct {
	*httptest.Server
	handle http.HandlerFunc // nil: 200, {}

	mu  sync.Mutex
	got []received
}

type received struct {
	Method, URI, Token, Body string
	Header                   http.Header
}

func newFakeSynapse(t *testing.T) *fakeSynapse {
	s := &fakeSynapse{}
	s.Server = httptest.NewServer(s)
	t.Cleanup(s.Close)
	return s
}

func (s *fakeSynapse) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if s.handle != nil {
		s.handle(w, r)
		return
	}
	body, err := io.ReadAll(r.Body)
	if err != nil {
		panic(http.ErrAbortHandler) // Synapse acts on whole requests only.
	}
	text, _ := synapseToken(r.Method, r.Header, r.URL.RawQuery, body)
	s.mu.Lock()
	s.got = append(s.got, received{r.Method, r.RequestURI, text, string(body), r.Header})
	s.mu.Unlock()
	_, _ = io.WriteString(w, "{}")
}

// last is the one request that got through.
func (s *fakeSynapse) last(t *testing.T) received {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.got) != 1 {
		t.Fatalf("got %d requests at the homeserver, want 1", len(s.got))
	}
	return s.got[0]
}

func (s *fakeSynapse) none(t *testing.T) {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.got) != 0 {
		t.Fatalf("got %+v at the homeserver, want nothing", s.got)
	}
}

// proxy returns a reverse proxy to s that hands its error back as Caddy's does.
func (s *fakeSynapse) proxy() Next {
	target, _ := url.Parse(s.URL)
	transport := &http.Transport{}
	return func(w http.ResponseWriter, r *http.Request) (err error) {
		p := httputil.ReverseProxy{
			Rewrite: func(p *httputil.ProxyRequest) {
				p.Out.URL.Scheme, p.Out.URL.Host, p.Out.URL.RawQuery = target.Scheme, target.Host, p.In.URL.RawQuery
				p.Out.Header["X-Forwarded-For"] = p.In.Header["X-Forwarded-For"]
				p.SetXForwarded()
			},
			Transport:     transport,
			FlushInterval: -1,
			ErrorHandler:  func(_ http.ResponseWriter, _ *http.Request, e error) { err = e },
		}
		p.ServeHTTP(w, r)
		return err
	}
}

// reply is an answer of the edge.
type reply struct {
	Proto  string
	Status int
	Header http.Header
	Body   string
	Close  bool // the connection ends with it
}

func (b *bench) do(t *testing.T, r *http.Request) reply {
	t.Helper()
	res, err := b.Client().Transport.RoundTrip(r)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return reply{res.Proto, res.StatusCode, res.Header, string(body), res.Close}
}

// request makes a request; headers are "Name: value".
func (b *bench) request(t *testing.T, method, uri, body string, headers ...string) *http.Request {
	t.Helper()
	r, err := http.NewRequest(method, b.URL, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	if r.URL, err = url.Parse(b.URL + uri); err != nil {
		t.Fatal(err)
	}
	for _, h := range headers {
		name, value, _ := strings.Cut(h, ": ")
		r.Header[name] = append(r.Header[name], value)
	}
	return r
}

func bearerHeader(text string) string { return "Authorization: Bearer " + text }

// wantError checks an error of the gate: JSON, CORS once, never cached.
func wantError(t *testing.T, got reply, status int, code string, soft any) {
	t.Helper()
	var body map[string]any
	if err := json.Unmarshal([]byte(got.Body), &body); err != nil {
		t.Fatalf("got %d with body %q: %v", got.Status, got.Body, err)
	}
	if got.Status != status || body["errcode"] != code || body["soft_logout"] != soft || body["error"] == "" {
		t.Errorf("got %d %s, want %d %s with soft_logout %v", got.Status, got.Body, status, code, soft)
	}
	if v := got.Header["Access-Control-Allow-Origin"]; len(v) != 1 || v[0] != "*" {
		t.Errorf("got Access-Control-Allow-Origin %q, want one *", v)
	}
	if v := got.Header.Get("Content-Type"); v != "application/json" {
		t.Errorf("got Content-Type %q, want application/json", v)
	}
}

func newHTTP2Server(h http.Handler) *httptest.Server {
	s := httptest.NewUnstartedServer(h)
	s.EnableHTTP2 = true
	s.Config.ConnContext = ConnContext
	s.StartTLS()
	return s
}
