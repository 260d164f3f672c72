package compat

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"github.com/caddy-matrix/caddy-matrix-auth/internal/auth"
	"github.com/caddy-matrix/caddy-matrix-auth/internal/route"
)

// failing is a Handler whose login and refresh fail with what fail returns, after they have got as far as a use case.
func failing(fail func() error) (*Handler, *observer.ObservedLogs) {
	core, logs := observer.New(zap.DebugLevel)
	h := New(Config{
		BaseURL: &url.URL{Scheme: "https", Host: server},
		From:    func(*http.Request) auth.From { return auth.From{} },
		Now:     time.Now,
		Log:     zap.New(core),
	})
	for _, e := range []route.Endpoint{route.Login, route.Refresh} {
		ep := h.endpoints[e]
		ep.post = func(*http.Request, auth.From) (any, error) { return nil, fail() }
		h.endpoints[e] = ep
	}
	return h, logs
}

func post(h *Handler, e route.Endpoint) *httptest.ResponseRecorder {
	w := httptest.NewRecorder()
	h.ServeEndpoint(w, httptest.NewRequest(http.MethodPost, "/", nil), e)
	return w
}

// TestERR_EveryErrorHasItsReply is the error table: what login says, and what refresh says, for which only a verdict has a body.
func TestERR_EveryErrorHasItsReply(t *testing.T) {
	const trouble = "503 2 "
	for _, tc := range []struct {
		err            error
		login, refresh string // status, Retry-After, body
		level          zapcore.Level
	}{
		{
			auth.ErrBadCredentials, `403  {"errcode":"M_FORBIDDEN","error":"Invalid username or password"}`,
			`403  {"errcode":"M_FORBIDDEN","error":"Invalid username or password"}`, zap.DebugLevel,
		},
		{
			auth.ErrUserLocked, `401  {"errcode":"M_USER_LOCKED","error":"User account has been locked","soft_logout":true}`,
			`401  {"errcode":"M_USER_LOCKED","error":"User account has been locked","soft_logout":true}`, zap.InfoLevel,
		},
		{
			&auth.RateLimitError{RetryAfter: 2500 * time.Millisecond},
			`429 3 {"errcode":"M_LIMIT_EXCEEDED","error":"Too many login attempts","retry_after_ms":2500}`, trouble, zap.InfoLevel,
		},
		{
			auth.ErrRateLimited,
			`429 2 {"errcode":"M_LIMIT_EXCEEDED","error":"Too many login attempts","retry_after_ms":2000}`, trouble, zap.InfoLevel,
		},
		{
			auth.ErrTokenUnknown, `401  {"errcode":"M_UNKNOWN_TOKEN","error":"Token is not active","soft_logout":false}`,
			`401  {"errcode":"M_UNKNOWN_TOKEN","error":"Token is not active","soft_logout":false}`, zap.DebugLevel,
		},
		{
			auth.ErrTokenExpired, `401  {"errcode":"M_UNKNOWN_TOKEN","error":"Token has expired","soft_logout":true}`,
			`401  {"errcode":"M_UNKNOWN_TOKEN","error":"Token has expired","soft_logout":true}`, zap.DebugLevel,
		},
		{
			auth.ErrPasswordsDisabled, `400  {"errcode":"M_UNKNOWN","error":"Unknown login type"}`,
			`400  {"errcode":"M_UNKNOWN","error":"Unknown login type"}`, zap.DebugLevel,
		},
		{
			auth.ErrUnavailable, `503 2 {"errcode":"M_UNKNOWN","error":"Temporarily unavailable","retry_after_ms":2000}`,
			trouble, zap.ErrorLevel,
		},
		{
			context.DeadlineExceeded, `503 2 {"errcode":"M_UNKNOWN","error":"Temporarily unavailable","retry_after_ms":2000}`,
			trouble, zap.ErrorLevel,
		},
		{
			context.Canceled, `503 2 {"errcode":"M_UNKNOWN","error":"Temporarily unavailable","retry_after_ms":2000}`,
			trouble, zap.DebugLevel,
		},
		{auth.ErrHomeserver, `502  {"errcode":"M_UNKNOWN","error":"The homeserver refused"}`, trouble, zap.ErrorLevel},
		{
			errBodyBroken, `400  {"errcode":"M_UNKNOWN","error":"Request body could not be read"}`, trouble, zap.DebugLevel,
		},
		{errTooEarly, `425  {"errcode":"M_UNKNOWN","error":"Too early"}`, `425  `, zap.DebugLevel},
		{
			errNotJSON, `400  {"errcode":"M_NOT_JSON","error":"Content not JSON"}`,
			`400  {"errcode":"M_NOT_JSON","error":"Content not JSON"}`, zap.DebugLevel,
		},
		{
			errTooLarge, `413  {"errcode":"M_TOO_LARGE","error":"Request body too large"}`,
			`413  {"errcode":"M_TOO_LARGE","error":"Request body too large"}`, zap.DebugLevel,
		},
		{
			errors.New("disk /secret is on fire"), `500  {"errcode":"M_UNKNOWN","error":"Internal server error"}`,
			trouble, zap.ErrorLevel,
		},
		{
			auth.ErrNotFound, `500  {"errcode":"M_UNKNOWN","error":"Internal server error"}`, trouble, zap.ErrorLevel,
		},
	} {
		t.Run(tc.err.Error(), func(t *testing.T) {
			wrapped := fmt.Errorf("outer: %w", tc.err)
			h, logs := failing(func() error { return wrapped })
			for e, want := range map[route.Endpoint]string{route.Login: tc.login, route.Refresh: tc.refresh} {
				checkFailure(t, post(h, e), want)
			}
			for _, line := range logs.All() {
				if line.Level != tc.level {
					t.Errorf("got level %v, want %v", line.Level, tc.level)
				}
				if got := line.ContextMap()["error"]; got != wrapped.Error() {
					t.Errorf("logged %v, want the chain", got)
				}
			}
		})
	}
}

func checkFailure(t *testing.T, w *httptest.ResponseRecorder, want string) {
	t.Helper()
	got := fmt.Sprintf("%d %s %s", w.Code, w.Header().Get("Retry-After"), w.Body)
	if got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	contentType := "application/json"
	if w.Body.Len() == 0 {
		contentType = ""
	}
	if got := w.Header().Get("Content-Type"); got != contentType {
		t.Errorf("got Content-Type %q, want %q", got, contentType)
	}
	if got := w.Header().Values("Access-Control-Allow-Origin"); len(got) != 1 || got[0] != "*" {
		t.Errorf("got Access-Control-Allow-Origin %q, want one *", got)
	}
}

func TestE1_PanicIsTrouble(t *testing.T) {
	h, logs := failing(func() error { panic("the cause") })
	checkFailure(t, post(h, route.Refresh), "503 2 ")
	checkFailure(t, post(h, route.Login), `500  {"errcode":"M_UNKNOWN","error":"Internal server error"}`)
	for _, line := range logs.All() {
		text, _ := line.ContextMap()["error"].(string)
		if line.Level != zap.ErrorLevel || !strings.Contains(text, "the cause") || !strings.Contains(text, "errors_test.go") {
			t.Errorf("got %v %s, want an error with cause and stack", line.Level, text)
		}
	}
	if got := logs.Len(); got != 2 {
		t.Errorf("got %d lines, want 2", got)
	}
}

func TestAbortPassesThrough(t *testing.T) {
	h, _ := failing(func() error { panic(http.ErrAbortHandler) })
	defer func() {
		if p := recover(); p != http.ErrAbortHandler {
			t.Errorf("got %v, want %v", p, http.ErrAbortHandler)
		}
	}()
	post(h, route.Refresh)
}

// TestE1_BrokenBodyAtRefresh: half a request is no verdict either.
func TestE1_BrokenBodyAtRefresh(t *testing.T) {
	h := New(Config{
		BaseURL: &url.URL{Scheme: "https", Host: server},
		From:    func(*http.Request) auth.From { return auth.From{} },
		Now:     time.Now,
		Log:     zap.NewNop(),
	})
	w := httptest.NewRecorder()
	body := iotest.TimeoutReader(iotest.OneByteReader(strings.NewReader(`{"refresh_token":"mcr_x"}`)))
	h.ServeEndpoint(w, httptest.NewRequest(http.MethodPost, "/", body), route.Refresh)
	checkFailure(t, w, "503 2 ")
}
