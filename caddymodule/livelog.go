package caddymodule

import (
	"sync/atomic"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

// liveLogger is a logger whose destination can be changed while others hold it: what lives longer than a configuration logs to
// where the present one says.
type liveLogger struct{ current atomic.Pointer[zap.Logger] }

func newLiveLogger(log *zap.Logger) *liveLogger {
	l := new(liveLogger)
	l.set(log)
	return l
}

func (l *liveLogger) set(log *zap.Logger) { l.current.Store(log) }

// logger returns a logger that follows l, with a name below l's own.
func (l *liveLogger) logger(name string) *zap.Logger {
	return zap.New(&liveCore{to: l}).Named(l.current.Load().Name()).Named(name)
}

// liveCore is the zapcore.Core of such a logger.
type liveCore struct {
	to     *liveLogger
	fields []zapcore.Field
}

func (c *liveCore) core() zapcore.Core { return c.to.current.Load().Core() }

// Enabled implements zapcore.LevelEnabler.
func (c *liveCore) Enabled(l zapcore.Level) bool { return c.core().Enabled(l) }

// With implements zapcore.Core.
func (c *liveCore) With(fields []zapcore.Field) zapcore.Core {
	return &liveCore{to: c.to, fields: append(c.fields[:len(c.fields):len(c.fields)], fields...)}
}

// Check implements zapcore.Core.
func (c *liveCore) Check(e zapcore.Entry, ce *zapcore.CheckedEntry) *zapcore.CheckedEntry {
	if !c.Enabled(e.Level) {
		return ce
	}
	return ce.AddCore(e, c)
}

// Write implements zapcore.Core. The present core is asked again whether it wants the entry, as Caddy's cores choose by name.
func (c *liveCore) Write(e zapcore.Entry, fields []zapcore.Field) error {
	if ce := c.core().Check(e, nil); ce != nil {
		ce.Write(append(c.fields[:len(c.fields):len(c.fields)], fields...)...)
	}
	return nil
}

// Sync implements zapcore.Core.
func (c *liveCore) Sync() error { return c.core().Sync() }
