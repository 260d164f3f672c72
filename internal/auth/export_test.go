package auth

import (
	"context"
	"errors"
	"net/netip"

	"github.com/caddy-matrix/caddy-matrix-auth/store"
)

// Flush, Sweep and Settle run a chore now.
func (s *Service) Flush(ctx context.Context) error { return s.flush(ctx) }

// Sweep runs one sweep.
func (s *Service) Sweep(ctx context.Context) error { return s.sweep(ctx) }

// SweepOAuth runs one sweep of what belongs to the OAuth provider.
func (s *Service) SweepOAuth(ctx context.Context) error { return s.sweepOAuth(ctx) }

// Update is one use case's transaction.
func (s *Service) Update(ctx context.Context, fn func(*store.Tx) error) error {
	return s.update(ctx, fn)
}

// ForgetLive drops every live object that nobody holds and that has nothing to save, as eviction does, or with unsaved also
// those that a crash would lose.
func (s *Service) ForgetLive(unsaved bool) {
	for i := range s.live.shards {
		sh := &s.live.shards[i]
		sh.mu.Lock()
		for _, l := range sh.sessions {
			if _, ok := l.evictable(); ok || unsaved && l.pins.Load() == 0 {
				s.live.dropLocked(sh, l)
			}
		}
		sh.mu.Unlock()
	}
}

// SetMaxLive lowers how many sessions are kept in memory. It is called before the first use.
func (s *Service) SetMaxLive(n int) { s.live.most = n / liveShards }

// WantsFlush reports whether live sessions ask for what is unsaved to be written.
func (s *Service) WantsFlush() bool { return len(s.live.full) > 0 }

// SetBounds lowers what may be kept of clients and of pending grants, and the bytes of each.
func (s *Service) SetBounds(clients, grants, bytes int) {
	s.bounds = bounds{clients: clients, grants: grants, bytes: bytes}
}

// AfterLiveReads makes fn run after each snapshot that a live session or its user is filled from, before the snapshot counts.
// It is called while nothing is filled.
func (s *Service) AfterLiveReads(fn func()) { s.live.db = observed{s.DB, fn} }

type observed struct {
	db    *store.DB
	after func()
}

// View implements the part of the store that live sessions use.
func (o observed) View(fn func(*store.Tx) error) error {
	defer o.after()
	return o.db.View(fn)
}

// Counters is how many counters of limits are kept, of each kind.
func (s *Service) Counters() (n []int) {
	l := s.limits
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, counters := range l.counters {
		n = append(n, counters.Len())
	}
	return n
}

// CountFailure counts a wrong password.
func (s *Service) CountFailure(account string, addr netip.Addr) error {
	_, err := s.limits.take(s.settings.Load().LoginLimit, account, addr)
	return err
}

// Spend counts one request of an address.
func (s *Service) Spend(limit Limit, addr netip.Addr) error {
	return s.limits.spend(limitAuthorize, limit, addr)
}

// SpendEach counts one request of an address, of each kind.
func (s *Service) SpendEach(limit Limit, addr netip.Addr) (err error) {
	for kind := limitAuthorize; kind < limitKinds; kind++ {
		err = errors.Join(err, s.limits.spend(kind, limit, addr))
	}
	return err
}

// ResetLive forgets everything that is live.
func (s *Service) ResetLive() { s.live = newLiveSessions(s.DB, s.ServerName) }

// MaxCounters is how many counters of one kind are kept.
const MaxCounters = maxCounters
