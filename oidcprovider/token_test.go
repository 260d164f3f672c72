package oidcprovider_test

import (
	"crypto/rand"
	"encoding/json"
	"fmt"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/caddy-matrix/caddy-matrix-auth/internal/auth"
	"github.com/caddy-matrix/caddy-matrix-auth/internal/authtest"
	"github.com/caddy-matrix/caddy-matrix-auth/internal/mxid"
	"github.com/caddy-matrix/caddy-matrix-auth/internal/token"
	"github.com/caddy-matrix/caddy-matrix-auth/oidcprovider"
	"github.com/caddy-matrix/caddy-matrix-auth/store"
)

// TestTOK01_FormsOnly: POST and application/x-www-form-urlencoded; what is in the address does not count.
func TestTOK01_FormsOnly(t *testing.T) {
	e := newEdge(t)
	c := e.client(t)
	v := exchange(c, e.code(t, authorization(c, fullScope)))
	for _, contentType := range []string{"", "application/json", "multipart/form-data; boundary=x", "text/plain"} {
		e.raw(t, "POST", "/oauth2/token", v.Encode(), "Content-Type: "+contentType).want(t, 400, "invalid_request")
	}
	for _, method := range []string{"GET", "PUT", "DELETE", "PATCH", "HEAD"} {
		r := httptest.NewRequest(method, "/oauth2/token?"+v.Encode(), nil)
		if p := e.do(t, r); p.Code != 405 || p.Header().Get("Allow") != "POST, OPTIONS" {
			t.Errorf("%s: got %d, Allow %q", method, p.Code, p.Header().Get("Allow"))
		}
	}
	r := httptest.NewRequest("POST", "/oauth2/token?"+v.Encode(), nil)
	r.Header.Set("Content-Type", formType)
	e.do(t, r).want(t, 400, "invalid_request")
	e.raw(t, "POST", "/oauth2/token", v.Encode(), "Content-Type: Application/X-WWW-Form-URLEncoded ; charset=UTF-8").want(t, 200, "")
}

// tokenReply has the members of RFC 6749 §5.1 in their types, as strictly as any client reads them.
type tokenReply struct {
	AccessToken  string `json:"access_token"`
	TokenType    string `json:"token_type"`
	ExpiresIn    int64  `json:"expires_in"`
	RefreshToken string `json:"refresh_token"`
	Scope        string `json:"scope"`
	IDToken      string `json:"id_token"`
}

func strict(t *testing.T, p reply) tokenReply {
	t.Helper()
	d := json.NewDecoder(strings.NewReader(p.Body.String()))
	d.DisallowUnknownFields()
	var r tokenReply
	if err := d.Decode(&r); err != nil {
		t.Errorf("%s: %v", p.Body, err)
	}
	return r
}

func TestTOK02_TOK03_TOK04_Success(t *testing.T) {
	e := newEdge(t)
	p := e.tokens(t, e.client(t), fullScope)
	r := strict(t, p)
	if p.Code != 200 || p.Header().Get("Content-Type") != "application/json" || p.Header().Get("Cache-Control") != "no-store" || p.Header().Get("Pragma") != "no-cache" {
		t.Errorf("got %d %v", p.Code, p.Header())
	}
	if !strings.HasPrefix(r.AccessToken, "mat_") || !strings.HasPrefix(r.RefreshToken, "mar_") || r.TokenType != "Bearer" || r.ExpiresIn != 300 ||
		r.Scope != fullScope || r.IDToken != "" {
		t.Errorf("got %+v", r)
	}
}

// TestTOK05_E25_ExpiresInIsANumber of whole seconds, computed when it is sent and never more than there is.
func TestTOK05_E25_ExpiresInIsANumber(t *testing.T) {
	e := newEdge(t, func(s *auth.Settings) { s.AccessTTL = 90*time.Second + 700*time.Millisecond })
	c := e.client(t)
	p := e.tokens(t, c, fullScope)
	if !strings.Contains(p.Body.String(), `"expires_in":90,`) {
		t.Errorf("got %s", p.Body)
	}
	e.refresh(t, c, p.str("refresh_token")).want(t, 200, "")
	e.Clock.Advance(20 * time.Second)
	again := e.refresh(t, c, p.str("refresh_token"))
	if !strings.Contains(again.Body.String(), `"expires_in":70,`) {
		t.Errorf("the same token 20 s later: got %s", again.Body)
	}
}

// TestTOK06_SCP02_E06_ScopeIsEchoed in the form that was asked for.
func TestTOK06_SCP02_E06_ScopeIsEchoed(t *testing.T) {
	e := newEdge(t)
	c := e.client(t)
	for _, scope := range []string{fullScope, oldScope, "openid " + oldScope, "openid profile email"} {
		p := e.tokens(t, c, scope)
		if p.str("scope") != scope {
			t.Errorf("got scope %q, want %q", p.str("scope"), scope)
		}
		if q := e.refresh(t, c, p.str("refresh_token")); q.str("scope") != scope {
			t.Errorf("refreshed: got scope %q, want %q", q.str("scope"), scope)
		}
		if strings.Contains(scope, "urn:") && e.verdict(t, p.str("access_token")) != auth.Active {
			t.Errorf("%s: the token is not good", scope)
		}
	}
}

// TestTOK07_E05_OpenIDComesWithAnIDToken, and no id token without it.
func TestTOK07_E05_OpenIDComesWithAnIDToken(t *testing.T) {
	e := newEdge(t)
	c := e.client(t)
	p := e.tokens(t, c, "openid "+fullScope, "nonce=n-0S6")
	claims := e.verify(t, p.str("id_token"), "RS256")
	alice, err := e.User("alice")
	if err != nil {
		t.Fatal(err)
	}
	now := float64(e.Now().Unix())
	for name, want := range map[string]any{
		"iss": issuer, "sub": alice.ID.String(), "exp": now + 3600, "iat": now, "auth_time": now, "nonce": "n-0S6", "azp": c,
		"at_hash": atHash(p.str("access_token")), "acr": nil,
	} {
		if claims[name] != want {
			t.Errorf("%s: got %v, want %v", name, claims[name], want)
		}
	}
	if fmt.Sprint(claims["aud"]) != "["+c+"]" || fmt.Sprint(claims["amr"]) != "[pwd]" {
		t.Errorf("got aud %v, amr %v", claims["aud"], claims["amr"])
	}
	q := e.tokens(t, c, "openid "+fullScope, "acr_values=x")
	claims = e.verify(t, q.str("id_token"), "RS256")
	if claims["acr"] != "0" || claims["nonce"] != nil {
		t.Errorf("got acr %v, nonce %v", claims["acr"], claims["nonce"])
	}
	if r := e.tokens(t, c, fullScope); r.object["id_token"] != nil {
		t.Errorf("without openid: got %s", r.Body)
	}
}

// TestTOK07_ES256 where the client registered it.
func TestTOK07_ES256(t *testing.T) {
	e := newEdge(t)
	c := e.register(t, `{"client_uri":"https://example.com","redirect_uris":["`+redirect+`"],"token_endpoint_auth_method":"none","id_token_signed_response_alg":"ES256"}`).str("client_id")
	e.verify(t, e.tokens(t, c, "openid").str("id_token"), "ES256")
}

// TestTOK08_Errors: which wrong thing gets which error, and that nothing has changed by it.
func TestTOK08_E31_Errors(t *testing.T) {
	e := newEdge(t)
	c := e.client(t)
	other := e.register(t, `{"client_uri":"https://example.com","client_name":"other","redirect_uris":["`+redirect+`"],"token_endpoint_auth_method":"none"}`).str("client_id")
	code := e.code(t, authorization(c, fullScope))
	for _, tc := range []struct {
		change []string
		status int
		code   string
	}{
		{[]string{"grant_type"}, 400, "invalid_request"},
		{[]string{"grant_type=x"}, 400, "unsupported_grant_type"},
		{[]string{"grant_type=password"}, 400, "unsupported_grant_type"},
		{[]string{"grant_type=implicit"}, 400, "unsupported_grant_type"},
		{[]string{"grant_type=urn:ietf:params:oauth:grant-type:token-exchange", "subject_token=x", "subject_token_type=urn:ietf:params:oauth:token-type:access_token"}, 400, "unauthorized_client"},
		{[]string{"grant_type=urn:ietf:params:oauth:grant-type:jwt-bearer", "assertion=x"}, 400, "unsupported_grant_type"},
		{[]string{"grant_type=client_credentials"}, 400, "unauthorized_client"},
		{[]string{"code"}, 400, "invalid_request"},
		{[]string{"code=x"}, 400, "invalid_grant"},
		{[]string{"code=" + code + "x"}, 400, "invalid_grant"},
		{[]string{"code=" + code[1:]}, 400, "invalid_grant"},
		{[]string{"redirect_uri"}, 400, "invalid_request"},
		{[]string{"redirect_uri=https://app.example.com/"}, 400, "invalid_grant"},
		{[]string{"redirect_uri=" + redirect + "?"}, 400, "invalid_grant"},
		{[]string{"client_id"}, 400, "invalid_request"},
		{[]string{"client_id=x"}, 401, "invalid_client"},
		{[]string{"client_id=" + other}, 400, "invalid_grant"},
		{[]string{"code_verifier"}, 400, "invalid_grant"},
		{[]string{"code_verifier=" + strings.Repeat("x", 43)}, 400, "invalid_grant"},
		{[]string{"code_verifier=x"}, 400, "invalid_grant"},
		{[]string{"code_verifier=" + challengeOf(verifier)}, 400, "invalid_grant"},
		{[]string{"client_secret=x"}, 401, "invalid_client"},
	} {
		p := e.form(t, "/oauth2/token", exchange(c, code, tc.change...))
		p.want(t, tc.status, tc.code)
		if p.Code != tc.status {
			t.Logf("%v", tc.change)
		}
		if p.Header().Get("Cache-Control") != "no-store" || p.Header().Get("WWW-Authenticate") != "" {
			t.Errorf("%v: got %v", tc.change, p.Header())
		}
	}
	e.form(t, "/oauth2/token", exchange(c, code)).want(t, 200, "")
	golden(t, "token_invalid_grant", strings.TrimSpace(e.form(t, "/oauth2/token", exchange(c, "x")).Body.String()))
	golden(t, "token_invalid_client", e.form(t, "/oauth2/token", exchange("x", "x")).Body.String())
	golden(t, "token_invalid_request", e.form(t, "/oauth2/token", url.Values{}).Body.String())
	golden(t, "token_unsupported_grant", e.form(t, "/oauth2/token", exchange(c, code, "grant_type=ünsup\"ported\n")).Body.String())
}

// TestTOK09_PKCEDowngrade: there is no code without a challenge, and none is redeemed without its verifier.
func TestTOK09_PKCEDowngrade(t *testing.T) {
	e := newEdge(t)
	c := e.client(t)
	code := e.code(t, authorization(c, fullScope))
	e.form(t, "/oauth2/token", exchange(c, code, "code_verifier")).want(t, 400, "invalid_grant")
	e.form(t, "/oauth2/token", exchange(c, code, "code_verifier=")).want(t, 400, "invalid_grant")
	for _, v := range []string{strings.Repeat("a", 42), strings.Repeat("a", 129), strings.Repeat("a", 42) + "+", strings.Repeat("ä", 43)} {
		other := e.code(t, authorization(c, fullScope, "code_challenge="+challengeOf(v)))
		e.form(t, "/oauth2/token", exchange(c, other, "code_verifier="+v)).want(t, 400, "invalid_grant")
	}
	for _, v := range []string{strings.Repeat("-._~aZ09", 6), strings.Repeat("a", 43), strings.Repeat("a", 128)} {
		other := e.code(t, authorization(c, fullScope, "code_challenge="+challengeOf(v)))
		e.form(t, "/oauth2/token", exchange(c, other, "code_verifier="+v)).want(t, 200, "")
	}
}

// TestTOK10_E08_SynapseFirst: user and device exist there before the answer; while it is down nothing is consumed.
func TestTOK10_E08_SynapseFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := newEdge(t)
		c := e.client(t)
		v := exchange(c, e.code(t, authorization(c, fullScope)))
		e.Synapse.Fail(authtest.Down)
		if p := e.form(t, "/oauth2/token", v); p.Code != 503 || p.Body.Len() != 0 || p.Header().Get("Retry-After") != "2" {
			t.Errorf("while Synapse is down: got %d %q", p.Code, p.Body)
		}
		e.Synapse.Heal()
		e.form(t, "/oauth2/token", v).want(t, 200, "")
		if devices := e.Synapse.Devices("alice"); !slices.Contains(devices, mxid.DeviceID("AAAAAAAAAA")) {
			t.Errorf("got devices %v", devices)
		}
	})
}

// TestTOK11_SCP10_DeviceIsBound: a new session on a device ends the one before.
func TestTOK11_SCP10_DeviceIsBound(t *testing.T) {
	e := newEdge(t)
	c := e.client(t)
	first, second := e.tokens(t, c, fullScope), e.tokens(t, c, fullScope)
	if got := e.verdict(t, first.str("access_token")); got != auth.Unknown {
		t.Errorf("the first session: got %v", got)
	}
	if got := e.verdict(t, second.str("access_token")); got != auth.Active {
		t.Errorf("the second session: got %v", got)
	}
	e.refresh(t, c, first.str("refresh_token")).want(t, 400, "invalid_grant")
}

// TestTOK12_E07_AlwaysARefreshToken, and no scope for it.
func TestTOK12_E07_AlwaysARefreshToken(t *testing.T) {
	e := newEdge(t)
	c := e.client(t)
	for _, scope := range []string{fullScope, "openid"} {
		p := e.tokens(t, c, scope+" offline_access")
		if p.str("refresh_token") == "" || p.str("scope") != scope {
			t.Errorf("got %s", p.Body)
		}
	}
}

// TestTOK13_BasicIsNotNone: a public client shows no credential, not even an empty one, and is nobody else.
func TestTOK13_BasicIsNotNone(t *testing.T) {
	e := newEdge(t)
	c := e.client(t)
	code := e.code(t, authorization(c, fullScope))
	for _, header := range []string{"Basic " + basic(c, ""), "Basic " + basic("x", ""), "Basic !", "Basic", "basic " + basic(c, "x")} {
		p := e.form(t, "/oauth2/token", exchange(c, code), "Authorization: "+header)
		p.want(t, 401, "invalid_client")
		if got := p.Header().Get("WWW-Authenticate"); got != `Basic realm="client"` {
			t.Errorf("%s: got WWW-Authenticate %q", header, got)
		}
	}
	// A stale access token in the header is not meant for this endpoint.
	e.form(t, "/oauth2/token", exchange(c, code), "Authorization: Bearer mat_stale").want(t, 200, "")
}

// TestTOK15_ErrorTexts are ASCII of RFC 6749 §5.2, and nothing of the Matrix API.
func TestTOK15_ErrorTexts(t *testing.T) {
	e := newEdge(t)
	for _, v := range []url.Values{
		{"grant_type": {"\"\\é\x01"}}, {"grant_type": {strings.Repeat("x", 1000)}},
		{"grant_type": {"authorization_code"}, "client_id": {"x"}, "client_assertion": {"\"é"}, "client_assertion_type": {"\"é\\"}},
		{"grant_type": {"\"é"}, "client_id": {e.client(t)}},
	} {
		p := e.form(t, "/oauth2/token", v)
		if strings.Trim(p.str("error_description"), " !#$%&'()*+,-./0123456789:;<=>?@ABCDEFGHIJKLMNOPQRSTUVWXYZ[]^_`abcdefghijklmnopqrstuvwxyz{|}~") != "" ||
			len(p.str("error_description")) > 200 || p.object["errcode"] != nil || p.object["state"] != nil || p.Code != 400 {
			t.Errorf("%v: got %d %s", v, p.Code, p.Body)
		}
	}
}

// TestTOK16_E01_Trouble: an empty 503, whatever fails and however.
func TestTOK16_E01_Trouble(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := newEdge(t)
		c := e.client(t)
		p := e.tokens(t, c, fullScope)
		if err := e.DB.Close(); err != nil {
			t.Fatal(err)
		}
		for _, v := range []url.Values{
			{"grant_type": {"refresh_token"}, "client_id": {c}, "refresh_token": {p.str("refresh_token")}},
			exchange(c, "x"),
		} {
			began := time.Now()
			q := e.form(t, "/oauth2/token", v)
			if took := time.Since(began); took != 10*time.Second {
				t.Errorf("took %v, want it held for 10 s", took)
			}
			if q.Code != 503 || q.Body.Len() != 0 || q.Header().Get("Retry-After") != "2" || q.Header().Get("Access-Control-Allow-Origin") != "*" ||
				q.Header().Get("Content-Type") != "" {
				t.Errorf("got %d %q %v", q.Code, q.Body, q.Header())
			}
		}
	})
}

// TestE1_PanicOutsideTheUseCase: a refresh that panics behind it is held too, with its assertion, which was good when it came. What
// panics after a session has begun is not: to try it again would call the code used, or begin another one.
func TestE1_PanicOutsideTheUseCase(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		key := newSigner(t, "k1")
		e := edgeOn(t, authtest.Options{RealClock: true, Idle: true}, machines(t, key))
		code := exchange("none", e.code(t, authorization("none", "openid")))
		proven := func(v url.Values) url.Values {
			v.Set("client_assertion", key.sign(t, e, "key", map[string]any{"exp": time.Now().Add(2 * time.Second).Unix()}))
			v.Set("client_assertion_type", assertionType)
			return v
		}
		p := e.form(t, "/oauth2/token", proven(exchange("key", e.code(t, authorization("key", fullScope)))))
		p.want(t, 200, "")
		refresh := url.Values{"grant_type": {"refresh_token"}, "refresh_token": {p.str("refresh_token")}}
		u, err := url.Parse(issuer)
		if err != nil {
			t.Fatal(err)
		}
		var began time.Time
		var arrived bool // the clock has been asked when the request arrived, and panics when it is asked again
		var broken time.Duration
		core, logs := observer.New(zap.ErrorLevel)
		e.oauth, err = oidcprovider.NewOAuth(oidcprovider.OAuthConfig{
			Service: e.Service, Issuer: u, From: fromOf, Rand: rand.Reader, Log: zap.New(core),
			Now: func() time.Time {
				if arrived && time.Since(began) < broken {
					panic("a bug")
				}
				arrived = true
				return time.Now()
			},
		})
		if err != nil {
			t.Fatal(err)
		}
		for _, tc := range []struct {
			what         string
			form         url.Values
			broken, took time.Duration
			status       int
		}{
			{"mended after 4 s", refresh, 4 * time.Second, 5 * time.Second, 200},
			{"not mended", refresh, time.Minute, 10 * time.Second, 503},
			{"after a code was redeemed", code, time.Minute, 0, 503},
			{"after a client got a token", url.Values{"grant_type": {"client_credentials"}}, time.Minute, 0, 503},
		} {
			if !tc.form.Has("code") {
				tc.form = proven(tc.form)
			}
			began, arrived, broken = time.Now(), false, tc.broken
			p := e.form(t, "/oauth2/token", tc.form)
			if took := time.Since(began).Round(time.Second); p.Code != tc.status || p.Code == 503 && p.Body.Len() != 0 || took != tc.took {
				t.Errorf("%s: got %d %s after %v", tc.what, p.Code, p.Body, took)
			}
		}
		if text, _ := logs.All()[0].ContextMap()["error"].(string); logs.Len() != 1 || !strings.Contains(text, "a bug") || !strings.Contains(text, "tokens") {
			t.Errorf("logged %v, want the panic with its stack, once a minute", logs.All())
		}
	})
}

// TestREF01_REF02_REF14_Refresh: as clients send it, again and again.
func TestREF01_REF02_REF14_Refresh(t *testing.T) {
	e := newEdge(t)
	c := e.client(t)
	p := e.tokens(t, c, fullScope)
	for range 5 {
		q := e.refresh(t, c, p.str("refresh_token"))
		r := strict(t, q)
		if q.Code != 200 || r.RefreshToken == "" || r.RefreshToken == p.str("refresh_token") || r.AccessToken == p.str("access_token") || r.ExpiresIn != 300 {
			t.Fatalf("got %d %s", q.Code, q.Body)
		}
		p = q
	}
}

// TestREF03_E02_LostAnswer: until the successor is used, the same pair again.
func TestREF03_REF04_E02_LostAnswer(t *testing.T) {
	e := newEdge(t)
	c := e.client(t)
	p := e.tokens(t, c, fullScope)
	first := e.refresh(t, c, p.str("refresh_token"))
	e.Clock.Advance(100 * time.Second)
	again := e.refresh(t, c, p.str("refresh_token"))
	if again.str("access_token") != first.str("access_token") || again.str("refresh_token") != first.str("refresh_token") || again.object["expires_in"] != float64(200) {
		t.Errorf("got %s, then %s", first.Body, again.Body)
	}
}

// TestREF05_RFC9700_Replay: an old refresh token after its successor was used ends the session.
func TestREF05_RFC9700_Replay(t *testing.T) {
	e := newEdge(t)
	c := e.client(t)
	p := e.tokens(t, c, fullScope)
	q := e.refresh(t, c, p.str("refresh_token"))
	r := e.refresh(t, c, q.str("refresh_token"))
	e.Clock.Advance(2 * time.Minute)
	e.refresh(t, c, p.str("refresh_token")).want(t, 400, "invalid_grant")
	e.refresh(t, c, r.str("refresh_token")).want(t, 400, "invalid_grant")
	if got := e.verdict(t, r.str("access_token")); got != auth.Unknown {
		t.Errorf("got %v, want Unknown", got)
	}
}

// TestREF06_E03_Parallel: twenty rotations with one token, one pair for all.
func TestREF06_E03_Parallel(t *testing.T) {
	e := newEdge(t)
	c := e.client(t)
	p := e.tokens(t, c, fullScope)
	answers := make([]reply, 20)
	parallel(len(answers), func(i int) { answers[i] = e.refresh(t, c, p.str("refresh_token")) })
	for _, a := range answers {
		if a.Code != 200 || a.str("access_token") != answers[0].str("access_token") || a.str("refresh_token") != answers[0].str("refresh_token") {
			t.Errorf("got %d %s, want %s", a.Code, a.Body, answers[0].Body)
		}
	}
	if got := e.verdict(t, answers[0].str("access_token")); got != auth.Active {
		t.Errorf("got %v, want Active", got)
	}
}

func parallel(n int, fn func(i int)) {
	var all sync.WaitGroup
	for i := range n {
		all.Go(func() { fn(i) })
	}
	all.Wait()
}

// TestREF07_E04_OldAccessToken lives on for a minute.
func TestREF07_E04_OldAccessToken(t *testing.T) {
	e := newEdge(t)
	c := e.client(t)
	p := e.tokens(t, c, fullScope)
	e.Clock.Advance(295 * time.Second)
	e.refresh(t, c, p.str("refresh_token")).want(t, 200, "")
	e.Clock.Advance(59 * time.Second)
	if got := e.verdict(t, p.str("access_token")); got != auth.Active {
		t.Errorf("59 s later: got %v", got)
	}
}

// TestREF08_REF09_InvalidGrantIsForTheDeadOnly: a session that lives gets no 4xx for what is not its fault.
func TestREF08_REF09_InvalidGrantIsForTheDeadOnly(t *testing.T) {
	e := newEdge(t)
	c := e.client(t)
	p := e.tokens(t, c, fullScope)
	e.Synapse.Fail(authtest.Down)
	q := e.refresh(t, c, p.str("refresh_token"))
	q.want(t, 200, "")
	e.Synapse.Heal()
	for _, bad := range []string{"x", "mar_x", p.str("access_token"), q.str("refresh_token") + "x", strings.Replace(q.str("refresh_token"), "mar_", "mcr_", 1)} {
		e.refresh(t, c, bad).want(t, 400, "invalid_grant")
	}
	e.refresh(t, c, q.str("refresh_token")).want(t, 200, "")
}

func TestREF10_UnknownClient(t *testing.T) {
	e := newEdge(t)
	p := e.tokens(t, e.client(t), fullScope)
	e.refresh(t, "01KDYGT3X8ZYPS9A3QTB1GX7N0", p.str("refresh_token")).want(t, 401, "invalid_client")
	e.refresh(t, "01KDYGT3X8ZYPS9A3QTB1GX7N0", "mar_x").want(t, 401, "invalid_client")
}

// TestREF10_StaticClientRemoved: nothing is called dead for it; put back, it lives again (oauth: static clients).
func TestREF10_StaticClientRemoved(t *testing.T) {
	with := map[string]auth.Client{"static": {Static: true, Client: store.Client{
		ID: "static", AuthMethod: "none", GrantTypes: []string{"authorization_code"}, RedirectURIs: []string{redirect},
	}}}
	e := newEdge(t, func(s *auth.Settings) { s.Clients = with })
	p := e.tokens(t, "static", fullScope)
	set := e.Settings
	set.Clients = nil
	release := e.Claim(set)
	q := e.refresh(t, "static", p.str("refresh_token"))
	if q.Code != 503 || q.Body.Len() != 0 {
		t.Errorf("got %d %s, want an empty 503", q.Code, q.Body)
	}
	homeserver := newProvider(t, oidcprovider.Config{Introspect: e.Introspect})
	if w := serve(homeserver, request(p.str("access_token"))); w.Code != 503 || strings.Contains(w.Body.String(), "active") {
		t.Errorf("introspected by the homeserver: got %d %s, want 503", w.Code, w.Body)
	}
	e.form(t, "/oauth2/token", exchange("static", "x")).want(t, 401, "invalid_client")
	e.device(t, "static", fullScope).want(t, 401, "invalid_client")
	e.refresh(t, "other", p.str("refresh_token")).want(t, 401, "invalid_client")
	if got := e.verdict(t, p.str("access_token")); got != auth.Expired {
		t.Errorf("got %v, want Expired", got)
	}
	release()
	e.refresh(t, "static", p.str("refresh_token")).want(t, 200, "")
}

// TestE28_ClientRemoved: the code, device code and refresh token of a registration that is gone are nobody's.
func TestE28_ClientRemoved(t *testing.T) {
	e := newEdge(t)
	c := e.client(t)
	p := e.tokens(t, c, fullScope)
	code, d := e.code(t, authorization(c, "openid")), e.device(t, c, oldScope)
	if err := e.decide(t, d.str("user_code"), true); err != nil {
		t.Fatal(err)
	}
	if err := e.DB.Update(t.Context(), func(tx *store.Tx) error { return tx.RemoveClient(c) }); err != nil {
		t.Fatal(err)
	}
	e.form(t, "/oauth2/token", exchange(c, code)).want(t, 401, "invalid_client")
	e.poll(t, c, d.str("device_code")).want(t, 401, "invalid_client")
	e.device(t, c, fullScope).want(t, 401, "invalid_client")
	if q := e.refresh(t, c, p.str("refresh_token")); q.Code != 503 || q.Body.Len() != 0 {
		t.Errorf("its session: got %d %s, want no verdict", q.Code, q.Body)
	}
	revoked(t, "its session", e.revoke(t, p.str("refresh_token")))
	e.refresh(t, c, p.str("refresh_token")).want(t, 401, "invalid_client")
}

// TestREF11_BoundToTheClient: with another client, nothing happens to the session.
func TestREF11_BoundToTheClient(t *testing.T) {
	e := newEdge(t)
	c := e.client(t)
	other := e.register(t, `{"client_uri":"https://example.com","client_name":"other","redirect_uris":["`+redirect+`"],"token_endpoint_auth_method":"none"}`).str("client_id")
	p := e.tokens(t, c, fullScope)
	e.refresh(t, other, p.str("refresh_token")).want(t, 400, "invalid_grant")
	e.refresh(t, c, p.str("refresh_token")).want(t, 200, "")
}

// TestREF12_Scope: a part of what was granted, with its device.
func TestREF12_Scope(t *testing.T) {
	e := newEdge(t)
	c := e.client(t)
	p := e.tokens(t, c, "openid "+fullScope)
	for _, bad := range []string{
		"openid", apiScope, fullScope + " urn:synapse:admin:*", apiScope + " urn:matrix:client:device:BBBBBBBBBB", oldScope, "x", fullScope + " profile",
	} {
		e.refresh(t, c, p.str("refresh_token"), "scope="+bad).want(t, 400, "invalid_scope")
	}
	q := e.refresh(t, c, p.str("refresh_token"), "scope=")
	q.want(t, 200, "")
	e.refresh(t, c, q.str("refresh_token"), "scope="+fullScope).want(t, 200, "")
}

// TestREF12_RFC6749_TheAnswerTellsTheScope: whoever asks for less keeps what was granted, and is told so (RFC 6749 §3.3, §6). The
// token can do what the answer says.
func TestREF12_RFC6749_TheAnswerTellsTheScope(t *testing.T) {
	e := newEdge(t)
	c := e.client(t)
	granted := "openid profile " + fullScope
	p := e.tokens(t, c, granted)
	for _, asked := range []string{granted, fullScope, "profile " + fullScope, "", " " + strings.Replace(granted, " ", "  ", 1), "absent"} {
		change := []string{"scope=" + asked}
		if asked == "absent" {
			change = nil
		}
		p = e.refresh(t, c, p.str("refresh_token"), change...)
		p.want(t, 200, "")
		if p.str("scope") != granted {
			t.Errorf("%q: told %q, want %q", asked, p.str("scope"), granted)
		}
		info := e.get(t, "/oauth2/userinfo", "Authorization: Bearer "+p.str("access_token"))
		if info.want(t, 200, ""); info.str("preferred_username") != "alice" {
			t.Errorf("%q: got %s", asked, info.Body)
		}
	}
}

// TestREF13_NoAbsoluteEnd: a phone that slept for a year is signed in.
func TestREF13_NoAbsoluteEnd(t *testing.T) {
	e := newEdge(t)
	c := e.client(t)
	p := e.tokens(t, c, fullScope)
	e.Clock.Advance(365 * 24 * time.Hour)
	e.refresh(t, c, p.str("refresh_token")).want(t, 200, "")
}

// TestREF15_LockedAndDeactivated: a locked user's session is refreshed, a deactivated one's is over.
func TestREF15_LockedAndDeactivated(t *testing.T) {
	e := newEdge(t)
	c := e.client(t)
	p := e.tokens(t, c, fullScope)
	if err := e.Lock(t.Context(), "alice"); err != nil {
		t.Fatal(err)
	}
	q := e.refresh(t, c, p.str("refresh_token"))
	q.want(t, 200, "")
	if got := e.verdict(t, q.str("access_token")); got != auth.Locked {
		t.Errorf("got %v, want Locked", got)
	}
	if err := e.Deactivate(t.Context(), "alice", false); err != nil {
		t.Fatal(err)
	}
	e.refresh(t, c, q.str("refresh_token")).want(t, 400, "invalid_grant")
}

// TestE29_NoCrossUpgrade: a legacy refresh token is nothing here, and an OAuth one nothing there.
func TestE29_NoCrossUpgrade(t *testing.T) {
	e := newEdge(t)
	c := e.client(t)
	legacy := e.MustLogin(t, "alice", "PHONE")
	e.refresh(t, c, legacy.RefreshToken.Reveal()).want(t, 400, "invalid_grant")
	p := e.tokens(t, c, fullScope)
	if _, err := e.Refresh(t.Context(), p.str("refresh_token"), token.CompatRefresh, auth.From{}); err == nil {
		t.Error("an OAuth refresh token is good at /refresh")
	}
	e.MustRefresh(t, legacy.RefreshToken)
	e.refresh(t, c, p.str("refresh_token")).want(t, 200, "")
}

// TestAUZ17_AUZ18_CodeOnce: a minute, once; a late replay ends what it was redeemed for.
func TestAUZ17_AUZ18_CodeOnce(t *testing.T) {
	e := newEdge(t)
	c := e.client(t)
	old := e.code(t, authorization(c, fullScope))
	e.Clock.Advance(time.Minute)
	e.form(t, "/oauth2/token", exchange(c, old)).want(t, 400, "invalid_grant")

	code := e.code(t, authorization(c, fullScope))
	p := e.form(t, "/oauth2/token", exchange(c, code))
	p.want(t, 200, "")
	e.Clock.Advance(10 * time.Second)
	e.form(t, "/oauth2/token", exchange(c, code)).want(t, 400, "invalid_grant")
	if got := e.verdict(t, p.str("access_token")); got != auth.Active {
		t.Errorf("after an early replay: got %v, want Active", got)
	}
	e.Clock.Advance(20 * time.Second)
	e.form(t, "/oauth2/token", exchange(c, code, "code_verifier="+strings.Repeat("x", 43))).want(t, 400, "invalid_grant")
	if got := e.verdict(t, p.str("access_token")); got != auth.Active {
		t.Errorf("after a replay by somebody without the verifier: got %v, want Active", got)
	}
	e.form(t, "/oauth2/token", exchange(c, code)).want(t, 400, "invalid_grant")
	if got := e.verdict(t, p.str("access_token")); got != auth.Unknown {
		t.Errorf("after a late replay: got %v, want Unknown", got)
	}
}

// TestParallelRedemptions: twenty at once, one winner, whose session lives.
func TestParallelRedemptions(t *testing.T) {
	e := newEdge(t)
	c := e.client(t)
	v := exchange(c, e.code(t, authorization(c, fullScope)))
	answers := make([]reply, 20)
	parallel(len(answers), func(i int) { answers[i] = e.form(t, "/oauth2/token", v) })
	won := 0
	for _, a := range answers {
		if a.Code != 200 {
			a.want(t, 400, "invalid_grant")
			continue
		}
		won++
		if got := e.verdict(t, a.str("access_token")); got != auth.Active {
			t.Errorf("the winner: got %v", got)
		}
	}
	if won != 1 {
		t.Errorf("got %d winners", won)
	}
}
