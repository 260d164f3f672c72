package caddymodule

import (
	"bytes"
	"fmt"
	"log"
	"log/slog"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/zitadel/oidc/v3/pkg/oidc"
	"github.com/zitadel/oidc/v3/pkg/op"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"
)

// TestLibraryLog takes what zitadel/oidc logs to Caddy's log: lower, sampled, and without what was in the query.
func TestLibraryLog(t *testing.T) {
	core, logs := observer.New(zap.DebugLevel)
	release := setLibraryLog(zap.New(core).Named("matrix_auth.oidc"))
	refuse := func() {
		err := &oidc.Error{ErrorType: oidc.InvalidRequest, Description: "a\x1b[0mb", State: "secret"}
		op.WriteError(httptest.NewRecorder(), httptest.NewRequest("POST", "/oauth2/token", nil), err, nil)
	}
	for range 100 {
		refuse()
	}
	if n := logs.Len(); n != libraryLogFirst {
		t.Fatalf("lines of a hundred: got %d, want %d", n, libraryLogFirst)
	}
	first := logs.All()[0]
	want := "info matrix_auth.oidc request error map[oidc_error.description:a\uFFFD[0mb oidc_error.type:invalid_request status_code:400]"
	if got := fmt.Sprint(first.Level, " ", first.LoggerName, " ", first.Message, " ", first.ContextMap()); got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	release()
	refuse()
	if n := logs.Len(); n != libraryLogFirst {
		t.Errorf("after the release: got %d lines", n)
	}
}

// TestLibraryLogLeavesTheRestAlone: other users of slog, and the standard log, go where they went.
func TestLibraryLogLeavesTheRestAlone(t *testing.T) {
	writer, flags := log.Writer(), log.Flags()
	defer setLibraryLog(zap.NewNop())()
	if log.Writer() != writer || log.Flags() != flags {
		t.Error("the standard log has another destination")
	}
	var out bytes.Buffer
	h := &libraryLog{rest: slog.NewTextHandler(&out, &slog.HandlerOptions{Level: slog.LevelWarn})}
	slog.New(h).Info("quiet")
	slog.New(h).Warn("ours")
	if got := out.String(); !strings.Contains(got, "ours") || strings.Contains(got, "quiet") {
		t.Errorf("got %q", got)
	}
}
