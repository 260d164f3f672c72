package oidcprovider_test

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/oklog/ulid/v2"

	"github.com/caddy-matrix/caddy-matrix-auth/internal/auth"
	"github.com/caddy-matrix/caddy-matrix-auth/internal/authzresponse"
	"github.com/caddy-matrix/caddy-matrix-auth/oidcprovider"
	"github.com/caddy-matrix/caddy-matrix-auth/store"
)

// wantError fails the test unless the client is told this error in the query, with its state.
func wantError(t *testing.T, what string, p reply, code string) url.Values {
	t.Helper()
	u, err := url.Parse(p.Header().Get("Location"))
	if err != nil {
		t.Fatal(err)
	}
	q := u.Query()
	if p.Code != 303 || u.Host != "app.example.com" || q.Get("error") != code || q.Get("iss") != issuer || q.Has("code") {
		t.Errorf("%s: got %d, Location %q, want %s", what, p.Code, p.Header().Get("Location"), code)
	}
	return q
}

// wantPage fails the test unless a page was shown, and nobody redirected.
func wantPage(t *testing.T, e *edge, what string, p reply, status int, kind oidcprovider.ProblemKind) {
	t.Helper()
	last := oidcprovider.Problem{}
	if n := len(e.problems); n > 0 {
		last = e.problems[n-1]
	}
	if p.Code != status || p.Header().Get("Location") != "" || last.Kind != kind || p.Body.String() != string(kind) || len(last.Reference) != 8 {
		t.Errorf("%s: got %d, Location %q, %+v, want %d %s", what, p.Code, p.Header().Get("Location"), last, status, kind)
	}
}

// TestAUZ01_Request: what every client sends, by GET; a POST becomes one, with the cookies that it came without.
func TestAUZ01_Request(t *testing.T) {
	e := newEdge(t)
	c := e.client(t)
	v := authorization(c, fullScope, "nonce=n", "response_mode=fragment")
	g := e.grant(t, grantOf(t, e.authorize(t, v)))
	want := store.Grant{
		ID: g.ID, ClientID: c, RedirectURI: redirect, ResponseMode: "fragment", Scope: strings.Fields(fullScope), State: "s t/+=&", HasState: true,
		Nonce: "n", Challenge: challengeOf(verifier), Browser: e.browser(t).Digest(), CreatedAt: g.CreatedAt, Status: store.GrantPending,
	}
	if diff := cmp.Diff(want, g); diff != "" {
		t.Errorf("grant (-want +got):\n%s", diff)
	}
	post := e.form(t, "/authorize", v)
	location, ok := strings.CutPrefix(post.Header().Get("Location"), issuer+"authorize?")
	got, err := url.ParseQuery(location)
	if post.Code != 303 || !ok || err != nil {
		t.Fatalf("got %d, Location %q", post.Code, post.Header().Get("Location"))
	}
	if diff := cmp.Diff(v, got); diff != "" {
		t.Errorf("POST (-want +got):\n%s", diff)
	}
	if post.Result().Cookies() != nil && len(post.Result().Cookies()) > 0 {
		t.Error("a POST sets a cookie")
	}
}

// TestAUZ02_Pages: without a known client and its redirect URI, nobody is redirected.
func TestAUZ02_Pages(t *testing.T) {
	e := newEdge(t)
	c := e.client(t)
	for _, id := range []string{"client_id", "client_id=", "client_id=x", "client_id=" + ulid.Make().String(), "client_id=" + c + "x", "client_id=" + strings.Repeat("x", 300)} {
		wantPage(t, e, id, e.authorize(t, authorization(c, fullScope, id)), 400, oidcprovider.UnknownClient)
	}
	for _, uri := range []string{"redirect_uri", "redirect_uri=", "redirect_uri=https://evil.example/", "redirect_uri=" + redirect + "/"} {
		wantPage(t, e, uri, e.authorize(t, authorization(c, fullScope, uri)), 400, oidcprovider.BadRedirect)
	}
	if n := len(e.jar); n != 0 {
		t.Errorf("got %d cookies from pages", n)
	}
}

// TestAUZ03_E13_RedirectMatching: byte for byte, but for a port on loopback.
func TestAUZ03_E13_RedirectMatching(t *testing.T) {
	e := newEdge(t, func(s *auth.Settings) {
		s.Clients = map[string]auth.Client{"static": {Static: true, Client: store.Client{
			ID: "static", AuthMethod: "none", GrantTypes: []string{"authorization_code"}, RedirectURIs: []string{
				"https://app.example.com/cb", "https://app.example.com/?b=2&a=x%20y&flag", "com.Example.App:/cb", "com.example:cb", "com.example:/",
				"http://127.0.0.1/cb", "http://localhost/", "http://[::1]/cb?x=y", "http://127.0.0.1:9999/fixed", "https://app.example.com/a%2Fb",
			},
		}}}
	})
	ask := func(uri string) reply { return e.authorize(t, authorization("static", fullScope, "redirect_uri="+uri)) }
	for _, uri := range []string{
		"https://app.example.com/cb", "https://app.example.com/?b=2&a=x%20y&flag", "com.Example.App:/cb", "com.example:cb", "com.example:/",
		"http://127.0.0.1/cb", "http://127.0.0.1:1/cb", "http://127.0.0.1:65535/cb", "http://localhost:8080/", "http://[::1]:4321/cb?x=y",
		"http://127.0.0.1:9999/fixed", "https://app.example.com/a%2Fb",
	} {
		if got := e.grant(t, grantOf(t, ask(uri))).RedirectURI; got != uri {
			t.Errorf("%s: got %s", uri, got)
		}
		p := e.authorize(t, authorization("static", fullScope, "redirect_uri="+uri, "code_challenge"))
		if got := p.Header().Get("Location"); !strings.HasPrefix(got, uri) || !strings.Contains(got, "error=invalid_request") {
			t.Errorf("%s: got an error to %s", uri, got)
		}
	}
	for _, uri := range []string{
		"https://app.example.com/CB", "https://APP.example.com/cb", "HTTPS://app.example.com/cb", "https://app.example.com:443/cb", "https://app.example.com/cb/",
		"https://app.example.com/cb?", "https://app.example.com/cb#", "https://app.example.com/cb#x", "https://app.example.com/x/../cb", "https://app.example.com/%63b",
		"https://app.example.com/cb%00", "https://app.example.com\\/cb", "https://user@app.example.com/cb", "https://app.example.com/?b=2&a=x+y&flag",
		"https://app.example.com/a/b", "https://app.example.com/a%2fb", "com.example.app:/cb", "com.example://", "com.example:",
		"https://127.0.0.1:1/cb", "http://localhost:1/cb", "http://[::1]:1/cb", "http://127.0.0.2:1/cb", "http://user@127.0.0.1:1/cb", "http://127.0.0.1:1/cb#x",
		"http://127.0.0.1:/cb", "http://127.0.0.1:123456/cb", "http://127.0.0.1:1x/cb", "http://127.0.0.1:1@evil.example/cb", "http://127.0.0.1:1/cb/../x",
		"http://127.0.0.1:1\\cb", "http://127.0.0.1.evil.example/cb", "http://127.0.0.1:8888/fixed", "http://127.0.0.1/fixed", "http://127.0.0.1:+1/cb", " https://app.example.com/cb",
	} {
		wantPage(t, e, uri, ask(uri), 400, oidcprovider.BadRedirect)
	}
}

// TestAUZ04_E15_PKCE: S256 for everybody, told at once; without a method it would be plain.
func TestAUZ04_E15_PKCE(t *testing.T) {
	e := newEdge(t, func(s *auth.Settings) {
		s.Clients = map[string]auth.Client{"confidential": {Static: true, Client: store.Client{
			ID: "confidential", AuthMethod: "client_secret_basic", GrantTypes: []string{"authorization_code"}, RedirectURIs: []string{redirect},
		}}}
	})
	for _, c := range []string{e.client(t), "confidential"} {
		for _, change := range [][]string{
			{"code_challenge"}, {"code_challenge="}, {"code_challenge_method"}, {"code_challenge_method="}, {"code_challenge_method=plain"}, {"code_challenge_method=s256"},
			{"code_challenge_method=S512"}, {"code_challenge=" + challengeOf("x") + "="}, {"code_challenge=" + challengeOf("x")[1:]},
			{"code_challenge=" + strings.Repeat("!", 43)}, {"code_challenge=" + verifier + "x", "code_challenge_method=plain"}, {"code_challenge", "code_challenge_method"},
		} {
			wantError(t, c+" "+strings.Join(change, " "), e.authorize(t, authorization(c, fullScope, change...)), "invalid_request")
		}
	}
}

// TestAUZ05_AUZ06_AUZ07_Responses: errors in the mode asked for, with state byte for byte, next to what was registered.
func TestAUZ05_AUZ06_AUZ07_Responses(t *testing.T) {
	e := newEdge(t)
	c := e.register(t, `{"client_uri":"https://example.com","redirect_uris":["`+redirect+`","`+redirect+`?a=x%20y&b"],"token_endpoint_auth_method":"none"}`).str("client_id")
	const tail = "error=invalid_request&error_description=code_challenge%20is%20missing&state=s%20t%2F%2B%3D%26&iss=https%3A%2F%2Fmatrix.example.org%2F"
	for _, tc := range []struct {
		change []string
		want   string
	}{
		{nil, redirect + "?" + tail + "#"},
		{[]string{"response_mode="}, redirect + "?" + tail + "#"}, // mautrix-go sends it empty.
		{[]string{"response_mode=query"}, redirect + "?" + tail + "#"},
		{[]string{"response_mode=fragment"}, redirect + "#" + tail},
		{[]string{"redirect_uri=" + redirect + "?a=x%20y&b"}, redirect + "?a=x%20y&b&" + tail + "#"},
		{[]string{"redirect_uri=" + redirect + "?a=x%20y&b", "response_mode=fragment"}, redirect + "?a=x%20y&b#" + tail},
		{[]string{"state"}, redirect + "?" + strings.Replace(tail, "&state=s%20t%2F%2B%3D%26", "", 1) + "#"},
		{[]string{"state="}, redirect + "?" + strings.Replace(tail, "&state=s%20t%2F%2B%3D%26", "", 1) + "#"},
	} {
		p := e.authorize(t, authorization(c, fullScope, append(tc.change, "code_challenge")...))
		if got := p.Header().Get("Location"); p.Code != 303 || got != tc.want {
			t.Errorf("%v:\ngot  %d %s\nwant %s", tc.change, p.Code, got, tc.want)
		}
	}
	wantError(t, "unknown mode", e.authorize(t, authorization(c, fullScope, "response_mode=web_message")), "invalid_request")
	long := strings.Repeat("Ünï<>\"'&%2B\n", 300)
	q := wantError(t, "long state", e.authorize(t, authorization(c, fullScope, "state="+long, "code_challenge")), "invalid_request")
	if q.Get("state") != long {
		t.Error("a long state has changed")
	}
	if got := e.grant(t, grantOf(t, e.authorize(t, authorization(c, fullScope, "state="+long)))).State; got != long {
		t.Error("a long state has changed in the grant")
	}
	e.authorize(t, authorization(c, fullScope, "response_mode=form_post", "code_challenge"))
	want := authzresponse.Response{
		RedirectURI: redirect, Mode: "form_post", Issuer: issuer, State: "s t/+=&", HasState: true, Error: "invalid_request", Description: "code_challenge is missing",
	}
	if len(e.posted) != 1 || e.posted[0] != want {
		t.Errorf("form_post: got %+v, want %+v", e.posted, want)
	}
}

// TestAUZ05_FormPost: only to http addresses, and only with a state that a form carries unchanged.
func TestAUZ05_FormPost(t *testing.T) {
	e := newEdge(t)
	native := e.register(t, `{"client_uri":"https://example.com","redirect_uris":["com.example:/cb"],"token_endpoint_auth_method":"none","application_type":"native"}`).str("client_id")
	p := e.authorize(t, authorization(native, fullScope, "redirect_uri=com.example:/cb", "response_mode=form_post"))
	if got := p.Header().Get("Location"); !strings.HasPrefix(got, "com.example:/cb?error=invalid_request&") {
		t.Errorf("custom scheme: got %d %s", p.Code, got)
	}
	c := e.client(t)
	if g := e.grant(t, grantOf(t, e.authorize(t, authorization(c, fullScope, "response_mode=form_post")))); g.ResponseMode != "form_post" {
		t.Errorf("got mode %q", g.ResponseMode)
	}
	for _, state := range []string{"a\nb", "a\rb", "a\x01b", "a\x7fb"} {
		q := wantError(t, state, e.authorize(t, authorization(c, fullScope, "response_mode=form_post", "state="+state)), "invalid_request")
		if q.Get("state") != state {
			t.Errorf("got state %q, want %q", q.Get("state"), state)
		}
	}
}

// TestAUZ08_UnknownParameters are ignored, and an empty one is as if it was not there.
func TestAUZ08_UnknownParameters(t *testing.T) {
	e := newEdge(t)
	c := e.client(t)
	for _, extra := range []string{
		"extra=foobar", "display=touch", "display=x", "claims_locales=fr", "acr_values=1 2", "id_token_hint=garbage", "id_token_hint=a.b.c", "ui_locales=xx-yy zz",
		"ui_locales=!!", "claims={", "nonce=" + strings.Repeat("n", 2000), "request=", "request_uri=", "registration=", "max_age=", "prompt=", "login_hint=", "response_mode=",
		"audience=x", "org.matrix.msc3824.action=register",
	} {
		grantOf(t, e.authorize(t, authorization(c, fullScope, extra)))
	}
}

// TestAUZ09_Repeated: a parameter that is sent twice makes the request invalid, whichever it is.
func TestAUZ09_Repeated(t *testing.T) {
	e := newEdge(t)
	c := e.client(t)
	for _, name := range []string{"response_type", "scope", "code_challenge", "code_challenge_method", "response_mode", "nonce", "extra", "prompt", "max_age"} {
		v := authorization(c, fullScope)
		v[name] = []string{"a", "b"}
		if q := wantError(t, name, e.authorize(t, v), "invalid_request"); q.Get("state") != "s t/+=&" {
			t.Errorf("%s: got state %q", name, q.Get("state"))
		}
		same := authorization(c, fullScope, name+"=x")
		same.Add(name, "x")
		wantError(t, name, e.authorize(t, same), "invalid_request")
	}
	v := authorization(c, fullScope)
	v.Add("state", "other")
	if q := wantError(t, "state", e.authorize(t, v), "invalid_request"); q.Has("state") {
		t.Errorf("got state %q of two", q.Get("state"))
	}
	for name, kind := range map[string]oidcprovider.ProblemKind{"client_id": oidcprovider.UnknownClient, "redirect_uri": oidcprovider.BadRedirect} {
		v := authorization(c, fullScope)
		v.Add(name, "https://evil.example/")
		wantPage(t, e, name, e.authorize(t, v), 400, kind)
	}
	v = authorization(c, fullScope)
	v.Add("scope", "")
	v["extra"] = []string{"", ""}
	grantOf(t, e.authorize(t, v))
}

// TestAUZ10_AUZ11_E14_Prompt: unknown values are ignored, consent and create are noted, none stands alone.
func TestAUZ10_AUZ11_E14_Prompt(t *testing.T) {
	e := newEdge(t)
	c := e.client(t)
	for prompt, want := range map[string][]string{
		"consent": {"consent"}, "create": {"create"}, "none": {"none"}, "select_account": {"select_account"}, "x": nil, "login  consent": {"login", "consent"},
		"consent x": {"consent"}, "": nil, "NONE": nil,
	} {
		g := e.grant(t, grantOf(t, e.authorize(t, authorization(c, fullScope, "prompt="+prompt))))
		if diff := cmp.Diff(want, g.Prompt); diff != "" {
			t.Errorf("%q (-want +got):\n%s", prompt, diff)
		}
	}
	for _, prompt := range []string{"none login", "consent none", "none x"} {
		wantError(t, prompt, e.authorize(t, authorization(c, fullScope, "prompt="+prompt)), "invalid_request")
	}
}

// TestAUZ12_MinAuthTime: prompt=login and max_age ask for a password that is recent enough.
func TestAUZ12_MinAuthTime(t *testing.T) {
	e := newEdge(t)
	c := e.client(t)
	at := e.Now()
	for _, tc := range []struct {
		change []string
		want   time.Time
	}{
		{nil, time.Time{}},
		{[]string{"prompt=login"}, at},
		{[]string{"max_age=0"}, at},
		{[]string{"max_age=300"}, at.Add(-5 * time.Minute)},
		{[]string{"max_age=300", "prompt=login"}, at},
		{[]string{"max_age=99999999999999999999999"}, time.Time{}},
		{[]string{"max_age=9223372036854775807"}, time.Time{}},
	} {
		g := e.grant(t, grantOf(t, e.authorize(t, authorization(c, fullScope, tc.change...))))
		if !g.MinAuthTime.Equal(tc.want) {
			t.Errorf("%v: got %v, want %v", tc.change, g.MinAuthTime, tc.want)
		}
	}
	for _, bad := range []string{"-1", "abc", "1.5", "0x10", " 1", "+1", "1e3"} {
		wantError(t, bad, e.authorize(t, authorization(c, fullScope, "max_age="+bad)), "invalid_request")
	}
	g := e.grant(t, grantOf(t, e.authorize(t, authorization(c, fullScope, "prompt=login"))))
	cookie := e.signedIn(t)
	e.Clock.Advance(time.Second)
	g = e.grant(t, grantOf(t, e.authorize(t, authorization(c, fullScope, "prompt=login"))))
	_, err := e.ApproveGrant(t.Context(), auth.ApproveParams{ID: g.ID, Browser: e.browser(t), Cookie: cookie, Scope: g.Scope})
	if err != auth.ErrSignInNeeded {
		t.Errorf("got %v, want %v", err, auth.ErrSignInNeeded)
	}
}

// TestAUZ13_LoginHint: a user of this server, in any form; anything else is nobody.
func TestAUZ13_LoginHint(t *testing.T) {
	e := newEdge(t)
	c := e.client(t)
	for hint, want := range map[string]string{
		"mxid:@alice:example.org": "alice", "@alice:example.org": "alice", "alice": "alice", "Alice": "alice", "mxid:alice": "alice",
		"mxid:@alice:other.example": "", "@alice:other.example": "", "<script>": "", "a b": "", "mxid:": "", "mxid:@:example.org": "", strings.Repeat("x", 300): "",
	} {
		if got := e.grant(t, grantOf(t, e.authorize(t, authorization(c, fullScope, "login_hint="+hint)))).LoginHint; got != want {
			t.Errorf("%q: got %q, want %q", hint, got, want)
		}
	}
}

// TestAUZ14_RequestObjects: the standard errors.
func TestAUZ14_RequestObjects(t *testing.T) {
	e := newEdge(t)
	c := e.client(t)
	for name, code := range map[string]string{
		"request": "request_not_supported", "request_uri": "request_uri_not_supported", "registration": "registration_not_supported",
	} {
		wantError(t, name, e.authorize(t, authorization(c, fullScope, name+"=eyJhbGciOiJub25lIn0.e30.")), code)
	}
}

func TestAUZ15_ResponseTypes(t *testing.T) {
	e := newEdge(t)
	c := e.client(t)
	wantError(t, "none", e.authorize(t, authorization(c, fullScope, "response_type")), "invalid_request")
	for _, rt := range []string{"token", "id_token", "id_token token", "code id_token", "code token", "CODE", "x", "none"} {
		wantError(t, rt, e.authorize(t, authorization(c, fullScope, "response_type="+rt)), "unsupported_response_type")
	}
	device := e.register(t, `{"client_uri":"https://example.com","redirect_uris":["`+redirect+`"],"token_endpoint_auth_method":"none","grant_types":["`+deviceType+`"]}`).str("client_id")
	wantError(t, "device client", e.authorize(t, authorization(device, fullScope)), "unauthorized_client")
}

// TestAUZ16_Denied: the person's no leaves no code; the page that says so to the client is elsewhere.
func TestAUZ16_Denied(t *testing.T) {
	e := newEdge(t)
	c := e.client(t)
	id := grantOf(t, e.authorize(t, authorization(c, fullScope)))
	if _, err := e.DenyGrant(t.Context(), auth.DenyParams{ID: id, Browser: e.browser(t).Digest()}); err != nil {
		t.Fatal(err)
	}
	if _, err := e.ApproveGrant(t.Context(), auth.ApproveParams{ID: id, Browser: e.browser(t), Cookie: e.signedIn(t)}); err != auth.ErrDone {
		t.Errorf("got %v, want %v", err, auth.ErrDone)
	}
}

// TestAUZ19_AUZ20_Headers: 303, nothing kept, nothing for scripts; a browser cookie that only we read.
func TestAUZ19_AUZ20_Headers(t *testing.T) {
	e := newEdge(t)
	c := e.client(t)
	for what, v := range map[string]url.Values{"grant": authorization(c, fullScope), "error": authorization(c, fullScope, "code_challenge"), "page": authorization("x", fullScope)} {
		p := e.authorize(t, v)
		if got := p.Header().Get("Access-Control-Allow-Origin"); got != "" {
			t.Errorf("%s: got Access-Control-Allow-Origin %q", what, got)
		}
		if p.Header().Get("Cache-Control") != "no-store" {
			t.Errorf("%s: got Cache-Control %q", what, p.Header().Get("Cache-Control"))
		}
		if what != "page" && (p.Code != 303 || p.Body.Len() != 0 || p.Header().Get("Referrer-Policy") != "no-referrer") {
			t.Errorf("%s: got %d %q, %v", what, p.Code, p.Body, p.Header())
		}
	}
	if len(e.jar) != 1 {
		t.Fatalf("got cookies %v, want one", e.jar)
	}
	for _, cookie := range e.jar {
		if cookie.Name != "__Host-matrix_auth_browser" || !cookie.HttpOnly || !cookie.Secure || cookie.Path != "/" || cookie.SameSite != http.SameSiteLaxMode || cookie.Domain != "" {
			t.Errorf("got %v", cookie)
		}
	}
}

// TestAUZ25_Iss is in the responses because the document says so.
func TestAUZ25_Iss(t *testing.T) {
	e := newEdge(t)
	if document(t, e)["authorization_response_iss_parameter_supported"] != true {
		t.Error("iss is not announced")
	}
	wantError(t, "any error", e.authorize(t, authorization(e.client(t), "x")), "invalid_scope")
}

// TestAUZ26_Order: of scopes and parameters does not matter.
func TestAUZ26_Order(t *testing.T) {
	e := newEdge(t)
	c := e.client(t)
	p := e.get(t, "/authorize?state=x&scope=urn%3Amatrix%3Aclient%3Adevice%3AAAAAAAAAAA+urn:matrix:client:api:%2A&code_challenge="+challengeOf(verifier)+
		"&redirect_uri="+url.QueryEscape(redirect)+"&code_challenge_method=S256&client_id="+c+"&response_type=code")
	e.jar = p.Result().Cookies()
	if diff := cmp.Diff([]string{"urn:matrix:client:device:AAAAAAAAAA", apiScope}, e.grant(t, grantOf(t, p)).Scope); diff != "" {
		t.Errorf("scope (-want +got):\n%s", diff)
	}
}

// TestE27_Head has no effect.
func TestE27_Head(t *testing.T) {
	e := newEdge(t)
	c := e.client(t)
	e.Clock.Advance(time.Hour)
	r := httptest.NewRequest("HEAD", "/authorize?"+authorization(c, fullScope).Encode(), nil)
	p := e.do(t, r)
	if p.Code != 200 || p.Body.Len() != 0 || p.Header().Get("Location") != "" || len(p.Result().Cookies()) != 0 {
		t.Errorf("got %d %q %v", p.Code, p.Body, p.Header())
	}
	err := e.DB.View(func(tx *store.Tx) error {
		for g := range tx.Grants(ulid.ULID{}) {
			t.Errorf("got grant %v", g)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if p := e.raw(t, "HEAD", "/oauth2/userinfo", "", "Authorization: Bearer x"); p.Code != 200 || p.Body.Len() != 0 {
		t.Errorf("userinfo: got %d %q", p.Code, p.Body)
	}
}

// TestAuthorize_Hosts: the endpoint answers on the issuer's host alone, whatever the headers say.
func TestAuthorize_Hosts(t *testing.T) {
	e := newEdge(t)
	query := "/authorize?" + authorization(e.client(t), fullScope).Encode()
	for _, host := range []string{"evil.example", "matrix.example.org.evil.example", "127.0.0.1"} {
		r := httptest.NewRequest("GET", query, nil)
		r.Host = host
		p := e.do(t, r)
		if p.Code != 303 || p.Header().Get("Location") != "https://matrix.example.org"+query || len(p.Result().Cookies()) != 0 {
			t.Errorf("%s: got %d, Location %q", host, p.Code, p.Header().Get("Location"))
		}
		r = httptest.NewRequest("POST", "/authorize", strings.NewReader("a=b"))
		r.Host = host
		if p := e.do(t, r); p.Code != 404 {
			t.Errorf("%s: POST got %d, want 404", host, p.Code)
		}
	}
	r := httptest.NewRequest("GET", query, nil)
	r.Host = "MATRIX.example.org:443"
	r.Header.Set("X-Forwarded-Host", "evil.example")
	r.Header.Set("X-Forwarded-Proto", "http")
	grantOf(t, e.do(t, r))
}

// TestAuthorize_Bounds: 16 KiB, and so many an address and minute.
func TestAuthorize_Bounds(t *testing.T) {
	e := newEdge(t, func(s *auth.Settings) { s.AuthorizeLimit = auth.Limit{Burst: 2, Window: time.Minute} })
	c := e.client(t)
	wantPage(t, e, "long", e.authorize(t, authorization(c, fullScope, "state="+strings.Repeat("x", 16<<10))), 414, oidcprovider.BadRequest)
	wantPage(t, e, "escape", e.get(t, "/authorize?client_id=%zz"), 400, oidcprovider.BadRequest)
	wantPage(t, e, "semicolon", e.get(t, "/authorize?client_id=x;y"), 400, oidcprovider.BadRequest)
	wantPage(t, e, "long POST", e.form(t, "/authorize", url.Values{"state": {strings.Repeat("x", 16<<10)}}), 413, oidcprovider.BadRequest)
	wantPage(t, e, "JSON POST", e.raw(t, "POST", "/authorize", "{}", "Content-Type: application/json"), 400, oidcprovider.BadRequest)
	wantPage(t, e, "bad POST", e.raw(t, "POST", "/authorize", "a=%zz", "Content-Type: "+formType), 400, oidcprovider.BadRequest)
	for range 2 {
		grantOf(t, e.authorize(t, authorization(c, fullScope)))
	}
	p := e.authorize(t, authorization(c, fullScope))
	wantPage(t, e, "limit", p, 429, oidcprovider.TooManyRequests)
	if got := p.Header().Get("Retry-After"); got != "30" {
		t.Errorf("got Retry-After %q, want 30", got)
	}
}

// TestAuthorize_Trouble is a page that says so, and no verdict.
func TestAuthorize_Trouble(t *testing.T) {
	e := newEdge(t)
	c := e.client(t)
	if err := e.DB.Close(); err != nil {
		t.Fatal(err)
	}
	wantPage(t, e, "store closed", e.authorize(t, authorization(c, fullScope)), 503, oidcprovider.Unavailable)
}

// TestIDTokenHint: ours by its signature, retired keys and old ones too; anything else is about nobody.
func TestIDTokenHint(t *testing.T) {
	e := newEdge(t)
	c := e.client(t)
	p := e.tokens(t, c, "openid "+fullScope)
	hint := p.str("id_token")
	alice, err := e.User("alice")
	if err != nil {
		t.Fatal(err)
	}
	subject := func(hint string) ulid.ULID {
		return e.grant(t, grantOf(t, e.authorize(t, authorization(c, fullScope, "id_token_hint="+hint)))).Subject
	}
	if got := subject(hint); got != alice.ID {
		t.Errorf("got %v, want %v", got, alice.ID)
	}
	if err := e.RotateKeys(t.Context()); err != nil {
		t.Fatal(err)
	}
	e.Clock.Advance(80 * 24 * time.Hour)
	if got := subject(hint); got != alice.ID {
		t.Errorf("80 days later: got %v, want %v", got, alice.ID)
	}
	e.Clock.Advance(11 * 24 * time.Hour)
	parts := strings.Split(hint, ".")
	for what, bad := range map[string]string{
		"91 days later": hint, "another signature": parts[0] + "." + parts[1] + ".AAAA", "unsigned": "eyJhbGciOiJub25lIn0." + parts[1] + ".",
		"an access token": p.str("access_token"), "garbage": "x",
	} {
		if got := subject(bad); got != (ulid.ULID{}) {
			t.Errorf("%s: got %v, want nobody", what, got)
		}
	}
}
