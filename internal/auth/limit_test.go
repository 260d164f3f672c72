package auth_test

import (
	"encoding/binary"
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

// flood is the nth address and name of somebody who invents both.
func flood(n int) (name string, addr netip.Addr) {
	ip := [16]byte{0x20, 0x01, 0x0d, 0xb8}
	binary.BigEndian.PutUint32(ip[4:], uint32(n)) // each its own /64
	return fmt.Sprintf("invented%06d", n), netip.AddrFrom16(ip)
}

// Whoever invents names and addresses makes us forget counters, not grow.
func TestCountersAreBounded(t *testing.T) {
	k := limited(t)
	for i := range auth.MaxCounters + 10 {
		name, addr := flood(i)
		must(t, k.CountFailure(name, addr))
		must(t, k.SpendEach(k.Settings.LoginLimit, addr))
	}
	for kind, n := range k.Counters() {
		if n != auth.MaxCounters {
			t.Errorf("got %d counters of kind %d, want %d", n, kind, auth.MaxCounters)
		}
	}
}

// To make us forget the failures of an account costs as many verdicts, each with a hash, as there are counters: attempts that get
// none, or are refused for their address, drive no counter out.
func TestOnlyVerdictsDriveCountersOut(t *testing.T) {
	over := netip.MustParseAddr("192.0.2.99")
	for what, addrOf := range map[string]func(addr netip.Addr) netip.Addr{
		"without a verdict":       func(addr netip.Addr) netip.Addr { return addr },
		"of an address, refused,": func(netip.Addr) netip.Addr { return over },
	} {
		k := limited(t)
		for n := range 30 { // ten times the burst, and the first counter that goes
			_, addr := flood(n)
			must(t, k.CountFailure("alice", addr))
		}
		for n := range auth.MaxCounters - 2 { // with alice, as many as there is room for beside an attempt under way
			name, addr := flood(n)
			if n < 18 { // six times the burst
				addr = over
			}
			must(t, k.CountFailure(name, addr))
		}
		must(t, k.Hasher.Close())
		for n := range auth.MaxCounters + 10 {
			name, addr := flood(auth.MaxCounters + n)
			if err := try(k, t, name, addrOf(addr).String(), "x"); errors.Is(err, auth.ErrRateLimited) != (addrOf(addr) == over) {
				t.Fatalf("attempt %s: got %v", what, err)
			}
		}
		if err := try(k, t, "alice", "192.0.2.98", authtest.Password); !errors.Is(err, auth.ErrRateLimited) {
			t.Errorf("after attempts %s: got %v", what, err)
		}
	}
}

// A reload that makes the window shorter lets nobody wait for the end of the longer one.
func TestAShorterWindowCountsAtOnce(t *testing.T) {
	k := limited(t)
	shorter, longer := k.Settings, k.Settings
	longer.LoginLimit.Window = time.Hour
	k.Claim(longer)
	for range 3 {
		must(t, k.CountFailure("alice", authtest.Addr))
	}
	k.Claim(shorter)
	var waited time.Duration
	for limit := new(auth.RateLimitError); errors.As(k.CountFailure("alice", authtest.Addr), &limit); {
		waited += limit.RetryAfter
		k.Clock.Advance(limit.RetryAfter)
	}
	if waited < time.Second || waited > time.Minute {
		t.Errorf("waited %v", waited)
	}
}
