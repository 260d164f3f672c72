package auth

import (
	"iter"

	"github.com/oklog/ulid/v2"

	"github.com/caddy-matrix/caddy-matrix-auth/store"
)

// The bounds.
const (
	maxClients = 100_000   // beyond them the oldest never used ones give way
	maxPending = 100_000   // pending grants
	maxBytes   = 128 << 20 // of each of the two, and of pending device grants
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

// textSize is the number of bytes in texts.
func textSize(lists ...[]string) (n int) {
	for _, list := range lists {
		for _, s := range list {
			n += len(s)
		}
	}
	return n
}

// excess finds the oldest records of a table that are over their bounds, of those that nobody who signed in has decided.
func excess[T any](
	bound tally, all func(tx *store.Tx) iter.Seq2[T, error], open func(*T) bool, size func(*T) int, drop func(tx *store.Tx, record *T) error,
) finder {
	return func(tx *store.Tx, f *findings) error {
		n := bound
		for r, err := range known(all(tx), new(failures)) {
			if err != nil {
				return err
			}
			if open(&r) {
				n.add(size(&r))
			}
		}
		for r, err := range known(all(tx), new(failures)) {
			if err != nil {
				return err
			}
			if !open(&r) || !n.over(size(&r)) {
				continue
			}
			n.remove(size(&r))
			if !f.remove(func(tx *store.Tx) error { return drop(tx, &r) }) {
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
	size := func(g *store.Grant) int {
		return textSize(g.Scope, g.Prompt, []string{g.ClientID, g.RedirectURI, g.State, g.Nonce, g.LoginHint, g.UILocales})
	}
	all := func(tx *store.Tx) iter.Seq2[store.Grant, error] { return tx.Grants(ulid.ULID{}) }
	return excess(tally{most: s.bounds.grants, mostBytes: s.bounds.bytes}, all, open, size, func(tx *store.Tx, found *store.Grant) error {
		g, err := tx.Grant(found.ID)
		if err != nil || !open(&g) { // approved meanwhile
			return err
		}
		return tx.RemoveGrant(g.ID)
	})
}

func (s *Service) excessDeviceGrants() finder {
	open := func(d *store.DeviceGrant) bool { return d.Status == store.GrantPending }
	size := func(d *store.DeviceGrant) int { return textSize(d.Scope, []string{d.ClientID, d.UserAgent}) }
	all := func(tx *store.Tx) iter.Seq2[store.DeviceGrant, error] { return tx.DeviceGrants(ulid.ULID{}) }
	return excess(tally{most: s.bounds.grants, mostBytes: s.bounds.bytes}, all, open, size, func(tx *store.Tx, found *store.DeviceGrant) error {
		d, err := tx.DeviceGrant(found.ID)
		if err != nil || !open(&d) { // decided meanwhile
			return err
		}
		return tx.RemoveDeviceGrant(d.ID)
	})
}
