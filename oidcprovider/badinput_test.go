package oidcprovider_test

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/oklog/ulid/v2"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"github.com/caddy-matrix/caddy-matrix-auth/internal/auth"
	"github.com/caddy-matrix/caddy-matrix-auth/internal/authtest"
	"github.com/caddy-matrix/caddy-matrix-auth/oidcprovider"
)

// spoil are the ways to send a parameter that is none.
var spoil = map[string]func(v url.Values, name string){
	"missing":       func(v url.Values, name string) { v.Del(name) },
	"empty":         func(v url.Values, name string) { v.Set(name, "") },
	"twice":         func(v url.Values, name string) { v.Add(name, v.Get(name)+"x") },
	"twice same":    func(v url.Values, name string) { v.Add(name, v.Get(name)) },
	"100 kB":        func(v url.Values, name string) { v.Set(name, strings.Repeat("x", 100_000)) },
	"NUL":           func(v url.Values, name string) { v.Set(name, v.Get(name)+"\x00") },
	"invalid UTF-8": func(v url.Values, name string) { v.Set(name, v.Get(name)+"\xff\xfe") },
	"garbage":       func(v url.Values, name string) { v.Set(name, "'\"><script>\r\nX: y%00../") },
}

// TestBadInput_TokenEndpoints: every parameter spoilt in every way gets an error of OAuth, never a 5xx and nothing back of what
// was sent; and what it was about lives on.
func TestBadInput_TokenEndpoints(t *testing.T) {
	e := newEdge(t)
	c := e.client(t)
	p := e.tokens(t, c, fullScope)
	d := e.device(t, c, oldScope)
	code := e.code(t, authorization(c, "openid"))
	requests := []struct {
		path string
		form url.Values
	}{
		{"/oauth2/token", exchange(c, code)},
		{"/oauth2/token", url.Values{"grant_type": {"refresh_token"}, "client_id": {c}, "refresh_token": {p.str("refresh_token")}, "scope": {fullScope}}},
		{"/oauth2/token", url.Values{"grant_type": {deviceType}, "client_id": {c}, "device_code": {d.str("device_code")}}},
		{"/oauth2/token", url.Values{"grant_type": {"client_credentials"}, "client_id": {c}, "client_secret": {"x"}, "scope": {"x"}}},
		{"/oauth2/token", url.Values{"grant_type": {"client_credentials"}, "client_assertion": {"a.b.c"}, "client_assertion_type": {assertionType}}},
		{"/oauth2/device", url.Values{"client_id": {c}, "scope": {oldScope}}},
		{"/oauth2/revoke", url.Values{"token": {"mat_x"}, "token_type_hint": {"access_token"}, "client_id": {c}}},
		{"/oauth2/introspect", url.Values{"token": {"mat_x"}, "client_id": {c}, "client_secret": {"x"}}},
		{"/oauth2/userinfo", url.Values{"access_token": {"mat_x"}}},
	}
	for _, r := range requests {
		for name := range r.form {
			for how, change := range spoil {
				v := url.Values{}
				for n, list := range r.form {
					v[n] = slices.Clone(list)
				}
				change(v, name)
				if how == "missing" && name == "scope" || how == "empty" && name == "scope" {
					continue // That is a good request.
				}
				q := e.form(t, r.path, v)
				good := q.Code == 200 && r.path == "/oauth2/revoke" && q.Body.String() == "{}\n"
				if !good && (q.Code < 400 || q.Code >= 500 || q.str("error") == "") {
					t.Errorf("%s, %s %s: got %d %s", r.path, name, how, q.Code, q.Body)
				}
				if strings.Contains(q.Body.String(), "<script") || q.Header().Get("X") != "" || q.Body.Len() > 400 {
					t.Errorf("%s, %s %s: got %q %v", r.path, name, how, q.Body, q.Header())
				}
				if how == "100 kB" && q.Code != 413 {
					t.Errorf("%s, %s %s: got %d, want 413", r.path, name, how, q.Code)
				}
				if (how == "NUL" || how == "invalid UTF-8" || how == "twice" || how == "twice same") && (q.Code != 400 || q.str("error") != "invalid_request") {
					t.Errorf("%s, %s %s: got %d %s, want invalid_request", r.path, name, how, q.Code, q.Body)
				}
			}
		}
	}
	e.refresh(t, c, p.str("refresh_token")).want(t, 200, "")
	e.form(t, "/oauth2/token", exchange(c, code)).want(t, 200, "")
}

// TestBadInput_Authorize: every parameter spoilt in every way gets a page, an error at the registered address, or is ignored.
func TestBadInput_Authorize(t *testing.T) {
	e := newEdge(t)
	c := e.client(t)
	all := authorization(c, fullScope, "nonce=n", "response_mode=query", "prompt=consent", "max_age=10", "ui_locales=de", "login_hint=alice", "id_token_hint=x", "acr_values=0", "display=page")
	for name := range all {
		for how, change := range spoil {
			v := url.Values{}
			for n, list := range all {
				v[n] = slices.Clone(list)
			}
			change(v, name)
			p := e.authorize(t, v)
			location := p.Header().Get("Location")
			what := name + " " + how
			switch {
			case how == "100 kB":
				wantPage(t, e, what, p, 414, oidcprovider.BadRequest)
			case name == "client_id":
				wantPage(t, e, what, p, 400, oidcprovider.UnknownClient)
			case name == "redirect_uri":
				wantPage(t, e, what, p, 400, oidcprovider.BadRedirect)
			case how == "twice", how == "twice same", how == "NUL", how == "invalid UTF-8":
				wantError(t, what, p, "invalid_request")
			case strings.HasPrefix(location, redirect+"?error="):
			case !strings.HasPrefix(location, issuer+"consent/"):
				t.Errorf("%s: got %d, Location %q", what, p.Code, location)
			}
			if strings.Contains(p.Body.String(), "<script") || p.Header().Get("X") != "" || strings.ContainsAny(location, "\r\n<>\"") {
				t.Errorf("%s: got %q %v", what, p.Body, p.Header())
			}
		}
	}
}

// TestGuard_EarlyData: nothing that changes anything is done for what may be a replay.
func TestGuard_EarlyData(t *testing.T) {
	e := newEdge(t)
	c := e.client(t)
	code := e.code(t, authorization(c, fullScope))
	for path, v := range map[string]url.Values{"/oauth2/token": exchange(c, code), "/oauth2/revoke": {"token": {"x"}}, "/oauth2/device": {"client_id": {c}, "scope": {fullScope}}} {
		if p := e.form(t, path, v, "Early-Data: 1"); p.Code != 425 || p.Body.Len() != 0 {
			t.Errorf("%s: got %d %s, want an empty 425", path, p.Code, p.Body)
		}
	}
	e.form(t, "/oauth2/token", exchange(c, code)).want(t, 200, "")
}

// TestGuard_Timeouts: a homeserver that never answers does not hold a client for ever, and nothing is consumed.
func TestGuard_Timeouts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := edgeOn(t, authtest.Options{RealClock: true, Idle: true})
		c := e.client(t)
		v := exchange(c, e.code(t, authorization(c, fullScope)))
		e.Synapse.Fail(authtest.Slow)
		start := time.Now()
		p := e.form(t, "/oauth2/token", v)
		if p.Code != 503 || p.Body.Len() != 0 || p.Header().Get("Retry-After") != "2" {
			t.Errorf("got %d %q", p.Code, p.Body)
		}
		if took := time.Since(start); took > 31*time.Second {
			t.Errorf("took %v", took)
		}
		e.Synapse.Heal()
		e.form(t, "/oauth2/token", v).want(t, 200, "")
	})
}

// broken is a body that ends in the middle.
type broken struct{ io.Reader }

func (b broken) Read(p []byte) (int, error) {
	n, err := b.Reader.Read(p)
	if err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	return n, err
}

// TestGuard_BrokenBodies: a connection that breaks is no verdict on a session.
func TestGuard_BrokenBodies(t *testing.T) {
	e := newEdge(t)
	c := e.client(t)
	for _, v := range []url.Values{exchange(c, "x"), {"grant_type": {"refresh_token"}, "client_id": {c}, "refresh_token": {"mar_x"}}} {
		r := httptest.NewRequest("POST", "/oauth2/token", broken{strings.NewReader(v.Encode())})
		r.Header.Set("Content-Type", formType)
		if p := e.do(t, r); p.Code != 503 || p.Body.Len() != 0 {
			t.Errorf("got %d %s, want an empty 503", p.Code, p.Body)
		}
	}
	e.raw(t, "POST", "/oauth2/token", "grant_type=%zz", "Content-Type: "+formType).want(t, 400, "invalid_request")
	e.raw(t, "POST", "/oauth2/token", "a;b", "Content-Type: "+formType).want(t, 400, "invalid_request")
}

// TestGuard_Rauthy006_Panics: 503 without a body; a device that polls is told to come back; the log knows why.
func TestGuard_Rauthy006_Panics(t *testing.T) {
	e := newEdge(t)
	var log lockedBuffer
	u, _ := url.Parse(issuer)
	o, err := oidcprovider.NewOAuth(oidcprovider.OAuthConfig{
		Service: e.Service, Issuer: u, From: fromOf, ErrorPage: e.page, FormPost: e.formPost, Now: e.Now, Rand: failing{},
		Log: zap.New(zapcore.NewCore(zapcore.NewJSONEncoder(zapcore.EncoderConfig{MessageKey: "m"}), zapcore.AddSync(&log), zap.DebugLevel)),
	})
	if err != nil {
		t.Fatal(err)
	}
	o.From = func(*http.Request) auth.From { panic("secret-in-a-panic") }
	e.oauth = o
	for path, v := range map[string]url.Values{
		"/oauth2/token": exchange("x", "x"), "/oauth2/revoke": {"token": {"x"}}, "/oauth2/device": {"client_id": {"x"}}, "/oauth2/introspect": {"token": {"x"}},
	} {
		if p := e.form(t, path, v); p.Code != 503 || p.Body.Len() != 0 || p.Header().Get("Retry-After") != "2" {
			t.Errorf("%s: got %d %q", path, p.Code, p.Body)
		}
	}
	if !strings.Contains(log.String(), "secret-in-a-panic") {
		t.Errorf("got log %s", log.String())
	}
	o.From = fromOf
	c := e.client(t)
	p := e.authorize(t, authorization(c, fullScope)) // There is no randomness for the cookie.
	if p.Code != 503 || e.problems[len(e.problems)-1].Kind != oidcprovider.Unavailable {
		t.Errorf("got %d %s", p.Code, p.Body)
	}
}

// lockedBuffer is a log that is read while the store still writes to it.
type lockedBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

type failing struct{}

func (failing) Read([]byte) (int, error) { return 0, errors.New("no randomness") }

// TestASVS_LogsHoldNoSecrets: codes, tokens, verifiers and states do not reach the log, whatever goes wrong.
func TestASVS_LogsHoldNoSecrets(t *testing.T) {
	var log lockedBuffer
	core := zapcore.NewCore(zapcore.NewJSONEncoder(zapcore.EncoderConfig{MessageKey: "m"}), zapcore.AddSync(&log), zap.DebugLevel)
	e := edgeOn(t, authtest.Options{Idle: true, Log: zap.New(core)})
	c := e.client(t)
	code := e.code(t, authorization(c, fullScope, "state=secret-state"))
	p := e.form(t, "/oauth2/token", exchange(c, code))
	e.form(t, "/oauth2/token", exchange(c, code))
	e.refresh(t, c, p.str("refresh_token"))
	e.authorize(t, authorization(c, fullScope, "redirect_uri=https://evil.example/?code=secret-query", "state=secret-state"))
	e.authorize(t, authorization("unknown", fullScope, "state=secret-state"))
	e.Synapse.Fail(authtest.Broken)
	e.form(t, "/oauth2/token", exchange(c, e.code(t, authorization(c, fullScope))))
	if !strings.Contains(log.String(), "goes no further") {
		t.Errorf("got log %s", log.String())
	}
	for _, secret := range []string{code, p.str("access_token"), p.str("refresh_token"), verifier, "secret-state", "secret-query", authtest.Password} {
		if strings.Contains(log.String(), secret) {
			t.Errorf("the log holds %s:\n%s", secret, log.String())
		}
	}
}

// TestOtherEndpoints: what is not ours to serve is not found.
func TestOtherEndpoints(t *testing.T) {
	e := newEdge(t)
	for _, path := range []string{"/ready", "/healthz", "/authorize/callback", "/oauth2/end_session", "/consent/" + ulid.Make().String()} {
		if p := e.raw(t, "GET", path, ""); p.Code != 404 {
			t.Errorf("%s: got %d", path, p.Code)
		}
	}
}
