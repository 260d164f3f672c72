package auth_test

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/caddy-matrix/caddy-matrix-auth/internal/auth"
	"github.com/caddy-matrix/caddy-matrix-auth/internal/authtest"
	"github.com/caddy-matrix/caddy-matrix-auth/internal/mxid"
	"github.com/caddy-matrix/caddy-matrix-auth/internal/token"
)

func limited(t *testing.T) *authtest.Kit {
	t.Helper()
	k := authtest.NewService(t, authtest.Options{Idle: true, Settings: func(s *auth.Settings) {
		s.LoginLimit = auth.Limit{Burst: 3, Window: time.Minute}
	}})
	k.MustAddUser(t, "alice")
	return k
}

func try(k *authtest.Kit, t *testing.T, name, addr, password string) error {
	t.Helper()
	p := authtest.LoginParams("alice", "PHONE")
	p.Name, p.From.Addr, p.Password = name, netip.MustParseAddr(addr), token.NewSecret(password)
	if name != "alice" {
		p.Localpart = ""
	}
	_, err := k.Login(t.Context(), p)
	return err
}

// Failed passwords are limited per account and address, before a hash; a right one gives its place back and clears the pair
// (RAT-04).
func TestRAT04_FailedPasswordsAreLimited(t *testing.T) {
	k := limited(t)
	for range 2 {
		try(k, t, "alice", "192.0.2.1", "wrong")
	}
	must(t, try(k, t, "alice", "192.0.2.1", authtest.Password))
	for i := range 3 {
		if err := try(k, t, "alice", "192.0.2.1", "wrong"); !errors.Is(err, auth.ErrBadCredentials) {
			t.Fatalf("attempt %d after a right one: got %v", i, err)
		}
	}
	var limit *auth.RateLimitError
	if err := try(k, t, "alice", "192.0.2.1", authtest.Password); !errors.As(err, &limit) || limit.RetryAfter < time.Second || limit.RetryAfter > 20*time.Second {
		t.Fatalf("the fourth failure: got %v, %+v", err, limit)
	}
	must(t, try(k, t, "alice", "192.0.2.2", authtest.Password)) // from elsewhere
	k.Clock.Advance(limit.RetryAfter)
	must(t, try(k, t, "alice", "192.0.2.1", authtest.Password))
}

// Names that do not exist are limited alike, and one address is limited over all names; an IPv6 /64 is one address (RAT-05).
func TestRAT05_AddressesAreLimitedOverAllNames(t *testing.T) {
	k := limited(t)
	for i := range 18 { // six times the burst
		addr := fmt.Sprintf("2001:db8::%x", i+1)
		if err := try(k, t, fmt.Sprintf("invented%d", i), addr, "x"); !errors.Is(err, auth.ErrBadCredentials) {
			t.Fatalf("attempt %d: got %v", i, err)
		}
	}
	if err := try(k, t, "another", "2001:db8::ffff", "x"); !errors.Is(err, auth.ErrRateLimited) {
		t.Fatalf("got %v", err)
	}
	if err := try(k, t, "another", "2001:db8:0:1::1", "x"); !errors.Is(err, auth.ErrBadCredentials) {
		t.Fatalf("another /64: got %v", err)
	}
}

// One account is limited over all addresses.
func TestAccountsAreLimitedOverAllAddresses(t *testing.T) {
	k := limited(t)
	for i := range 30 { // ten times the burst
		if err := try(k, t, "alice", fmt.Sprintf("192.0.2.%d", i+1), "wrong"); !errors.Is(err, auth.ErrBadCredentials) {
			t.Fatalf("attempt %d: got %v", i, err)
		}
	}
	if err := try(k, t, "alice", "192.0.2.99", "wrong"); !errors.Is(err, auth.ErrRateLimited) {
		t.Fatalf("got %v", err)
	}
}

// An account is one however its name is spelt, whether or not there is such a user, at /login as at our pages (RAT-04). Of what
// cannot be a user's name no more counts than the longest user ID has.
func TestRAT04_AnAccountIsOneHoweverItIsSpelt(t *testing.T) {
	long := strings.Repeat("x", 255)
	for who, spellings := range map[string][]string{
		"alice":  {"alice", "Alice", "aLICE", "@alice:example.org", "@ALICE:example.org"},
		"nobody": {"nobody", "Nobody", "nOBODY", "@nobody:example.org", "@NOBODY:example.org"},
		"":       {long, long + "a", long + "b", long + "c", long + "d"},
	} {
		for way, guess := range map[string]func(k *authtest.Kit, p auth.LoginParams) error{
			"login": func(k *authtest.Kit, p auth.LoginParams) error { return errorOf(k.Login(t.Context(), p)) },
			"pages": func(k *authtest.Kit, p auth.LoginParams) error {
				return errorOf(k.SignIn(t.Context(), auth.SignInParams{Name: p.Name, Localpart: p.Localpart, Password: p.Password, From: p.From}))
			},
		} {
			k := limited(t)
			for i := range 31 { // ten times the burst for all addresses, and one more
				err := guess(k, auth.LoginParams{
					Name: spellings[i%len(spellings)], Localpart: mxid.Localpart(who), Password: token.NewSecret("wrong"),
					From: auth.From{Addr: netip.MustParseAddr(fmt.Sprintf("192.0.2.%d", i+1))},
				})
				if want := map[bool]error{true: auth.ErrBadCredentials, false: auth.ErrRateLimited}[i < 30]; !errors.Is(err, want) {
					t.Fatalf("%s, %q: attempt %d: got %v, want %v", way, who, i, err, want)
				}
			}
		}
	}
}

// Many at once do not all pass: a place is taken before the queue.
func TestManyAtOnceDoNotAllPass(t *testing.T) {
	k := limited(t)
	var passed atomic.Int64
	var wg sync.WaitGroup
	for range 100 {
		wg.Go(func() {
			if err := try(k, t, "alice", "192.0.2.1", "wrong"); errors.Is(err, auth.ErrBadCredentials) {
				passed.Add(1)
			}
		})
	}
	wg.Wait()
	if passed.Load() != 3 {
		t.Errorf("got %d verdicts, want 3", passed.Load())
	}
}

// An attempt that got no verdict has not happened.
func TestNoVerdictNoFailure(t *testing.T) {
	k := limited(t)
	k.Synapse.Fail(authtest.Down)
	for range 6 {
		if err := try(k, t, "alice", "192.0.2.1", authtest.Password); !errors.Is(err, auth.ErrUnavailable) {
			t.Fatalf("got %v", err)
		}
	}
	must(t, k.Hasher.Close())
	for range 6 {
		if err := try(k, t, "alice", "192.0.2.1", "wrong"); !errors.Is(err, auth.ErrUnavailable) {
			t.Fatalf("got %v", err)
		}
	}
}
