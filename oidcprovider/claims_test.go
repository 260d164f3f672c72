package oidcprovider_test

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/caddy-matrix/caddy-matrix-auth/internal/auth"
	"github.com/caddy-matrix/caddy-matrix-auth/internal/authtest"
	"github.com/caddy-matrix/caddy-matrix-auth/store"
)

func basic(id, secret string) string {
	return base64.StdEncoding.EncodeToString([]byte(url.QueryEscape(id) + ":" + url.QueryEscape(secret)))
}

// atHash is the left half of the token's SHA-256 (OIDC Core §3.1.3.6).
func atHash(access string) string {
	sum := sha256.Sum256([]byte(access))
	return base64.RawURLEncoding.EncodeToString(sum[:16])
}

// verify checks an id token by the published keys alone, and returns its claims.
func (e *edge) verify(t *testing.T, idToken, alg string) map[string]any {
	t.Helper()
	var set jose.JSONWebKeySet
	if err := json.Unmarshal(e.get(t, "/oauth2/keys.json").Body.Bytes(), &set); err != nil {
		t.Fatal(err)
	}
	jws, err := jose.ParseSignedCompact(idToken, []jose.SignatureAlgorithm{jose.SignatureAlgorithm(alg)})
	if err != nil {
		t.Fatalf("%q: %v", idToken, err)
	}
	keys := set.Key(jws.Signatures[0].Header.KeyID)
	if len(keys) != 1 {
		t.Fatalf("got %d keys for %s", len(keys), jws.Signatures[0].Header.KeyID)
	}
	payload, err := jws.Verify(keys[0])
	if err != nil {
		t.Fatal(err)
	}
	var claims map[string]any
	if err := json.Unmarshal(payload, &claims); err != nil {
		t.Fatal(err)
	}
	return claims
}

// TestUserInfo: what each scope tells, where the token may stand, and what a bad one gets (OIDC Core §5.3, RFC 6750).
func TestUserInfo(t *testing.T) {
	e := newEdge(t)
	c := e.client(t)
	alice, err := e.User("alice")
	if err != nil {
		t.Fatal(err)
	}
	openid := e.tokens(t, c, "openid").str("access_token")
	profile := e.tokens(t, c, "openid profile email").str("access_token")
	api := e.tokens(t, c, fullScope).str("access_token")
	for _, tc := range []struct{ access, want string }{
		{openid, `{"sub":"` + alice.ID.String() + `","username":"alice"}`},
		{profile, `{"sub":"` + alice.ID.String() + `","username":"alice","preferred_username":"alice"}`},
	} {
		p := e.get(t, "/oauth2/userinfo", "Authorization: Bearer "+tc.access)
		if p.Code != 200 || strings.TrimSpace(p.Body.String()) != tc.want || p.Header().Get("Cache-Control") != "no-store" {
			t.Errorf("got %d %s, want %s", p.Code, p.Body, tc.want)
		}
		if q := e.form(t, "/oauth2/userinfo", url.Values{"access_token": {tc.access}}); q.Body.String() != p.Body.String() {
			t.Errorf("POST: got %d %s", q.Code, q.Body)
		}
		if q := e.raw(t, "POST", "/oauth2/userinfo", "", "Authorization: bearer "+tc.access); q.Body.String() != p.Body.String() {
			t.Errorf("empty POST: got %d %s", q.Code, q.Body)
		}
	}
	for _, tc := range []struct {
		what   string
		p      reply
		status int
		code   string
		bearer string
	}{
		{"no openid", e.get(t, "/oauth2/userinfo", "Authorization: Bearer "+api), 403, "insufficient_scope", `Bearer error="insufficient_scope", scope="openid"`},
		{"unknown", e.get(t, "/oauth2/userinfo", "Authorization: Bearer mat_x"), 401, "invalid_token", `Bearer error="invalid_token"`},
		{"foreign", e.get(t, "/oauth2/userinfo", "Authorization: Bearer syt_x"), 401, "invalid_token", `Bearer error="invalid_token"`},
		{"none", e.get(t, "/oauth2/userinfo"), 401, "invalid_request", `Bearer error="invalid_token"`},
		{"basic", e.get(t, "/oauth2/userinfo", "Authorization: Basic "+basic("x", "y")), 401, "invalid_request", `Bearer error="invalid_token"`},
		{"query", e.get(t, "/oauth2/userinfo?access_token="+openid), 401, "invalid_request", `Bearer error="invalid_token"`},
		{"two headers", e.get(t, "/oauth2/userinfo", "Authorization: Bearer "+openid, "Authorization: Bearer x"), 400, "invalid_request", ""},
		{"two places", e.form(t, "/oauth2/userinfo", url.Values{"access_token": {openid}}, "Authorization: Bearer "+openid), 400, "invalid_request", ""},
	} {
		tc.p.want(t, tc.status, tc.code)
		if got := tc.p.Header().Get("WWW-Authenticate"); got != tc.bearer {
			t.Errorf("%s: got WWW-Authenticate %q, want %q", tc.what, got, tc.bearer)
		}
	}
	if err := e.Lock(t.Context(), "alice"); err != nil {
		t.Fatal(err)
	}
	if p := e.get(t, "/oauth2/userinfo", "Authorization: Bearer "+openid); p.Code != 503 || p.Body.Len() != 0 {
		t.Errorf("locked: got %d %s, want 503: the session lives", p.Code, p.Body)
	}
	if err := e.Unlock(t.Context(), "alice"); err != nil {
		t.Fatal(err)
	}
	e.Clock.Advance(5 * time.Minute)
	e.get(t, "/oauth2/userinfo", "Authorization: Bearer "+openid).want(t, 401, "invalid_token")
}

// introspectors are clients of the configuration, of which one may introspect.
func introspectors(s *auth.Settings) {
	secret := store.Digest(sha256.Sum256([]byte("secret-of-the-client")))
	s.Clients = map[string]auth.Client{
		"rs":    {Static: true, Introspect: true, Client: store.Client{ID: "rs", AuthMethod: "client_secret_basic", Secret: secret}},
		"other": {Static: true, Client: store.Client{ID: "other", AuthMethod: "client_secret_basic", Secret: secret}},
	}
}

// TestIntrospection_Clients: only those that the operator allows, about access tokens alone, to the token's very end.
func TestIntrospection_Clients(t *testing.T) {
	e := newEdge(t, introspectors)
	c := e.client(t)
	p := e.tokens(t, c, fullScope)
	ask := func(tok string, headers ...string) reply {
		return e.form(t, "/oauth2/introspect", url.Values{"token": {tok}}, headers...)
	}
	rs := "Authorization: Basic " + basic("rs", "secret-of-the-client")
	got := ask(p.str("access_token"), rs)
	got.want(t, 200, "")
	alice, err := e.User("alice")
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]any{
		"active": true, "client_id": c, "username": "alice", "sub": alice.ID.String(), "device_id": "AAAAAAAAAA", "token_type": "Bearer", "iss": issuer,
		"exp": float64(e.Now().Add(5 * time.Minute).Unix()),
	} {
		if got.object[name] != want {
			t.Errorf("%s: got %v, want %v", name, got.object[name], want)
		}
	}
	for what, tok := range map[string]string{"refresh token": p.str("refresh_token"), "unknown": "mat_x", "foreign": "syt_x", "the shared secret": authtest.Secret} {
		if q := ask(tok, rs); strings.TrimSpace(q.Body.String()) != `{"active":false}` || q.Code != 200 {
			t.Errorf("%s: got %d %s", what, q.Code, q.Body)
		}
	}
	ask(p.str("access_token")).want(t, 400, "invalid_request")
	for what, header := range map[string]string{
		"wrong secret": "Authorization: Basic " + basic("rs", "x"), "not allowed": "Authorization: Basic " + basic("other", "secret-of-the-client"),
		"self-registered": "Authorization: Basic " + basic(c, ""), "unknown": "Authorization: Basic " + basic("x", "y"),
	} {
		q := ask(p.str("access_token"), header)
		if q.Code != 401 || q.str("error") != "invalid_client" || q.Header().Get("WWW-Authenticate") == "" {
			t.Errorf("%s: got %d %s", what, q.Code, q.Body)
		}
	}
	e.form(t, "/oauth2/introspect", url.Values{"token": {"x"}, "client_id": {"rs"}, "client_secret": {"secret-of-the-client"}}).want(t, 401, "invalid_client")
	ask("", rs).want(t, 400, "invalid_request")
	e.Clock.Advance(5 * time.Minute)
	if q := ask(p.str("access_token"), rs); strings.TrimSpace(q.Body.String()) != `{"active":false}` {
		t.Errorf("at its end: got %s", q.Body)
	}
}
