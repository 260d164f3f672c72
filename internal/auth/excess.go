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

// strangers is a table of what nobody has to sign in for.
type strangers[T any] struct {
	all    func(tx *store.Tx, after ulid.ULID) iter.Seq2[T, error]
	get    func(tx *store.Tx, id ulid.ULID) (T, error)
	remove func(tx *store.Tx, id ulid.ULID) error
	id     func(*T) ulid.ULID
	open   func(*T) bool // nobody who signed in has decided it
	size   func(*T) int
}

// excess finds the oldest open records of a table that are over their bounds. It counts them once, and goes on where it stopped.
func (t strangers[T]) excess(n tally) finder {
	var after ulid.ULID
	return func(tx *store.Tx, f *findings) error {
		if after.IsZero() {
			for r, err := range known(t.all(tx, after), new(failures)) {
				if err != nil {
					return err
				}
				if t.open(&r) {
					n.add(t.size(&r))
				}
			}
		}
		if !n.exceeded() {
			return nil
		}
		for r, err := range known(t.all(tx, after), new(failures)) {
			if err != nil {
				return err
			}
			after = t.id(&r)
			if !t.open(&r) || !n.over(t.size(&r)) {
				continue
			}
			n.remove(t.size(&r))
			over := after
			if !f.remove(func(tx *store.Tx) error { return t.drop(tx, over) }) {
				return nil
			}
		}
		return nil
	}
}

// drop removes a record unless it was decided meanwhile.
func (t strangers[T]) drop(tx *store.Tx, id ulid.ULID) error {
	r, err := t.get(tx, id)
	if err != nil || !t.open(&r) {
		return err
	}
	return t.remove(tx, id)
}

// pendingBound is of grants, and of device grants.
func (s *Service) pendingBound() tally {
	return tally{most: s.bounds.grants, mostBytes: s.bounds.bytes}
}

// excessGrants counts those that were denied or failed, too: that needs no sign-in.
func (s *Service) excessGrants() finder {
	return strangers[store.Grant]{
		all: (*store.Tx).Grants, get: (*store.Tx).Grant, remove: (*store.Tx).RemoveGrant,
		id: func(g *store.Grant) ulid.ULID { return g.ID },
		open: func(g *store.Grant) bool {
			return g.Status == store.GrantPending || g.Status == store.GrantDenied || g.Status == store.GrantFailed
		},
		size: grantSize,
	}.excess(s.pendingBound())
}

func grantSize(g *store.Grant) int {
	return textSize(g.Scope, g.Prompt, []string{g.ClientID, g.RedirectURI, g.State, g.Nonce, g.LoginHint, g.UILocales})
}

func (s *Service) excessDeviceGrants() finder {
	return strangers[store.DeviceGrant]{
		all: (*store.Tx).DeviceGrants, get: (*store.Tx).DeviceGrant, remove: (*store.Tx).RemoveDeviceGrant,
		id:   func(d *store.DeviceGrant) ulid.ULID { return d.ID },
		open: func(d *store.DeviceGrant) bool { return d.Status == store.GrantPending },
		size: deviceGrantSize,
	}.excess(s.pendingBound())
}

func deviceGrantSize(d *store.DeviceGrant) int {
	return textSize(d.Scope, []string{d.ClientID, d.UserAgent})
}
