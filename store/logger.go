package store

import (
	"fmt"
	"strings"

	"go.uber.org/zap"
)

// badgerLogger lets Badger speak into our log. Its information is chatter, so it is logged as debugging.
type badgerLogger struct{ log *zap.Logger }

func (l badgerLogger) Errorf(format string, args ...any)   { l.log.Error(line(format, args)) }
func (l badgerLogger) Warningf(format string, args ...any) { l.log.Warn(line(format, args)) }
func (l badgerLogger) Infof(format string, args ...any)    { l.debug(format, args) }
func (l badgerLogger) Debugf(format string, args ...any)   { l.debug(format, args) }

// debug does not format what is not logged.
func (l badgerLogger) debug(format string, args []any) {
	if l.log.Core().Enabled(zap.DebugLevel) {
		l.log.Debug(line(format, args))
	}
}

// line is the message without the newlines that Badger puts at its ends.
func line(format string, args []any) string {
	return strings.TrimSpace(fmt.Sprintf(format, args...))
}
