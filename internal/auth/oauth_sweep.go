package auth

import (
	"context"
	"errors"
	"time"

	"github.com/oklog/ulid/v2"

	"github.com/caddy-matrix/caddy-matrix-auth/store"
)

const (
	clientUnusedFor = 7 * 24 * time.Hour // a registration that nobody uses goes after that long
	redeemUnusedFor = time.Hour          // a redeemed session on a device ends if nobody presents its tokens for that long
	reasonUnused    = "unused"
)

// sweepOAuth removes what is over of the OAuth provider: grants, sign-ins, client assertions, clients that nobody uses,
// remembered decisions of people and clients that are gone, keys that no hint is signed with any more; and ends sessions whose
// tokens never arrived. What an hour of doubt about the clock can spare goes only when ages are to be believed.
func (s *Service) sweepOAuth(ctx context.Context) error {
	s.flood.sweep.Lock()
	defer s.flood.sweep.Unlock()
	err := errors.Join(
		s.removeOver(ctx, overGrants),
		s.removeOver(ctx, overDeviceGrants),
		s.sweepExcess(ctx),
		s.removeOver(ctx, s.idleConsents),
		s.endUnused(ctx),
	)
	if !s.clock.trusted() {
		return err
	}
	return errors.Join(err,
		s.removeOver(ctx, overBrowserSessions),
		s.removeOver(ctx, overAssertions),
		s.removeOver(ctx, overKeys),
	)
}

// finder looks through one table in a snapshot. It stops when there is no more room for what it finds, and is called again when
// that has been removed.
type finder func(tx *store.Tx, f *findings) error

// findings are what is over, as what removes it, and what cannot be read, which stays as it is and keeps nothing else.
type findings struct {
	over   []func(tx *store.Tx) error
	failed failures
}

// remove notes what removes something, and reports whether there is room for more.
func (f *findings) remove(it func(tx *store.Tx) error) bool {
	f.over = append(f.over, it)
	return len(f.over) < sweepBatch
}

// removeOver finds what is over, and removes it some hundreds an Update. What is over stays over.
func (s *Service) removeOver(ctx context.Context, find finder) error {
	for ctx.Err() == nil {
		var f findings
		err := s.DB.View(func(tx *store.Tx) error { return find(tx, &f) })
		if err != nil || len(f.over) == 0 {
			return errors.Join(err, f.failed.err())
		}
		err = s.update(ctx, func(tx *store.Tx) error {
			for _, remove := range f.over {
				if err := remove(tx); err != nil && !errors.Is(err, store.ErrNotFound) {
					return err
				}
			}
			return nil
		})
		if err != nil || len(f.over) < sweepBatch {
			return errors.Join(err, f.failed.err())
		}
	}
	return nil
}

func overGrants(tx *store.Tx, f *findings) error {
	for g, err := range known(tx.Grants(ulid.ULID{}), &f.failed) {
		if err != nil {
			return err
		}
		if g.Over(tx.Now()) && !f.remove(func(tx *store.Tx) error { return tx.RemoveGrant(g.ID) }) {
			return nil
		}
	}
	return nil
}

func overDeviceGrants(tx *store.Tx, f *findings) error {
	for d, err := range known(tx.DeviceGrants(ulid.ULID{}), &f.failed) {
		if err != nil {
			return err
		}
		if d.Over(tx.Now()) && !f.remove(func(tx *store.Tx) error { return tx.RemoveDeviceGrant(d.ID) }) {
			return nil
		}
	}
	return nil
}

func overBrowserSessions(tx *store.Tx, f *findings) error {
	for b, err := range known(tx.BrowserSessions(ulid.ULID{}), &f.failed) {
		if err != nil {
			return err
		}
		if tx.Now().Sub(b.UsedAt) > browserIdle && !f.remove(func(tx *store.Tx) error { return removeIdleBrowserSession(tx, b.ID) }) {
			return nil
		}
	}
	return nil
}

// removeIdleBrowserSession removes a sign-in unless it has been used meanwhile.
func removeIdleBrowserSession(tx *store.Tx, id ulid.ULID) error {
	b, err := tx.BrowserSession(id)
	if err != nil || tx.Now().Sub(b.UsedAt) <= browserIdle {
		return err
	}
	return tx.RemoveBrowserSession(id)
}

func overAssertions(tx *store.Tx, f *findings) error {
	for a, err := range known(tx.Assertions(), &f.failed) {
		if err != nil {
			return err
		}
		if tx.Now().After(a.ExpiresAt) && !f.remove(func(tx *store.Tx) error { return tx.RemoveAssertion(a.Key) }) {
			return nil
		}
	}
	return nil
}

func overKeys(tx *store.Tx, f *findings) error {
	for k, err := range known(tx.SigningKeys(), &f.failed) {
		if err != nil {
			return err
		}
		over := !k.RetiredAt.IsZero() && tx.Now().Sub(k.RetiredAt) > store.KeyHintFor
		if over && !f.remove(func(tx *store.Tx) error { return tx.RemoveSigningKey(k.ID) }) {
			return nil
		}
	}
	return nil
}

// unusedClients finds registrations that nobody has used for a week, and beyond the bound the oldest that nobody ever used. A
// client is used by a sign-in, not by the request for one, which anybody can make.
//
// Those with a grant that is under way neither give way nor count, unless they are large: whoever is at our pages gets to the end
// of them. They are at most as many as pending grants, which have bounds of their own, and those that people who are signed in
// have approved: so the clients are bounded too, and a flood of requests drives out no registration that is new. What is under way
// is decided in the first snapshot; of a grant that begins after it the page says that the client is gone. Without trust in the
// clock nothing goes for its age. It counts once, and goes on where it stopped.
func (s *Service) unusedClients(trusted bool) finder {
	var busy map[string]bool // nil: not yet counted
	var failed failures
	n, after := tally{most: s.bounds.clients, mostBytes: s.bounds.bytes}, ""
	counts := func(c *store.Client) bool { return !busy[c.ID] || n.large(clientSize(c)) }
	count := func(tx *store.Tx) (err error) {
		if busy, err = clientsUnderWay(tx); err != nil {
			return err
		}
		for c, err := range known(tx.Clients(""), new(failures)) {
			if err != nil {
				return err
			}
			if counts(&c) {
				n.add(clientSize(&c))
			}
		}
		return nil
	}
	return func(tx *store.Tx, f *findings) error {
		defer func() { f.failed = failed }()
		if busy == nil {
			if err := count(tx); err != nil {
				return err
			}
		}
		for c, err := range known(tx.Clients(after), &failed) {
			if err != nil {
				return err
			}
			after = c.ID
			old := trusted && !busy[c.ID] && tx.Now().Sub(latest(c.RegisteredAt, c.UsedAt)) > clientUnusedFor
			excess := counts(&c) && c.UsedAt.IsZero() && n.over(clientSize(&c))
			if !old && !excess || inUse(tx, c.ID) {
				continue
			}
			n.remove(clientSize(&c))
			found := store.Client{ID: c.ID, UsedAt: c.UsedAt, RegisteredAt: c.RegisteredAt} // without its texts
			if !f.remove(func(tx *store.Tx) error { return removeClient(tx, found) }) {
				return nil
			}
		}
		return nil
	}
}

func clientSize(c *store.Client) int {
	n := len(c.JWKS) + textSize(c.RedirectURIs, []string{c.Name, c.URI, c.LogoURI, c.PolicyURI, c.TOSURI})
	for name, value := range c.Localized {
		n += len(name) + len(value)
	}
	return n
}

// clientsUnderWay are those for which somebody may still decide, or has a code that may still be redeemed.
func clientsUnderWay(tx *store.Tx) (map[string]bool, error) {
	busy := make(map[string]bool)
	for g, err := range known(tx.Grants(ulid.ULID{}), new(failures)) {
		if err != nil {
			return nil, err
		}
		if g.Pending(tx.Now()) || g.Status == store.GrantFulfilled && !g.Over(tx.Now()) {
			busy[g.ClientID] = true
		}
	}
	for d, err := range known(tx.DeviceGrants(ulid.ULID{}), new(failures)) {
		if err != nil {
			return nil, err
		}
		pending := d.Status == store.GrantPending && tx.Now().Before(d.ExpiresAt())
		if pending || d.Status == store.GrantFulfilled && !d.Over(tx.Now()) {
			busy[d.ClientID] = true
		}
	}
	return busy, nil
}

// removeClient removes a client unless it has come into use meanwhile: whatever gives a client that nobody has used for long a
// session notes its use. Its sessions have been looked at, which may be many and must not hold up the writer.
func removeClient(tx *store.Tx, found store.Client) error {
	c, err := tx.Client(found.ID)
	if err != nil || !c.UsedAt.Equal(found.UsedAt) || !c.RegisteredAt.Equal(found.RegisteredAt) {
		return err
	}
	return tx.RemoveClient(c.ID)
}

// inUse reports whether a client has a session, or had one in the last week, or if in doubt.
func inUse(tx *store.Tx, client string) bool {
	for sess, err := range tx.SessionsOfClient(client) {
		if err != nil || !sess.Ended() || tx.Now().Sub(sess.EndedAt) <= clientUnusedFor {
			return true
		}
	}
	return false
}

func latest(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}

// redeemed remembers sessions on devices that were redeemed since the start, until one of their tokens is seen.
func (s *Service) noteRedeemed(sess *store.Session) {
	if sess.DeviceID != "" {
		s.redeemed.Store(sess.ID, s.now())
	}
}

// endUnused ends redeemed sessions none of whose tokens was presented anywhere for an hour: their answer was lost, or they
// were bait. Nothing else ends for being unused. A restart forgets them all, which lets them live; so does a lock, under which a
// presented token is no activity.
func (s *Service) endUnused(ctx context.Context) error {
	var failed error
	s.redeemed.Range(func(id, at any) bool {
		if s.now().Sub(at.(time.Time)) < redeemUnusedFor {
			return true
		}
		if err := s.endIfUnused(ctx, id.(ulid.ULID)); err != nil {
			failed = errors.Join(failed, err)
			return true
		}
		s.redeemed.Delete(id)
		return true
	})
	return failed
}

func (s *Service) endIfUnused(ctx context.Context, id ulid.ULID) error {
	var sess store.Session
	unused := false
	err := s.update(ctx, func(tx *store.Tx) (err error) {
		unused = false
		if sess, err = tx.Session(id); err != nil || sess.Ended() || !sess.RefreshedAt.IsZero() {
			return err
		}
		if user, err := tx.User(sess.UserID); err != nil || user.Locked() {
			return err
		}
		seen, err := tx.LastSeen(id)
		if err != nil && !errors.Is(err, store.ErrNotFound) {
			return err
		}
		if unused = s.live.newest(sess.AccessHandle, seen).At.IsZero(); !unused {
			return nil
		}
		return s.end(tx, &sess, reasonUnused)
	})
	if errors.Is(err, store.ErrNotFound) || err != nil || !unused {
		return ignoreNotFound(err)
	}
	user, err := s.owner(&sess)
	s.ended(&sess, s.userID(user.Localpart), From{})
	return ignoreNotFound(err)
}

func ignoreNotFound(err error) error {
	if errors.Is(err, store.ErrNotFound) {
		return nil
	}
	return err
}
