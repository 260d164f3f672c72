package auth

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"time"

	"go.uber.org/zap"
)

// Bounds of holding a refresh that is in trouble. A fast failure there is a logout for some clients.
const (
	holdFor     = 10 * time.Second
	maxHeld     = 1024
	holdFirst   = 50 * time.Millisecond // the first pause; it doubles
	holdLongest = time.Second
)

// hold runs fn until it comes to a verdict, for as long as a client can be made to wait: what fn itself waits for counts. A
// panic of fn is no verdict.
func (s *Service) hold(ctx context.Context, fn func(ctx context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, holdFor)
	defer cancel()
	fn = s.recovered(fn)
	err := fn(ctx)
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
		if err = fn(ctx); settled(err) {
			return err
		}
	}
}

// settled reports whether fn came to a verdict: it will say the same when it is asked again.
func settled(err error) bool {
	return err == nil || errors.Is(err, ErrTokenUnknown) || errors.Is(err, ErrGrantInvalid) || errors.Is(err, ErrGrantReplayed) ||
		errors.Is(err, ErrScopeDenied) || errors.Is(err, ErrClientUnknown) || errors.Is(err, ErrHomeserver)
}

// recovered is fn with its panics turned into errors. The first one is logged with its stack: attempts at the same thing
// panic at the same place.
func (s *Service) recovered(fn func(ctx context.Context) error) func(ctx context.Context) error {
	logged := false
	return func(ctx context.Context) (err error) {
		defer func() {
			cause := recover()
			if cause == nil {
				return
			}
			if !logged {
				s.settings.Load().Log.Error("a use case panicked, it is tried again", zap.Any("panic", cause), zap.ByteString("stack", debug.Stack()))
				logged = true
			}
			err = fmt.Errorf("auth: panic: %v", cause)
		}()
		return fn(ctx)
	}
}
