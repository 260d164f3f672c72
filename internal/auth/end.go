package auth

import (
	"context"
	"errors"
	"fmt"
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
	if err := s.putSession(tx, sess); err != nil || sess.DeviceID == "" {
		return err
	}
	s.wake(tx, sess.UserID)
	return list(tx, sess.UserID, sess.DeviceID)
}

// ending is the end of what a user is signed in with: sessions, sign-ins at our pages, from which whoever has one could start
// another session, and remembered decisions, by which one could start without a question. One transaction has its bounds and a
// bot may have thousands of sessions, so it takes as many Updates as it needs. What one of them has ended stays ended, with its
// devices listed, and whoever asks again goes on from there. What ends is what was there at the first Update: a login
// made since is another one.
type ending struct {
	reason string
	ends   func(*store.Session) bool // which sessions do; nil: none
	last   ulid.ULID                 // the one of them that ends after all others
	signIn ulid.ULID                 // the sign-in that stays

	signIns, sessions []ulid.ULID     // still to be ended
	consents          []store.Consent // still to be forgotten
	ended             []store.Session // in the last Update
	unreadable        error           // sessions and sign-ins that nobody can end, or use
}

// everySession is of an ending that spares none.
func everySession(*store.Session) bool { return true }

func (e *ending) done() bool {
	return len(e.signIns) == 0 && len(e.consents) == 0 && len(e.sessions) == 0
}

// beginEnding ends in tx as much as fits of what the user is signed in with now. finishEnding does the rest.
func (s *Service) beginEnding(tx *store.Tx, e *ending, user ulid.ULID) (err error) {
	e.signIns, e.sessions, e.unreadable = nil, nil, nil
	for bs, err := range tx.BrowserSessionsOf(user) {
		switch {
		case errors.Is(err, store.ErrCorrupt):
			e.unreadable = errors.Join(e.unreadable, err)
		case err != nil:
			return err
		case bs.ID != e.signIn:
			e.signIns = append(e.signIns, bs.ID)
		}
	}
	if e.consents, err = consentsOf(tx, user); err != nil {
		return err
	}
	if e.ends != nil {
		if err := e.listSessions(tx, user); err != nil {
			return err
		}
	}
	return s.goOnEnding(tx, e)
}

func (e *ending) listSessions(tx *store.Tx, user ulid.ULID) error {
	var last []ulid.ULID
	for sess, err := range tx.LiveSessions(user) {
		switch {
		case errors.Is(err, store.ErrCorrupt):
			e.unreadable = errors.Join(e.unreadable, err)
		case err != nil:
			return err
		case !e.ends(&sess):
		case sess.ID == e.last:
			last = append(last, sess.ID)
		default:
			e.sessions = append(e.sessions, sess.ID)
		}
	}
	e.sessions = append(e.sessions, last...)
	return nil
}

// goOnEnding ends in tx as much as fits of what is still to be ended.
func (s *Service) goOnEnding(tx *store.Tx, e *ending) error {
	for ; len(e.signIns) > 0 && !tx.Full(); e.signIns = e.signIns[1:] {
		if err := tx.RemoveBrowserSession(e.signIns[0]); err != nil && !errors.Is(err, store.ErrNotFound) {
			return err
		}
	}
	for ; len(e.consents) > 0 && !tx.Full(); e.consents = e.consents[1:] {
		c := &e.consents[0]
		if err := tx.RemoveConsent(c.UserID, c.ClientID, c.Scope); err != nil {
			return err
		}
	}
	e.ended = nil
	for ; len(e.sessions) > 0 && !tx.Full(); e.sessions = e.sessions[1:] {
		sess, err := tx.Session(e.sessions[0])
		if errors.Is(err, store.ErrNotFound) || err == nil && sess.Ended() {
			continue
		}
		if err != nil {
			return err
		}
		if err := s.end(tx, &sess, e.reason); err != nil {
			return err
		}
		e.ended = append(e.ended, sess)
	}
	return nil
}

// finishEnding reports what has ended, ends the rest, and says how many sessions that were. It does not stop when its caller goes
// away. An error means that there are some left.
func (s *Service) finishEnding(ctx context.Context, e *ending, user *store.User, from From) (int, error) {
	ctx = context.WithoutCancel(ctx)
	s.endedAll(e.ended, user, from)
	count := len(e.ended)
	for !e.done() {
		var next ending
		err := s.update(ctx, func(tx *store.Tx) error {
			next = *e
			return s.goOnEnding(tx, &next)
		})
		if err != nil {
			return count, err
		}
		*e = next
		s.endedAll(e.ended, user, from)
		count += len(e.ended)
	}
	if e.unreadable != nil {
		return count, unreadable(e.unreadable)
	}
	return count, nil
}

// list makes sure that a user's device, or with an empty one the account, is looked at some time: what to do about it is decided
// then.
func list(tx *store.Tx, user ulid.ULID, device mxid.DeviceID) error {
	return tx.PutJob(store.Job{UserID: user, DeviceID: device, Revision: tx.Revision(), CreatedAt: tx.Now()})
}

// listAccount lists the account itself, to be looked at soon.
func (s *Service) listAccount(tx *store.Tx, user ulid.ULID) error {
	s.wake(tx, user)
	return list(tx, user, "")
}

// wake makes the worker look at the user's jobs after the commit.
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

// LogoutAll ends every session of the token's user (Matrix CS §logout/all), and every sign-in at our pages. The token's own session
// ends last, so that its client can ask again until all is done. ErrTokenUnknown: no live session of the token.
func (s *Service) LogoutAll(ctx context.Context, text string, from From) error {
	sess, user, err := s.sessionByAccess(ctx, text)
	if err != nil {
		return err
	}
	if user.ID.IsZero() {
		return ErrTokenUnknown
	}
	e := ending{reason: "logout_all", ends: everySession, last: sess.ID}
	over := false
	err = s.update(ctx, func(tx *store.Tx) error {
		now, err := tx.Session(sess.ID)
		if over = errors.Is(err, store.ErrNotFound) || err == nil && now.Ended(); over {
			return nil
		}
		if err != nil {
			return unreadable(err)
		}
		return s.beginEnding(tx, &e, user.ID)
	})
	if err != nil {
		return err
	}
	if over {
		return ErrTokenUnknown
	}
	if _, err := s.finishEnding(ctx, &e, &user, from); err != nil {
		return err
	}
	_ = s.settle(ctx, user.ID)
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
	if err != nil {
		err = unreadable(err)
	}
	return sess, user, err
}

// unreadable is the trouble of a session that cannot be read.
func unreadable(err error) error { return fmt.Errorf("%w: reading a session: %w", ErrUnavailable, err) }

// EndSession ends one session on an administrator's behalf, and has its client ask the person again. ErrNotFound: no such
// session. ErrConflict: it is over already.
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
		if err := forgetConsents(tx, &sess); err != nil {
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

// EndSessions ends every live session of a user, and every sign-in at our pages, on an administrator's behalf, has every client
// ask the person again, and reports how many sessions there were.
func (s *Service) EndSessions(ctx context.Context, l mxid.Localpart, reason string) (int, error) {
	e := ending{reason: reason, ends: everySession}
	user, err := s.changeUser(ctx, l, func(tx *store.Tx, u *store.User) error { return s.beginEnding(tx, &e, u.ID) })
	if err != nil {
		return 0, err
	}
	count, err := s.finishEnding(ctx, &e, &user, From{})
	if err != nil {
		return count, err
	}
	_ = s.settle(ctx, user.ID)
	return count, nil
}
