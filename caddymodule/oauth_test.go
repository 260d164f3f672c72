package caddymodule

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/caddy-matrix/caddy-matrix-auth/internal/authtest"
	"github.com/caddy-matrix/caddy-matrix-auth/internal/mxid"
)

const (
	redirectURI = "https://app.example.com/callback?keep=%41"
	verifier    = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk" // RFC 7636 appendix B
)

// post posts a form to the public site.
func (e *edge) post(path string, form url.Values) answer {
	e.t.Helper()
	return e.send("POST", path, form.Encode(), "application/x-www-form-urlencoded", nil)
}

// send makes a request to the public site with further headers.
func (e *edge) send(method, path, body, contentType string, header http.Header) answer {
	e.t.Helper()
	req, err := http.NewRequest(method, "http://"+e.public+path, strings.NewReader(body))
	if err != nil {
		e.t.Fatal(err)
	}
	if header != nil {
		req.Header = header
	}
	if contentType != "" {
		req.Header.Set("Content-Type", contentType)
	}
	resp, err := patiently(req, transport.RoundTrip)
	if err != nil {
		e.t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		e.t.Fatal(err)
	}
	return answer{resp.StatusCode, resp.Header, string(text), resp.Close}
}

// register registers a client as Matrix clients do.
func (e *edge) register() answer {
	e.t.Helper()
	return e.send("POST", "/oauth2/registration", `{"client_name":"App","client_uri":"https://app.example.com/","redirect_uris":["`+redirectURI+
		`"],"token_endpoint_auth_method":"none","grant_types":["authorization_code","refresh_token"],"response_types":["code"]}`,
		"application/json", nil)
}

// mustRegister returns the client's ID.
func (e *edge) mustRegister() string {
	e.t.Helper()
	a := e.register()
	if a.status != 201 || a.text("client_id") == "" {
		e.t.Fatalf("registration: %d %s", a.status, a.body)
	}
	return a.text("client_id")
}

// authorizeURL is where a client sends a person.
func (e *edge) authorizeURL(client string, device mxid.DeviceID) string {
	challenge := sha256.Sum256([]byte(verifier))
	return "http://" + e.public + "/authorize?" + url.Values{
		"response_type": {"code"}, "client_id": {client}, "redirect_uri": {redirectURI}, "state": {"s t"},
		"scope":                 {"urn:matrix:client:api:* urn:matrix:client:device:" + string(device)},
		"code_challenge_method": {"S256"}, "code_challenge": {base64.RawURLEncoding.EncodeToString(challenge[:])},
	}.Encode()
}

// mustAuthorize lets a person sign in and agree, and returns the code.
func (e *edge) mustAuthorize(p *person, client string, device mxid.DeviceID) string {
	e.t.Helper()
	p.open(e.authorizeURL(client, device))
	if strings.HasPrefix(p.at.Path, "/login") {
		p.submit(url.Values{"username": {"alice"}, "password": {authtest.Password}})
	}
	p.submit(url.Values{"decision": {"allow"}})
	to := p.sentTo()
	q := to.Query()
	if !strings.HasPrefix(to.String(), redirectURI) || q.Get("state") != "s t" || q.Get("iss") != "http://"+e.public+"/" || q.Get("code") == "" {
		e.t.Fatalf("sent to %s", to)
	}
	return q.Get("code")
}

func (e *edge) redeem(client, code string) answer {
	e.t.Helper()
	return e.post("/oauth2/token", url.Values{
		"grant_type": {"authorization_code"}, "client_id": {client}, "code": {code}, "redirect_uri": {redirectURI}, "code_verifier": {verifier},
	})
}

// mustSignIn is a whole sign-in with OAuth.
func (e *edge) mustSignIn(p *person, client string, device mxid.DeviceID) (access, refresh string) {
	e.t.Helper()
	a := e.redeem(client, e.mustAuthorize(p, client, device))
	if a.status != 200 {
		e.t.Fatalf("redeeming: %d %s", a.status, a.body)
	}
	return a.text("access_token"), a.text("refresh_token")
}

// lasts reports whether an access token is good for so many seconds, of which the last is not whole any more.
func lasts(a answer, seconds float64) bool {
	n, ok := a.field("expires_in").(float64)
	return ok && n <= seconds && n > seconds-10
}

// TestRefusalsDoNotFillTheLog: whoever asks for what is refused gets a page each time, and a line with the reference that is on
// it a bounded number of times.
func TestRefusalsDoNotFillTheLog(t *testing.T) {
	e := newEdge(t)
	e.mustLoad(e.config("rate_limit login 1 1m", ""))
	reference := regexp.MustCompile(`<dt>Reference</dt><dd><bdi dir="ltr">([A-Z2-7]{8})</bdi></dd>`)
	for path, status := range map[string]int{"/authorize?client_id=nobody": 400, "/device/" + strings.Repeat("x", 4000): 404} {
		shown := 0
		for range 100 {
			a := e.request("GET", path, "", "")
			if a.status != status {
				t.Fatalf("%.20s: got %d %s", path, a.status, a.body)
			}
			if found := reference.FindStringSubmatch(a.body); found != nil {
				shown++
				e.mustLog(`"reference":"` + found[1] + `"`)
			}
		}
		if shown == 0 || shown > 60 { // The while may have ended once.
			t.Errorf("%.20s: %d references of 100 refusals", path, shown)
		}
	}
	for range 100 {
		e.loginFrom("192.0.2.1")
	}
	log, err := os.ReadFile(e.log)
	if err != nil {
		t.Fatal(err)
	}
	if n := bytes.Count(log, []byte(`"reference"`)); n > 120 || bytes.Contains(log, []byte(`"page":"/device/`+strings.Repeat("x", 200))) {
		t.Errorf("got %d lines", n)
	}
	for _, line := range []string{`"msg":"request failed"`, `"msg":"login_failed"`} {
		if n := bytes.Count(log, []byte(line)); n == 0 || n > 60 {
			t.Errorf("got %d lines with %s of 100 logins", n, line)
		}
	}
}

// TestOAuthEdge is one OAuth session's life through a whole Caddy: register, authorize, sign in, agree, redeem, be known to
// Synapse, refresh, revoke, be dead.
func TestOAuthEdge(t *testing.T) {
	e := newEdge(t)
	e.mustLoad(e.config("", ""))
	e.mustAddUser("alice")
	client := e.mustRegister()
	p := e.newPerson()

	// Case 1: a code, and tokens for it, once.
	code := e.mustAuthorize(p, client, "PHONE")
	a := e.redeem(client, code)
	access, refresh := a.text("access_token"), a.text("refresh_token")
	if a.status != 200 || !strings.HasPrefix(access, "mat_") || !strings.HasPrefix(refresh, "mar_") || !lasts(a, 300) ||
		a.header.Get("Cache-Control") != "no-store" {
		t.Fatalf("redeeming: got %d %v %s", a.status, a.header, a.body)
	}
	if again := e.redeem(client, code); again.status != 400 || again.text("error") != "invalid_grant" {
		t.Errorf("redeeming again: got %d %s", again.status, again.body)
	}

	// Case 2: Synapse learns who it is; our cookies stay here.
	jar := http.Header{"Authorization": {"Bearer " + access}, "Cookie": {"a=1; matrix_auth_browser=b; __Host-matrix_auth_session=s; c=2"}}
	a = e.send("GET", "/_matrix/client/v3/account/whoami", "", "", jar)
	if a.status != 200 || a.text("username") != "alice" || a.text("device_id") != "PHONE" || a.text("client_id") != client {
		t.Fatalf("whoami: got %d %s", a.status, a.body)
	}
	if got := e.synapse.last(t).Header.Get("Cookie"); got != "a=1; c=2" {
		t.Errorf("cookies at Synapse: got %q, want none of ours", got)
	}
	e.mustLog("matrix_auth.audit", "session_started", `"method":"oauth2"`, `"grant":"authorization_code"`, client)

	// Case 3: refresh.
	a = e.post("/oauth2/token", url.Values{"grant_type": {"refresh_token"}, "client_id": {client}, "refresh_token": {refresh}})
	if a.status != 200 || a.text("access_token") == access {
		t.Fatalf("refresh: got %d %s", a.status, a.body)
	}
	access = a.text("access_token")
	if a = e.whoami(access); a.status != 200 {
		t.Errorf("whoami after refresh: got %d %s", a.status, a.body)
	}

	// Case 4: revocation, and the token is dead in the same instant, without Synapse.
	if a = e.post("/oauth2/revoke", url.Values{"token": {access}, "client_id": {client}}); a.status != 200 {
		t.Fatalf("revoke: got %d %s", a.status, a.body)
	}
	before := e.synapse.count()
	a = e.whoami(access)
	if a.status != 401 || a.text("errcode") != "M_UNKNOWN_TOKEN" || a.field("soft_logout") != false || e.synapse.count() != before {
		t.Errorf("whoami after revocation: got %d %s", a.status, a.body)
	}
	scrape := fetch(t, "GET", "http://"+e.internal+"/metrics", "", "")
	for _, want := range []string{
		`caddy_matrix_auth_tokens_issued_total{grant="authorization_code"}`, `caddy_matrix_auth_tokens_issued_total{grant="refresh_token"}`,
		`caddy_matrix_auth_requests_total{code="303",endpoint="authorize"}`, `caddy_matrix_auth_logins_total{method="browser",result="success"}`,
	} {
		if !strings.Contains(scrape.body, want) {
			t.Errorf("no metric %s", want)
		}
	}
}

// TestOAuthSurvivesReload: a sign-in that has begun before a reload ends after it, and so do sessions.
func TestOAuthSurvivesReload(t *testing.T) {
	e := newEdge(t)
	e.mustLoad(e.config("", ""))
	e.mustAddUser("alice")
	client, p := e.mustRegister(), e.newPerson()
	p.open(e.authorizeURL(client, "PHONE"))
	e.mustLoad(e.config("tokens {\naccess_ttl 10m\n}", ""))
	p.submit(url.Values{"username": {"alice"}, "password": {authtest.Password}})
	e.mustLoad(e.config("tokens {\naccess_ttl 20m\n}", ""))
	p.submit(url.Values{"decision": {"allow"}})
	a := e.redeem(client, p.sentTo().Query().Get("code"))
	if a.status != 200 || !lasts(a, 1200) {
		t.Errorf("got %d %s", a.status, a.body)
	}
}

// TestSessionCommandsCoverOAuth: list tells the client and the kind, end ends, a lock holds.
func TestSessionCommandsCoverOAuth(t *testing.T) {
	e := newEdge(t)
	e.mustLoad(e.config("", ""))
	e.mustAddUser("alice")
	client, p := e.mustRegister(), e.newPerson()
	access, refresh := e.mustSignIn(p, client, "PHONE")

	list := e.admin("GET", "/sessions", "")
	if list.status != 200 || list.text("kind") != "oauth2" || list.text("client_id") != client || list.text("device_id") != "PHONE" {
		t.Fatalf("list: got %d %s", list.status, list.body)
	}
	if a := e.admin("POST", "/users/{localpart}/lock", "", "localpart", "alice"); a.status != 200 {
		t.Fatalf("lock: got %d %s", a.status, a.body)
	}
	if a := e.whoami(access); a.status != 401 || a.text("errcode") != "M_USER_LOCKED" {
		t.Errorf("locked: got %d %s", a.status, a.body)
	}
	if a := e.admin("POST", "/users/{localpart}/unlock", "", "localpart", "alice"); a.status != 200 {
		t.Fatalf("unlock: got %d %s", a.status, a.body)
	}
	if a := e.whoami(access); a.status != 200 {
		t.Errorf("unlocked: got %d %s", a.status, a.body)
	}
	if a := e.admin("POST", "/sessions/{id}/end", "", "id", list.text("id")); a.status != 200 {
		t.Fatalf("end: got %d %s", a.status, a.body)
	}
	if a := e.whoami(access); a.status != 401 || a.text("errcode") != "M_UNKNOWN_TOKEN" {
		t.Errorf("ended: got %d %s", a.status, a.body)
	}
	a := e.post("/oauth2/token", url.Values{"grant_type": {"refresh_token"}, "client_id": {client}, "refresh_token": {refresh}})
	if a.status != 400 || a.text("error") != "invalid_grant" {
		t.Errorf("refresh of an ended session: got %d %s", a.status, a.body)
	}
	e.mustLog("matrix_auth.audit", "session_ended", `"method":"oauth2"`, client)
}

// TestStaticClient: a client of the configuration introspects, and is gone with it.
func TestStaticClient(t *testing.T) {
	e := newEdge(t)
	const media = "client media {\nsecret 0123456789abcdef\nintrospect\n}"
	e.mustLoad(e.config(media, ""))
	e.mustAddUser("alice")
	access, _ := e.mustSignIn(e.newPerson(), e.mustRegister(), "PHONE")
	ask := func() answer {
		return e.send("POST", "/oauth2/introspect", url.Values{"token": {access}}.Encode(), "application/x-www-form-urlencoded",
			http.Header{"Authorization": {"Basic " + base64.StdEncoding.EncodeToString([]byte("media:0123456789abcdef"))}})
	}
	if a := ask(); a.status != 200 || a.field("active") != true || a.text("username") != "alice" {
		t.Errorf("got %d %s", a.status, a.body)
	}
	if a := e.request("GET", "/.well-known/openid-configuration", "", ""); a.text("introspection_endpoint") == "" {
		t.Errorf("metadata without introspection_endpoint: %s", a.body)
	}
	e.mustLoad(e.config("", ""))
	if a := ask(); a.status != 401 {
		t.Errorf("taken out: got %d %s", a.status, a.body)
	}
	if a := e.request("GET", "/.well-known/openid-configuration", "", ""); a.text("introspection_endpoint") != "" {
		t.Errorf("metadata with introspection_endpoint: %s", a.body)
	}
}

// TestStaticClientPutBack: a client taken out of the configuration by mistake loses nobody.
func TestStaticClientPutBack(t *testing.T) {
	e := newEdge(t)
	const app = "client app {\nname App\nredirect_uri " + redirectURI + "\n}"
	e.mustLoad(e.config(app, ""))
	e.mustAddUser("alice")
	access, refresh := e.mustSignIn(e.newPerson(), "app", "PHONE")
	rotate := func() answer {
		return e.post("/oauth2/token", url.Values{"grant_type": {"refresh_token"}, "client_id": {"app"}, "refresh_token": {refresh}})
	}

	e.mustLoad(e.config("", ""))
	if a := e.whoami(access); a.status != 401 || a.text("errcode") != "M_UNKNOWN_TOKEN" || a.field("soft_logout") != true {
		t.Errorf("whoami: got %d %s, want a soft logout", a.status, a.body)
	}
	if a := rotate(); a.status != 503 || a.body != "" || a.header.Get("Retry-After") == "" {
		t.Errorf("refresh: got %d %q, want an empty 503", a.status, a.body)
	}
	p := e.newPerson()
	if p.open(e.authorizeURL("app", "LAPTOP")); p.status != 400 || !strings.Contains(p.body, "<!doctype html>") {
		t.Errorf("a new request: got %d %s, want a page", p.status, p.body)
	}

	e.mustLoad(e.config(app, ""))
	if a := e.whoami(access); a.status != 200 {
		t.Errorf("put back: got %d %s", a.status, a.body)
	}
	if a := rotate(); a.status != 200 {
		t.Errorf("put back, refresh: got %d %s", a.status, a.body)
	}
}

// TestBranding shows on the pages.
func TestBranding(t *testing.T) {
	e := newEdge(t)
	const style = ":root { --accent: #7a1fa2; }"
	file := filepath.Join(t.TempDir(), "brand.css")
	if err := os.WriteFile(file, []byte(style+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	branding := fmt.Sprintf(`branding {
		name "Example <Chat>"
		policy_uri https://example.org/privacy
		tos_uri https://example.org/terms
		imprint https://example.org/about
		css %q
	}`, file)
	e.mustLoad(e.config(branding, ""))
	a := e.request("GET", "/login", "", "")
	for _, want := range []string{"Example &lt;Chat&gt;", "https://example.org/privacy", "https://example.org/terms", "https://example.org/about"} {
		if a.status != 200 || !strings.Contains(a.body, want) {
			t.Errorf("no %s on the page: %d", want, a.status)
		}
	}
	links := regexp.MustCompile(`<link rel="stylesheet" href="(/assets/\w+\.\w+\.css)">`).FindAllStringSubmatch(a.body, -1)
	if len(links) != 2 {
		t.Fatalf("got %q, want the pages' own style sheet and the operator's", links)
	}
	a = e.request("GET", links[1][1], "", "")
	if a.status != 200 || a.body != style || a.header.Get("Content-Type") != "text/css; charset=utf-8" ||
		a.header.Get("Cache-Control") != "public, max-age=31536000, immutable" {
		t.Errorf("got %d %v %s", a.status, a.header, a.body)
	}
	// A page from before a reload finds the new one.
	writeFile(t, file, ":root {}")
	e.mustLoad(e.config(branding, ""))
	if a = e.request("GET", links[1][1], "", ""); a.status != 200 || a.body != ":root {}" || a.header.Get("Cache-Control") != "no-store" {
		t.Errorf("after a reload: got %d %v %s", a.status, a.header, a.body)
	}
	for text, want := range map[string]string{"": "is the file there, readable and not empty?", strings.Repeat("x", maxCSS+1): "has 65537 bytes, more than 65536"} {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := load(e.config(branding, "")); err == nil || !strings.Contains(err.Error(), "branding: css: ") || !strings.Contains(err.Error(), want) {
			t.Errorf("%.9s: got %v, want %s", text, err, want)
		}
	}
}

// TestAuthorizeLimit: what nobody has authenticated for is limited by address.
func TestAuthorizeLimit(t *testing.T) {
	e := newEdge(t)
	e.mustLoad(e.config("rate_limit authorize 2 1h\nrate_limit client_registration 1 1h\nrate_limit device_code off", ""))
	client, p := e.mustRegister(), e.newPerson()
	for _, want := range []int{200, 200, 429} {
		if p.open(e.authorizeURL(client, "PHONE")); p.status != want {
			t.Errorf("authorize: got %d, want %d", p.status, want)
		}
	}
	if a := e.register(); a.status != 429 || a.header.Get("Retry-After") == "" {
		t.Errorf("registration: got %d %v %s", a.status, a.header, a.body)
	}
	for range 30 {
		if a := e.post("/oauth2/device", url.Values{"client_id": {client}}); a.status == 429 {
			t.Fatalf("device codes, without a limit: got %d %s", a.status, a.body)
		}
	}
}

// TestCachesAndCORS through a whole Caddy: one header each, and nothing of ours is kept but metadata, keys and assets.
func TestCachesAndCORS(t *testing.T) {
	e := newEdge(t)
	e.mustLoad(e.config("", ""))
	for _, tc := range []struct {
		method, path string
		cached, cors bool
	}{
		{"GET", "/.well-known/openid-configuration", true, true},
		{"GET", "/.well-known/oauth-authorization-server", true, true},
		{"GET", "/_matrix/client/v1/auth_metadata", true, true},
		{"GET", "/.well-known/matrix/client", true, true},
		{"GET", "/oauth2/keys.json", true, true},
		{"POST", "/oauth2/token", false, true},
		{"POST", "/oauth2/revoke", false, true},
		{"POST", "/oauth2/registration", false, true},
		{"POST", "/oauth2/device", false, true},
		{"GET", "/oauth2/userinfo", false, true},
		{"POST", "/oauth2/introspect", false, false},
		{"GET", "/authorize", false, false},
		{"GET", "/login", false, false},
		{"GET", "/link", false, false},
		{"GET", "/account/", false, false},
		{"GET", "/consent/01ARZ3NDEKTSV4RRFFQ69G5FAV", false, false},
	} {
		a := e.send(tc.method, tc.path, "", "", http.Header{"Origin": {"https://app.example.com"}})
		if got := a.header.Values("Cache-Control"); len(got) != 1 || strings.Contains(got[0], "no-store") == tc.cached {
			t.Errorf("%s %s: %d, Cache-Control %q", tc.method, tc.path, a.status, got)
		}
		want := 0
		if tc.cors {
			want = 1
		}
		if got := a.header.Values("Access-Control-Allow-Origin"); len(got) != want || want == 1 && got[0] != "*" {
			t.Errorf("%s %s: %d, Access-Control-Allow-Origin %q", tc.method, tc.path, a.status, got)
		}
		if !tc.cors {
			continue
		}
		a = e.send("OPTIONS", tc.path, "", "", http.Header{"Origin": {"https://app.example.com"}, "Access-Control-Request-Method": {tc.method}})
		if got := a.header.Values("Access-Control-Allow-Origin"); a.status/100 != 2 || len(got) != 1 || len(a.header.Values("Access-Control-Allow-Headers")) != 1 {
			t.Errorf("OPTIONS %s: %d %v", tc.path, a.status, a.header)
		}
	}
}

// TestPagesOnTheIssuersHostOnly: elsewhere a GET is sent there, and a form is nobody's.
func TestPagesOnTheIssuersHostOnly(t *testing.T) {
	e := newEdge(t)
	other := "localhost:" + port(e.public)
	e.mustLoad(strings.Replace(e.config("", ""), "http://"+e.public+" {", "http://"+e.public+", http://"+other+" {", 1))
	at := func(method, path string) answer { return fetch(t, method, "http://"+other+path, "", "") }
	for _, path := range []string{"/login", "/account/", "/authorize?client_id=x"} {
		if a := at("GET", path); a.status != 303 || a.header.Get("Location") != "http://"+e.public+path {
			t.Errorf("GET %s: got %d to %q", path, a.status, a.header.Get("Location"))
		}
		if a := at("POST", path); a.status != 404 {
			t.Errorf("POST %s: got %d", path, a.status)
		}
	}
	if a := at("GET", "/.well-known/openid-configuration"); a.text("issuer") != "http://"+e.public+"/" {
		t.Errorf("issuer: got %s", a.body)
	}
}
