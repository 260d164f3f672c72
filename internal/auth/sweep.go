package auth

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"time"

	"github.com/oklog/ulid/v2"

	"github.com/caddy-matrix/caddy-matrix-auth/internal/token"
	"github.com/caddy-matrix/caddy-matrix-auth/store"
)

// Why a sweep ends a session.
const (
	reasonIdle  = "idle"
	reasonSpent = "expired"
)

// cursor is how far a sweep has come.
type cursor struct {
	after ulid.ULID
	over  bool
	live  map[string]int // sessions seen that are not ended, by kind
}

func newCursor() *cursor { return &cursor{live: make(map[string]int)} }

// sweepable is a session that has something to be removed, with what memory alone knows of its use.
type sweepable struct {
	id       ulid.ULID
	handle   token.Handle
	firstUse firstUses
	seenAt   time.Time
}

// remember reads what is in memory.
func (s *Service) remember(c *sweepable) {
	c.firstUse, c.seenAt = s.live.firstUses(c.handle), s.live.newest(c.handle, store.LastSeen{}).At
}

// findSweepable reads the next sessions and returns those that have something to be removed. One that cannot be read has not.
func (s *Service) findSweepable(tx *store.Tx, c *cursor, failed *failures) (found []sweepable, err error) {
	r := s.sweepRules()
	read := 0
	for sess, err := range known(tx.Sessions(c.after), failed) {
		if err != nil {
			return found, err
		}
		c.after = sess.ID
		if !sess.Ended() {
			c.live[sess.Kind.String()]++
		}
		it := sweepable{id: sess.ID, handle: sess.AccessHandle}
		if !sess.Ended() {
			s.remember(&it)
		}
		if what, _, err := r.need(tx, &sess, &it); err != nil {
			failed.add(fmt.Errorf("session %v: %w", sess.ID, err))
		} else if what != sweepNothing {
			found = append(found, it)
		}
		if read++; read == sweepBatch {
			return found, nil
		}
	}
	c.over = true
	return found, nil
}

// sweepRules are what a sweep decides by. They are read before its transaction.
type sweepRules struct {
	idle    time.Duration
	trusted bool // nothing goes by age otherwise
	graces  graces
}

func (s *Service) sweepRules() *sweepRules {
	set := s.settings.Load()
	return &sweepRules{idle: set.RefreshIdle, trusted: s.clock.trusted(), graces: s.graces(set)}
}

// need is what a sweep does to a session.
type need uint8

const (
	sweepNothing need = iota
	sweepPrune
	sweepEnd
	sweepRemove
)

// need decides, and prunes the record it is given. reason is of an end.
func (r *sweepRules) need(tx *store.Tx, sess *store.Session, known *sweepable) (what need, reason string, err error) {
	now := tx.Now()
	if sess.Ended() {
		if r.trusted && now.Sub(sess.EndedAt) > keepEnded {
			return sweepRemove, "", nil
		}
		return sweepNothing, "", nil
	}
	refreshable := sess.RefreshHandle != (token.Handle{})
	pruned := false
	switch {
	case !r.trusted:
	case !refreshable:
		if spent(sess, now) {
			return sweepEnd, reasonSpent, nil
		}
	default:
		idle, err := r.isIdle(tx, sess, known)
		if err != nil {
			return sweepNothing, "", err
		}
		if idle {
			return sweepEnd, reasonIdle, nil
		}
		pruned = sess.PruneAccess(now)
	}
	g := r.graces
	g.firstUse = known.firstUse
	if g.prune(sess, now) || pruned {
		return sweepPrune, "", nil
	}
	return sweepNothing, "", nil
}

// spent reports whether a session without refresh token has been over for long: its last access token is.
func spent(sess *store.Session, now time.Time) bool {
	keep := keepSpent
	if sess.Kind == store.SessionClient { // a client asks for a new one
		keep = store.StaleAccess
	}
	return len(sess.Access) > 0 && !slices.ContainsFunc(sess.Access, func(a store.AccessToken) bool { return a.Live(now.Add(-keep)) })
}

// isIdle reports whether a session has not been used for long: it was not refreshed, and nobody was seen.
func (r *sweepRules) isIdle(tx *store.Tx, sess *store.Session, known *sweepable) (bool, error) {
	if r.idle == 0 {
		return false, nil
	}
	seen, err := tx.LastSeen(sess.ID)
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return false, err
	}
	last := latest(latest(sess.CreatedAt, sess.RefreshedAt), latest(seen.At, known.seenAt))
	return tx.Now().Sub(last) > r.idle, nil
}

// sweepSome decides again, in an Update, on sessions that had something to be removed. What memory knows of their use it reads in
// the Update too, each time that it runs: it is newer than anything on disk.
func (s *Service) sweepSome(ctx context.Context, some []sweepable) error {
	if len(some) == 0 {
		return nil
	}
	r := s.sweepRules()
	var ended []store.Session
	err := s.update(ctx, func(tx *store.Tx) error {
		ended = ended[:0]
		for i := range some {
			s.remember(&some[i]) // Here, and not before: whoever has come back meanwhile is not idle.
			sess, over, err := s.sweepOne(tx, r, &some[i])
			if err != nil {
				return fmt.Errorf("session %v: %w", some[i].id, err)
			}
			if over {
				ended = append(ended, sess)
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	for i := range ended {
		user, _ := s.owner(&ended[i])
		s.ended(&ended[i], s.userID(user.Localpart), From{})
	}
	return nil
}

func (s *Service) sweepOne(tx *store.Tx, r *sweepRules, it *sweepable) (sess store.Session, ended bool, err error) {
	sess, err = tx.Session(it.id)
	if errors.Is(err, store.ErrNotFound) {
		return sess, false, nil
	}
	if err != nil {
		return sess, false, err
	}
	what, reason, err := r.need(tx, &sess, it)
	if err != nil {
		return sess, false, err
	}
	switch what {
	case sweepPrune:
		return sess, false, s.putSession(tx, &sess)
	case sweepEnd:
		return sess, true, s.end(tx, &sess, reason)
	case sweepRemove:
		if err := tx.RemoveLastSeen(sess.ID); err != nil {
			return sess, false, err
		}
		return sess, false, tx.RemoveSession(sess.ID)
	}
	return sess, false, nil
}

// owner reads a session's user, zero for a client's own.
func (s *Service) owner(sess *store.Session) (user store.User, err error) {
	err = s.DB.View(func(tx *store.Tx) error {
		user, err = tx.User(sess.UserID)
		return err
	})
	return user, err
}

// inHalves does something to records together, or if that fails to each half, down to the one that is to blame: it must not stop
// the others. What failed is reported. Trouble of the whole store is nobody's fault.
func inHalves[T any](all []T, do func([]T) error, failed func([]T, error)) {
	err := do(all)
	switch {
	case err == nil:
	case errors.Is(err, ErrUnavailable) || len(all) == 1:
		failed(all, err)
	default:
		inHalves(all[:len(all)/2], do, failed)
		inHalves(all[len(all)/2:], do, failed)
	}
}

// failures are what a chore or a list left out while it went on with the rest.
type failures struct {
	first []error
	n     int
}

// mostFailures bounds how many are told of at a time.
const mostFailures = 10

func (f *failures) add(err error) {
	if err == nil {
		return
	}
	if f.n++; f.n <= mostFailures {
		f.first = append(f.first, err)
	}
}

// passOver notes what cannot be read, and returns any other error.
func (f *failures) passOver(err error) error {
	if errors.Is(err, store.ErrCorrupt) {
		f.add(err)
		return nil
	}
	return err
}

// known leaves out the records that cannot be read: they must not stop a chore, or a list.
func known[T any](all iter.Seq2[T, error], failed *failures) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		for record, err := range all {
			passed := err != nil && failed.passOver(err) == nil
			if !passed && !yield(record, err) {
				return
			}
		}
	}
}

func (f *failures) err() error {
	if f.n > mostFailures {
		return fmt.Errorf("%d failures, the first are: %w", f.n, errors.Join(f.first...))
	}
	return errors.Join(f.first...)
}
