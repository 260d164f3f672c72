package oidcprovider_test

import (
	"context"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/caddy-matrix/caddy-matrix-auth/internal/auth"
	"github.com/caddy-matrix/caddy-matrix-auth/internal/authtest"
	"github.com/caddy-matrix/caddy-matrix-auth/internal/token"
	"github.com/caddy-matrix/caddy-matrix-auth/oidcprovider"
)

// TestINT08_Bearer: only one of the secrets opens, in one header.
func TestINT08_Bearer(t *testing.T) {
	p := newProvider(t, oidcprovider.Config{
		Secrets: []token.Secret{token.NewSecret("old-secret-0123456789"), token.NewSecret("new-secret-0123456789")},
		Introspect: func(context.Context, string) (auth.Introspection, error) {
			return auth.Introspection{}, auth.ErrTokenUnknown
		},
	})
	for _, tc := range []struct {
		header []string
		ok     bool
	}{
		{[]string{"Bearer old-secret-0123456789"}, true},
		{[]string{"Bearer new-secret-0123456789"}, true},
		{[]string{"bearer new-secret-0123456789"}, true},
		{nil, false},
		{[]string{""}, false},
		{[]string{"Bearer"}, false},
		{[]string{"Bearer "}, false},
		{[]string{"Bearer  new-secret-0123456789"}, false},
		{[]string{"Bearer new-secret-012345678"}, false},
		{[]string{"Bearer new-secret-01234567890"}, false},
		{[]string{"Bearer NEW-secret-0123456789"}, false},
		{[]string{"Basic new-secret-0123456789"}, false},
		{[]string{"new-secret-0123456789"}, false},
		{[]string{"Bearer new-secret-0123456789", "Bearer new-secret-0123456789"}, false},
	} {
		r := request("x")
		r.Header["Authorization"] = tc.header
		w := serve(p, r)
		if ok := w.Code == http.StatusOK; ok != tc.ok {
			t.Errorf("%q: got status %d, want ok %v", tc.header, w.Code, tc.ok)
		}
		if !tc.ok {
			golden(t, "unauthorized", w.Body.String())
			if w.Code != http.StatusUnauthorized || w.Header().Get("WWW-Authenticate") != "Bearer" {
				t.Errorf("%q: got status %d, WWW-Authenticate %q", tc.header, w.Code, w.Header().Get("WWW-Authenticate"))
			}
		}
	}
}

// TestINT08_WrongBearersAreCountedAndLogged: each is counted, a line a minute is logged, and neither secret is in it.
func TestINT08_WrongBearersAreCountedAndLogged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		core, logs := observer.New(zap.DebugLevel)
		counted := 0
		p := newProvider(t, oidcprovider.Config{Log: zap.New(core), Observe: func(r oidcprovider.Result) {
			if r == oidcprovider.ResultUnauthorized {
				counted++
			}
		}})
		wrong := func() {
			r := request("x")
			r.Header.Set("Authorization", "Bearer wrong-secret")
			serve(p, r)
		}
		for range 100 {
			wrong()
		}
		time.Sleep(time.Minute)
		wrong()
		if counted != 101 || logs.Len() != 2 {
			t.Fatalf("got %d counted, %d logged, want 101, 2", counted, logs.Len())
		}
		last := logs.All()[1]
		if last.ContextMap()["requests"] != int64(100) || !strings.Contains(last.Message, "homeserver.yaml") {
			t.Errorf("got %q %v, want 100 requests", last.Message, last.ContextMap())
		}
		for _, e := range logs.All() {
			line := e.Message
			for _, f := range e.Context {
				line += f.String
			}
			if strings.Contains(line, "wrong-secret") || strings.Contains(line, authtest.Secret) {
				t.Errorf("got a secret in %q", line)
			}
		}
	})
}

// TestFailuresAreLogged: once a minute with the cause, which the caller does not see; not if the caller went away.
func TestFailuresAreLogged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		core, logs := observer.New(zap.DebugLevel)
		var results []oidcprovider.Result
		p := newProvider(t, oidcprovider.Config{
			Log:     zap.New(core),
			Observe: func(r oidcprovider.Result) { results = append(results, r) },
			Introspect: func(ctx context.Context, _ string) (auth.Introspection, error) {
				<-ctx.Done() // A store that hangs.
				return auth.Introspection{}, ctx.Err()
			},
		})
		gone, cancel := context.WithCancel(t.Context())
		cancel()
		serve(p, request("x").WithContext(gone))
		if logs.Len() != 0 {
			t.Errorf("a caller who went away: got %d lines", logs.Len())
		}
		start := time.Now()
		w := serve(p, request("x"))
		if d := time.Since(start); d != 5*time.Second || w.Code != http.StatusInternalServerError {
			t.Errorf("got %d after %v, want 500 after 5 s", w.Code, d)
		}
		serve(p, request("x"))
		if logs.Len() != 1 || len(results) != 3 || results[2] != oidcprovider.ResultError {
			t.Errorf("got %d lines and %v, want 1 and three errors", logs.Len(), results)
		}
	})
}

// TestINT01_BadRequests: what is not an introspection request gets 400, never a verdict.
func TestINT01_BadRequests(t *testing.T) {
	p := newProvider(t, oidcprovider.Config{Introspect: func(context.Context, string) (auth.Introspection, error) {
		t.Error("a verdict was asked for")
		return auth.Introspection{}, nil
	}})
	for body, want := range map[string]string{
		"":                             "token is missing",
		"token=":                       "token is missing",
		"token_type_hint=access_token": "token is missing",
		`{"token":"x"}`:                "token is missing",
		"token=a&token=b":              "token is given twice",
		"token=%zz":                    "the body is not a form",
		"token=a;b":                    "the body is not a form",
		"%=&token=a":                   "the body is not a form",
		"token=a&x=" + strings.Repeat("x", 64<<10): "the body is too long",
	} {
		for _, chunked := range []bool{false, true} {
			r := httptest.NewRequest("POST", "/oauth2/introspect", strings.NewReader(body))
			r.Header.Set("Authorization", "Bearer "+authtest.Secret)
			if chunked {
				r.ContentLength = -1
			}
			w := serve(p, r)
			if w.Code != http.StatusBadRequest || w.Body.String() != `{"error":"invalid_request","error_description":"`+want+`"}` {
				t.Errorf("%.40q: got %d %s, want %q", body, w.Code, w.Body, want)
			}
		}
	}
}

// TestINT01_HintIsIgnored: a wrong or unknown hint changes nothing, nor do other parameters.
func TestINT01_HintIsIgnored(t *testing.T) {
	for _, body := range []string{"token=x", "token_type_hint=refresh_token&token=x", "token=x&token_type_hint=%F0%9F%98%80&other=1", "tok%65n=x", "&&token=x&"} {
		r := httptest.NewRequest("POST", "/oauth2/introspect", strings.NewReader(body))
		r.Header.Set("Authorization", "Bearer "+authtest.Secret)
		if w := serve(verdict(t, deviceSession("AAAAAAAAAA"), nil), r); w.Code != http.StatusOK {
			t.Errorf("%s: got %d %s", body, w.Code, w.Body)
		}
	}
}

func TestINT01_Methods(t *testing.T) {
	p := verdict(t, deviceSession("AAAAAAAAAA"), nil)
	for _, method := range []string{"GET", "HEAD", "PUT", "DELETE", "OPTIONS", "PATCH"} {
		r := request("x")
		r.Method = method
		if w := serve(p, r); w.Code != http.StatusMethodNotAllowed || w.Header().Get("Allow") != "POST" {
			t.Errorf("%s: got %d, Allow %q", method, w.Code, w.Header().Get("Allow"))
		}
	}
}
