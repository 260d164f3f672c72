package oidcprovider_test

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"strings"
	"sync"
	"testing"

	"github.com/oklog/ulid/v2"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"github.com/caddy-matrix/caddy-matrix-auth/internal/auth"
	"github.com/caddy-matrix/caddy-matrix-auth/internal/authtest"
	"github.com/caddy-matrix/caddy-matrix-auth/internal/authzresponse"
	"github.com/caddy-matrix/caddy-matrix-auth/internal/browser"
	"github.com/caddy-matrix/caddy-matrix-auth/internal/route"
	"github.com/caddy-matrix/caddy-matrix-auth/internal/token"
	"github.com/caddy-matrix/caddy-matrix-auth/oidcprovider"
	"github.com/caddy-matrix/caddy-matrix-auth/store"
)

// The usual client of the tests, and what it asks for.
const (
	redirect   = "https://app.example.com/cb"
	apiScope   = "urn:matrix:client:api:*"
	fullScope  = apiScope + " urn:matrix:client:device:AAAAAAAAAA"
	oldScope   = "urn:matrix:org.matrix.msc2967.client:api:* urn:matrix:org.matrix.msc2967.client:device:BBBBBBBBBB"
	verifier   = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"
	formType   = "application/x-www-form-urlencoded"
	deviceType = auth.GrantTypeDeviceCode
)

func challengeOf(v string) string {
	sum := sha256.Sum256([]byte(v))
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

// edge is the provider over a whole service, with the paths of route in front and a person in a browser.
type edge struct {
	*authtest.Kit
	oauth   *oidcprovider.OAuth
	cookies browser.Cookies
	jar     []*http.Cookie // of the person's browser
	signIn  auth.SignedIn

	mu       sync.Mutex
	problems []oidcprovider.Problem
	posted   []authzresponse.Response
}

// newEdge makes an edge on which alice has an account. change may change the settings.
func newEdge(t testing.TB, change ...func(*auth.Settings)) *edge {
	t.Helper()
	return edgeOn(t, authtest.Options{Idle: true}, change...)
}

func edgeOn(t testing.TB, o authtest.Options, change ...func(*auth.Settings)) *edge {
	t.Helper()
	o.Settings = func(s *auth.Settings) {
		for _, c := range change {
			c(s)
		}
	}
	set := o.Settings
	o.Settings = func(s *auth.Settings) { s.AccessTTL = 5 * 60e9; set(s) }
	e := &edge{Kit: authtest.NewService(t, o)}
	u, err := url.Parse(issuer)
	if err != nil {
		t.Fatal(err)
	}
	e.cookies = browser.NewCookies(u)
	log := o.Log
	if log == nil {
		log = zap.New(zapcore.NewCore(zapcore.NewJSONEncoder(zapcore.EncoderConfig{}), zapcore.AddSync(io.Discard), zap.InfoLevel))
	}
	e.oauth, err = oidcprovider.NewOAuth(oidcprovider.OAuthConfig{
		Service: e.Service, Issuer: u, From: fromOf, ErrorPage: e.page, FormPost: e.formPost, Now: e.Now, Rand: rand.Reader, Log: log,
	})
	if err != nil {
		t.Fatal(err)
	}
	e.MustAddUser(t, "alice")
	return e
}

func fromOf(r *http.Request) auth.From {
	addr, _ := netip.ParseAddrPort(r.RemoteAddr)
	return auth.From{Addr: addr.Addr(), UserAgent: r.UserAgent(), Unproven: r.Header.Get("Early-Data") == "1"}
}

func (e *edge) page(w http.ResponseWriter, _ *http.Request, p oidcprovider.Problem) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.problems = append(e.problems, p)
	w.Header().Set("Content-Type", "text/html")
	w.WriteHeader(p.Status)
	io.WriteString(w, string(p.Kind))
}

func (e *edge) formPost(w http.ResponseWriter, _ *http.Request, r authzresponse.Response) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.posted = append(e.posted, r)
	w.Header().Set("Content-Type", "text/html")
	io.WriteString(w, "form_post")
}

// ServeHTTP sends a request where its path belongs.
func (e *edge) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	d := route.Match(r.URL.EscapedPath())
	switch {
	case d.Kind == route.Ours && (d.Endpoint == route.AuthMetadata):
		e.oauth.ServeMetadata(w, r)
	case d.Kind == route.Ours:
		e.oauth.ServeEndpoint(w, r, d.Endpoint)
	default:
		http.NotFound(w, r)
	}
}

// reply is an answer, with its object if it is JSON.
type reply struct {
	*httptest.ResponseRecorder
	object map[string]any
}

func (e *edge) do(t testing.TB, r *http.Request) reply {
	t.Helper()
	if r.Host == "example.com" { // httptest's own
		r.Host = "matrix.example.org"
	}
	w := httptest.NewRecorder()
	e.ServeHTTP(w, r)
	p := reply{ResponseRecorder: w}
	if strings.HasPrefix(w.Header().Get("Content-Type"), "application/json") && r.Method != "HEAD" {
		if err := json.Unmarshal(w.Body.Bytes(), &p.object); err != nil {
			t.Fatalf("%s %s: %d %q: %v", r.Method, r.URL.Path, w.Code, w.Body, err)
		}
	}
	return p
}

func (p reply) str(name string) string {
	s, _ := p.object[name].(string)
	return s
}

// want fails the test if the answer is not this status and error; "" is a success.
func (p reply) want(t testing.TB, status int, code string) {
	t.Helper()
	if p.Code != status || p.str("error") != code {
		t.Errorf("got %d %s, want %d %q", p.Code, p.Body, status, code)
	}
}

// form posts a form.
func (e *edge) form(t testing.TB, path string, values url.Values, headers ...string) reply {
	t.Helper()
	return e.raw(t, "POST", path, values.Encode(), append([]string{"Content-Type: " + formType}, headers...)...)
}

func (e *edge) raw(t testing.TB, method, path, body string, headers ...string) reply {
	t.Helper()
	r := httptest.NewRequest(method, "/", strings.NewReader(body))
	r.URL, r.RequestURI = &url.URL{Path: path}, path
	for _, h := range headers {
		name, value, _ := strings.Cut(h, ": ")
		r.Header.Add(name, value)
	}
	return e.do(t, r)
}

func (e *edge) get(t testing.TB, target string, headers ...string) reply {
	t.Helper()
	path, query, _ := strings.Cut(target, "?")
	r := httptest.NewRequest("GET", "/", nil)
	r.URL, r.RequestURI = &url.URL{Path: path, RawQuery: query}, target
	for _, h := range headers {
		name, value, _ := strings.Cut(h, ": ")
		r.Header.Add(name, value)
	}
	return e.do(t, r)
}

// register registers a client and returns what it is told.
func (e *edge) register(t testing.TB, metadata string) reply {
	t.Helper()
	return e.raw(t, "POST", "/oauth2/registration", metadata, "Content-Type: application/json")
}

// client registers the usual public client.
func (e *edge) client(t testing.TB) string {
	t.Helper()
	p := e.register(t, `{"client_name":"App","client_uri":"https://example.com/","redirect_uris":["`+redirect+`"],
		"grant_types":["authorization_code","refresh_token","`+deviceType+`"],"token_endpoint_auth_method":"none"}`)
	p.want(t, 201, "")
	return p.str("client_id")
}

// authorization are the parameters of the usual authorization request.
func authorization(client, scope string, change ...string) url.Values {
	v := url.Values{
		"response_type": {"code"}, "client_id": {client}, "redirect_uri": {redirect}, "scope": {scope}, "state": {"s t/+=&"},
		"code_challenge": {challengeOf(verifier)}, "code_challenge_method": {"S256"},
	}
	for _, c := range change {
		name, value, set := strings.Cut(c, "=")
		if !set {
			v.Del(name)
			continue
		}
		v.Set(name, value)
	}
	return v
}

// authorize sends the person's browser to the authorization endpoint.
func (e *edge) authorize(t testing.TB, v url.Values) reply {
	t.Helper()
	r := httptest.NewRequest("GET", "/authorize?"+v.Encode(), nil)
	for _, c := range e.jar {
		r.AddCookie(c)
	}
	p := e.do(t, r)
	e.jar = append(e.jar, p.Result().Cookies()...)
	return p
}

// grantOf is the grant whose consent page the browser was sent to.
func grantOf(t testing.TB, p reply) ulid.ULID {
	t.Helper()
	id, ok := strings.CutPrefix(p.Header().Get("Location"), issuer+"consent/")
	if !ok || p.Code != http.StatusSeeOther {
		t.Fatalf("got %d, Location %q, want a consent page", p.Code, p.Header().Get("Location"))
	}
	return ulid.MustParse(id)
}

func (e *edge) browser(t testing.TB) auth.Browser {
	t.Helper()
	r := httptest.NewRequest("GET", "/", nil)
	for _, c := range e.jar {
		r.AddCookie(c)
	}
	b, ok := e.cookies.Browser(r)
	if !ok {
		t.Fatal("the browser has no cookie")
	}
	return b
}

// grant reads a pending or decided grant.
func (e *edge) grant(t testing.TB, id ulid.ULID) store.Grant {
	t.Helper()
	g, _, err := e.Grant(t.Context(), id, e.browser(t).Digest())
	if err != nil {
		t.Fatal(err)
	}
	return g
}

// signedIn is alice's sign-in, made once.
func (e *edge) signedIn(t testing.TB) token.Secret {
	t.Helper()
	if e.signIn.Cookie.Empty() {
		in, err := e.SignIn(t.Context(), auth.SignInParams{
			Name: "alice", Localpart: "alice", Password: token.NewSecret(authtest.Password), From: auth.From{Addr: authtest.Addr},
		})
		if err != nil {
			t.Fatal(err)
		}
		e.signIn = in
	}
	return e.signIn.Cookie
}

// code drives a request through consent, by the use case alone, and returns the code.
func (e *edge) code(t testing.TB, v url.Values) string {
	t.Helper()
	g := e.grant(t, grantOf(t, e.authorize(t, v)))
	cookie := e.signedIn(t)
	if e.signIn.Session.AuthenticatedAt.Before(g.MinAuthTime) {
		e.signIn = auth.SignedIn{}
		cookie = e.signedIn(t)
	}
	done, err := e.ApproveGrant(t.Context(), auth.ApproveParams{ID: g.ID, Browser: e.browser(t), Cookie: cookie, Scope: g.Scope})
	if err != nil {
		t.Fatal(err)
	}
	return done.Code.Reveal()
}

// exchange are the parameters that redeem a code.
func exchange(client, code string, change ...string) url.Values {
	v := url.Values{
		"grant_type": {"authorization_code"}, "client_id": {client}, "code": {code}, "redirect_uri": {redirect}, "code_verifier": {verifier},
	}
	for _, c := range change {
		name, value, set := strings.Cut(c, "=")
		if !set {
			v.Del(name)
			continue
		}
		v.Set(name, value)
	}
	return v
}

// tokens is the whole code flow.
func (e *edge) tokens(t testing.TB, client, scope string, change ...string) reply {
	t.Helper()
	p := e.form(t, "/oauth2/token", exchange(client, e.code(t, authorization(client, scope, change...))))
	p.want(t, 200, "")
	return p
}

func (e *edge) refresh(t testing.TB, client, refreshToken string, change ...string) reply {
	t.Helper()
	v := url.Values{"grant_type": {"refresh_token"}, "client_id": {client}, "refresh_token": {refreshToken}}
	for _, c := range change {
		name, value, _ := strings.Cut(c, "=")
		v.Set(name, value)
	}
	return e.form(t, "/oauth2/token", v)
}

// verdict is what the gate says of an access token.
func (e *edge) verdict(t testing.TB, access string) auth.Verdict {
	t.Helper()
	return e.MustVerdict(t, token.NewSecret(access))
}
