package oidcprovider_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/json"
	"fmt"
	"math/big"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/caddy-matrix/caddy-matrix-auth/internal/auth"
	"github.com/caddy-matrix/caddy-matrix-auth/oidcprovider"
)

// elementX and the others are what clients really register.
const (
	jsSDK43 = `{"response_types":["code"],"token_endpoint_auth_method":"none","client_uri":"https://example.com/","client_name":"t",
		"application_type":"native","redirect_uris":["http://127.0.0.1/cb"],
		"grant_types":["authorization_code","refresh_token","urn:ietf:params:oauth:grant-type:device_code"]}`
	jsSDK41 = `{"client_name":"Element","client_uri":"https://app.element.io/","response_types":["code"],
		"grant_types":["authorization_code","refresh_token"],"redirect_uris":["https://app.element.io/?no_universal_links=true"],
		"id_token_signed_response_alg":"RS256","token_endpoint_auth_method":"none","application_type":"web",
		"logo_uri":"https://app.element.io/vector-icons/1024.png","contacts":["x@example.org"],
		"tos_uri":"https://app.element.io/tos","policy_uri":"https://app.element.io/privacy"}`
	elementX = `{"application_type":"native","client_name":"Element","client_uri":"https://element.io","policy_uri":"https://element.io/privacy",
		"tos_uri":"https://element.io/acceptable-use-policy-terms","logo_uri":"https://element.io/mobile-icon.png",
		"redirect_uris":["https://element.io/oauth/ios/io.element.elementx"],"response_types":["code"],"token_endpoint_auth_method":"none",
		"grant_types":["authorization_code","refresh_token","urn:ietf:params:oauth:grant-type:device_code"],
		"client_name#fr":"Élément","software_id":"x","software_version":"1"}`
	elementDesktop = `{"application_type":"native","client_name":"Element","client_uri":"https://element.io/","token_endpoint_auth_method":"none",
		"redirect_uris":["io.element.desktop:/vector/webapp/"],"grant_types":["authorization_code","refresh_token"],"response_types":["code"]}`
)

// goldenClient compares an answer with a file, but for what is random in it.
func goldenClient(t *testing.T, name string, p reply) {
	t.Helper()
	body := p.Body.String()
	for _, member := range []string{"client_id", "client_secret"} {
		if s := p.str(member); s != "" {
			body = strings.Replace(body, s, strings.ToUpper(member), 1)
		}
	}
	golden(t, name, fmt.Sprintf("%d %s", p.Code, body))
}

// TestREG01_REG02_REG03_Answers: 201, everything registered, JSON, never kept.
func TestREG01_REG02_REG03_Answers(t *testing.T) {
	e := newEdge(t)
	for name, metadata := range map[string]string{
		"register_jssdk43": jsSDK43, "register_jssdk41": jsSDK41, "register_elementx": elementX, "register_desktop": elementDesktop,
		"register_secret": `{"client_uri":"https://example.com","redirect_uris":["https://example.com/cb"]}`,
		"register_device": `{"client_uri":"https://example.com","grant_types":["urn:ietf:params:oauth:grant-type:device_code"],
			"token_endpoint_auth_method":"none","application_type":"native"}`,
	} {
		p := e.register(t, metadata)
		goldenClient(t, name, p)
		if p.Header().Get("Cache-Control") != "no-store" || p.Header().Get("Content-Type") != "application/json" {
			t.Errorf("%s: got headers %v", name, p.Header())
		}
		if id := p.str("client_id"); len(id) != 26 {
			t.Errorf("%s: got client_id %q", name, id)
		}
		if at, ok := p.object["client_id_issued_at"].(float64); !ok || at != float64(e.Now().Unix()) {
			t.Errorf("%s: got client_id_issued_at %v", name, p.object["client_id_issued_at"])
		}
	}
}

// TestREG04_NoSecretForPublicClients, and one that never expires for the others.
func TestREG04_NoSecretForPublicClients(t *testing.T) {
	e := newEdge(t)
	if p := e.register(t, jsSDK43); p.object["client_secret"] != nil || p.object["client_secret_expires_at"] != nil {
		t.Errorf("got %s", p.Body)
	}
	p := e.register(t, `{"client_uri":"https://example.com","redirect_uris":["https://example.com/cb"],"token_endpoint_auth_method":"client_secret_post"}`)
	if len(p.str("client_secret")) < 43 || p.object["client_secret_expires_at"] != float64(0) {
		t.Errorf("got %s", p.Body)
	}
}

func stringsOf(v any) []string {
	var out []string
	list, _ := v.([]any)
	for _, s := range list {
		out = append(out, s.(string))
	}
	return out
}

// TestREG05_REG06_UnknownTypesAreDropped and not named in the answer.
func TestREG05_REG06_UnknownTypesAreDropped(t *testing.T) {
	e := newEdge(t)
	p := e.register(t, `{"client_uri":"https://example.com","redirect_uris":["https://example.com/cb"],"token_endpoint_auth_method":"none",
		"grant_types":["implicit","client_credentials","authorization_code","urn:x"],"response_types":["id_token","code","token"]}`)
	p.want(t, 201, "")
	if got := stringsOf(p.object["grant_types"]); !slices.Equal(got, []string{"authorization_code", "refresh_token"}) {
		t.Errorf("got grant_types %v", got)
	}
	if got := stringsOf(p.object["response_types"]); !slices.Equal(got, []string{"code"}) {
		t.Errorf("got response_types %v", got)
	}
	e.register(t, `{"client_uri":"https://example.com","redirect_uris":["https://example.com/cb"],"grant_types":["implicit"]}`).
		want(t, 400, "invalid_client_metadata")
	e.register(t, elementX).want(t, 201, "")
}

// TestREG07_REG08_REG18_Addresses: what may stand in client_uri and the addresses around it.
func TestREG07_REG08_REG18_Addresses(t *testing.T) {
	e := newEdge(t)
	with := func(member, value string) string {
		m := map[string]any{"client_uri": "https://example.com/", "redirect_uris": []string{"https://example.com/cb"}, "token_endpoint_auth_method": "none"}
		if value == "" {
			delete(m, member)
		} else {
			m[member] = value
		}
		if member == "client_uri" {
			m["grant_types"], m["redirect_uris"] = []string{deviceType}, []string{}
		}
		b, _ := json.Marshal(m)
		return string(b)
	}
	for _, uri := range []string{
		"", "http://example.com", "https://u:p@example.com", "https://u@example.com", "https://", "https:///x", "example.com", "//example.com",
		"https://example.com#x", "https://example.com/\\x", "https:\\\\example.com", "https://exa mple.com", "https://exämple.com", "https://example..com",
		"https://example.com:", "https://.example.com", "https://example.com./", "javascript:alert(1)", "data:text/html,x", "https:example.com",
		"https://co.uk", "https://github.io", "https://com", "https://localhost", "https://" + strings.Repeat("a", 64) + ".com",
		"https://example.com/" + strings.Repeat("a", 2048), "https://example.com%2f@evil.example",
	} {
		p := e.register(t, with("client_uri", uri))
		if p.Code != 400 || p.str("error") != "invalid_client_metadata" {
			t.Errorf("client_uri %q: got %d %s", uri, p.Code, p.Body)
		}
	}
	for _, uri := range []string{"https://example.com", "https://EXAMPLE.com/x?y=z", "https://foo.github.io", "https://example.co.uk:8443/", "https://192.0.2.1/", "https://[2001:db8::1]/"} {
		e.register(t, with("client_uri", uri)).want(t, 201, "")
	}
	for _, member := range []string{"logo_uri", "tos_uri", "policy_uri"} {
		for _, good := range []string{"https://example.com/x.png?y=1", "https://cdn.example.com:8443/", ""} {
			e.register(t, with(member, good)).want(t, 201, "")
		}
		for _, bad := range []string{"http://example.com/x", "https://example.org/", "https://notexample.com/", "https://u@example.com/", "https://example.com.evil.example/", "javascript:x"} {
			e.register(t, with(member, bad)).want(t, 400, "invalid_client_metadata")
		}
	}
}

// TestREG09_Localized: kept if good, dropped if not, never an error; at most twenty.
func TestREG09_Localized(t *testing.T) {
	e := newEdge(t)
	members := []string{
		`"client_name#de":"Anwendung"`, `"policy_uri#de":"https://example.com/de"`, `"tos_uri#fr":"https://evil.example/"`, `"client_name#fr":7`,
		`"client_name#":"x"`, `"client_name#e n":"x"`, `"redirect_uris#de":["https://evil.example/"]`, `"client_name#ar":"a\u202eb"`,
		`"client_name#he":"\u200b"`,
	}
	for i := range 30 {
		members = append(members, fmt.Sprintf(`"client_name#x-%02d":"n"`, i))
	}
	p := e.register(t, `{"client_uri":"https://example.com","redirect_uris":["https://example.com/cb"],"token_endpoint_auth_method":"none",`+strings.Join(members, ",")+`}`)
	p.want(t, 201, "")
	n := 0
	for name := range p.object {
		if strings.Contains(name, "#") {
			n++
		}
	}
	if n != 20 || p.str("client_name#de") != "Anwendung" || p.object["tos_uri#fr"] != nil || p.object["client_name#ar"] != nil || p.object["client_name#he"] != nil || p.object["redirect_uris#de"] != nil {
		t.Errorf("got %d of them: %s", n, p.Body)
	}
}

// TestREG09_NamesOfAllScripts: what keeps invisible names out lets every script in.
func TestREG09_NamesOfAllScripts(t *testing.T) {
	e := newEdge(t)
	for _, name := range []string{"Element", "نرم\u200cافزار", "क्\u200dष", "น้ำ", "བསྒྲུབས", "Vie\u0323\u0302t", "👩\u200d💻", "❤\ufe0f", "3", "C++", " Element "} {
		p := e.register(t, `{"client_uri":"https://example.com","redirect_uris":["https://example.com/cb"],"client_name":"`+name+`"}`)
		if p.Code != 201 || p.str("client_name") != name {
			t.Errorf("%q: got %d %s", name, p.Code, p.Body)
		}
	}
}

func TestREG10_ApplicationTypes(t *testing.T) {
	e := newEdge(t)
	if p := e.register(t, `{"client_uri":"https://example.com","redirect_uris":["https://example.com/cb"]}`); p.str("application_type") != "web" {
		t.Errorf("got %s", p.Body)
	}
	e.register(t, `{"client_uri":"https://example.com","redirect_uris":["https://example.com/cb"],"application_type":"browser"}`).
		want(t, 400, "invalid_client_metadata")
}

// TestREG11_to_REG16_RedirectURIs: RFC 8252 and Matrix's rules, by kind of client.
func TestREG11_REG12_REG13_REG14_REG15_REG16_E13_RedirectURIs(t *testing.T) {
	e := newEdge(t)
	for _, tc := range []struct {
		kind, uri string
		ok        bool
	}{
		{"web", "https://example.com/cb", true},
		{"web", "https://app.example.com/?no_universal_links=true", true},
		{"web", "https://example.com/a%2Fb%2e%2e/?x=%20+&flag", true},
		{"web", "https://example.com:8443/cb", true},
		{"web", "https://EXAMPLE.com/cb", true},
		{"web", "https://example.org/cb", false},
		{"web", "https://badexample.com/cb", false},
		{"web", "https://example.com.evil.example/cb", false},
		{"web", "http://example.com/cb", false},
		{"web", "https://example.com/cb#", false},
		{"web", "https://example.com/cb#frag", false},
		{"web", "https://u:p@example.com/cb", false},
		{"web", "https://evil.example\\@example.com/cb", false},
		{"web", "https://example.com\\.evil.example/cb", false},
		{"web", "https://example.com%2eevil.example/cb", false},
		{"web", "https:/example.com/cb", false},
		{"web", "https://example.com:x/cb", false},
		{"web", "/cb", false},
		{"web", "", false},
		{"web", "https://localhost/cb", false},
		{"web", "http://localhost/cb", false},
		{"web", "com.example:/cb", false},
		{"native", "https://example.com/oauth/ios/x", true}, // REG-16
		{"native", "https://evil.example/oauth/ios/x", false},
		{"native", "com.example:/", true}, // REG-13
		{"native", "com.example.app:/cb", true},
		{"native", "com.example:cb", true},
		{"native", "com.example.App:/cb?a=b", true},
		{"native", "com.example.app://cb", false},
		{"native", "com.example.app://", false},
		{"native", "com.example.app:///cb", false},
		{"native", "example:/cb", false}, // dotless
		{"native", "app:/cb", false},
		{"native", "com.example:", false},
		{"native", "com.examples:/cb", false},
		{"native", "org.example:/cb", false},
		{"native", "com:/cb", false},
		{"native", "javascript:alert(1)", false},
		{"native", "com.example.app:/cb#x", false},
		{"native", "http://localhost/cb", true}, // REG-14
		{"native", "http://127.0.0.1/cb", true},
		{"native", "http://127.0.0.1", true},
		{"native", "http://[::1]/cb?x=y", true},
		{"native", "http://localhost:1234/cb", false}, // REG-15
		{"native", "http://localhost:/cb", false},
		{"native", "https://localhost/cb", false},
		{"native", "https://127.0.0.1/cb", false},
		{"native", "http://127.0.0.2/cb", false},
		{"native", "http://localhost.evil.example/cb", false},
		{"native", "http://localhost@evil.example/cb", false},
		{"native", "http://u@localhost/cb", false},
		{"native", "http://localhost/cb#x", false},
		{"native", "http://localhost\\/cb", false},
		{"native", "http://LOCALHOST/cb", false},
		{"native", "http://example.com/cb", false},
	} {
		b, _ := json.Marshal(map[string]any{
			"client_uri": "https://example.com/", "application_type": tc.kind, "redirect_uris": []string{tc.uri}, "token_endpoint_auth_method": "none",
		})
		p := e.register(t, string(b))
		switch {
		case tc.ok && (p.Code != 201 || !slices.Equal(stringsOf(p.object["redirect_uris"]), []string{tc.uri})):
			t.Errorf("%s %q: got %d %s, want it as it was sent", tc.kind, tc.uri, p.Code, p.Body)
		case !tc.ok && (p.Code != 400 || p.str("error") != "invalid_redirect_uri"):
			t.Errorf("%s %q: got %d %s, want invalid_redirect_uri", tc.kind, tc.uri, p.Code, p.Body)
		}
	}
}

// TestREG17_REG23_Errors are RFC 7591's, as JSON, whatever is sent.
func TestREG17_REG23_Errors(t *testing.T) {
	e := newEdge(t)
	const rest = `"client_uri":"https://example.com","redirect_uris":["https://example.com/cb"]`
	for _, tc := range []struct{ body, code string }{
		{"", "invalid_client_metadata"},
		{"{", "invalid_client_metadata"},
		{"null", "invalid_client_metadata"},
		{"[]", "invalid_client_metadata"},
		{`"x"`, "invalid_client_metadata"},
		{"{}", "invalid_client_metadata"},
		{`{` + rest + `}x`, "invalid_client_metadata"},
		{`{` + rest + `,"client_name":"a","client_name":"b"}`, "invalid_client_metadata"},
		{`{` + rest + `,"client_name":7}`, "invalid_client_metadata"},
		{`{` + rest + `,"client_name":"` + strings.Repeat("ä", 101) + `"}`, "invalid_client_metadata"},
		{`{` + rest + `,"client_name":"a\u0000b"}`, "invalid_client_metadata"},
		{`{` + rest + `,"client_name":"a\u202eb"}`, "invalid_client_metadata"},
		{`{` + rest + `,"client_name":"a\u2066b"}`, "invalid_client_metadata"},
		{`{` + rest + `,"client_name":" . "}`, "invalid_client_metadata"},
		{`{` + rest + `,"client_name":"\u200b\u200d"}`, "invalid_client_metadata"},
		{`{` + rest + `,"client_name":"\u3164\u2800\u00ad\u2003"}`, "invalid_client_metadata"},
		{`{` + rest + `,"client_name":"\u0301\u20dd\ufe0f"}`, "invalid_client_metadata"},
		{`{` + rest + `,"client_name":"a` + strings.Repeat(`\u0301`, 9) + `"}`, "invalid_client_metadata"},
		{`{` + rest + `,"client_name":"a` + strings.Repeat(`\u0301\u200d`, 9) + `"}`, "invalid_client_metadata"},
		{`{` + rest + ",\"client_name\":\"a\xffb\"}", "invalid_client_metadata"},
		{`{` + rest + `,"token_endpoint_auth_method":"client_secret_jwt"}`, "invalid_client_metadata"},
		{`{` + rest + `,"token_endpoint_auth_method":"private_key_jwt"}`, "invalid_client_metadata"},
		{`{` + rest + `,"id_token_signed_response_alg":"none"}`, "invalid_client_metadata"},
		{`{` + rest + `,"id_token_signed_response_alg":"HS256"}`, "invalid_client_metadata"},
		{`{` + rest + `,"jwks":{"keys":[]}}`, "invalid_client_metadata"},
		{`{` + rest + `,"jwks":[]}`, "invalid_client_metadata"},
		{`{` + rest + `,"jwks":{"keys":[{"kty":"oct","k":"c2VjcmV0"}]}}`, "invalid_client_metadata"},
		{`{"client_uri":"https://example.com"}`, "invalid_redirect_uri"},
		{`{"client_uri":"https://example.com","redirect_uris":[]}`, "invalid_redirect_uri"},
		{`{"client_uri":"https://example.com","redirect_uris":"https://example.com/cb"}`, "invalid_redirect_uri"},
		{`{"client_uri":"https://example.com","redirect_uris":[7]}`, "invalid_redirect_uri"},
	} {
		p := e.register(t, tc.body)
		if p.Code != 400 || p.str("error") != tc.code || p.str("errcode") != "" || p.Header().Get("Cache-Control") != "no-store" {
			t.Errorf("%q: got %d %s, want %s", tc.body, p.Code, p.Body, tc.code)
		}
	}
	golden(t, "register_error", e.register(t, "{").Body.String())
	for _, contentType := range []string{"", "text/plain", formType, "application/json/x"} {
		e.raw(t, "POST", "/oauth2/registration", jsSDK43, "Content-Type: "+contentType).want(t, 400, "invalid_client_metadata")
	}
	e.raw(t, "POST", "/oauth2/registration", jsSDK43, "Content-Type: Application/JSON; charset=UTF-8").want(t, 201, "")
	e.raw(t, "GET", "/oauth2/registration", "").want(t, 405, "invalid_request")
}

// TestREG19_Merging: clients that say the same are one, whatever the order; a secret makes one of its own.
func TestREG19_Merging(t *testing.T) {
	e := newEdge(t)
	first := e.register(t, `{"client_name":"x","client_uri":"https://example.com","redirect_uris":["https://example.com/a","https://example.com/b"],"token_endpoint_auth_method":"none"}`)
	e.Clock.Advance(time.Hour)
	same := e.register(t, `{"redirect_uris":["https://example.com/b","https://example.com/a","https://example.com/b"],"token_endpoint_auth_method":"none",
		"id_token_signed_response_alg":"RS256","grant_types":["refresh_token","authorization_code","implicit"],"response_types":["code"],
		"application_type":"web","client_name":"x","client_uri":"https://example.com","software_id":"y"}`)
	if first.Body.String() != same.Body.String() {
		t.Errorf("got %s, then %s", first.Body, same.Body)
	}
	for _, other := range []string{
		`{"client_name":"y","client_uri":"https://example.com","redirect_uris":["https://example.com/a","https://example.com/b"],"token_endpoint_auth_method":"none"}`,
		`{"client_name":"x","client_uri":"https://example.com/","redirect_uris":["https://example.com/a","https://example.com/b"],"token_endpoint_auth_method":"none"}`,
		`{"client_name":"x","client_uri":"https://example.com","redirect_uris":["https://example.com/a"],"token_endpoint_auth_method":"none"}`,
	} {
		if p := e.register(t, other); p.str("client_id") == first.str("client_id") {
			t.Errorf("%s: got the same client", other)
		}
	}
	const secret = `{"client_uri":"https://example.com","redirect_uris":["https://example.com/cb"]}`
	if a, b := e.register(t, secret), e.register(t, secret); a.str("client_id") == b.str("client_id") || a.str("client_secret") == b.str("client_secret") {
		t.Errorf("got %s and %s", a.Body, b.Body)
	}
}

// TestREG20_E28_ClientsInUseStay: a week without use removes a registration, but never one with a session.
func TestREG20_E28_ClientsInUseStay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := newEdge(t)
		used, unused := e.client(t), e.register(t, jsSDK41).str("client_id")
		p := e.tokens(t, used, fullScope)
		e.verdict(t, p.str("access_token"))
		e.Clock.Advance(8 * 24 * time.Hour)
		e.MustRun(t)
		time.Sleep(2 * time.Minute) // Sweeps come by.
		if _, err := e.Service.Client(t.Context(), unused); err != auth.ErrClientUnknown {
			t.Errorf("the unused client: got %v, want %v", err, auth.ErrClientUnknown)
		}
		e.refresh(t, used, p.str("refresh_token")).want(t, 200, "")
		e.authorize(t, authorization(unused, fullScope))
		if got := e.problems[len(e.problems)-1].Kind; got != oidcprovider.UnknownClient {
			t.Errorf("the unused client: got %s", got)
		}
	})
}

// TestREG21_Bounds: 8 KiB, ten redirect URIs, so many per address.
func TestREG21_Bounds(t *testing.T) {
	e := newEdge(t, func(s *auth.Settings) { s.RegisterLimit = auth.Limit{Burst: 3, Window: time.Minute} })
	p := e.register(t, `{"client_uri":"https://example.com","x":"`+strings.Repeat("x", 8<<10)+`"}`)
	p.want(t, 413, "invalid_client_metadata")
	var uris []string
	for i := range 11 {
		uris = append(uris, fmt.Sprintf("https://example.com/%d", i))
	}
	b, _ := json.Marshal(map[string]any{"client_uri": "https://example.com", "redirect_uris": uris})
	e.register(t, string(b)).want(t, 400, "invalid_redirect_uri")
	for range 3 {
		e.register(t, jsSDK43).want(t, 201, "")
	}
	limited := e.register(t, jsSDK43)
	limited.want(t, 429, "temporarily_unavailable")
	if got := limited.Header().Get("Retry-After"); got != "20" {
		t.Errorf("got Retry-After %q, want 20", got)
	}
}

// TestREG22_UnknownMembers are ignored; those that name something to be fetched are refused, and nothing is fetched.
func TestREG22_UnknownMembers(t *testing.T) {
	e := newEdge(t)
	const rest = `"client_uri":"https://example.com","redirect_uris":["https://example.com/cb"],"token_endpoint_auth_method":"none"`
	p := e.register(t, `{`+rest+`,"contacts":["a"],"software_id":{"x":1},"dpop_bound_access_tokens":true,"subject_type":"pairwise","client_id":"mine","client_secret":"mine"}`)
	p.want(t, 201, "")
	if p.str("client_id") == "mine" || p.object["client_secret"] != nil || p.object["contacts"] != nil {
		t.Errorf("got %s", p.Body)
	}
	for _, member := range []string{
		`"jwks_uri":"http://127.0.0.1:1/"`, `"sector_identifier_uri":"https://example.com/x"`, `"request_uris":["https://example.com/x"]`, `"jwks_uri":7`,
	} {
		e.register(t, `{`+rest+`,`+member+`}`).want(t, 400, "invalid_client_metadata")
	}
	e.register(t, `{`+rest+`,"jwks_uri":null,"request_uris":[],"jwks":null}`).want(t, 201, "")
}

// TestRegistration_Keys: public keys only, ten at most, in one order, neither weak nor costly.
func TestRegistration_Keys(t *testing.T) {
	e := newEdge(t)
	var set jose.JSONWebKeySet
	var private []jose.JSONWebKey
	for i := range 11 {
		k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		private = append(private, jose.JSONWebKey{Key: k, KeyID: fmt.Sprint(i)})
		set.Keys = append(set.Keys, jose.JSONWebKey{Key: k.Public(), KeyID: fmt.Sprint(i)})
	}
	ask := func(keys []jose.JSONWebKey) reply {
		b, err := json.Marshal(map[string]any{
			"client_uri": "https://example.com", "redirect_uris": []string{"https://example.com/cb"},
			"token_endpoint_auth_method": "private_key_jwt", "jwks": jose.JSONWebKeySet{Keys: keys},
		})
		if err != nil {
			t.Fatal(err)
		}
		return e.register(t, string(b))
	}
	ask(set.Keys).want(t, 400, "invalid_client_metadata")
	ask(private[:1]).want(t, 400, "invalid_client_metadata")
	one := ask(set.Keys[:2])
	one.want(t, 201, "")
	if one.object["client_secret"] != nil {
		t.Errorf("got %s", one.Body)
	}
	if two := ask([]jose.JSONWebKey{set.Keys[1], set.Keys[0], set.Keys[1]}); two.str("client_id") != one.str("client_id") {
		t.Errorf("got %s and %s", one.Body, two.Body)
	}
	for bits, status := range map[uint]int{1024: 400, 2047: 400, 2048: 201, 4096: 201, 16384: 400} {
		n := new(big.Int).SetBit(big.NewInt(1), int(bits)-1, 1) // As long as such a key. What is longer takes long to check.
		if p := ask([]jose.JSONWebKey{{Key: &rsa.PublicKey{N: n, E: 65537}}}); p.Code != status {
			t.Errorf("RSA with %d bits: got %d %s, want %d", bits, p.Code, p.Body, status)
		}
	}
}

// TestRegistration_Trouble is no verdict.
func TestRegistration_Trouble(t *testing.T) {
	e := newEdge(t)
	if err := e.DB.Close(); err != nil {
		t.Fatal(err)
	}
	if p := e.register(t, jsSDK43); p.Code != 503 || p.Body.Len() != 0 || p.Header().Get("Retry-After") != "2" {
		t.Errorf("got %d %q, Retry-After %q", p.Code, p.Body, p.Header().Get("Retry-After"))
	}
}
