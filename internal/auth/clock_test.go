package auth_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/caddy-matrix/caddy-matrix-auth/internal/auth"
	"github.com/caddy-matrix/caddy-matrix-auth/internal/authtest"
	"github.com/caddy-matrix/caddy-matrix-auth/internal/token"
)

// stepping is a kit whose wall clock can be set without time going by.
func stepping(t *testing.T, settings func(*auth.Settings)) *authtest.Kit {
	t.Helper()
	k := authtest.NewService(t, authtest.Options{Idle: true, Monotonic: true, Settings: settings})
	k.MustAddUser(t, "alice")
	before := k.Now()
	k.Clock.Step(time.Hour)
	if d := k.Now().Sub(before); d != 0 || k.Now().Round(0).Sub(before.Round(0)) != time.Hour {
		t.Fatalf("the clock has no monotonic reading: %v went by", d)
	}
	k.Clock.Step(-time.Hour)
	return k
}

// The grace of a session in memory runs on the monotonic clock: setting the wall clock, in either direction, neither makes a
// retry a replay nor a replay a retry, also after a batch and a sweep.
func TestAClockStepDoesNotTouchAGrace(t *testing.T) {
	for name, use := range map[string]func(k *authtest.Kit, pair auth.Tokens){
		"used at the gate": func(k *authtest.Kit, pair auth.Tokens) { k.MustVerdict(t, pair.AccessToken) },
		"used at refresh":  func(k *authtest.Kit, pair auth.Tokens) { k.MustRefresh(t, pair.RefreshToken) },
	} {
		for _, step := range []time.Duration{3 * time.Hour, -3 * time.Hour} {
			t.Run(name+" "+step.String(), func(t *testing.T) {
				k := stepping(t, func(*auth.Settings) {})
				in := k.MustLogin(t, "alice", "")
				k.MustVerdict(t, in.AccessToken)
				use(k, k.MustRefresh(t, in.RefreshToken))
				k.Clock.Advance(10 * time.Second)
				k.Clock.Step(step)
				must(t, k.Flush(t.Context()))
				must(t, k.Sweep(t.Context()))
				k.MustRefresh(t, in.RefreshToken)
				k.Clock.Advance(50 * time.Second)
				_, err := refresh(k, t, in.RefreshToken)
				mustBeUnknown(t, "refreshing after the grace", err)
			})
		}
	}
}

// The end of an access token is a time of the wall clock, in memory as on disk: setting the clock moves everybody nearer to it or
// away from it alike, and who asks before and after a session has left memory hears the same.
func TestAClockStepMovesTheEndsOfAccessTokens(t *testing.T) {
	for name, get := range map[string]func(k *authtest.Kit) auth.Tokens{
		"of a login": func(k *authtest.Kit) auth.Tokens { return k.MustLogin(t, "alice", "") },
		"of a refresh": func(k *authtest.Kit) auth.Tokens {
			in := k.MustLogin(t, "alice", "")
			k.MustVerdict(t, in.AccessToken) // The session is in memory when it changes.
			return k.MustRefresh(t, in.RefreshToken)
		},
	} {
		for _, evicted := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, evicted: %v", name, evicted), func(t *testing.T) {
				k := stepping(t, func(s *auth.Settings) { s.CompatTTL = 5 * time.Minute })
				in := get(k)
				for _, c := range []struct {
					step, advance time.Duration
					left          time.Duration
					want          auth.Verdict
				}{
					{0, 0, 5 * time.Minute, auth.Active},
					{10 * time.Minute, 0, -5 * time.Minute, auth.Expired},
					{-10 * time.Minute, time.Minute, 4 * time.Minute, auth.Active},
					{-time.Hour, 10 * time.Minute, 54 * time.Minute, auth.Active},
					{54*time.Minute - time.Millisecond, 0, time.Millisecond, auth.Active},
					{time.Millisecond, 0, 0, auth.Expired},
				} {
					k.Clock.Step(c.step)
					k.Clock.Advance(c.advance)
					if evicted {
						k.ForgetLive(true)
					}
					if got := k.MustVerdict(t, in.AccessToken); got != c.want {
						t.Errorf("%v before the end: got %v, want %v", c.left, got, c.want)
					}
					if c.want != auth.Active {
						continue
					}
					i, err := k.Introspect(t.Context(), in.AccessToken.Reveal())
					must(t, err)
					if got := i.ExpiresAt.Sub(k.Now()).Round(time.Microsecond); got != c.left {
						t.Errorf("%v before the end: introspection says %v", c.left, got)
					}
				}
			})
		}
	}
}

// Nothing is ended by age within an hour of a step of the clock.
func TestNothingIsEndedByAgeAfterAClockStep(t *testing.T) {
	k := stepping(t, func(s *auth.Settings) { s.RefreshIdle = 10 * 24 * time.Hour })
	in := k.MustLogin(t, "alice", "")
	k.Clock.Advance(2 * time.Hour) // well after the start
	must(t, k.Sweep(t.Context()))
	k.Clock.Step(365 * 24 * time.Hour)
	must(t, k.Sweep(t.Context()))
	k.Clock.Advance(59 * time.Minute)
	must(t, k.Sweep(t.Context()))
	in = k.MustRefresh(t, in.RefreshToken)
	k.Clock.Advance(11 * 24 * time.Hour)
	must(t, k.Sweep(t.Context()))
	_, err := refresh(k, t, in.RefreshToken)
	mustBeUnknown(t, "refreshing eleven days later", err)
}

// A refresh in early data is no activity, and lets its session leave memory like any other.
func TestEarlyDataIsNoActivity(t *testing.T) {
	k := idle(t)
	in := k.MustLogin(t, "alice", "")
	early := auth.From{Addr: authtest.Addr, UserAgent: "Element", Unproven: true}
	a, err := k.Judge(t.Context(), in.AccessToken.Reveal(), early)
	must(t, err)
	a.Release()
	next, err := k.Refresh(t.Context(), in.RefreshToken.Reveal(), token.CompatRefresh, early)
	must(t, err)
	a, err = k.Judge(t.Context(), next.AccessToken.Reveal(), early)
	must(t, err)
	a.Release()
	for s, err := range k.Sessions("alice") {
		must(t, err)
		if !s.LastSeen.At.IsZero() || s.LastSeen.Addr != "" {
			t.Errorf("got %+v, want no activity", s.LastSeen)
		}
	}
	k.ForgetLive(false)
	if n := k.Status().LiveSessions; n != 0 {
		t.Errorf("got %d sessions in memory that nobody uses, want none", n)
	}
	k.Clock.Advance(time.Hour)
	k.MustRefresh(t, in.RefreshToken) // not even a first use
}

// A clock that is a year ahead, for as long as a sweep takes, costs nobody anything when it is right again.
func TestASweepUnderAWrongClockTakesNothing(t *testing.T) {
	k := stepping(t, func(s *auth.Settings) { oauthSettings(s); s.RefreshIdle = 10 * 24 * time.Hour })
	k.Clock.Advance(2 * time.Hour) // well after the start
	personal, err := k.IssueToken(t.Context(), auth.IssueTokenParams{Localpart: "alice", ExpiresIn: 30 * 24 * time.Hour})
	must(t, err)
	service, err := k.ClientCredentials(t.Context(), auth.ClientCredentialsParams{Client: k.Settings.Clients[serviceID]})
	must(t, err)
	ended := k.MustLogin(t, "alice", "ENDED")
	must(t, k.Logout(t.Context(), ended.AccessToken.Reveal(), auth.From{}))
	in := k.MustLogin(t, "alice", "PHONE")
	pair := k.MustRefresh(t, in.RefreshToken)
	k.MustVerdict(t, pair.AccessToken)
	must(t, k.Flush(t.Context()))
	k.ForgetLive(false)

	k.Clock.Step(365 * 24 * time.Hour)
	must(t, k.Sweep(t.Context()))
	k.Clock.Step(-365 * 24 * time.Hour)

	mustJudge(t, k, "a token with 30 days left", personal.AccessToken, auth.Active)
	if _, err := k.Introspect(t.Context(), service.AccessToken.Reveal()); err != nil {
		t.Errorf("a client's own token: got %v", err)
	}
	session(t, k, ended) // it is still there
	if again := k.MustRefresh(t, in.RefreshToken); again.RefreshToken.Reveal() != pair.RefreshToken.Reveal() {
		t.Error("a retry: got another pair")
	}
}

// What only the wall clock knows is doubtful for an hour after it was set, and after a start: a retry gets the pair for which it
// asks. A grace that begins in that hour is as long as any; and after the hour a replay is found.
func TestAGraceOnTheWallClockAloneOutlivesItsDoubt(t *testing.T) {
	for name, disturb := range map[string]func(k *authtest.Kit){
		"a step": func(k *authtest.Kit) { k.Clock.Step(3 * time.Hour) },
		"a start": func(k *authtest.Kit) {
			k.Clock.Step(3 * time.Hour)
			s, err := auth.New(auth.Config{DB: k.DB, ServerName: k.ServerName, Hasher: k.Hasher, Now: k.Now, Rand: k.Rand}, k.Settings)
			must(t, err)
			k.Service = s
		},
	} {
		t.Run(name, func(t *testing.T) {
			k := stepping(t, func(*auth.Settings) {})
			k.Clock.Advance(2 * time.Hour)
			in := k.MustLogin(t, "alice", "")
			use := func(pair auth.Tokens) {
				k.MustVerdict(t, pair.AccessToken)
				must(t, k.Flush(t.Context()))
				k.ForgetLive(false)
			}
			pair := k.MustRefresh(t, in.RefreshToken)
			use(pair)
			disturb(k)
			for range 3 {
				k.Clock.Advance(10 * time.Second)
				must(t, k.Sweep(t.Context()))
				if again := k.MustRefresh(t, in.RefreshToken); again.RefreshToken.Reveal() != pair.RefreshToken.Reveal() {
					t.Fatal("a retry: got another pair")
				}
				k.ForgetLive(true)
			}

			other := k.MustLogin(t, "alice", "")
			use(k.MustRefresh(t, other.RefreshToken))
			k.Clock.Advance(time.Minute)
			_, err := refresh(k, t, other.RefreshToken)
			mustBeUnknown(t, "a retry after a grace that began meanwhile", err)

			k.Clock.Advance(time.Hour)
			_, err = refresh(k, t, in.RefreshToken)
			mustBeUnknown(t, "a retry after the doubt", err)
			if got := session(t, k, in); got.EndReason != "refresh_replayed" {
				t.Errorf("the session: got %q, want it ended", got.EndReason)
			}
		})
	}
}
