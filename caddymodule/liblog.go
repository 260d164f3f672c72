package caddymodule

import (
	"context"
	"log"
	"log/slog"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

// zitadel/oidc logs to the process's slog alone. libraryLog takes what it logs to Caddy's log, one level lower: what it calls
// a warning is a request that a client got wrong. Anybody can send those, so repetitions are dropped; and what it tells of a
// request that may hold a secret or a person's name is left out.
const libraryPrefix = "github.com/zitadel/oidc/"

// Of the same line, so many are logged in a period.
const (
	libraryLogPeriod = time.Minute
	libraryLogFirst  = 5
)

// libraryOmits are the attributes that hold what came in a request's query.
var libraryOmits = []string{"auth_request", "url", "state", "redirect_uri"}

// libraryTarget is where the library's lines go now. Nil: nowhere, no app runs.
var libraryTarget atomic.Pointer[zap.Logger]

// bridgeLibraryLog puts a libraryLog in front of the process's slog, once: it cannot be taken back without taking away what
// others have put there meanwhile. slog.SetDefault redirects the standard log as well, which is Caddy's business.
var bridgeLibraryLog = sync.OnceFunc(func() {
	writer, flags, prefix := log.Writer(), log.Flags(), log.Prefix()
	slog.SetDefault(slog.New(&libraryLog{rest: slog.Default().Handler()}))
	log.SetOutput(writer)
	log.SetFlags(flags)
	log.SetPrefix(prefix)
})

// setLibraryLog lets the library log to a logger, until release, or until somebody else does the same.
func setLibraryLog(l *zap.Logger) (release func()) {
	bridgeLibraryLog()
	sampled := zap.WrapCore(func(c zapcore.Core) zapcore.Core {
		return zapcore.NewSamplerWithOptions(c, libraryLogPeriod, libraryLogFirst, 0)
	})
	mine := l.WithOptions(sampled, zap.WithCaller(false))
	libraryTarget.Store(mine)
	return func() { libraryTarget.CompareAndSwap(mine, nil) }
}

// libraryLog is the slog.Handler. What is not the library's goes on to the handler before it.
type libraryLog struct{ rest slog.Handler }

// Enabled implements slog.Handler. Who logs is known only with the record.
func (h *libraryLog) Enabled(ctx context.Context, l slog.Level) bool {
	return libraryTarget.Load() != nil || h.rest.Enabled(ctx, l)
}

// Handle implements slog.Handler.
func (h *libraryLog) Handle(ctx context.Context, r slog.Record) error {
	if !fromLibrary(r.PC) {
		if !h.rest.Enabled(ctx, r.Level) {
			return nil
		}
		return h.rest.Handle(ctx, r)
	}
	target := libraryTarget.Load()
	if target == nil {
		return nil
	}
	if ce := target.Check(lowered(r.Level), r.Message); ce != nil {
		var fields []zap.Field
		r.Attrs(func(a slog.Attr) bool {
			fields = appendAttr(fields, "", a)
			return true
		})
		ce.Write(fields...)
	}
	return nil
}

// WithAttrs implements slog.Handler. The library does not use it.
func (h *libraryLog) WithAttrs(attrs []slog.Attr) slog.Handler { return h.rest.WithAttrs(attrs) }

// WithGroup implements slog.Handler. The library does not use it.
func (h *libraryLog) WithGroup(name string) slog.Handler { return h.rest.WithGroup(name) }

func fromLibrary(pc uintptr) bool {
	if pc == 0 {
		return false
	}
	frame, _ := runtime.CallersFrames([]uintptr{pc}).Next()
	return strings.HasPrefix(frame.Function, libraryPrefix)
}

// lowered is the level of a line of the library in Caddy's log.
func lowered(l slog.Level) zapcore.Level {
	switch {
	case l > slog.LevelWarn:
		return zapcore.WarnLevel
	case l > slog.LevelInfo:
		return zapcore.InfoLevel
	}
	return zapcore.DebugLevel
}

// appendAttr adds an attribute, and those of a group by their full names.
func appendAttr(fields []zap.Field, prefix string, a slog.Attr) []zap.Field {
	if slices.Contains(libraryOmits, a.Key) {
		return fields
	}
	v := a.Value.Resolve()
	if v.Kind() == slog.KindGroup {
		for _, member := range v.Group() {
			fields = appendAttr(fields, prefix+a.Key+".", member)
		}
		return fields
	}
	return append(fields, zap.String(prefix+a.Key, cell(v.String())))
}
