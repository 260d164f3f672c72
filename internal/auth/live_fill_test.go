package auth_test

import (
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"

	"github.com/caddy-matrix/caddy-matrix-auth/internal/auth"
	"github.com/caddy-matrix/caddy-matrix-auth/internal/authtest"
	"github.com/caddy-matrix/caddy-matrix-auth/internal/token"
)

// A fill whose snapshot is older than a change that has been answered meanwhile reads again: be it the session's or the user's
// snapshot, whatever the change says counts.
func TestAFillIsNotOlderThanAnAnswer(t *testing.T) {
	for name, change := range map[string]struct {
		do   func(k *authtest.Kit, in auth.Tokens) error
		want auth.Verdict
	}{
		"end": {
			do:   func(k *authtest.Kit, in auth.Tokens) error { return k.EndSession(t.Context(), in.SessionID, "test") },
			want: auth.Unknown,
		},
		"lock": {
			do:   func(k *authtest.Kit, _ auth.Tokens) error { return k.Lock(t.Context(), "alice") },
			want: auth.Locked,
		},
		"deactivation": {
			do:   func(k *authtest.Kit, _ auth.Tokens) error { return k.Deactivate(t.Context(), "alice", false) },
			want: auth.Unknown,
		},
	} {
		for read := range 2 { // the session's snapshot, then the user's
			k := idle(t)
			in := k.MustLogin(t, "alice", "")
			k.ForgetLive(true)
			reads := 0
			k.AfterLiveReads(func() {
				if reads++; reads == read+1 {
					must(t, change.do(k, in))
				}
			})
			if v := k.MustVerdict(t, in.AccessToken); v != change.want {
				t.Errorf("%s after snapshot %d: got %v, want %v", name, read, v, change.want)
			}
			if reads < 2 {
				t.Errorf("%s: got %d snapshots, so nothing was shown", name, reads)
			}
		}
	}
}

// Somebody asks for a handle, and finds no session, while the session that gets it is being committed: its token is good once it
// is handed out (INT-07).
func TestINT07_AnAbsenceIsNotOlderThanAnAnswer(t *testing.T) {
	login := func() (k *authtest.Kit, in func() auth.Tokens) { // every time the same tokens
		k = authtest.NewService(t, authtest.Options{Idle: true, Rand: authtest.NewRand(1)})
		k.MustAddUser(t, "alice")
		return k, func() auth.Tokens { return k.MustLogin(t, "alice", "PHONE") }
	}
	_, first := login()
	guessed := first().AccessToken

	k, second := login()
	var handedOut token.Secret
	var once sync.Once
	k.AfterLiveReads(func() { once.Do(func() { handedOut = second().AccessToken }) })
	k.MustVerdict(t, guessed)
	if handedOut.Reveal() != guessed.Reveal() {
		t.Fatal("the two tokens differ, so nothing was shown")
	}
	if v := k.MustVerdict(t, handedOut); v != auth.Active {
		t.Errorf("got %v, want active", v)
	}
}

// However many ask for a token that is not in memory, one of them reads.
func TestOneFlightPerToken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := authtest.NewService(t, authtest.Options{RealClock: true, Idle: true})
		k.MustAddUser(t, "alice")
		in := k.MustLogin(t, "alice", "")
		k.ForgetLive(true)
		var reads atomic.Int64
		gate := make(chan struct{})
		k.AfterLiveReads(func() {
			reads.Add(1)
			<-gate
		})
		var wg sync.WaitGroup
		for range 50 {
			wg.Go(func() {
				if v := k.MustVerdict(t, in.AccessToken); v != auth.Active {
					t.Errorf("got %v", v)
				}
			})
		}
		synctest.Wait()
		if n := reads.Load(); n != 1 {
			t.Errorf("got %d reads of the session at once, want 1", n)
		}
		close(gate)
		wg.Wait()
		if n := reads.Load(); n > 2 { // the session, and its user
			t.Errorf("got %d reads, want one of the session and one of the user", n)
		}
	})
}
