package authtest

import (
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"sync"
	"syscall"
	"testing"

	"github.com/caddy-matrix/caddy-matrix-auth/internal/homeserver"
	"github.com/caddy-matrix/caddy-matrix-auth/internal/mxid"
	"github.com/caddy-matrix/caddy-matrix-auth/internal/token"
)

// Fault is what a Synapse does instead of answering as it should.
type Fault uint8

// The faults.
const (
	Healthy     Fault = iota
	Down              // connections are refused
	Slow              // it has no effect and no answer until Release or Heal, or until the caller gives up
	Garbage           // 200 with a page of HTML, without effect
	WrongSecret       // 403 as for a wrong secret
	Broken            // 500 as Synapse says it, without effect
	AnswerLost        // the effect happens, then the connection breaks
	Undelegated       // 404 in HTML, as without delegation
	Refused           // 403 as for a module's veto, without effect
)

// Synapse is a homeserver that knows the API for its authentication service and nothing else. It keeps users and devices as
// the real one does, records the calls, and fails on order. It is safe for concurrent use.
type Synapse struct {
	ServerName mxid.ServerName
	Version    string // for the Server header; set it before the first request

	mu       sync.Mutex
	users    map[mxid.Localpart]*SynapseUser
	reserved map[mxid.Localpart]bool
	calls    []Call
	fault    Fault            // of all operations
	faults   map[string]Fault // :: operation → its own fault
	released chan struct{}    // closed by Release
	server   *httptest.Server // nil until URL
}

// SynapseUser is a user as Synapse has it.
type SynapseUser struct {
	DisplayName       string
	Deactivated       bool
	Erased            bool
	Locked            bool
	CrossSigningReset bool
	Devices           map[mxid.DeviceID]string // :: device → display name
}

// Call is a call that arrived, also one that was answered with an error or not at all.
type Call struct {
	Op        string
	Localpart mxid.Localpart
	DeviceID  mxid.DeviceID
}

// NewSynapse makes a Synapse without users.
func NewSynapse(t testing.TB, name mxid.ServerName) *Synapse {
	s := &Synapse{
		ServerName: name,
		Version:    "1.163.2",
		users:      map[mxid.Localpart]*SynapseUser{},
		reserved:   map[mxid.Localpart]bool{},
		faults:     map[string]Fault{},
		released:   make(chan struct{}),
	}
	t.Cleanup(s.close)
	return s
}

func (s *Synapse) close() {
	s.Heal()
	s.mu.Lock()
	server := s.server
	s.mu.Unlock()
	if server != nil {
		server.Close()
	}
}

// Client makes a client that reaches this Synapse without a socket. URL, Secret and Transport of c are filled in where they
// are empty.
func (s *Synapse) Client(t testing.TB, c homeserver.Config) *homeserver.Client {
	t.Helper()
	if c.URL == "" {
		c.URL = "http://synapse.test"
	}
	if c.Secret == nil {
		c.Secret = token.NewSecret(Secret)
	}
	if c.Transport == nil {
		c.Transport = s
	}
	client, err := homeserver.New(c)
	check(t, "making a client", err)
	return client
}

// URL is the address of a real listener, for what needs one.
func (s *Synapse) URL() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.server == nil {
		s.server = httptest.NewServer(s)
	}
	return s.server.URL
}

// errDown is what a dialer says when nobody listens.
var errDown = fmt.Errorf("dial tcp: connect: %w", syscall.ECONNREFUSED)

// RoundTrip implements http.RoundTripper by serving the request in place.
func (s *Synapse) RoundTrip(r *http.Request) (resp *http.Response, err error) {
	if err := r.Context().Err(); err != nil {
		return nil, err
	}
	w := httptest.NewRecorder()
	in := r.Clone(r.Context())
	if in.Body == nil {
		in.Body = http.NoBody
	}
	defer in.Body.Close()
	defer func() {
		if p := recover(); p != nil {
			if e, ok := p.(error); !ok || !errors.Is(e, http.ErrAbortHandler) {
				panic(p)
			}
			resp, err = nil, errDown
			if r.Context().Err() != nil {
				err = r.Context().Err()
			}
		}
	}()
	s.ServeHTTP(w, in)
	return w.Result(), nil
}

// Fail makes all operations fail until Heal.
func (s *Synapse) Fail(f Fault) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fault = f
}

// FailOp makes one operation fail until Heal, whatever the others do. Healthy exempts it from Fail.
func (s *Synapse) FailOp(op string, f Fault) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faults[op] = f
}

// Release lets the slow calls that wait now go on as if nothing had been. Later ones wait again.
func (s *Synapse) Release() {
	s.mu.Lock()
	defer s.mu.Unlock()
	close(s.released)
	s.released = make(chan struct{})
}

// Heal ends all faults and releases slow calls.
func (s *Synapse) Heal() {
	s.mu.Lock()
	s.fault = Healthy
	clear(s.faults)
	s.mu.Unlock()
	s.Release()
}

// Calls returns the calls that arrived, oldest first; with operations, only those.
func (s *Synapse) Calls(ops ...string) []Call {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(s.calls), func(c Call) bool {
		return len(ops) > 0 && !slices.Contains(ops, c.Op)
	})
}

// ForgetCalls makes Calls begin anew.
func (s *Synapse) ForgetCalls() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.calls = nil
}

// AddUser makes a user that nobody provisioned: by Synapse's admin API, or before delegation.
func (s *Synapse) AddUser(user mxid.Localpart, devices ...mxid.DeviceID) {
	s.mu.Lock()
	defer s.mu.Unlock()
	u := newSynapseUser(string(user))
	for _, d := range devices {
		u.Devices[d] = ""
	}
	s.users[user] = u
}

// RemoveUser forgets a user, as a restored backup would.
func (s *Synapse) RemoveUser(user mxid.Localpart) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.users, user)
}

// Reserve makes a localpart belong to an application service.
func (s *Synapse) Reserve(user mxid.Localpart) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.reserved[user] = true
}

// User returns a copy of a user, and whether there is one.
func (s *Synapse) User(user mxid.Localpart) (SynapseUser, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	u, ok := s.users[user]
	if !ok {
		return SynapseUser{}, false
	}
	c := *u
	c.Devices = maps.Clone(u.Devices)
	return c, true
}

// Devices returns a user's devices, sorted.
func (s *Synapse) Devices(user mxid.Localpart) []mxid.DeviceID {
	u, _ := s.User(user)
	return slices.Sorted(maps.Keys(u.Devices))
}

func newSynapseUser(displayName string) *SynapseUser {
	return &SynapseUser{DisplayName: displayName, Devices: map[mxid.DeviceID]string{}}
}
