package oidcprovider_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"

	"github.com/caddy-matrix/caddy-matrix-auth/internal/auth"
	"github.com/caddy-matrix/caddy-matrix-auth/internal/authtest"
)

// otherClient is another public client with the same redirect URI.
func (e *edge) otherClient(t testing.TB) string {
	t.Helper()
	return e.register(t, `{"client_uri":"https://example.com","client_name":"other","redirect_uris":["`+redirect+`"],"token_endpoint_auth_method":"none",
		"grant_types":["authorization_code","`+deviceType+`"]}`).str("client_id")
}

// TestRFC9700_ExactRedirects_DotlessScheme: tuwunel b9abdc225; the table is in TestAUZ03 and TestREG11.
func TestRFC9700_ExactRedirects_DotlessScheme(t *testing.T) {
	e := newEdge(t)
	for _, uri := range []string{"app:/cb", "myapp://cb", "localhost:/cb", "com:/cb"} {
		e.register(t, `{"client_uri":"https://example.com","application_type":"native","redirect_uris":["`+uri+`"]}`).want(t, 400, "invalid_redirect_uri")
	}
}

// TestRFC9700_NoPasswordGrant: no resource owner password credentials at the OAuth endpoints, whoever asks.
func TestRFC9700_NoPasswordGrant(t *testing.T) {
	e := newEdge(t)
	e.form(t, "/oauth2/token", url.Values{
		"grant_type": {"password"}, "client_id": {e.client(t)}, "username": {"alice"}, "password": {authtest.Password}, "scope": {fullScope},
	}).want(t, 400, "unsupported_grant_type")
}

// TestRFC9700_HeadersOnEveryAnswer: nothing with a token, a code or an error is kept by anybody.
func TestRFC9700_HeadersOnEveryAnswer(t *testing.T) {
	e := newEdge(t)
	c := e.client(t)
	p := e.tokens(t, c, "openid "+fullScope)
	d := e.device(t, c, oldScope)
	for what, q := range map[string]reply{
		"token": p, "refresh": e.refresh(t, c, p.str("refresh_token")), "bad refresh": e.refresh(t, c, "x"), "device": d, "poll": e.poll(t, c, d.str("device_code")),
		"registration": e.register(t, jsSDK43), "bad registration": e.register(t, "{"), "userinfo": e.get(t, "/oauth2/userinfo", "Authorization: Bearer "+p.str("access_token")),
		"bad userinfo": e.get(t, "/oauth2/userinfo"), "introspection": e.form(t, "/oauth2/introspect", url.Values{"token": {"x"}}), "method": e.raw(t, "GET", "/oauth2/token", ""),
		"authorize": e.authorize(t, authorization(c, fullScope)), "authorize error": e.authorize(t, authorization(c, "")), "authorize page": e.authorize(t, authorization("", "")),
		"revoke": e.revoke(t, p.str("access_token")),
	} {
		if q.Header().Get("Cache-Control") != "no-store" {
			t.Errorf("%s: got Cache-Control %q", what, q.Header().Get("Cache-Control"))
		}
	}
}

// TestASVS_RegistrationsAreBounded: sizes and numbers; TestREG21 has the table.
func TestASVS_RegistrationsAreBounded(t *testing.T) {
	e := newEdge(t)
	e.register(t, `{"client_uri":"https://example.com","redirect_uris":["https://example.com/`+strings.Repeat("x", 3000)+`"]}`).want(t, 400, "invalid_redirect_uri")
	e.register(t, strings.Repeat("[", 8000)).want(t, 400, "invalid_client_metadata")
}

// TestCVE202655672_MissingClientBinding: code, refresh token and device code are their client's alone.
func TestCVE202655672_MissingClientBinding(t *testing.T) {
	e := newEdge(t)
	c, other := e.client(t), e.otherClient(t)
	code := e.code(t, authorization(c, fullScope))
	e.form(t, "/oauth2/token", exchange(other, code)).want(t, 400, "invalid_grant")
	p := e.form(t, "/oauth2/token", exchange(c, code))
	p.want(t, 200, "")
	e.refresh(t, other, p.str("refresh_token")).want(t, 400, "invalid_grant")
	e.refresh(t, c, p.str("refresh_token")).want(t, 200, "")
	d := e.device(t, c, oldScope)
	if err := e.decide(t, d.str("user_code"), true); err != nil {
		t.Fatal(err)
	}
	e.poll(t, other, d.str("device_code")).want(t, 400, "invalid_grant")
	e.poll(t, c, d.str("device_code")).want(t, 200, "")
}

// TestCVE202627840_TokenMalleability: a token that is longer, shorter or spelt otherwise is no token.
func TestCVE202627840_TokenMalleability(t *testing.T) {
	e := newEdge(t)
	c := e.client(t)
	p := e.tokens(t, c, "openid "+fullScope)
	for _, change := range []func(string) string{
		func(s string) string { return s + "x" }, func(s string) string { return s[:len(s)-1] }, func(s string) string { return s + " " },
		func(s string) string { return strings.ToUpper(s) }, func(s string) string { return s[:20] + "0" + s[21:] }, func(s string) string { return s + "\n" },
	} {
		if text := change(p.str("access_token")); text != p.str("access_token") {
			e.form(t, "/oauth2/userinfo", url.Values{"access_token": {text}}).want(t, 401, "invalid_token")
		}
		if text := change(p.str("refresh_token")); text != p.str("refresh_token") {
			e.refresh(t, c, text).want(t, 400, "invalid_grant")
		}
	}
	e.refresh(t, c, p.str("refresh_token")).want(t, 200, "")
}

// TestCVE202627945_SSRF: whatever addresses a client names, nothing is fetched: not at registration, not at authorization.
func TestCVE202627945_SSRF(t *testing.T) {
	var fetched atomic.Int32
	server := httptest.NewTLSServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { fetched.Add(1) }))
	defer server.Close()
	e := newEdge(t)
	m := map[string]any{
		"client_uri": server.URL + "/", "logo_uri": server.URL + "/logo", "tos_uri": server.URL + "/tos", "policy_uri": server.URL + "/policy",
		"redirect_uris": []string{server.URL + "/cb"}, "token_endpoint_auth_method": "none", "logo_uri#de": server.URL + "/de", "initiate_login_uri": server.URL,
	}
	b, _ := json.Marshal(m)
	p := e.register(t, string(b))
	p.want(t, 201, "")
	v := authorization(p.str("client_id"), fullScope, "redirect_uri="+server.URL+"/cb")
	grantOf(t, e.authorize(t, v))
	for _, name := range []string{"request_uri", "request", "claims", "jwks_uri", "id_token_hint"} {
		e.authorize(t, authorization(p.str("client_id"), fullScope, "redirect_uri="+server.URL+"/cb", name+"="+server.URL+"/x"))
	}
	for _, name := range []string{"jwks_uri", "sector_identifier_uri", "request_uris"} {
		m[name] = server.URL + "/" + name
		b, _ := json.Marshal(m)
		e.register(t, string(b)).want(t, 400, "invalid_client_metadata")
		delete(m, name)
	}
	if n := fetched.Load(); n != 0 {
		t.Errorf("got %d requests at the client's address", n)
	}
}

// TestCVE20198400_XSSInErrors: what is sent does not come back in a page or as markup.
func TestCVE20198400_XSSInErrors(t *testing.T) {
	e := newEdge(t)
	c := e.client(t)
	const script = `"><script>alert(1)</script>`
	for _, name := range []string{"client_id", "redirect_uri", "state", "scope", "response_type", "response_mode", "login_hint", "error_hint", "error_description", "prompt"} {
		p := e.authorize(t, authorization(c, fullScope, name+"="+script))
		if strings.Contains(p.Body.String(), "<script") || strings.Contains(p.Header().Get("Location"), "<script") {
			t.Errorf("%s: got %q, Location %q", name, p.Body, p.Header().Get("Location"))
		}
	}
	for _, v := range []url.Values{{"grant_type": {script}}, exchange(script, "x"), {"grant_type": {"refresh_token"}, "client_id": {c}, "scope": {script}, "refresh_token": {script}}} {
		p := e.form(t, "/oauth2/token", v)
		if strings.Contains(p.Body.String(), "<script") || p.Header().Get("Content-Type") != "application/json" || p.Header().Get("X-Content-Type-Options") != "nosniff" {
			t.Errorf("got %q %v", p.Body, p.Header())
		}
	}
}

// TestCaddySecurity268_269_270_HeaderTrust: host, scheme and links come from the configuration, whatever a header says.
func TestCaddySecurity268_269_270_HeaderTrust(t *testing.T) {
	e := newEdge(t)
	c := e.client(t)
	for _, header := range []string{"X-Forwarded-Host: evil.example", "X-Forwarded-Proto: http", "X-Forwarded-Prefix: /evil", "Forwarded: host=evil.example", "Referer: javascript:alert(1)", "X-Original-URL: /evil"} {
		for _, p := range []reply{e.get(t, documentPaths[0], header), e.form(t, "/oauth2/device", url.Values{"client_id": {c}, "scope": {fullScope}}, header)} {
			if strings.Contains(p.Body.String(), "evil") || strings.Contains(p.Body.String(), `"http://`) || !strings.Contains(p.Body.String(), "https://matrix.example.org/") {
				t.Errorf("%s: got %s", header, p.Body)
			}
		}
		p := e.get(t, "/authorize?"+authorization(c, fullScope).Encode(), header)
		if !strings.HasPrefix(p.Header().Get("Location"), issuer+"consent/") {
			t.Errorf("%s: got Location %q", header, p.Header().Get("Location"))
		}
	}
}

// TestCVE202239222_ConsentIsBoundToTheBrowser: the link to a consent page is worth nothing in another browser.
func TestCVE202239222_ConsentIsBoundToTheBrowser(t *testing.T) {
	e := newEdge(t)
	c := e.client(t)
	victim := e.signedIn(t)
	attacker := grantOf(t, e.authorize(t, authorization(c, fullScope)))
	e.jar = nil // The victim's browser follows the attacker's link.
	mine := grantOf(t, e.authorize(t, authorization(c, fullScope)))
	_, err := e.ApproveGrant(t.Context(), auth.ApproveParams{ID: attacker, Browser: e.browser(t), Cookie: victim, Scope: strings.Fields(fullScope)})
	if err != auth.ErrOtherBrowser {
		t.Errorf("got %v, want %v", err, auth.ErrOtherBrowser)
	}
	if _, err := e.ApproveGrant(t.Context(), auth.ApproveParams{ID: mine, Browser: e.browser(t), Cookie: victim, Scope: strings.Fields(fullScope)}); err != nil {
		t.Error(err)
	}
}

// TestGHSA3p3gvpw64w66_AssertionReplay: a jti is taken once; TestClientAssertions_Once has the table.
func TestGHSA3p3gvpw64w66_AssertionReplay(t *testing.T) {
	key := newSigner(t, "k")
	e := newEdge(t, machines(t, key))
	v := url.Values{"client_assertion": {key.sign(t, e, "key", map[string]any{"jti": "same"})}, "client_assertion_type": {assertionType}}
	e.machine(t, v).want(t, 200, "")
	e.machine(t, v).want(t, 401, "invalid_client")
	e.machine(t, url.Values{"client_assertion": {key.sign(t, e, "key", map[string]any{"jti": "same"})}, "client_assertion_type": {assertionType}}).want(t, 401, "invalid_client")
}

// TestCVE202015233_15234_RedirectAndScopeMatching: fosite compared loopback hosts and redirect URIs loosely.
func TestCVE202015233_15234_RedirectAndScopeMatching(t *testing.T) {
	e := newEdge(t)
	c := e.register(t, `{"client_uri":"https://example.com","application_type":"native","redirect_uris":["http://127.0.0.1/cb"],"token_endpoint_auth_method":"none"}`).str("client_id")
	for _, uri := range []string{"http://127.0.0.1:1/cb?x=y", "http://127.0.0.1:1/CB", "http://127.0.0.1:1/cb/", "HTTP://127.0.0.1:1/cb", "http://127.0.0.1:1"} {
		if p := e.authorize(t, authorization(c, fullScope, "redirect_uri="+uri)); p.Code != 400 {
			t.Errorf("%s: got %d", uri, p.Code)
		}
	}
	for _, scope := range []string{"URN:MATRIX:CLIENT:API:*", "openid.x", "OpenID", "urn:matrix:client:*"} {
		p := e.authorize(t, authorization(c, scope, "redirect_uri=http://127.0.0.1:1/cb"))
		if !strings.Contains(p.Header().Get("Location"), "error=invalid_scope") {
			t.Errorf("%s: got Location %q", scope, p.Header().Get("Location"))
		}
	}
}

// TestCVE202015223_RevocationFailsLoudly: no success before the end is on disk.
func TestCVE202015223_RevocationFailsLoudly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := newEdge(t)
		p := e.tokens(t, e.client(t), fullScope)
		e.Synapse.Fail(authtest.Down) // Its device is deleted later: the session is over now.
		revoked(t, "while Synapse is down", e.revoke(t, p.str("access_token")))
		if got := e.verdict(t, p.str("access_token")); got != auth.Unknown {
			t.Errorf("got %v, want Unknown", got)
		}
		e.Synapse.Heal()
		q := e.tokens(t, e.otherClient(t), oldScope)
		if err := e.DB.Close(); err != nil {
			t.Fatal(err)
		}
		if r := e.revoke(t, q.str("access_token")); r.Code != 503 {
			t.Errorf("with the store closed: got %d %s", r.Code, r.Body)
		}
	})
}

// TestGHSAr9w357w2_NoDefaultSecrets: a client without a registered secret cannot authenticate with one, not even an empty one.
func TestGHSAr9w357w2_NoDefaultSecrets(t *testing.T) {
	e := newEdge(t, func(s *auth.Settings) {
		s.Clients = map[string]auth.Client{"x": {Static: true}}
		c := s.Clients["x"]
		c.ID, c.AuthMethod, c.GrantTypes = "x", "client_secret_basic", []string{"client_credentials"}
		s.Clients["x"] = c
	})
	for _, secret := range []string{"", "x", string(make([]byte, 32))} {
		e.machine(t, nil, "Authorization: Basic "+basic("x", secret)).want(t, 401, "invalid_client")
	}
}

// TestF3_LibraryDuties: what zitadel/oidc leaves to us, each as it is without us.
func TestF3_LibraryDuties(t *testing.T) {
	e := newEdge(t)
	c := e.client(t)
	t.Run("PKCE is mandatory", func(t *testing.T) {
		wantError(t, "none", e.authorize(t, authorization(c, fullScope, "code_challenge", "code_challenge_method")), "invalid_request")
		wantError(t, "plain", e.authorize(t, authorization(c, fullScope, "code_challenge_method=plain")), "invalid_request")
	})
	t.Run("no callback route", func(t *testing.T) {
		id := grantOf(t, e.authorize(t, authorization(c, fullScope)))
		if p := e.get(t, "/authorize/callback?id="+id.String()); p.Code != 404 || p.Header().Get("Location") != "" {
			t.Errorf("got %d", p.Code)
		}
	})
	t.Run("a device code is redeemed once", func(t *testing.T) {
		d := e.device(t, c, oldScope)
		if err := e.decide(t, d.str("user_code"), true); err != nil {
			t.Fatal(err)
		}
		e.poll(t, c, d.str("device_code")).want(t, 200, "")
		e.poll(t, c, d.str("device_code")).want(t, 400, "invalid_grant")
	})
	t.Run("the token request is a POST", func(t *testing.T) {
		r := httptest.NewRequest("GET", "/oauth2/token?"+exchange(c, "x").Encode(), nil)
		if p := e.do(t, r); p.Code != 405 {
			t.Errorf("got %d", p.Code)
		}
	})
	t.Run("no refresh token needs a scope", func(t *testing.T) {
		if p := e.tokens(t, c, fullScope); p.str("refresh_token") == "" || strings.Contains(p.str("scope"), "offline_access") {
			t.Errorf("got %s", p.Body)
		}
	})
	t.Run("error texts are ours", func(t *testing.T) {
		if err := e.DB.Close(); err != nil {
			t.Fatal(err)
		}
		for _, p := range []reply{e.register(t, jsSDK43), e.revoke(t, "mat_x"), e.get(t, "/oauth2/userinfo", "Authorization: Bearer mat_x")} {
			if strings.Contains(strings.ToLower(p.Body.String()), "badger") || strings.Contains(p.Body.String(), "clos") {
				t.Errorf("got %s", p.Body)
			}
		}
	})
}

// TestMixUp_IssInErrors: a client that talks to several servers can tell who answers (RFC 9207).
func TestMixUp_IssInErrors(t *testing.T) {
	e := newEdge(t)
	c := e.client(t)
	var seen []string
	for _, v := range []url.Values{authorization(c, ""), authorization(c, fullScope, "prompt=none login"), authorization(c, fullScope, "response_mode=fragment", "request=x")} {
		seen = append(seen, e.authorize(t, v).Header().Get("Location"))
	}
	if slices.ContainsFunc(seen, func(s string) bool { return !strings.Contains(s, "iss=https%3A%2F%2Fmatrix.example.org%2F") }) {
		t.Error(fmt.Sprint(seen))
	}
}

// TestMAS6a99e56c8_AFragmentEndsAtTheError: an error that is told at once has a fragment of its own, so that the browser does
// not carry the one of the link to the client.
func TestMAS6a99e56c8_AFragmentEndsAtTheError(t *testing.T) {
	e := newEdge(t)
	c := e.client(t)
	for mode, want := range map[string]string{"": "#", "query": "#", "fragment": "#error=invalid_scope&"} {
		location := e.authorize(t, authorization(c, "", "response_mode="+mode)).Header().Get("Location")
		if _, after, found := strings.Cut(location, "#"); !found || !strings.HasPrefix("#"+after, want) || (after == "") != (want == "#") {
			t.Errorf("%q: got %q", mode, location)
		}
	}
}
