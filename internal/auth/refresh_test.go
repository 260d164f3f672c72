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
	"github.com/caddy-matrix/caddy-matrix-auth/internal/token"
	"github.com/caddy-matrix/caddy-matrix-auth/store"
)

func idle(t *testing.T) *authtest.Kit {
	t.Helper()
	k := authtest.NewService(t, authtest.Options{Idle: true})
	k.MustAddUser(t, "alice")
	return k
}

func refresh(k *authtest.Kit, t *testing.T, text token.Secret) (auth.Tokens, error) {
	t.Helper()
	return k.Refresh(t.Context(), text.Reveal(), token.CompatRefresh, auth.From{Addr: authtest.Addr})
}

func mustBeUnknown(t *testing.T, doing string, err error) {
	t.Helper()
	if !errors.Is(err, auth.ErrTokenUnknown) {
		t.Fatalf("%s: got %v, want an unknown token", doing, err)
	}
}

// Twenty at once: twenty answers, one pair (E3, REF-06).
func TestE3_TwentyParallelRotationsGiveOnePair(t *testing.T) {
	k := idle(t)
	in := k.MustLogin(t, "alice", "")
	var mu sync.Mutex
	pairs := make(map[string]int)
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() {
			got, err := k.Refresh(t.Context(), in.RefreshToken.Reveal(), token.CompatRefresh, auth.From{})
			if err != nil {
				t.Error(err)
				return
			}
			mu.Lock()
			defer mu.Unlock()
			pairs[got.AccessToken.Reveal()+got.RefreshToken.Reveal()]++
		})
	}
	wg.Wait()
	if len(pairs) != 1 {
		t.Fatalf("got %d pairs, want 1", len(pairs))
	}
}

// A refresh token is good again until its successor has been used, and a minute longer (E2, LRF-02, REF-03).
func TestLRF02_LostAnswers(t *testing.T) {
	k := idle(t)
	in := k.MustLogin(t, "alice", "")
	first := k.MustRefresh(t, in.RefreshToken)
	k.Clock.Advance(30 * 24 * time.Hour) // the phone slept; nothing was used
	again := k.MustRefresh(t, in.RefreshToken)
	if again.RefreshToken.Reveal() != first.RefreshToken.Reveal() {
		t.Fatal("the successor is another one after a long sleep")
	}
	if again.AccessToken.Reveal() == first.AccessToken.Reveal() {
		t.Fatal("an access token was handed out again that ended a month ago")
	}
	if v := k.MustVerdict(t, again.AccessToken); v != auth.Active { // the first use
		t.Fatalf("the new access token: got %v", v)
	}
	k.Clock.Advance(59 * time.Second)
	k.MustRefresh(t, in.RefreshToken)
	k.Clock.Advance(time.Second)
	_, err := refresh(k, t, in.RefreshToken)
	mustBeUnknown(t, "refreshing after the grace", err)
	if v := k.MustVerdict(t, again.AccessToken); v != auth.Unknown {
		t.Fatalf("after a replay the session must be over: got %v", v)
	}
	if got := k.Events("session_ended"); len(got) != 1 || got[0].Reason != "refresh_replayed" {
		t.Fatalf("audit: got %v", got)
	}
}

// The answers to two refreshes in a row may be lost: an old token leads on to the newest pair while the graces run.
func TestRefreshFollowsOnToTheNewestPair(t *testing.T) {
	k := idle(t)
	in := k.MustLogin(t, "alice", "")
	second := k.MustRefresh(t, in.RefreshToken)
	third := k.MustRefresh(t, second.RefreshToken)
	got := k.MustRefresh(t, in.RefreshToken)
	if got.RefreshToken.Reveal() != third.RefreshToken.Reveal() || got.AccessToken.Reveal() != third.AccessToken.Reveal() {
		t.Fatal("got another pair than the newest")
	}
}

// A refresh token with a wrong MAC, of another session's handle, or of another kind ends nothing.
func TestOnlyWhatWeMadeCanBeAnAncestor(t *testing.T) {
	k := idle(t)
	in := k.MustLogin(t, "alice", "")
	parsed, err := token.Parse(in.RefreshToken.Reveal())
	if err != nil {
		t.Fatal(err)
	}
	forger := token.NewMint(token.Key{1}, authtest.NewRand(1))
	forged, err := forger.New(token.CompatRefresh, parsed.Handle)
	if err != nil {
		t.Fatal(err)
	}
	_, err = refresh(k, t, token.NewSecret(forged.Reveal()))
	mustBeUnknown(t, "a forged token", err)
	_, err = refresh(k, t, in.AccessToken)
	mustBeUnknown(t, "an access token found in a log", err)
	_, err = k.Refresh(t.Context(), in.RefreshToken.Reveal(), token.Refresh, auth.From{})
	mustBeUnknown(t, "E29: a legacy refresh token at the OAuth endpoint", err)
	k.MustRefresh(t, in.RefreshToken)
}

// The access token before a rotation lives on for a minute at least, and one that has expired is never revived (E4, REF-07).
func TestE4_TheAccessTokenBeforeLivesOn(t *testing.T) {
	k := idle(t)
	in := k.MustLogin(t, "alice", "")
	k.Clock.Advance(5*time.Minute - time.Second)
	second := k.MustRefresh(t, in.RefreshToken)
	k.Clock.Advance(59 * time.Second)
	if v := k.MustVerdict(t, in.AccessToken); v != auth.Active {
		t.Fatalf("59 s after the rotation: got %v", v)
	}
	k.Clock.Advance(time.Second)
	if v := k.MustVerdict(t, in.AccessToken); v != auth.Expired {
		t.Fatalf("a minute after the rotation: got %v", v)
	}
	k.MustRefresh(t, second.RefreshToken)
	if v := k.MustVerdict(t, in.AccessToken); v != auth.Expired {
		t.Fatalf("after another rotation: got %v, want it to stay expired", v)
	}
}

// A phone slept for a month: its access token is expired, not unknown, and its refresh token works.
func TestASleepingPhoneStaysSignedIn(t *testing.T) {
	k := idle(t)
	in := k.MustLogin(t, "alice", "")
	k.MustRefresh(t, in.RefreshToken)
	k.MustRefresh(t, in.RefreshToken)
	k.Clock.Advance(31 * 24 * time.Hour)
	must(t, k.Flush(t.Context()))
	must(t, k.Sweep(t.Context()))
	if v := k.MustVerdict(t, in.AccessToken); v != auth.Expired {
		t.Fatalf("got %v, want expired", v)
	}
	k.MustRefresh(t, in.RefreshToken)
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// A locked user's client may refresh: the gate is what answers (REF-15). A deactivated one may not.
func TestREF15_LockedRefreshesDeactivatedDoesNot(t *testing.T) {
	k := idle(t)
	in := k.MustLogin(t, "alice", "")
	must(t, k.Lock(t.Context(), "alice"))
	second := k.MustRefresh(t, in.RefreshToken)
	if v := k.MustVerdict(t, second.AccessToken); v != auth.Locked {
		t.Fatalf("got %v, want locked", v)
	}
	must(t, k.Deactivate(t.Context(), "alice", false))
	_, err := refresh(k, t, second.RefreshToken)
	mustBeUnknown(t, "refreshing as a deactivated user", err)
}

// An access token past its end is no use of its generation, whether it is kept or not: until the successor has bought something
// the refresh token before it stays good. A device from which it is presented is in use, though.
func TestAnExpiredTokenIsActivityButNoFirstUse(t *testing.T) {
	k := authtest.NewService(t, authtest.Options{Idle: true, Settings: func(s *auth.Settings) { s.RefreshIdle = 10 * 24 * time.Hour }})
	k.MustAddUser(t, "alice")
	in := k.MustLogin(t, "alice", "")
	second := k.MustRefresh(t, in.RefreshToken)
	k.Clock.Advance(10 * 24 * time.Hour)
	for _, access := range []token.Secret{in.AccessToken, second.AccessToken} {
		if v := k.MustVerdict(t, access); v != auth.Expired {
			t.Fatalf("got %v, want expired", v)
		}
	}
	k.Clock.Advance(5 * 24 * time.Hour)
	must(t, k.Flush(t.Context()))
	must(t, k.Sweep(t.Context()))
	if again := k.MustRefresh(t, in.RefreshToken); again.RefreshToken.Reveal() != second.RefreshToken.Reveal() {
		t.Error("another successor")
	}
	k.Clock.Advance(10*24*time.Hour + time.Second)
	must(t, k.Sweep(t.Context()))
	if v := k.MustVerdict(t, second.AccessToken); v != auth.Unknown {
		t.Errorf("unused for ten days: got %v, want unknown", v)
	}
}

// A crash loses the marks of first use that are not written: a grace gets longer, never shorter, and nobody is signed out.
func TestACrashOnlyLengthensAGrace(t *testing.T) {
	k := idle(t)
	in := k.MustLogin(t, "alice", "")
	second := k.MustRefresh(t, in.RefreshToken)
	k.MustVerdict(t, second.AccessToken)
	k.ForgetLive(true) // the crash
	k.Clock.Advance(time.Hour)
	k.MustRefresh(t, in.RefreshToken)
}

// The first use is on disk after the next batch, and counts from when it happened.
func TestFirstUseIsWrittenWithTheNextBatch(t *testing.T) {
	k := idle(t)
	in := k.MustLogin(t, "alice", "")
	second := k.MustRefresh(t, in.RefreshToken)
	if _, err := k.Introspect(t.Context(), second.AccessToken.Reveal()); err != nil {
		t.Fatal(err)
	}
	k.Clock.Advance(45 * time.Second)
	must(t, k.Flush(t.Context()))
	k.ForgetLive(false)
	k.Clock.Advance(20 * time.Second)
	_, err := refresh(k, t, in.RefreshToken)
	mustBeUnknown(t, "refreshing 65 s after the first use", err)
}

// The sweep erases a seal when its grace is over, so that a stolen store and an old token lead nowhere.
func TestSealsAreErased(t *testing.T) {
	k := idle(t)
	in := k.MustLogin(t, "alice", "")
	second := k.MustRefresh(t, in.RefreshToken)
	k.MustVerdict(t, second.AccessToken)
	must(t, k.Flush(t.Context()))
	sess := session(t, k, in)
	if len(sess.Consumed) != 1 || len(sess.Consumed[0].Seal) == 0 {
		t.Fatalf("got %d consumed tokens before the grace is over", len(sess.Consumed))
	}
	k.Clock.Advance(time.Minute)
	must(t, k.Sweep(t.Context()))
	if sess := session(t, k, in); len(sess.Consumed) != 0 {
		t.Fatalf("got %d consumed tokens after the grace", len(sess.Consumed))
	}
}

func session(t *testing.T, k *authtest.Kit, in auth.Tokens) (sess store.Session) {
	t.Helper()
	must(t, k.DB.View(func(tx *store.Tx) (err error) {
		sess, err = tx.Session(in.SessionID)
		return err
	}))
	return sess
}

// A session with refresh tokens that nobody uses ends after refresh_idle; one in use does not, nor one just after a start.
func TestRefreshIdle(t *testing.T) {
	k := authtest.NewService(t, authtest.Options{Idle: true, Settings: func(s *auth.Settings) { s.RefreshIdle = 10 * 24 * time.Hour }})
	k.MustAddUser(t, "alice")
	quiet, busy := k.MustLogin(t, "alice", "QUIET"), k.MustLogin(t, "alice", "BUSY")
	for range 6 {
		k.Clock.Advance(2 * 24 * time.Hour)
		busy = k.MustRefresh(t, busy.RefreshToken)
		must(t, k.Sweep(t.Context()))
	}
	_, err := refresh(k, t, quiet.RefreshToken)
	mustBeUnknown(t, "refreshing after 12 days of silence", err)
	k.MustRefresh(t, busy.RefreshToken)
}

// Nothing is ended by age within an hour of a start.
func TestNothingIsEndedByAgeAfterAStart(t *testing.T) {
	k := authtest.NewService(t, authtest.Options{Idle: true, Settings: func(s *auth.Settings) { s.RefreshIdle = 10 * time.Minute }})
	k.MustAddUser(t, "alice")
	in := k.MustLogin(t, "alice", "")
	k.Clock.Advance(50 * time.Minute)
	must(t, k.Sweep(t.Context()))
	in = k.MustRefresh(t, in.RefreshToken)
	k.Clock.Advance(20 * time.Minute)
	must(t, k.Sweep(t.Context()))
	_, err := refresh(k, t, in.RefreshToken)
	mustBeUnknown(t, "refreshing 20 minutes later, well after the start", err)
}

// Trouble in the store is waited out; a verdict is not (E1).
func TestE1_TroubleIsHeldAndTriedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		free := uint64(1 << 40)
		var mu sync.Mutex
		k := authtest.NewService(t, authtest.Options{RealClock: true, Idle: true, Store: store.Options{FreeBytes: func(string) (uint64, error) {
			mu.Lock()
			defer mu.Unlock()
			return free, nil
		}}})
		k.MustAddUser(t, "alice")
		in := k.MustLogin(t, "alice", "")
		set := func(n uint64) { mu.Lock(); free = n; mu.Unlock() }
		set(1 << 20)
		began := time.Now()
		if _, err := refresh(k, t, in.RefreshToken); !errors.Is(err, auth.ErrUnavailable) {
			t.Fatalf("with a full disk: got %v", err)
		}
		if held := time.Since(began); held < 9*time.Second || held > 11*time.Second {
			t.Fatalf("held for %v, want 10 s", held)
		}
		if v := k.MustVerdict(t, in.AccessToken); v != auth.Active {
			t.Fatalf("existing sessions must go on: got %v", v)
		}
		time.AfterFunc(3*time.Second, func() { set(1 << 40) })
		k.MustRefresh(t, in.RefreshToken)
		began = time.Now()
		_, err := refresh(k, t, token.NewSecret("mcr_nonsense"))
		mustBeUnknown(t, "a malformed token", err)
		if time.Since(began) != 0 {
			t.Fatal("a verdict was held back")
		}
	})
}

// A session never grows, however often it is refreshed.
func TestASessionNeverGrows(t *testing.T) {
	k := idle(t)
	in := k.MustLogin(t, "alice", "")
	for range 100 {
		in = k.MustRefresh(t, in.RefreshToken)
		k.Clock.Advance(time.Second)
	}
	sess := session(t, k, in)
	if len(sess.Access) > store.MaxAccessTokens || len(sess.Consumed) > store.MaxConsumedTokens {
		t.Fatalf("got %d access tokens and %d consumed ones", len(sess.Access), len(sess.Consumed))
	}
	if !slices.ContainsFunc(sess.Access, func(a store.AccessToken) bool { return a.Hash == token.HashText(in.AccessToken.Reveal()) }) {
		t.Fatal("the newest access token is not kept")
	}
}

// The device of a session that a replay has ended is gone when the replay is answered, as after a logout.
func TestAReplayTakesTheDevice(t *testing.T) {
	k := idle(t)
	in := k.MustLogin(t, "alice", "PHONE")
	k.MustVerdict(t, k.MustRefresh(t, in.RefreshToken).AccessToken)
	k.Clock.Advance(time.Minute)
	_, err := refresh(k, t, in.RefreshToken)
	mustBeUnknown(t, "the replay", err)
	if got := k.Synapse.Devices("alice"); len(got) != 0 {
		t.Errorf("devices: got %v", got)
	}
}
