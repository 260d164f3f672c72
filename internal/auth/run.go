package auth

import (
	"context"
	"fmt"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/caddy-matrix/caddy-matrix-auth/store"
)

const (
	sweepEvery   = time.Minute
	firstSweep   = 10 * time.Second    // after a start: it also counts
	sweepBatch   = 500                 // records of one snapshot, and at most of one Update
	keepEnded    = 30 * 24 * time.Hour // ended sessions are kept for the audit
	clockEvery   = 10 * time.Second
	clockStep    = 60 * time.Second // a larger step makes ages doubtful
	clockDoubt   = time.Hour        // for how long nothing is ended by age then, and after a start
	finalFlush   = 5 * time.Second
	keepSpent    = 24 * time.Hour // sessions that nothing can bring back: meanwhile their client is told to sign in again on its device
	sweepsFewest = 20             // a sweep takes at most one part in that many of the time
)

// Run works until ctx ends: jobs, activity batches, sweeps. Before it returns it has written the last activity.
func (s *Service) Run(ctx context.Context) error {
	if err := s.jobs.load(); err != nil {
		return fmt.Errorf("reading jobs: %w", err)
	}
	var wg sync.WaitGroup
	wg.Go(func() { s.flushes(ctx) })
	wg.Go(func() { s.after(ctx, firstSweep, s.sweep); s.every(ctx, sweepEvery, s.sweep) })
	wg.Go(func() { s.every(ctx, sweepEvery, s.sweepOAuth) })
	wg.Go(func() { s.floods(ctx) })
	wg.Go(func() { s.every(ctx, clockEvery, s.clock.check) })
	wg.Go(func() { s.makeFirstKeys(ctx) })
	wg.Go(func() { s.count(ctx) })
	<-ctx.Done()
	s.jobs.close()
	wg.Wait()
	last, cancel := context.WithTimeout(context.WithoutCancel(ctx), finalFlush)
	defer cancel()
	return s.flush(last)
}

// flushes writes activity in batches: from time to time, and when there is no more room for what is unsaved.
func (s *Service) flushes(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-time.After(flushEvery):
		case <-s.live.full:
		}
		s.attempt(ctx, s.flush)
	}
}

// after runs a chore once.
func (s *Service) after(ctx context.Context, pause time.Duration, chore func(context.Context) error) {
	select {
	case <-ctx.Done():
	case <-time.After(pause):
		s.attempt(ctx, chore)
	}
}

func (s *Service) attempt(ctx context.Context, chore func(context.Context) error) {
	if err := chore(ctx); err != nil && ctx.Err() == nil {
		s.settings.Load().Log.Warn("a chore failed, it will be tried again", zap.Error(err))
	}
}

// every runs a chore again and again. One that takes long runs less often.
func (s *Service) every(ctx context.Context, pause time.Duration, chore func(context.Context) error) {
	next := time.NewTimer(pause)
	defer next.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-next.C:
		}
		began := s.now()
		s.attempt(ctx, chore)
		next.Reset(max(pause, sweepsFewest*s.now().Sub(began)))
	}
}

// makeFirstKeys makes the signing keys on the first start, beside everything else.
func (s *Service) makeFirstKeys(ctx context.Context) {
	if _, err := s.Keys(ctx); err != nil && ctx.Err() == nil {
		s.settings.Load().Log.Error("making signing keys failed, it will be tried again when they are needed", zap.Error(err))
	}
}

// count takes the census of the stored hashes, once, beside everything else.
func (s *Service) count(ctx context.Context) {
	for u, err := range s.Users() {
		if err != nil || ctx.Err() != nil {
			return
		}
		_ = s.DB.View(func(tx *store.Tx) error {
			pw, err := tx.Password(u.ID)
			if err == nil {
				s.census.Add(pw.Hash)
			}
			return err
		})
	}
}

// clock watches for steps of the wall clock.
type clock struct {
	now func() time.Time

	mu    sync.Mutex
	last  time.Time // with its monotonic reading
	since time.Time // the start, or the last step: before it, ages are of another clock
}

func (c *clock) init(now func() time.Time) {
	c.now = now
	c.last = now()
	c.since = c.last
}

// check compares how far the wall clock and the monotonic clock have gone since the last time.
func (c *clock) check(context.Context) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := c.now()
	wall, elapsed := now.Round(0).Sub(c.last.Round(0)), now.Sub(c.last)
	if step := wall - elapsed; step > clockStep || step < -clockStep {
		c.since = now
	}
	c.last = now
	return nil
}

// trusted reports whether ages are to be believed.
func (c *clock) trusted() bool { return c.doubted().IsZero() }

// doubted is the time before which whatever was noted may be younger than it looks, since the clock has been started or set
// lately; zero: ages are to be believed.
func (c *clock) doubted() time.Time {
	_ = c.check(context.Background())
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.now().After(c.since.Add(clockDoubt)) {
		return time.Time{}
	}
	return c.since
}

// sweep removes what is over, with its indices: seals and access tokens past their time, sessions that nobody uses, ended
// sessions past their keeping. It reads by cursor, one snapshot at a time, and writes only what has changed. A record that cannot
// be read or written stays as it is, and is in the error.
func (s *Service) sweep(ctx context.Context) error {
	var failed failures
	cursor := newCursor()
	for ctx.Err() == nil && !cursor.over {
		var some []sweepable
		err := s.DB.View(func(tx *store.Tx) (err error) {
			some, err = s.findSweepable(tx, cursor, &failed)
			return err
		})
		if err != nil {
			return err
		}
		inHalves(some, func(some []sweepable) error { return s.sweepSome(ctx, some) }, func(_ []sweepable, err error) { failed.add(err) })
	}
	if cursor.over {
		s.counted.Store(&cursor.live)
	}
	return failed.err()
}
