package auth

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/oklog/ulid/v2"

	"github.com/caddy-matrix/caddy-matrix-auth/internal/mxid"
	"github.com/caddy-matrix/caddy-matrix-auth/internal/token"
	"github.com/caddy-matrix/caddy-matrix-auth/store"
)

// settleFor bounds how long a caller who ended something waits for the homeserver to follow; the work itself goes on.
const settleFor = 2 * time.Second

// end ends a session in tx and asks for its device to be looked at.
func (s *Service) end(tx *store.Tx, sess *store.Session, reason string) error {
	sess.End(tx.Now(), reason)
	if err := s.putSession(tx, sess); err != nil {
		return err
	}
	if sess.DeviceID == "" {
		return nil
	}
	s.wake(tx, sess.UserID)
	return s.listDevice(tx, sess.UserID, sess.DeviceID)
}

// endBatch is how many sessions one Update ends: a bot may have thousands, and a transaction has its bounds.
const endBatch = 200

// endSome ends live sessions of a user in tx, up to endBatch of them, but not those that stay. If that many ended, there may be
// more.
func (s *Service) endSome(tx *store.Tx, user ulid.ULID, reason string, stays func(*store.Session) bool) ([]store.Session, error) {
	var ended []store.Session
	for sess, err := range tx.LiveSessions(user) {
		if err != nil {
			return nil, err
		}
		if stays(&sess) {
			continue
		}
		if ended = append(ended, sess); len(ended) == endBatch {
			break
		}
	}
	for i := range ended {
		if err := s.end(tx, &ended[i], reason); err != nil {
			return nil, err
		}
	}
	return ended, nil
}

// none stays.
func none(*store.Session) bool { return false }

// endRest ends what one Update did not: ended is what it did, and is returned with the rest.
func (s *Service) endRest(ctx context.Context, user ulid.ULID, reason string, ended []store.Session) ([]store.Session, error) {
	for last := len(ended); last == endBatch; {
		var more []store.Session
		err := s.update(ctx, func(tx *store.Tx) (err error) {
			more, err = s.endSome(tx, user, reason, none)
			return err
		})
		if err != nil {
			return ended, err
		}
		ended, last = append(ended, more...), len(more)
	}
	return ended, nil
}

// listDevice puts a device on the user's job, with the revision that lists it.
func (s *Service) listDevice(tx *store.Tx, user ulid.ULID, d mxid.DeviceID) error {
	return s.changeJob(tx, user, func(j *store.Job) {
		i, found := findDevice(j, d)
		if !found {
			j.Devices = slices.Insert(j.Devices, i, store.JobDevice{ID: d})
		}
		j.Devices[i].Revision = tx.Revision()
	})
}

// listAccount puts the account itself on the user's job, to be looked at soon.
func (s *Service) listAccount(tx *store.Tx, user ulid.ULID) error {
	s.wake(tx, user)
	return s.changeJob(tx, user, func(j *store.Job) { j.Account = tx.Revision() })
}

// changeJob changes the user's job. It begins with its first entry and goes with its last.
func (s *Service) changeJob(tx *store.Tx, user ulid.ULID, change func(*store.Job)) error {
	j, err := tx.Job(user)
	if errors.Is(err, store.ErrNotFound) {
		j, err = store.Job{UserID: user, CreatedAt: tx.Now()}, nil
	}
	if err != nil {
		return err
	}
	change(&j)
	if j.Account == 0 && len(j.Devices) == 0 {
		return tx.RemoveJob(user)
	}
	return tx.PutJob(j)
}

// wake makes the worker look at the user's job after the commit.
func (s *Service) wake(tx *store.Tx, user ulid.ULID) {
	now := tx.Now()
	tx.OnCommit(func() { s.jobs.add(user, now) })
}

// ended reports a session's end to the log.
func (s *Service) ended(sess *store.Session, user mxid.UserID, from From) {
	s.emit(Event{
		Name: "session_ended", Method: sess.Kind.String(), Reason: sess.EndReason, UserID: user,
		DeviceID: sess.DeviceID, SessionID: sess.ID, ClientID: sess.ClientID, Addr: from.Addr,
	})
}

// Logout ends the session of an access token, however old the token is (Matrix CS §logout), and returns when its device is
// gone at the homeserver, or will be.
//
// ErrTokenUnknown: no live session. Gate: the Update that ends the session.
func (s *Service) Logout(ctx context.Context, text string, from From) error {
	sess, user, err := s.sessionByAccess(ctx, text)
	if err != nil {
		return err
	}
	over := false
	err = s.update(ctx, func(tx *store.Tx) (err error) {
		if sess, err = tx.Session(sess.ID); err != nil {
			return err
		}
		if over = sess.Ended(); over {
			return nil
		}
		return s.end(tx, &sess, "logout")
	})
	if errors.Is(err, store.ErrNotFound) || over {
		return ErrTokenUnknown
	}
	if err != nil {
		return err
	}
	s.ended(&sess, s.userID(user.Localpart), from)
	s.settle(ctx, user.ID)
	return nil
}

// LogoutAll ends every session of the token's user (Matrix CS §logout/all), and every sign-in at our pages: from one of them
// whoever has it could start another session. ErrTokenUnknown: no live session of the token.
func (s *Service) LogoutAll(ctx context.Context, text string, from From) error {
	sess, user, err := s.sessionByAccess(ctx, text)
	if err != nil {
		return err
	}
	if user.ID.IsZero() {
		return ErrTokenUnknown
	}
	var ended []store.Session
	over := false
	err = s.update(ctx, func(tx *store.Tx) error {
		now, err := tx.Session(sess.ID)
		if over = err != nil || now.Ended(); over {
			return nil
		}
		if ended, err = s.endSome(tx, user.ID, "logout_all", none); err != nil {
			return err
		}
		return removeBrowserSessions(tx, &user, store.BrowserSession{})
	})
	if err != nil {
		return err
	}
	if over {
		return ErrTokenUnknown
	}
	if ended, err = s.endRest(ctx, user.ID, "logout_all", ended); err != nil {
		return err
	}
	s.endedAll(ended, &user, from)
	s.settle(ctx, user.ID)
	return nil
}

func (s *Service) endedAll(ended []store.Session, user *store.User, from From) {
	for i := range ended {
		s.ended(&ended[i], s.userID(user.Localpart), from)
	}
}

// sessionByAccess finds the live session of an access token of ours, kept or not (a token of an old generation still says
// whose it is), and its user.
func (s *Service) sessionByAccess(ctx context.Context, text string) (sess store.Session, user store.User, err error) {
	t, err := token.Parse(text)
	if err != nil || t.Kind.IsRefresh() || !s.mint.Authentic(t) {
		return sess, user, ErrTokenUnknown
	}
	err = s.DB.View(func(tx *store.Tx) (err error) {
		if sess, err = tx.SessionByAccessHandle(t.Handle); err != nil || sess.UserID.IsZero() {
			return err
		}
		user, err = tx.User(sess.UserID)
		return err
	})
	if errors.Is(err, store.ErrNotFound) || err == nil && sess.Ended() {
		return sess, user, ErrTokenUnknown
	}
	return sess, user, err
}

// EndSession ends one session on an administrator's behalf. ErrNotFound: no such session. ErrConflict: it is over already.
func (s *Service) EndSession(ctx context.Context, id ulid.ULID, reason string) error {
	var sess store.Session
	var user store.User
	err := s.update(ctx, func(tx *store.Tx) (err error) {
		if sess, err = tx.Session(id); err != nil {
			return err
		}
		if sess.Ended() {
			return ErrConflict
		}
		if user, err = tx.User(sess.UserID); err != nil && !errors.Is(err, store.ErrNotFound) {
			return err
		}
		return s.end(tx, &sess, reason)
	})
	if err != nil {
		return notFound(err, "no such session")
	}
	s.ended(&sess, s.userID(user.Localpart), From{})
	s.settle(ctx, user.ID)
	return nil
}

// EndSessions ends every live session of a user, and every sign-in at our pages, on an administrator's behalf, and reports how
// many sessions there were.
func (s *Service) EndSessions(ctx context.Context, l mxid.Localpart, reason string) (int, error) {
	var ended []store.Session
	user, err := s.changeUser(ctx, l, func(tx *store.Tx, u *store.User) (err error) {
		if ended, err = s.endSome(tx, u.ID, reason, none); err != nil {
			return err
		}
		return removeBrowserSessions(tx, u, store.BrowserSession{})
	})
	if err != nil {
		return 0, err
	}
	if ended, err = s.endRest(ctx, user.ID, reason, ended); err != nil {
		return 0, err
	}
	s.endedAll(ended, &user, From{})
	s.settle(ctx, user.ID)
	return len(ended), nil
}
