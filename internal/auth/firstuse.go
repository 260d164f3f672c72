package auth

import (
	"slices"
	"time"

	"github.com/caddy-matrix/caddy-matrix-auth/store"
)

// firstUses are the first uses of generations, on the monotonic clock: one or two.
type firstUses []firstUse

type firstUse struct {
	generation uint64
	at         time.Time
}

// of returns the first use of a generation, if it is known.
func (f firstUses) of(generation uint64) (time.Time, bool) {
	for i := range f {
		if f[i].generation == generation {
			return f[i].at, true
		}
	}
	return time.Time{}, false
}

// rememberFirstUses takes over the first uses that the record knows, and forgets those of generations that are gone.
func (l *liveSession) rememberFirstUses(s *store.Session) {
	l.firstUse = slices.DeleteFunc(l.firstUse, func(f firstUse) bool { return !waitsFor(s, f.generation) })
	for i := range s.Consumed {
		c := &s.Consumed[i]
		if _, known := l.firstUse.of(c.Generation + 1); !known && !c.SuccessorUsedAt.IsZero() {
			l.firstUse = append(l.firstUse, firstUse{c.Generation + 1, c.SuccessorUsedAt})
		}
	}
}

// waitsFor reports whether a consumed refresh token of the session has this generation as its successor.
func waitsFor(s *store.Session, generation uint64) bool {
	for i := range s.Consumed {
		if s.Consumed[i].Generation+1 == generation {
			return true
		}
	}
	return false
}
