package auth_test

import (
	"context"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddy-matrix/caddy-matrix-auth/internal/auth"
	"github.com/caddy-matrix/caddy-matrix-auth/internal/authtest"
	"github.com/caddy-matrix/caddy-matrix-auth/store"
)

// Activity is on disk within a minute, in a record of its own, and the last of it when the service ends.
func TestActivityIsWrittenInBatchesAndAtTheEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := authtest.NewService(t, authtest.Options{RealClock: true, Idle: true})
		ctx, stop := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- k.Run(ctx) }()
		k.MustAddUser(t, "alice")
		in := k.MustLogin(t, "alice", "PHONE")
		judge := func(addr, agent string) time.Time {
			a, err := k.Judge(t.Context(), in.AccessToken.Reveal(), auth.From{Addr: netip.MustParseAddr(addr), UserAgent: agent})
			must(t, err)
			a.Release()
			return time.Now()
		}
		stored := func() (seen store.LastSeen, refreshed store.Session) {
			must(t, k.DB.View(func(tx *store.Tx) (err error) {
				if refreshed, err = tx.Session(in.SessionID); err != nil {
					return err
				}
				seen, err = tx.LastSeen(in.SessionID)
				return err
			}))
			return seen, refreshed
		}
		at := judge("192.0.2.7", "Element")
		before := session(t, k, in)
		time.Sleep(time.Minute)
		synctest.Wait()
		seen, after := stored()
		if !seen.At.Equal(at.Truncate(time.Microsecond)) || seen.Addr != "192.0.2.7" || seen.UserAgent != "Element" {
			t.Errorf("after a minute: got %+v", seen)
		}
		if before.Generation != after.Generation || len(before.Access) != len(after.Access) || !after.RefreshedAt.IsZero() {
			t.Errorf("activity changed the session: got %+v", after)
		}
		at = judge("2001:db8::7", "Element X")
		stop()
		must(t, <-ended)
		if seen, _ := stored(); !seen.At.Equal(at.Truncate(time.Microsecond)) || seen.Addr != "2001:db8::7" || seen.UserAgent != "Element X" {
			t.Errorf("at the end: got %+v", seen)
		}
	})
}
