package oidcprovider_test

import (
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/caddy-matrix/caddy-matrix-auth/internal/auth"
	"github.com/caddy-matrix/caddy-matrix-auth/internal/authtest"
)

func (e *edge) revoke(t testing.TB, text string, more ...string) reply {
	t.Helper()
	v := url.Values{"token": {text}}
	for _, m := range more {
		name, value, _ := strings.Cut(m, "=")
		v.Set(name, value)
	}
	return e.form(t, "/oauth2/revoke", v)
}

// revoked fails the test unless the answer is 200 {}.
func revoked(t *testing.T, what string, p reply) {
	t.Helper()
	if p.Code != 200 || strings.TrimSpace(p.Body.String()) != "{}" || p.Header().Get("Content-Type") != "application/json" {
		t.Errorf("%s: got %d %q", what, p.Code, p.Body)
	}
}

// TestREV01_REV02_REV08_REV10_Revoke: either token ends the session, its device and the other token, at once; the body is JSON.
func TestREV01_REV02_REV08_REV10_E11_Revoke(t *testing.T) {
	e := newEdge(t)
	c := e.client(t)
	for _, member := range []string{"access_token", "refresh_token"} {
		p := e.tokens(t, c, fullScope)
		revoked(t, member, e.revoke(t, p.str(member), "client_id="+c, "token_type_hint="+member))
		if got := e.verdict(t, p.str("access_token")); got != auth.Unknown {
			t.Errorf("%s: got %v, want Unknown", member, got)
		}
		e.refresh(t, c, p.str("refresh_token")).want(t, 400, "invalid_grant")
		if got := e.Synapse.Devices("alice"); len(got) != 0 {
			t.Errorf("%s: got devices %v", member, got)
		}
	}
}

// TestREV03_Unknown and already revoked tokens are no error.
func TestREV03_E10_Unknown(t *testing.T) {
	e := newEdge(t)
	p := e.tokens(t, e.client(t), fullScope)
	for _, text := range []string{"x", "mat_x", "mar_" + strings.Repeat("a", 37), "syt_x", authtest.Secret, strings.Repeat("x", 5000), p.str("access_token"), p.str("access_token"), p.str("refresh_token")} {
		revoked(t, text, e.revoke(t, text))
	}
}

// TestREV04_REV05_WhoeverHoldsIt: any client or none, any credential, any hint.
func TestREV04_REV05_WhoeverHoldsIt(t *testing.T) {
	e := newEdge(t, introspectors)
	c := e.client(t)
	for _, more := range [][]string{
		nil, {"client_id=x"}, {"client_id=rs"}, {"client_id=rs", "client_secret=wrong"}, {"token_type_hint=refresh_token"}, {"token_type_hint=x"}, {"token_type=access_token"},
		{"client_assertion=x", "client_assertion_type=y"}, {"grant_type=x"},
	} {
		p := e.tokens(t, c, fullScope)
		revoked(t, strings.Join(more, " "), e.revoke(t, p.str("access_token"), more...))
		if got := e.verdict(t, p.str("access_token")); got != auth.Unknown {
			t.Errorf("%v: got %v, want Unknown", more, got)
		}
	}
	p := e.tokens(t, c, fullScope)
	v := url.Values{"token": {p.str("refresh_token")}, "token_type_hint": {"access_token"}}
	revoked(t, "wrong Basic", e.form(t, "/oauth2/revoke", v, "Authorization: Basic "+basic("x", "y")))
	if got := e.verdict(t, p.str("access_token")); got != auth.Unknown {
		t.Errorf("wrong hint: got %v, want Unknown", got)
	}
}

// TestREV06_Expired: an old access token still ends its session.
func TestREV06_E10_Expired(t *testing.T) {
	e := newEdge(t)
	c := e.client(t)
	p := e.tokens(t, c, fullScope)
	e.Clock.Advance(30 * 24 * time.Hour)
	revoked(t, "expired", e.revoke(t, p.str("access_token")))
	e.refresh(t, c, p.str("refresh_token")).want(t, 400, "invalid_grant")
}

// TestREV07_Parallel: both tokens of a session at once, both 200.
func TestREV07_Parallel(t *testing.T) {
	e := newEdge(t)
	c := e.client(t)
	for range 5 {
		p := e.tokens(t, c, fullScope)
		answers := make([]reply, 10)
		parallel(len(answers), func(i int) {
			answers[i] = e.revoke(t, p.str([]string{"access_token", "refresh_token"}[i%2]))
		})
		for _, a := range answers {
			revoked(t, "in parallel", a)
		}
	}
}

// TestREV09_Errors: no token is 400; trouble is an empty 503 and never a success.
func TestREV09_Errors(t *testing.T) {
	e := newEdge(t)
	p := e.tokens(t, e.client(t), fullScope)
	e.form(t, "/oauth2/revoke", url.Values{}).want(t, 400, "invalid_request")
	e.form(t, "/oauth2/revoke", url.Values{"token": {""}}).want(t, 400, "invalid_request")
	e.form(t, "/oauth2/revoke", url.Values{"token": {"a", "b"}}).want(t, 400, "invalid_request")
	e.raw(t, "GET", "/oauth2/revoke", "").want(t, 405, "invalid_request")
	if err := e.DB.Close(); err != nil {
		t.Fatal(err)
	}
	if q := e.revoke(t, p.str("access_token")); q.Code != 503 || q.Body.Len() != 0 || q.Header().Get("Retry-After") != "2" {
		t.Errorf("got %d %q", q.Code, q.Body)
	}
}

// TestREV11_REV12_Legacy: legacy tokens are revoked here too, and /logout takes an OAuth token.
func TestREV11_REV12_Legacy(t *testing.T) {
	e := newEdge(t)
	legacy := e.MustLogin(t, "alice", "PHONE")
	revoked(t, "legacy", e.revoke(t, legacy.RefreshToken.Reveal()))
	if got := e.MustVerdict(t, legacy.AccessToken); got != auth.Unknown {
		t.Errorf("got %v, want Unknown", got)
	}
	c := e.client(t)
	p := e.tokens(t, c, fullScope)
	if err := e.Logout(t.Context(), p.str("access_token"), auth.From{}); err != nil {
		t.Fatal(err)
	}
	e.refresh(t, c, p.str("refresh_token")).want(t, 400, "invalid_grant")
}
