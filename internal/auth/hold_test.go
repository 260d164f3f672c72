package auth_test

import (
	"context"
	"crypto/rand"
	"errors"
	"io"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/caddy-matrix/caddy-matrix-auth/internal/auth"
	"github.com/caddy-matrix/caddy-matrix-auth/internal/authtest"
	"github.com/caddy-matrix/caddy-matrix-auth/store"
)

// bug is a source of randomness that can be made to panic.
type bug struct {
	io.Reader
	on atomic.Bool
}

func (b *bug) Read(p []byte) (int, error) {
	if b.on.Load() {
		panic("a bug")
	}
	return b.Reader.Read(p)
}

// A panic at a refresh is trouble like any other: the refresh is held, and succeeds if it ends in time; else it fails without
// a verdict after 10 s, and the session is as it was. The log has the cause and its stack, once for each refresh.
func TestAPanicIsHeldAtRefresh(t *testing.T) {
	type session struct {
		auth.Tokens
		refresh func() (auth.Tokens, error)
	}
	for name, signInOn := range map[string]func(*testing.T, *authtest.Kit) *session{
		"Matrix": func(t *testing.T, k *authtest.Kit) *session {
			s := &session{Tokens: k.MustLogin(t, "alice", "PHONE")}
			s.refresh = func() (auth.Tokens, error) { return refresh(k, t, s.RefreshToken) }
			return s
		},
		"OAuth": func(t *testing.T, k *authtest.Kit) *session {
			s := &session{Tokens: signIn(t, k, "alice").session(staticID, onDevice(phone)).Tokens}
			s.refresh = func() (auth.Tokens, error) { return refreshAs(t, k, staticID, s.RefreshToken) }
			return s
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := &bug{Reader: rand.Reader}
				core, logs := observer.New(zap.ErrorLevel)
				k := providerWith(t, authtest.Options{RealClock: true, Idle: true, Rand: b, Log: zap.New(core)})
				s := signInOn(t, k)

				b.on.Store(true)
				time.AfterFunc(4*time.Second, func() { b.on.Store(false) })
				next, err := s.refresh()
				must(t, err)
				mustLogOnePanic(t, logs)
				s.Tokens = next

				b.on.Store(true)
				began := time.Now()
				_, err = s.refresh()
				if took := time.Since(began); err == nil || errors.Is(err, auth.ErrTokenUnknown) || took != 10*time.Second {
					t.Errorf("got %v after %v, want trouble after 10 s", err, took)
				}
				mustLogOnePanic(t, logs)
				b.on.Store(false)
				mustJudge(t, k, "after the trouble", s.AccessToken, auth.Active)
				if _, err := s.refresh(); err != nil {
					t.Errorf("after the trouble: %v", err)
				}
			})
		})
	}
}

// A panic in a transaction is logged once where it is held, however often it is tried.
func TestAPanicInATransactionIsLoggedOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		core, logs := observer.New(zap.ErrorLevel)
		k := authtest.NewService(t, authtest.Options{RealClock: true, Idle: true, Log: zap.New(core)})
		b := &bug{}
		b.on.Store(true)
		tries := 0
		err := k.Hold(t.Context(), func(ctx context.Context) error {
			return k.Update(ctx, func(*store.Tx) error {
				tries++
				return errorOf(b.Read(nil))
			})
		})
		if err == nil || tries < 10 {
			t.Errorf("got %v after %d tries", err, tries)
		}
		mustLogOnePanic(t, logs)
	})
}

// mustLogOnePanic checks that there is one line more than before, and that it says where.
func mustLogOnePanic(t *testing.T, logs *observer.ObservedLogs) {
	t.Helper()
	lines := logs.TakeAll()
	if len(lines) != 1 {
		t.Fatalf("got %d lines, want 1", len(lines))
	}
	said := lines[0].ContextMap()
	if stack, _ := said["stack"].(string); said["panic"] != "a bug" || !strings.Contains(stack, "(*bug).Read") {
		t.Errorf("got %v, want the cause and its stack", said)
	}
}
