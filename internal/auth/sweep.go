package auth

import (
	"context"
	"errors"
	"time"

	"github.com/oklog/ulid/v2"

	"github.com/caddy-matrix/caddy-matrix-auth/internal/token"
	"github.com/caddy-matrix/caddy-matrix-auth/store"
)

// cursor is how far a sweep has come.
type cursor struct {
	after ulid.ULID
	over  bool
	live  map[string]int // sessions seen that are not ended, by kind
}

func newCursor() *cursor { return &cursor{live: make(map[string]int)} }

// sweepable reads the next sessions and returns those that have something to be removed.
func (s *Service) sweepable(tx *store.Tx, c *cursor, found []store.Session) ([]store.Session, error) {
	read := 0
	for sess, err := range tx.Sessions(c.after) {
		if err != nil {
			return found, err
		}
		c.after = sess.ID
		if !sess.Ended() {
			c.live[sess.Kind.String()]++
		}
		probe := sess
		if what, err := s.sweepNeed(tx, &probe); err != nil {
			return found, err
		} else if what != sweepNothing {
			found = append(found, sess)
		}
		if read++; read == sweepBatch {
			return found, nil
		}
	}
	c.over = true
	return found, nil
}

// need is what a sweep does to a session.
type need uint8

const (
	sweepNothing need = iota
	sweepPrune
	sweepEnd
	sweepRemove
)

// sweepNeed decides, and prunes the record it is given.
func (s *Service) sweepNeed(tx *store.Tx, sess *store.Session) (need, error) {
	now := tx.Now()
	if sess.Ended() {
		if now.Sub(sess.EndedAt) > keepEnded && s.clock.trusted() {
			return sweepRemove, nil
		}
		return sweepNothing, nil
	}
	if sess.Kind == store.SessionClient && sess.PruneAccess(now) && len(sess.Access) == 0 {
		return sweepEnd, nil // a client asks for a new one
	}
	set := s.settings.Load()
	if set.RefreshIdle > 0 && sess.RefreshHandle != (token.Handle{}) && s.clock.trusted() {
		last, err := s.lastUse(tx, sess)
		if err != nil {
			return sweepNothing, err
		}
		if now.Sub(last) > set.RefreshIdle {
			return sweepEnd, nil
		}
	}
	g := graces{grace: set.RefreshGrace, at: s.now()}
	if len(sess.Consumed) > 0 {
		g.firstUse = s.live.firstUses(sess.AccessHandle)
	}
	if g.prune(sess, now) {
		return sweepPrune, nil
	}
	return sweepNothing, nil
}

// lastUse is the newest of a session's start, refreshes and activity.
func (s *Service) lastUse(tx *store.Tx, sess *store.Session) (time.Time, error) {
	seen, err := tx.LastSeen(sess.ID)
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return time.Time{}, err
	}
	last := sess.CreatedAt
	for _, at := range []time.Time{sess.RefreshedAt, s.live.newest(sess.AccessHandle, seen).At} {
		if at.After(last) {
			last = at
		}
	}
	return last, nil
}

// sweepSome decides again, in an Update, on sessions that had something to be removed.
func (s *Service) sweepSome(ctx context.Context, some []store.Session) error {
	var ended []store.Session
	err := s.update(ctx, func(tx *store.Tx) error {
		ended = ended[:0]
		for i := range some {
			sess, err := tx.Session(some[i].ID)
			if errors.Is(err, store.ErrNotFound) {
				continue
			}
			if err != nil {
				return err
			}
			over, err := s.sweepOne(tx, &sess)
			if err != nil {
				return err
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
		user, err := s.owner(&ended[i])
		if err == nil {
			s.ended(&ended[i], s.userID(user.Localpart), From{})
		}
	}
	return nil
}

func (s *Service) sweepOne(tx *store.Tx, sess *store.Session) (ended bool, err error) {
	what, err := s.sweepNeed(tx, sess)
	if err != nil {
		return false, err
	}
	switch what {
	case sweepPrune:
		return false, s.putSession(tx, sess)
	case sweepEnd:
		return true, s.end(tx, sess, reasonIdle)
	case sweepRemove:
		if err := tx.RemoveLastSeen(sess.ID); err != nil && !errors.Is(err, store.ErrNotFound) {
			return false, err
		}
		return false, tx.RemoveSession(sess.ID)
	}
	return false, nil
}

func (s *Service) owner(sess *store.Session) (user store.User, err error) {
	err = s.DB.View(func(tx *store.Tx) error {
		user, err = tx.User(sess.UserID)
		return err
	})
	return user, err
}
