package auth_test

import (
	"errors"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddy-matrix/caddy-matrix-auth/internal/auth"
	"github.com/caddy-matrix/caddy-matrix-auth/internal/authtest"
	"github.com/caddy-matrix/caddy-matrix-auth/internal/mxid"
	"github.com/caddy-matrix/caddy-matrix-auth/internal/token"
	"github.com/caddy-matrix/caddy-matrix-auth/store"
)

// An ended session is kept for thirty days, for the audit, and then goes with all that belongs to it; its tokens stay dead.
func TestEndedSessionsGoAfterThirtyDays(t *testing.T) {
	k := idle(t)
	in := k.MustLogin(t, "alice", "PHONE")
	k.MustVerdict(t, in.AccessToken)
	must(t, k.Flush(t.Context()))
	must(t, k.Logout(t.Context(), in.AccessToken.Reveal(), auth.From{}))
	there := func() (session, seen bool) {
		must(t, k.DB.View(func(tx *store.Tx) error {
			_, a := tx.Session(in.SessionID)
			_, b := tx.LastSeen(in.SessionID)
			session, seen = !errors.Is(a, store.ErrNotFound), !errors.Is(b, store.ErrNotFound)
			return nil
		}))
		return session, seen
	}
	k.Clock.Advance(30 * 24 * time.Hour)
	must(t, k.Sweep(t.Context()))
	if session, seen := there(); !session || !seen {
		t.Errorf("after thirty days: got session %v, activity %v, want both", session, seen)
	}
	k.Clock.Advance(time.Second)
	must(t, k.Sweep(t.Context()))
	if session, seen := there(); session || seen {
		t.Errorf("a second later: got session %v, activity %v, want neither", session, seen)
	}
	k.ForgetLive(false)
	for range 3 { // the second time from the cache of negative answers
		if v := k.MustVerdict(t, in.AccessToken); v != auth.Unknown {
			t.Errorf("the access token: got %v, want unknown", v)
		}
	}
	if n := k.Status().LiveSessions; n != 0 {
		t.Errorf("got %d sessions in memory, want none", n)
	}
	_, err := refresh(k, t, in.RefreshToken)
	mustBeUnknown(t, "the refresh token", err)
}

// A token that we made and whose session is not there is unknown, and takes no place among the sessions in memory.
func TestATokenOfNobody(t *testing.T) {
	k := idle(t)
	mint := token.NewMint(k.DB.TokenKey(), authtest.NewRand(1))
	for range 100 {
		h, err := mint.Handle()
		must(t, err)
		text, err := mint.New(token.CompatAccess, h)
		must(t, err)
		for range 2 {
			if v := k.MustVerdict(t, text.Secret()); v != auth.Unknown {
				t.Fatalf("got %v, want unknown", v)
			}
		}
	}
	if n := k.Status().LiveSessions; n != 0 {
		t.Errorf("got %d sessions in memory, want none", n)
	}
}

// A session that can never be used again, since it has no refresh token and its access token is over, ends a day later, and its
// device goes. Until then its client is told to sign in again on it.
func TestASessionEndsADayAfterItsLastToken(t *testing.T) {
	k := idle(t)
	p, err := k.IssueToken(t.Context(), auth.IssueTokenParams{Localpart: "alice", DeviceID: "BOT", Legacy: true, ExpiresIn: 2 * time.Hour})
	must(t, err)
	never, err := k.IssueToken(t.Context(), auth.IssueTokenParams{Localpart: "alice"})
	must(t, err)
	phone := k.MustLogin(t, "alice", "PHONE")
	k.Clock.Advance(26*time.Hour - time.Second)
	must(t, k.Sweep(t.Context()))
	mustJudge(t, k, "almost a day after its end", p.AccessToken, auth.Expired)
	k.Clock.Advance(time.Second)
	must(t, k.Sweep(t.Context()))
	mustJudge(t, k, "a second later", p.AccessToken, auth.Unknown)
	if got := session(t, k, p); got.EndReason != "expired" {
		t.Errorf("got reason %q", got.EndReason)
	}
	waitFor(t, "the device to go", func() bool { return slices.Equal(k.Synapse.Devices("alice"), []mxid.DeviceID{"PHONE"}) })
	mustJudge(t, k, "a token without an end", never.AccessToken, auth.Active)
	k.MustRefresh(t, phone.RefreshToken)
}

// Whoever comes back between a sweep's look at an idle session and its Update stays signed in.
func TestRefreshIdle_ASessionUsedDuringASweepLivesOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := authtest.NewService(t, authtest.Options{RealClock: true, Idle: true, Settings: func(s *auth.Settings) {
			s.RefreshIdle, s.CompatTTL = 2*time.Hour, 24*time.Hour
		}})
		k.MustAddUser(t, "alice")
		back, gone := k.MustLogin(t, "alice", "PHONE"), k.MustLogin(t, "alice", "OLD")
		time.Sleep(2*time.Hour + time.Second)
		looked := make(chan struct{})
		var wg sync.WaitGroup
		wg.Go(func() {
			must(t, k.DB.Update(t.Context(), func(*store.Tx) error {
				<-looked
				return nil
			}))
		})
		synctest.Wait()
		wg.Go(func() { must(t, k.Sweep(t.Context())) })
		synctest.Wait() // The sweep has looked, and waits for its Update.
		mustJudge(t, k, "back just in time", back.AccessToken, auth.Active)
		close(looked)
		wg.Wait()
		mustJudge(t, k, "after the sweep", back.AccessToken, auth.Active)
		mustJudge(t, k, "idle for two hours", gone.AccessToken, auth.Unknown)
	})
}
