package oidcprovider_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"encoding/json"
	"net/url"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/caddy-matrix/caddy-matrix-auth/internal/auth"
	"github.com/caddy-matrix/caddy-matrix-auth/internal/mxid"
	"github.com/caddy-matrix/caddy-matrix-auth/store"
)

const assertionType = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"

// signer is a client's key.
type signer struct {
	key *ecdsa.PrivateKey
	id  string
}

func newSigner(t testing.TB, id string) signer {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return signer{k, id}
}

func (s signer) jwks(t testing.TB) []byte {
	t.Helper()
	b, err := json.Marshal(jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: s.key.Public(), KeyID: s.id}}})
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// sign makes an assertion. A change to nil drops a claim.
func (s signer) sign(t testing.TB, e *edge, client string, change map[string]any) string {
	t.Helper()
	now := e.Now().Unix()
	claims := map[string]any{"iss": client, "sub": client, "aud": issuer, "iat": now, "exp": now + 300, "jti": rand.Text()}
	for name, v := range change {
		if claims[name] = v; v == nil {
			delete(claims, name)
		}
	}
	j, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.ES256, Key: &jose.JSONWebKey{Key: s.key, KeyID: s.id}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	payload, err := json.Marshal(claims)
	if err != nil {
		t.Fatal(err)
	}
	jws, err := j.Sign(payload)
	if err != nil {
		t.Fatal(err)
	}
	text, err := jws.CompactSerialize()
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// machines are clients of the configuration that authenticate in each way.
func machines(t testing.TB, key signer) func(*auth.Settings) {
	secret := store.Digest(sha256.Sum256([]byte("s3cret %+:/é of the client")))
	grants := []string{"authorization_code", "refresh_token", "client_credentials", deviceType}
	return func(s *auth.Settings) {
		s.Clients = map[string]auth.Client{}
		for id, c := range map[string]store.Client{
			"basic": {AuthMethod: "client_secret_basic", Secret: secret},
			"post":  {AuthMethod: "client_secret_post", Secret: secret},
			"key":   {AuthMethod: "private_key_jwt", JWKS: key.jwks(t)},
			"none":  {AuthMethod: "none"},
		} {
			c.ID, c.GrantTypes, c.RedirectURIs = id, grants, []string{redirect}
			s.Clients[id] = auth.Client{Static: true, Introspect: id == "key", Admin: id != "none", Client: c}
		}
	}
}

const machineSecret = "s3cret %+:/é of the client"

// ask is a request for a client's own token.
func (e *edge) machine(t testing.TB, change url.Values, headers ...string) reply {
	t.Helper()
	v := url.Values{"grant_type": {"client_credentials"}, "scope": {mxid.ScopeMASAdmin}}
	for name, list := range change {
		v[name] = list
	}
	return e.form(t, "/oauth2/token", v, headers...)
}

// TestClientAuthentication: exactly in the way that is registered, and one client only.
func TestClientAuthentication(t *testing.T) {
	key := newSigner(t, "k1")
	e := newEdge(t, machines(t, key))
	right := "Authorization: Basic " + basic("basic", machineSecret)
	form := func(pairs ...string) url.Values {
		v := url.Values{}
		for i := 0; i < len(pairs); i += 2 {
			v.Set(pairs[i], pairs[i+1])
		}
		return v
	}
	assertion := func(client string) url.Values {
		return form("client_assertion", key.sign(t, e, client, nil), "client_assertion_type", assertionType)
	}
	with := func(v url.Values, pairs ...string) url.Values {
		for name, list := range form(pairs...) {
			v[name] = list
		}
		return v
	}
	for what, tc := range map[string]struct {
		form   url.Values
		header []string
		status int
		code   string
	}{
		"basic":                      {form(), []string{right}, 200, ""},
		"basic and its name":         {form("client_id", "basic"), []string{right}, 200, ""},
		"basic, another scheme case": {form(), []string{"Authorization: bAsIc " + basic("basic", machineSecret)}, 200, ""},
		"basic and another name":     {form("client_id", "post"), []string{right}, 401, "invalid_client"},
		"basic, wrong secret":        {form(), []string{"Authorization: Basic " + basic("basic", "x")}, 401, "invalid_client"},
		"basic, no secret":           {form(), []string{"Authorization: Basic " + basic("basic", "")}, 401, "invalid_client"},
		"basic, bad escape":          {form(), []string{"Authorization: Basic YmFzaWM6JXp6"}, 401, "invalid_client"},
		"basic, unknown":             {form(), []string{"Authorization: Basic " + basic("x", "y")}, 401, "invalid_client"},
		"basic twice":                {form(), []string{right, right}, 400, "invalid_request"},
		"basic for post":             {form(), []string{"Authorization: Basic " + basic("post", machineSecret)}, 401, "invalid_client"},
		"basic for key":              {form(), []string{"Authorization: Basic " + basic("key", machineSecret)}, 401, "invalid_client"},
		"basic for none":             {form(), []string{"Authorization: Basic " + basic("none", "")}, 401, "invalid_client"},
		"post":                       {form("client_id", "post", "client_secret", machineSecret), nil, 200, ""},
		"post, wrong secret":         {form("client_id", "post", "client_secret", "x"), nil, 401, "invalid_client"},
		"post, no secret":            {form("client_id", "post"), nil, 401, "invalid_client"},
		"post for basic":             {form("client_id", "basic", "client_secret", machineSecret), nil, 401, "invalid_client"},
		"post and basic":             {form("client_id", "post", "client_secret", machineSecret), []string{right}, 400, "invalid_request"},
		"secret and basic":           {form("client_secret", machineSecret), []string{right}, 400, "invalid_request"},
		"nothing for basic":          {form("client_id", "basic"), nil, 401, "invalid_client"},
		"nothing for key":            {form("client_id", "key"), nil, 401, "invalid_client"},
		"nothing at all":             {form(), nil, 400, "invalid_request"},
		"key":                        {assertion("key"), nil, 200, ""},
		"key and its name":           {with(assertion("key"), "client_id", "key"), nil, 200, ""},
		"key and another name":       {with(assertion("key"), "client_id", "post"), nil, 401, "invalid_client"},
		"key of another":             {assertion("post"), nil, 401, "invalid_client"},
		"key and secret":             {with(assertion("key"), "client_id", "key", "client_secret", "x"), nil, 400, "invalid_request"},
		"key and basic":              {assertion("key"), []string{right}, 400, "invalid_request"},
		"key without type":           {form("client_assertion", key.sign(t, e, "key", nil)), nil, 400, "invalid_request"},
		"key of another type":        {with(assertion("key"), "client_assertion_type", "x"), nil, 400, "invalid_request"},
		"none may not":               {form("client_id", "none"), nil, 401, "invalid_client"},
	} {
		p := e.machine(t, tc.form, tc.header...)
		if p.Code != tc.status || p.str("error") != tc.code {
			t.Errorf("%s: got %d %s, want %d %s", what, p.Code, p.Body, tc.status, tc.code)
		}
		if challenged := p.Header().Get("WWW-Authenticate") != ""; challenged != (p.Code == 401 && tc.header != nil) {
			t.Errorf("%s: got WWW-Authenticate %q", what, p.Header().Get("WWW-Authenticate"))
		}
	}
}

// TestClientAssertions: aud, exp, nbf and jti by our clock (RFC 7523 §3).
func TestClientAssertions(t *testing.T) {
	key := newSigner(t, "k1")
	e := newEdge(t, machines(t, key))
	now := e.Now().Unix()
	ask := func(s signer, change map[string]any) reply {
		return e.machine(t, url.Values{"client_assertion": {s.sign(t, e, "key", change)}, "client_assertion_type": {assertionType}})
	}
	for what, change := range map[string]map[string]any{
		"plain": nil, "aud token endpoint": {"aud": issuer + "oauth2/token"}, "aud array": {"aud": []string{issuer}}, "ten minutes": {"exp": now + 600},
		"the last second": {"exp": now + 1}, "nbf now": {"nbf": now}, "nbf long ago": {"nbf": 0}, "no iat": {"iat": nil},
	} {
		if p := ask(key, change); p.Code != 200 {
			t.Errorf("%s: got %d %s", what, p.Code, p.Body)
		}
	}
	for what, change := range map[string]map[string]any{
		"no aud": {"aud": nil}, "aud without slash": {"aud": "https://matrix.example.org"}, "aud another": {"aud": "https://evil.example/"},
		"two auds": {"aud": []string{issuer, "https://evil.example/"}}, "no exp": {"exp": nil}, "over": {"exp": now}, "over for long": {"exp": now - 60},
		"ten minutes and a second": {"exp": now + 601}, "ten years": {"exp": now + 10*365*24*3600}, "for ever": {"exp": 1e300},
		"nbf in a second": {"nbf": now + 1}, "nbf in half a second": {"nbf": float64(now) + 0.5}, "nbf never": {"nbf": 1e300}, "nbf a text": {"nbf": "x"}, "no jti": {"jti": nil}, "empty jti": {"jti": ""},
		"another sub": {"sub": "basic"}, "another iss": {"iss": "basic"}, "no sub": {"sub": nil},
	} {
		ask(key, change).want(t, 401, "invalid_client")
		if t.Failed() {
			t.Log(what)
		}
	}
	ask(newSigner(t, "k1"), nil).want(t, 401, "invalid_client")
	ask(newSigner(t, ""), nil).want(t, 401, "invalid_client")
	ask(signer{key.key, "k2"}, nil).want(t, 401, "invalid_client")
	ask(signer{key.key, ""}, nil).want(t, 200, "")
	for _, text := range []string{"x", "a.b.c", "eyJhbGciOiJub25lIn0.e30.", "eyJhbGciOiJIUzI1NiJ9.eyJpc3MiOiJrZXkifQ.AAAA"} {
		e.machine(t, url.Values{"client_id": {"key"}, "client_assertion": {text}, "client_assertion_type": {assertionType}}).want(t, 401, "invalid_client")
	}
}

// TestClientAssertions_Once: what an assertion bought, it buys once, at every endpoint and until its end.
func TestClientAssertions_Once(t *testing.T) {
	key := newSigner(t, "k1")
	e := newEdge(t, machines(t, key))
	credentials := func() url.Values {
		return url.Values{"client_id": {"key"}, "client_assertion": {key.sign(t, e, "key", nil)}, "client_assertion_type": {assertionType}}
	}
	with := func(v url.Values, more url.Values) url.Values {
		for name, list := range more {
			v[name] = list
		}
		return v
	}
	v := credentials()
	code := exchange("key", e.code(t, authorization("key", fullScope)))
	e.form(t, "/oauth2/token", with(exchange("key", "x"), v)).want(t, 400, "invalid_grant") // It bought nothing.
	p := e.form(t, "/oauth2/token", with(code, v))
	p.want(t, 200, "")
	refresh := url.Values{"grant_type": {"refresh_token"}, "refresh_token": {p.str("refresh_token")}}
	e.form(t, "/oauth2/token", with(refresh, v)).want(t, 401, "invalid_client")
	e.form(t, "/oauth2/introspect", with(url.Values{"token": {p.str("access_token")}}, v)).want(t, 401, "invalid_client")
	e.form(t, "/oauth2/device", with(url.Values{"scope": {oldScope}}, v)).want(t, 401, "invalid_client")
	e.machine(t, v).want(t, 401, "invalid_client")

	e.form(t, "/oauth2/token", with(refresh, credentials())).want(t, 200, "")
	once := credentials()
	e.form(t, "/oauth2/introspect", with(url.Values{"token": {p.str("access_token")}}, once)).want(t, 200, "")
	e.form(t, "/oauth2/introspect", with(url.Values{"token": {p.str("access_token")}}, once)).want(t, 401, "invalid_client")
	e.form(t, "/oauth2/device", with(url.Values{"scope": {oldScope}}, credentials())).want(t, 200, "")

	twenty := credentials()
	answers := make([]reply, 20)
	parallel(len(answers), func(i int) { answers[i] = e.machine(t, twenty) })
	won := 0
	for _, a := range answers {
		if a.Code == 200 {
			won++
			continue
		}
		a.want(t, 401, "invalid_client")
	}
	if won != 1 {
		t.Errorf("got %d tokens for one assertion", won)
	}
	e.Clock.Advance(10*time.Minute + time.Second)
	e.machine(t, twenty).want(t, 401, "invalid_client")
}

// TestINT10_ClientCredentials: a token of the client's own: no user, no refresh, not for the client-server API.
func TestINT10_ClientCredentialsGrant(t *testing.T) {
	key := newSigner(t, "k1")
	e := newEdge(t, machines(t, key), func(s *auth.Settings) {
		c := s.Clients["post"]
		c.Admin = false
		s.Clients["post"] = c
	})
	right := "Authorization: Basic " + basic("basic", machineSecret)
	p := e.machine(t, nil, right)
	p.want(t, 200, "")
	if r := strict(t, p); r.RefreshToken != "" || r.IDToken != "" || r.Scope != mxid.ScopeMASAdmin || r.ExpiresIn != 300 {
		t.Errorf("got %s", p.Body)
	}
	if got := e.verdict(t, p.str("access_token")); got != auth.Unknown {
		t.Errorf("at the gate: got %v, want Unknown", got)
	}
	q := e.form(t, "/oauth2/introspect", url.Values{
		"token": {p.str("access_token")}, "client_assertion": {key.sign(t, e, "key", nil)}, "client_assertion_type": {assertionType},
	})
	if q.object["active"] != true || q.object["sub"] != nil || q.object["username"] != nil || q.object["client_id"] != "basic" {
		t.Errorf("introspected: got %s", q.Body)
	}
	for _, scope := range []string{apiScope, fullScope, "openid", mxid.ScopeAdmin, mxid.ScopeMASAdmin + " openid"} {
		e.machine(t, url.Values{"scope": {scope}}, right).want(t, 400, "invalid_scope")
	}
	e.machine(t, url.Values{"client_id": {"post"}, "client_secret": {machineSecret}}).want(t, 400, "invalid_scope")
	self := e.register(t, `{"client_uri":"https://example.com","redirect_uris":["`+redirect+`"],"grant_types":["client_credentials","authorization_code"]}`)
	e.machine(t, nil, "Authorization: Basic "+basic(self.str("client_id"), self.str("client_secret"))).want(t, 400, "unauthorized_client")
}

// TestSelfRegisteredSecrets: a secret of a client that registered itself works, in the way it registered.
func TestSelfRegisteredSecrets(t *testing.T) {
	e := newEdge(t)
	p := e.register(t, `{"client_uri":"https://example.com","redirect_uris":["`+redirect+`"]}`)
	id, secret := p.str("client_id"), p.str("client_secret")
	code := e.code(t, authorization(id, fullScope))
	e.form(t, "/oauth2/token", exchange(id, code)).want(t, 401, "invalid_client")
	e.form(t, "/oauth2/token", exchange(id, code, "client_secret="+secret)).want(t, 401, "invalid_client")
	e.form(t, "/oauth2/token", exchange(id, code), "Authorization: Basic "+basic(id, secret+"x")).want(t, 401, "invalid_client")
	e.form(t, "/oauth2/token", exchange(id, code), "Authorization: Basic "+basic(id, secret)).want(t, 200, "")
}
