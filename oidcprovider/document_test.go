package oidcprovider_test

import (
	"crypto/rand"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"go.uber.org/zap"

	"github.com/caddy-matrix/caddy-matrix-auth/internal/authtest"
	"github.com/caddy-matrix/caddy-matrix-auth/oidcprovider"
)

var documentPaths = []string{
	"/.well-known/openid-configuration",
	"/.well-known/oauth-authorization-server",
	"/_matrix/client/v1/auth_metadata",
	"/_matrix/client/unstable/org.matrix.msc2965/auth_metadata",
}

// document is the decoded metadata.
func document(t *testing.T, e *edge) map[string]any {
	t.Helper()
	p := e.get(t, documentPaths[0])
	p.want(t, 200, "")
	return p.object
}

func array(t *testing.T, doc map[string]any, name string) []string {
	t.Helper()
	var out []string
	list, ok := doc[name].([]any)
	if !ok {
		t.Errorf("%s: got %v, want an array", name, doc[name])
	}
	for _, v := range list {
		s, ok := v.(string)
		if !ok {
			t.Errorf("%s has %v, want strings", name, v)
		}
		out = append(out, s)
	}
	return out
}

// TestDSC01_DSC02_DSC04_DSC05_OneDocument: byte for byte the same at every address, without authentication.
func TestDSC01_DSC02_DSC04_DSC05_OneDocument(t *testing.T) {
	e := newEdge(t)
	for _, path := range documentPaths {
		p := e.get(t, path)
		if p.Code != 200 || p.Header().Get("Content-Type") != "application/json" {
			t.Errorf("%s: got %d %q", path, p.Code, p.Header().Get("Content-Type"))
		}
		golden(t, "openid_configuration", p.Body.String())
	}
}

// TestDSC04_SynapseGetsTheSame: the homeserver's copy is the same document.
func TestDSC04_SynapseGetsTheSame(t *testing.T) {
	p := newProvider(t, oidcprovider.Config{})
	w := httptest.NewRecorder()
	p.ServeConfiguration(w, httptest.NewRequest("GET", documentPaths[0], nil))
	golden(t, "openid_configuration", w.Body.String())
}

// TestDSC06_RequiredKeys and that none is null (E23).
func TestDSC06_E23_RequiredKeys(t *testing.T) {
	doc := document(t, newEdge(t))
	for _, name := range []string{
		"issuer", "authorization_endpoint", "token_endpoint", "revocation_endpoint", "registration_endpoint", "device_authorization_endpoint",
		"account_management_uri", "jwks_uri", "userinfo_endpoint",
	} {
		if s, _ := doc[name].(string); s == "" {
			t.Errorf("%s: got %v, want a string", name, doc[name])
		}
	}
	for name, v := range doc {
		if v == nil {
			t.Errorf("%s is null", name)
		}
	}
}

func TestDSC07_ArraysContain(t *testing.T) {
	doc := document(t, newEdge(t))
	for name, want := range map[string][]string{
		"response_types_supported":         {"code"},
		"grant_types_supported":            {"authorization_code", "refresh_token"},
		"response_modes_supported":         {"query", "fragment"},
		"code_challenge_methods_supported": {"S256"},
		"id_token_signing_alg_values_supported": {
			"RS256", // OpenID Connect Discovery 1.0 §3
		},
		"subject_types_supported": {"public"},
	} {
		got := array(t, doc, name)
		for _, w := range want {
			if !slices.Contains(got, w) {
				t.Errorf("%s: got %v without %s", name, got, w)
			}
		}
	}
}

// TestDSC08_DSC09_URLs: https, absolute, without query and fragment; the issuer ends in a slash.
func TestDSC08_DSC09_URLs(t *testing.T) {
	doc := document(t, newEdge(t))
	for name, v := range doc {
		s, ok := v.(string)
		if !ok {
			continue
		}
		u, err := url.Parse(s)
		if err != nil || u.Scheme != "https" || u.Host != "matrix.example.org" || u.RawQuery != "" || u.ForceQuery || strings.Contains(s, "#") {
			t.Errorf("%s: got %q", name, s)
		}
	}
	if doc["issuer"] != issuer {
		t.Errorf("got issuer %v, want %s", doc["issuer"], issuer)
	}
}

func TestDSC10_E12_AccountManagementURI(t *testing.T) {
	if got := document(t, newEdge(t))["account_management_uri"]; got != issuer+"account/" {
		t.Errorf("got %v", got)
	}
}

func TestDSC11_DeviceGrant(t *testing.T) {
	doc := document(t, newEdge(t))
	if doc["device_authorization_endpoint"] != issuer+"oauth2/device" || !slices.Contains(array(t, doc, "grant_types_supported"), deviceType) {
		t.Errorf("got endpoint %v, grants %v", doc["device_authorization_endpoint"], doc["grant_types_supported"])
	}
}

// TestDSC12_NoCreate: nobody can register here yet.
func TestDSC12_NoCreate(t *testing.T) {
	if got := array(t, document(t, newEdge(t)), "prompt_values_supported"); slices.Contains(got, "create") {
		t.Errorf("got %v", got)
	}
}

func TestDSC13_AccountActions(t *testing.T) {
	want := []string{
		"org.matrix.devices_list", "org.matrix.device_view", "org.matrix.device_delete",
		"org.matrix.sessions_list", "org.matrix.session_view", "org.matrix.session_end", "org.matrix.cross_signing_reset",
	}
	if got := array(t, document(t, newEdge(t)), "account_management_actions_supported"); !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

// TestDSC14_TOK14_NothingWeak: none of what RFC 9700 warns of is offered; and false is said where absent would be true.
func TestDSC14_TOK14_NothingWeak(t *testing.T) {
	e := newEdge(t)
	doc := document(t, e)
	for name, weak := range map[string][]string{
		"response_types_supported":         {"token", "id_token", "id_token token", "code id_token", "none"},
		"grant_types_supported":            {"implicit", "password", "urn:ietf:params:oauth:grant-type:jwt-bearer"},
		"code_challenge_methods_supported": {"plain"},
		"id_token_signing_alg_values_supported": {
			"none", "HS256",
		},
	} {
		for _, w := range weak {
			if slices.Contains(array(t, doc, name), w) {
				t.Errorf("%s has %s", name, w)
			}
		}
	}
	for name, want := range map[string]bool{
		"request_parameter_supported": false, "request_uri_parameter_supported": false, "claims_parameter_supported": false,
		"authorization_response_iss_parameter_supported": true,
	} {
		if doc[name] != want {
			t.Errorf("%s: got %v, want %v", name, doc[name], want)
		}
	}
	if _, there := doc["introspection_endpoint"]; there {
		t.Error("an introspection endpoint is announced that nobody may use")
	}
	e.form(t, "/oauth2/token", url.Values{
		"grant_type": {"password"}, "username": {"alice"}, "password": {authtest.Password}, "client_id": {e.client(t)},
	}).want(t, 400, "unsupported_grant_type")
}

// TestDSC15_DSC16_Caching: ten minutes, an ETag, and nothing is asked of Synapse.
func TestDSC15_DSC16_Caching(t *testing.T) {
	e := newEdge(t)
	e.Synapse.Fail(authtest.Down)
	for _, path := range append(slices.Clone(documentPaths), "/oauth2/keys.json") {
		p := e.get(t, path)
		etag := p.Header().Get("ETag")
		if p.Header().Get("Cache-Control") != "public, max-age=600" || etag == "" {
			t.Errorf("%s: got Cache-Control %q, ETag %q", path, p.Header().Get("Cache-Control"), etag)
		}
		for _, match := range []string{etag, "W/" + etag, `"x", ` + etag, "*"} {
			if q := e.get(t, path, "If-None-Match: "+match); q.Code != 304 || q.Body.Len() != 0 || q.Header().Get("ETag") != etag {
				t.Errorf("%s, If-None-Match %s: got %d, %d bytes", path, match, q.Code, q.Body.Len())
			}
		}
		if q := e.get(t, path, `If-None-Match: "x"`); q.Code != 200 {
			t.Errorf("%s, another ETag: got %d", path, q.Code)
		}
		if q := e.raw(t, "HEAD", path, ""); q.Code != 200 || q.Body.Len() != 0 || q.Header().Get("ETag") != etag {
			t.Errorf("HEAD %s: got %d, %d bytes", path, q.Code, q.Body.Len())
		}
	}
}

func TestDSC21_LoginHintTypes(t *testing.T) {
	if got := array(t, document(t, newEdge(t)), "login_hint_types_supported"); !slices.Equal(got, []string{"mxid"}) {
		t.Errorf("got %v", got)
	}
}

// TestDSC22_ArraysOfStrings: every array holds strings, as ruma and dart read them.
func TestDSC22_ArraysOfStrings(t *testing.T) {
	doc := document(t, newEdge(t))
	for name, v := range doc {
		if _, is := v.([]any); is && len(array(t, doc, name)) == 0 {
			t.Errorf("%s is empty", name)
		}
	}
}

// TestIntrospectionIsAnnounced only when some client has it.
func TestIntrospectionIsAnnounced(t *testing.T) {
	e := newEdge(t)
	u, _ := url.Parse(issuer)
	o, err := oidcprovider.NewOAuth(oidcprovider.OAuthConfig{
		Service: e.Service, Issuer: u, Introspection: true, From: fromOf, Now: e.Now, Rand: rand.Reader, Log: zap.NewNop(),
	})
	if err != nil {
		t.Fatal(err)
	}
	w := httptest.NewRecorder()
	o.ServeMetadata(w, httptest.NewRequest("GET", "/", nil))
	golden(t, "openid_configuration_introspection", w.Body.String())
	var doc map[string]any
	if err := json.Unmarshal(w.Body.Bytes(), &doc); err != nil || doc["introspection_endpoint"] != issuer+"oauth2/introspect" {
		t.Errorf("got %v, %v", doc["introspection_endpoint"], err)
	}
}

// TestKeys: a key set with both algorithms and public halves only, and the new keys at once after a rotation.
func TestKeys(t *testing.T) {
	e := newEdge(t)
	ids := func() []string {
		t.Helper()
		p := e.get(t, "/oauth2/keys.json")
		p.want(t, 200, "")
		var all []string
		for _, k := range p.object["keys"].([]any) {
			key := k.(map[string]any)
			all = append(all, key["kid"].(string))
			if key["use"] != "sig" || key["d"] != nil || key["p"] != nil {
				t.Errorf("got %v", key)
			}
		}
		return all
	}
	before := ids()
	if len(before) != 2 {
		t.Fatalf("got %v", before)
	}
	if err := e.RotateKeys(t.Context()); err != nil {
		t.Fatal(err)
	}
	if after := ids(); len(after) != 4 {
		t.Errorf("got %v after %v", after, before)
	}
}

// TestKeys_Overlap: an id token from before a rotation is verified by the published keys for a day, as long as any lives; new ones
// are signed with the new keys at once.
func TestKeys_Overlap(t *testing.T) {
	e := newEdge(t)
	c := e.client(t)
	es := e.register(t, `{"client_uri":"https://example.com","redirect_uris":["`+redirect+`"],"token_endpoint_auth_method":"none","id_token_signed_response_alg":"ES256"}`).str("client_id")
	kid := func(idToken string) string {
		t.Helper()
		jws, err := jose.ParseSignedCompact(idToken, []jose.SignatureAlgorithm{jose.RS256, jose.ES256})
		if err != nil {
			t.Fatal(err)
		}
		return jws.Signatures[0].Header.KeyID
	}
	published := func() int { return len(e.get(t, "/oauth2/keys.json").object["keys"].([]any)) }
	for client, alg := range map[string]string{c: "RS256", es: "ES256"} {
		old := e.tokens(t, client, "openid").str("id_token")
		if err := e.RotateKeys(t.Context()); err != nil {
			t.Fatal(err)
		}
		fresh := e.tokens(t, client, "openid").str("id_token")
		if kid(fresh) == kid(old) {
			t.Errorf("%s: an old key signs after the rotation", alg)
		}
		e.Clock.Advance(24*time.Hour - time.Minute)
		e.verify(t, old, alg)
		e.verify(t, fresh, alg)
		e.Clock.Advance(2 * time.Minute)
		if n := published(); n != 2 {
			t.Errorf("%s: got %d published keys a day later, want 2", alg, n)
		}
		e.verify(t, fresh, alg)
	}
}

// TestKeys_Trouble: no verdict, and nothing that a cache keeps.
func TestKeys_Trouble(t *testing.T) {
	e := newEdge(t)
	if err := e.DB.Close(); err != nil {
		t.Fatal(err)
	}
	if p := e.get(t, "/oauth2/keys.json"); p.Code != 503 || p.Header().Get("Cache-Control") != "no-store" || p.Body.Len() != 0 {
		t.Errorf("got %d %q", p.Code, p.Body)
	}
}

// TestCOR_OAuth: COR-01 to COR-09 for what OAuth clients in browsers talk to; and AUZ-19: none for what people see.
func TestCOR_OAuth(t *testing.T) {
	e := newEdge(t)
	open := append(slices.Clone(documentPaths), "/oauth2/keys.json", "/oauth2/token", "/oauth2/revoke", "/oauth2/registration", "/oauth2/device", "/oauth2/userinfo")
	for _, path := range open {
		p := e.raw(t, "OPTIONS", path, "", "Origin: https://app.example", "Access-Control-Request-Headers: content-type")
		if p.Code != 204 || p.Body.Len() != 0 || p.Header().Get("Access-Control-Max-Age") != "3600" {
			t.Errorf("OPTIONS %s: got %d", path, p.Code)
		}
		wrong := e.raw(t, "DELETE", path, "", "Origin: https://app.example")
		if wrong.Code != 405 || wrong.Header().Get("Allow") == "" || wrong.str("error") != "invalid_request" {
			t.Errorf("DELETE %s: got %d %s, Allow %q", path, wrong.Code, wrong.Body, wrong.Header().Get("Allow"))
		}
		for _, h := range []http.Header{p.Header(), wrong.Header(), e.raw(t, "POST", path, "{", "Origin: https://app.example").Header()} {
			if got := h.Values("Access-Control-Allow-Origin"); len(got) != 1 || got[0] != "*" || h.Get("Access-Control-Allow-Credentials") != "" {
				t.Errorf("%s: got Access-Control-Allow-Origin %v, credentials %q", path, got, h.Get("Access-Control-Allow-Credentials"))
			}
			for _, name := range []string{"X-Requested-With", "Content-Type", "Authorization"} {
				if !strings.Contains(h.Get("Access-Control-Allow-Headers"), name) {
					t.Errorf("%s: got Access-Control-Allow-Headers %q", path, h.Get("Access-Control-Allow-Headers"))
				}
			}
		}
	}
	for _, path := range []string{"/authorize", "/oauth2/introspect"} {
		for _, method := range []string{"OPTIONS", "GET", "POST", "DELETE"} {
			p := e.raw(t, method, path, "", "Origin: https://app.example")
			if got := p.Header().Get("Access-Control-Allow-Origin"); got != "" {
				t.Errorf("%s %s: got Access-Control-Allow-Origin %q", method, path, got)
			}
			if (method == "OPTIONS" || method == "DELETE") && p.Code != 405 {
				t.Errorf("%s %s: got %d, want 405", method, path, p.Code)
			}
		}
	}
}

// TestDSC08_E12_Issuers: with a path, query or fragment nothing starts; Synapse would append to the query of the account page.
func TestDSC08_E12_Issuers(t *testing.T) {
	for _, bad := range []string{"https://example.org", "https://example.org/auth/", "https://example.org/?a=b", "https://example.org/#x"} {
		u, err := url.Parse(bad)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := oidcprovider.NewOAuth(oidcprovider.OAuthConfig{Issuer: u}); err == nil {
			t.Errorf("%s: got no error", bad)
		}
	}
}
