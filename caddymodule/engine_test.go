package caddymodule

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/caddy-matrix/caddy-matrix-auth/internal/authtest"
	"github.com/caddy-matrix/caddy-matrix-auth/store"
)

// TestDestruct closes an engine under what does not end. It happens under Caddy's configuration lock, so it takes a bounded
// time; what goes on afterwards meets a closed store.
func TestDestruct(t *testing.T) {
	for name, c := range map[string]struct {
		stuck func(e *engine, over <-chan struct{}) // what does not end until over
		takes time.Duration
		says  string // in the log
	}{
		"nothing":   {func(*engine, <-chan struct{}) {}, 0, "database closed"},
		"a request": {func(e *engine, _ <-chan struct{}) { e.leases.take() }, drainPatience, "closing the database under requests that do not end"},
		"the service": {
			func(e *engine, over <-chan struct{}) {
				stopped := e.stopped
				e.stopped = make(chan struct{})
				go func() { <-over; <-stopped; close(e.stopped) }()
			}, flushPatience, "closing the database before everything in memory was written",
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				core, logs := observer.New(zap.InfoLevel)
				a := &App{log: zap.New(core), conf: settings{server: authtest.ServerName}}
				e, err := openEngine(t.Context(), t.TempDir(), a)
				if err != nil {
					t.Fatal(err)
				}
				synctest.Wait()
				over := make(chan struct{})
				c.stuck(e, over)
				synctest.Wait()

				began := time.Now()
				if err := e.Destruct(); err != nil || time.Since(began) != c.takes {
					t.Errorf("got %v after %v, want %v", err, time.Since(began), c.takes)
				}
				if logs.FilterMessage(c.says).Len() != 1 {
					t.Errorf("got log %v, want %q", logs.All(), c.says)
				}
				if e.leases.take() {
					t.Error("a lease of a closed engine")
				}
				for _, err := range []error{
					e.db.View(func(*store.Tx) error { return nil }),
					e.db.Update(t.Context(), func(*store.Tx) error { return nil }),
				} {
					if !errors.Is(err, store.ErrUnavailable) {
						t.Errorf("using the closed store: got %v", err)
					}
				}
				close(over)
			})
		})
	}
}
