// Package authtest makes a complete authentication service for tests: a real store in memory, the real use cases, the real
// client of the homeserver's API, and a Synapse that is a fake.
//
// Policy. What a test replaces is only what it cannot have: time (a Clock it sets), Synapse (state it can look at, faults it
// can order), and the audit log (kept for it). Nothing else is mocked. Everything works inside a testing/synctest bubble: no
// socket is opened unless Synapse.URL is asked for one.
//
// The package is imported by tests only. It asserts nothing by itself, except that what a Must helper does succeeds.
package authtest

import (
	"context"
	"crypto/rand"
	"io"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"time"

	"go.uber.org/zap"

	"github.com/caddy-matrix/caddy-matrix-auth/internal/auth"
	"github.com/caddy-matrix/caddy-matrix-auth/internal/homeserver"
	"github.com/caddy-matrix/caddy-matrix-auth/internal/mxid"
	"github.com/caddy-matrix/caddy-matrix-auth/internal/password"
	"github.com/caddy-matrix/caddy-matrix-auth/internal/token"
	"github.com/caddy-matrix/caddy-matrix-auth/store"
)

// The defaults.
const (
	ServerName = mxid.ServerName("example.org")
	Secret     = "secret-shared-with-synapse" // between Synapse and us
	Password   = "correct horse battery staple"
)

// Addr is where the Must helpers come from.
var Addr = netip.MustParseAddr("192.0.2.1")

// Options vary a kit. The zero value is the usual one.
type Options struct {
	ServerName mxid.ServerName      // "": ServerName
	Start      time.Time            // the clock's first time; zero: 2026-01-02 03:04:05 UTC
	Monotonic  bool                 // the clock has a monotonic one beside it, and can step
	RealClock  bool                 // time.Now instead of a Clock: in a synctest bubble, or to measure
	Rand       io.Reader            // nil: crypto/rand; see NewRand
	Settings   func(*auth.Settings) // changes the settings before they are used
	Store      store.Options        // further options of the store; Dir "" keeps it in memory
	Log        *zap.Logger          // nil: none
	Idle       bool                 // do not start Service.Run: no jobs, no activity, no sweeps
}

// Kit is a service with all that belongs to it.
type Kit struct {
	*auth.Service
	DB         *store.DB
	Clock      *Clock // nil with RealClock
	Now        func() time.Time
	Hasher     *password.Hasher
	Homeserver *homeserver.Client
	Synapse    *Synapse
	Settings   auth.Settings // as claimed; change a copy and Claim it

	mu     sync.Mutex
	events []auth.Event
}

// NewService makes a service that lives as long as the test.
func NewService(t testing.TB, o Options) *Kit {
	t.Helper()
	k := &Kit{}
	k.setClock(&o)
	if o.ServerName == "" {
		o.ServerName = ServerName
	}
	if o.Rand == nil {
		o.Rand = rand.Reader
	}
	if o.Log == nil {
		o.Log = zap.NewNop()
	}
	k.Synapse = NewSynapse(t, o.ServerName)
	k.Homeserver = k.Synapse.Client(t, homeserver.Config{Log: o.Log})
	k.openStore(t, o)
	k.Hasher = password.NewHasher(password.Config{Rand: o.Rand, Now: k.Now, Log: o.Log})
	t.Cleanup(func() { check(t, "closing the hasher", k.Hasher.Close()) })
	k.start(t, o)
	return k
}

func (k *Kit) setClock(o *Options) {
	if o.RealClock {
		k.Now = time.Now
		return
	}
	if o.Start.IsZero() {
		o.Start = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	}
	k.Clock = NewClock(o.Start)
	if o.Monotonic {
		k.Clock = NewMonotonicClock(o.Start)
	}
	k.Now = k.Clock.Now
}

func (k *Kit) openStore(t testing.TB, o Options) {
	t.Helper()
	so := o.Store
	so.ServerName, so.Now, so.Rand, so.Log = o.ServerName, k.Now, o.Rand, o.Log
	db, err := store.Open(t.Context(), so)
	check(t, "opening the store", err)
	k.DB = db
	t.Cleanup(func() { check(t, "closing the store", db.Close()) })
}

func (k *Kit) start(t testing.TB, o Options) {
	t.Helper()
	k.Settings = auth.Settings{
		Homeserver:      k.Homeserver,
		CompatTTL:       5 * time.Minute,
		RefreshGrace:    time.Minute,
		PasswordEnabled: true,
		Log:             o.Log,
		Emit:            k.record,
	}
	if o.Settings != nil {
		o.Settings(&k.Settings)
	}
	s, err := auth.New(auth.Config{DB: k.DB, ServerName: o.ServerName, Hasher: k.Hasher, Now: k.Now, Rand: o.Rand}, k.Settings)
	check(t, "making the service", err)
	k.Service = s
	if !o.Idle {
		k.run(t)
	}
}

func (k *Kit) run(t testing.TB) {
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	done := make(chan error, 1)
	go func() { done <- k.Run(ctx) }()
	t.Cleanup(func() {
		k.Synapse.Heal()
		cancel()
		check(t, "running the service", <-done)
	})
}

func (k *Kit) record(e auth.Event) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.events = append(k.events, e)
}

// Events returns what has happened so far, oldest first; with names, only the events of those names.
func (k *Kit) Events(names ...string) []auth.Event {
	k.mu.Lock()
	defer k.mu.Unlock()
	events := slices.Clone(k.events)
	if len(names) == 0 {
		return events
	}
	return slices.DeleteFunc(events, func(e auth.Event) bool { return !slices.Contains(names, e.Name) })
}

// MustAddUser adds a user whose password is Password.
func (k *Kit) MustAddUser(t testing.TB, user mxid.Localpart) auth.UserInfo {
	t.Helper()
	info, err := k.AddUser(t.Context(), auth.AddUserParams{Localpart: user, Password: token.NewSecret(Password)})
	check(t, "adding "+string(user), err)
	return info
}

// MustLogin logs a user in on a device (empty: a new one) with Password and a client that can refresh.
func (k *Kit) MustLogin(t testing.TB, user mxid.Localpart, device mxid.DeviceID) auth.Tokens {
	t.Helper()
	p := LoginParams(user, device)
	p.Refreshable = true
	tokens, err := k.Login(t.Context(), p)
	check(t, "logging in "+string(user), err)
	return tokens
}

// MustRefresh rotates the refresh token of a legacy session.
func (k *Kit) MustRefresh(t testing.TB, refresh token.Secret) auth.Tokens {
	t.Helper()
	tokens, err := k.Refresh(t.Context(), refresh.Reveal(), token.CompatRefresh, auth.From{Addr: Addr})
	check(t, "refreshing", err)
	return tokens
}

// MustVerdict judges an access token as the gate does, and lets it go.
func (k *Kit) MustVerdict(t testing.TB, access token.Secret) auth.Verdict {
	t.Helper()
	a, err := k.Judge(t.Context(), access.Reveal(), auth.From{Addr: Addr})
	check(t, "judging", err)
	a.Release()
	return a.Verdict
}

// LoginParams is a right password from Addr, by a client that cannot refresh.
func LoginParams(user mxid.Localpart, device mxid.DeviceID) auth.LoginParams {
	return auth.LoginParams{
		Name:      string(user),
		Localpart: user,
		Password:  token.NewSecret(Password),
		DeviceID:  device,
		From:      auth.From{Addr: Addr},
	}
}

func check(t testing.TB, doing string, err error) {
	t.Helper()
	if err != nil {
		t.Fatalf("%s: %v", doing, err)
	}
}

// MustRun starts the service's own work on a kit that was made idle.
func (k *Kit) MustRun(t testing.TB) {
	t.Helper()
	k.run(t)
}
