package auth

import "context"

// Flush, Sweep and Settle run a chore now.
func (s *Service) Flush(ctx context.Context) error { return s.flush(ctx) }

// Sweep runs one sweep.
func (s *Service) Sweep(ctx context.Context) error { return s.sweep(ctx) }

// SweepOAuth runs one sweep of what belongs to the OAuth provider.
func (s *Service) SweepOAuth(ctx context.Context) error { return s.sweepOAuth(ctx) }

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
