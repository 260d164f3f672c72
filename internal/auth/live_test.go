package auth_test

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/caddy-matrix/caddy-matrix-auth/internal/auth"
	"github.com/caddy-matrix/caddy-matrix-auth/internal/authtest"
	"github.com/caddy-matrix/caddy-matrix-auth/internal/token"
)

// After an end or a lock has been answered no judgement says active, whatever reads, fills and evictions are under way.
func TestNoJudgementIsOlderThanAnAnswer(t *testing.T) {
	for name, end := range map[string]struct {
		do   func(k *authtest.Kit, in auth.Tokens) error
		undo func(k *authtest.Kit) error
		want auth.Verdict
	}{
		"logout": {
			do: func(k *authtest.Kit, in auth.Tokens) error {
				return k.Logout(t.Context(), in.AccessToken.Reveal(), auth.From{})
			},
			undo: func(*authtest.Kit) error { return nil },
			want: auth.Unknown,
		},
		"lock": {
			do:   func(k *authtest.Kit, _ auth.Tokens) error { return k.Lock(t.Context(), "alice") },
			undo: func(k *authtest.Kit) error { return k.Unlock(t.Context(), "alice") },
			want: auth.Locked,
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			k := idle(t)
			for round := range 20 {
				in := k.MustLogin(t, "alice", "")
				var over atomic.Bool
				var wg sync.WaitGroup
				for range 4 {
					wg.Go(func() {
						for range 300 {
							late := over.Load()
							a, err := k.Judge(t.Context(), in.AccessToken.Reveal(), auth.From{})
							a.Release()
							if err != nil || late && a.Verdict != end.want || a.Verdict != end.want && a.Verdict != auth.Active {
								t.Errorf("round %d: got %v, %v; the answer was given before: %v", round, a.Verdict, err, late)
								return
							}
						}
					})
				}
				wg.Go(func() {
					for range 100 {
						k.ForgetLive(true)
					}
				})
				must(t, end.do(k, in))
				over.Store(true)
				wg.Wait()
				must(t, end.undo(k))
			}
		})
	}
}

// A token is good as soon as it is handed out, also if somebody has asked for its handle before (INT-07).
func TestINT07_AFreshTokenIsNeverUnknown(t *testing.T) {
	k := idle(t)
	in := k.MustLogin(t, "alice", "")
	must(t, k.Logout(t.Context(), in.AccessToken.Reveal(), auth.From{}))
	k.ForgetLive(true)
	for range 3 { // a negative answer is cached
		if v := k.MustVerdict(t, in.AccessToken); v != auth.Unknown {
			t.Fatalf("got %v", v)
		}
	}
	again := k.MustLogin(t, "alice", in.DeviceID)
	if v := k.MustVerdict(t, again.AccessToken); v != auth.Active {
		t.Fatalf("got %v", v)
	}
}

// What is not ours passes; what has our form and is not ours is unknown, without a session.
func TestVerdictsWithoutASession(t *testing.T) {
	k := idle(t)
	in := k.MustLogin(t, "alice", "")
	text := in.AccessToken.Reveal()
	for text, want := range map[string]auth.Verdict{
		"as_token_of_a_bridge":          auth.Foreign,
		"syt_YWxpY2U_abcdefghij_0abcde": auth.Foreign,
		"":                              auth.Foreign,
		text[:len(text)-1]:              auth.Unknown, // zitadel CVE-2026-27840: a cut token
		text + "x":                      auth.Unknown,
		"mct_short":                     auth.Unknown,
		in.RefreshToken.Reveal():        auth.Unknown, // a refresh token is no access token
	} {
		a, err := k.Judge(t.Context(), text, auth.From{})
		if err != nil || a.Verdict != want {
			t.Errorf("%q: got %v, %v, want %v", text, a.Verdict, err, want)
		}
	}
}

// Judging a session in memory does not allocate.
func TestJudgingAHitDoesNotAllocate(t *testing.T) {
	k := idle(t)
	in := k.MustLogin(t, "alice", "")
	text, ctx, from := in.AccessToken.Reveal(), t.Context(), auth.From{Addr: authtest.Addr, UserAgent: "Element"}
	k.MustVerdict(t, in.AccessToken)
	if n := testing.AllocsPerRun(100, func() {
		a, _ := k.Judge(ctx, text, from)
		a.Release()
	}); n != 0 {
		t.Errorf("got %v allocations", n)
	}
}

// More sessions than are kept in memory: each is still judged right, and one that is held stays and hears of its end.
func TestEviction(t *testing.T) {
	const most = 64
	k := idle(t)
	k.SetMaxLive(most)
	held := k.MustLogin(t, "alice", "")
	a, err := k.Judge(t.Context(), held.AccessToken.Reveal(), auth.From{})
	must(t, err)
	defer a.Release()
	told := watch(a)

	var all []auth.Tokens
	for range 4 * most {
		p, err := k.IssueToken(t.Context(), auth.IssueTokenParams{Localpart: "alice"})
		must(t, err)
		all = append(all, p)
	}
	for range 2 {
		for _, p := range all {
			if v := k.MustVerdict(t, p.AccessToken); v != auth.Active {
				t.Fatalf("got %v", v)
			}
		}
		if n := k.Status().LiveSessions; n <= most || !k.WantsFlush() {
			t.Errorf("before what is unsaved is written: got %d in memory, flush wanted: %v", n, k.WantsFlush())
		}
		must(t, k.Flush(t.Context()))
		if n := k.Status().LiveSessions; n > most {
			t.Errorf("after a flush: got %d in memory, want %d at most", n, most)
		}
	}
	must(t, k.Logout(t.Context(), held.AccessToken.Reveal(), auth.From{}))
	if *told != 1 {
		t.Error("a request under way was not told of the end")
	}
}

// Claim takes effect at once, and a release gives the place back only while nobody else has taken it.
func TestClaimAndRelease(t *testing.T) {
	k := idle(t)
	first, second := k.Settings, k.Settings
	first.PasswordEnabled, second.PasswordEnabled = false, true
	releaseFirst := k.Claim(first)
	if k.PasswordEnabled() {
		t.Fatal("the new settings are not in force")
	}
	if _, err := k.Login(t.Context(), authtest.LoginParams("alice", "")); !errors.Is(err, auth.ErrPasswordsDisabled) {
		t.Fatalf("got %v", err)
	}
	releaseSecond := k.Claim(second)
	releaseFirst()
	if !k.PasswordEnabled() {
		t.Fatal("a reload took the settings of the next one away")
	}
	releaseSecond()
	if k.PasswordEnabled() {
		t.Fatal("a rejected reload did not give the settings back")
	}
}

func BenchmarkJudgeHit(b *testing.B) {
	k := authtest.NewService(b, authtest.Options{RealClock: true, Idle: true})
	k.MustAddUser(b, "alice")
	in := k.MustLogin(b, "alice", "")
	text, from := in.AccessToken.Reveal(), auth.From{Addr: authtest.Addr, UserAgent: "Element"}
	b.ReportAllocs()
	for b.Loop() {
		a, _ := k.Judge(b.Context(), text, from)
		a.Release()
	}
}

func BenchmarkRefresh(b *testing.B) {
	for _, callers := range []int{1, 16, 64} {
		b.Run(fmt.Sprintf("callers=%d", callers), func(b *testing.B) {
			k := authtest.NewService(b, authtest.Options{RealClock: true, Idle: true})
			k.MustAddUser(b, "alice")
			var left atomic.Int64
			left.Store(int64(b.N))
			pairs := make([]auth.Tokens, callers)
			for i := range pairs {
				pairs[i] = k.MustLogin(b, "alice", "")
			}
			b.ResetTimer()
			var wg sync.WaitGroup
			for i := range pairs {
				wg.Go(func() {
					for left.Add(-1) >= 0 {
						next, err := k.Refresh(b.Context(), pairs[i].RefreshToken.Reveal(), token.CompatRefresh, auth.From{})
						if err != nil {
							b.Error(err)
							return
						}
						pairs[i] = next
					}
				})
			}
			wg.Wait()
		})
	}
}

// A sweep counts the live sessions by kind.
func TestSweepCountsSessions(t *testing.T) {
	k := idle(t)
	k.MustLogin(t, "alice", "")
	over := k.MustLogin(t, "alice", "")
	_, err := k.IssueToken(t.Context(), auth.IssueTokenParams{Localpart: "alice"})
	must(t, err)
	must(t, k.Logout(t.Context(), over.AccessToken.Reveal(), auth.From{}))
	must(t, k.Sweep(t.Context()))
	if got := k.Status().Sessions; got["compat"] != 1 || got["personal"] != 1 {
		t.Errorf("got %v", got)
	}
}
