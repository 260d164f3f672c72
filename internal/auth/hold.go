package auth

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"github.com/caddy-matrix/caddy-matrix-auth/store"
)

// Bounds of holding a request that is in trouble. A fast failure there is a logout for some clients.
const (
	holdFor     = 10 * time.Second
	maxHeld     = 1024
	holdFirst   = 50 * time.Millisecond // the first pause; it doubles
	holdLongest = time.Second
)

// Hold runs fn until it comes to a verdict, for as long as a client can be made to wait: what fn itself waits for counts. A
// panic of fn is no verdict. The use cases that hold do so by themselves; in a Hold around them that one tries again.
func (s *Service) Hold(ctx context.Context, fn func(ctx context.Context) error) error {
	attempt := func() (err error) {
		defer s.catch(ctx, &err)
		return fn(ctx)
	}
	if ctx.Value(panickedKey{}) != nil {
		return attempt()
	}
	ctx, cancel := context.WithTimeout(context.WithValue(ctx, panickedKey{}, new(atomic.Bool)), holdFor)
	defer cancel()
	err := attempt()
	if settled(err) {
		return err
	}
	if s.holding.Add(1) > maxHeld {
		s.holding.Add(-1)
		return err
	}
	defer s.holding.Add(-1)
	for pause := holdFirst; ; pause = min(2*pause, holdLongest) {
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return err
		}
		if err = attempt(); settled(err) {
			return err
		}
	}
}

// settled reports whether fn came to a verdict, or to what only an operator can mend: it will say the same when it is asked again.
func settled(err error) bool {
	return err == nil || errors.Is(err, ErrTokenUnknown) || errors.Is(err, ErrGrantInvalid) || errors.Is(err, ErrGrantReplayed) ||
		errors.Is(err, ErrScopeDenied) || errors.Is(err, ErrClientUnknown) || errors.Is(err, ErrClientRemoved) || errors.Is(err, ErrHomeserver)
}

// recovered is fn with its panics turned into errors before the store sees them: it would log each attempt.
func (s *Service) recovered(ctx context.Context, fn func(tx *store.Tx) error) func(tx *store.Tx) error {
	return func(tx *store.Tx) (err error) {
		defer s.catch(ctx, &err)
		return fn(tx)
	}
}

// panickedKey finds, in the context of what is held, whether it has panicked before.
type panickedKey struct{}

// catch is deferred, and turns a panic into an error. It is logged with its stack, once where it is held: attempts at the same
// thing panic at the same place.
func (s *Service) catch(ctx context.Context, err *error) {
	cause := recover()
	if cause == nil {
		return
	}
	if before, held := ctx.Value(panickedKey{}).(*atomic.Bool); !held || !before.Swap(true) {
		s.settings.Load().Log.Error("a use case panicked", zap.Any("panic", cause), zap.ByteString("stack", debug.Stack()))
	}
	*err = fmt.Errorf("auth: panic: %v", cause)
}
