package caddymodule

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddyserver/caddy/v2"
)

// TestStarted: a request that comes before the app has started waits for it, and not for ever.
func TestStarted(t *testing.T) {
	start := func(a *App) context.Context {
		time.AfterFunc(3*time.Second, func() { close(a.ready) })
		return context.Background()
	}
	for name, c := range map[string]struct {
		before func(a *App) context.Context // what happens, and the request's context
		want   error
		after  time.Duration
	}{
		"started before":      {func(a *App) context.Context { close(a.ready); return context.Background() }, nil, 0},
		"starts meanwhile":    {start, nil, 3 * time.Second},
		"never starts":        {func(*App) context.Context { return context.Background() }, errNotReady, readyPatience},
		"the client goes":     {func(*App) context.Context { return dead() }, errNotReady, 0},
		"the start is undone": {func(a *App) context.Context { a.ctx.Context = dead(); return context.Background() }, errNotReady, 0},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				a := &App{ctx: caddy.Context{Context: context.Background()}, ready: make(chan struct{})}
				ctx := c.before(a)
				began := time.Now()
				if err := a.started(ctx); !errors.Is(err, c.want) {
					t.Errorf("got %v, want %v", err, c.want)
				}
				if took := time.Since(began); took != c.after {
					t.Errorf("took %v, want %v", took, c.after)
				}
			})
		})
	}
}

// dead is a context that is over.
func dead() context.Context {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	return ctx
}
