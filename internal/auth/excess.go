package auth

import (
	"context"
	"errors"
	"iter"
	"sync"
	"sync/atomic"
	"time"

	"github.com/oklog/ulid/v2"

	"github.com/caddy-matrix/caddy-matrix-auth/store"
)

// The bounds.
const (
	maxClients = 100_000   // beyond them the oldest never used ones give way
	maxPending = 100_000   // pending grants
	maxBytes   = 128 << 20 // of each of the two, and of pending device grants
	recordSize = 512       // of one, with keys and indices, beside its texts
)

// bounds are of what nobody has authenticated for: beyond them the oldest give way, and nobody is refused.
type bounds struct {
	clients int // registrations
	grants  int // pending grants, and as many pending device grants
	bytes   int // of the texts in each of the three
}

// tally counts records of one kind against their bounds. Too many bytes are for those to make good that are larger than if all were
// equal: whoever fills the store with large ones drives out nobody's small ones.
type tally struct{ most, mostBytes, n, bytes int }

func (t *tally) add(size int)    { t.n++; t.bytes += size }
func (t *tally) remove(size int) { t.n--; t.bytes -= size }

// over reports whether a record of some size has to give way.
func (t *tally) over(size int) bool {
	return t.n > t.most || t.bytes > t.mostBytes && t.large(size)
}

func (t *tally) large(size int) bool { return size > t.mostBytes/t.most }

func (t *tally) exceeded() bool { return t.n > t.most || t.bytes > t.mostBytes }

// textSize is the number of bytes in texts.
func textSize(lists ...[]string) (n int) {
	for _, list := range lists {
		for _, s := range list {
			n += len(s)
		}
	}
	return n
}

// flood tells when much has been written that nobody has authenticated for: the bounds may not wait for the next sweep then.
type flood struct {
	bytes atomic.Int64  // since it was last told
	much  chan struct{} // capacity 1
	sweep sync.Mutex    // one at a time, since they count
}

// wrote counts a record with texts of some size.
func (s *Service) wrote(size int) {
	if s.flood.bytes.Add(int64(size)+recordSize) < int64(s.bounds.bytes/8) {
		return
	}
	s.flood.bytes.Store(0)
	select {
	case s.flood.much <- struct{}{}:
	default:
	}
}

// floods keeps the bounds while somebody writes as much as they can, in at most half of the time.
func (s *Service) floods(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-s.flood.much:
		}
		s.flood.sweep.Lock()
		began := s.now()
		s.attempt(ctx, s.sweepExcess)
		took := s.now().Sub(began)
		s.flood.sweep.Unlock()
		select {
		case <-ctx.Done():
		case <-time.After(took):
		}
	}
}

// sweepExcess removes what is over the bounds.
func (s *Service) sweepExcess(ctx context.Context) error {
	return errors.Join(
		s.removeOver(ctx, s.excessGrants()),
		s.removeOver(ctx, s.excessDeviceGrants()),
		s.removeOver(ctx, s.unusedClients(s.clock.trusted())),
	)
}

// excess finds the oldest records of a table that are over their bounds, of those that nobody who signed in has decided. It counts
// them once, and goes on where it stopped.
func excess[T any](
	bound tally, all func(tx *store.Tx, after ulid.ULID) iter.Seq2[T, error], id func(*T) ulid.ULID, open func(*T) bool, size func(*T) int,
	drop func(tx *store.Tx, id ulid.ULID) error,
) finder {
	n, after := bound, ulid.ULID{}
	return func(tx *store.Tx, f *findings) error {
		if after.IsZero() {
			for r, err := range known(all(tx, after), new(failures)) {
				if err != nil {
					return err
				}
				if open(&r) {
					n.add(size(&r))
				}
			}
		}
		if !n.exceeded() {
			return nil
		}
		for r, err := range known(all(tx, after), new(failures)) {
			if err != nil {
				return err
			}
			after = id(&r)
			if !open(&r) || !n.over(size(&r)) {
				continue
			}
			n.remove(size(&r))
			over := after
			if !f.remove(func(tx *store.Tx) error { return drop(tx, over) }) {
				return nil
			}
		}
		return nil
	}
}

// excessGrants counts those that were denied or failed, too: that needs no sign-in.
func (s *Service) excessGrants() finder {
	open := func(g *store.Grant) bool {
		return g.Status == store.GrantPending || g.Status == store.GrantDenied || g.Status == store.GrantFailed
	}
	id := func(g *store.Grant) ulid.ULID { return g.ID }
	bound := tally{most: s.bounds.grants, mostBytes: s.bounds.bytes}
	return excess(bound, (*store.Tx).Grants, id, open, grantSize, func(tx *store.Tx, found ulid.ULID) error {
		g, err := tx.Grant(found)
		if err != nil || !open(&g) { // approved meanwhile
			return err
		}
		return tx.RemoveGrant(g.ID)
	})
}

func grantSize(g *store.Grant) int {
	return textSize(g.Scope, g.Prompt, []string{g.ClientID, g.RedirectURI, g.State, g.Nonce, g.LoginHint, g.UILocales})
}

func (s *Service) excessDeviceGrants() finder {
	open := func(d *store.DeviceGrant) bool { return d.Status == store.GrantPending }
	id := func(d *store.DeviceGrant) ulid.ULID { return d.ID }
	bound := tally{most: s.bounds.grants, mostBytes: s.bounds.bytes}
	return excess(bound, (*store.Tx).DeviceGrants, id, open, deviceGrantSize, func(tx *store.Tx, found ulid.ULID) error {
		d, err := tx.DeviceGrant(found)
		if err != nil || !open(&d) { // decided meanwhile
			return err
		}
		return tx.RemoveDeviceGrant(d.ID)
	})
}

func deviceGrantSize(d *store.DeviceGrant) int {
	return textSize(d.Scope, []string{d.ClientID, d.UserAgent})
}
