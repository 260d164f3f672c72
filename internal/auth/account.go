package auth

import (
	"context"
	"fmt"

	"github.com/oklog/ulid/v2"

	"github.com/caddy-matrix/caddy-matrix-auth/internal/mxid"
	"github.com/caddy-matrix/caddy-matrix-auth/internal/token"
	"github.com/caddy-matrix/caddy-matrix-auth/store"
)

// OwnSessions lists the live sessions of a signed-in person, oldest first, with when each was last seen.
func (s *Service) OwnSessions(_ context.Context, in SignedIn) ([]SessionInfo, error) {
	var all []SessionInfo
	for info, err := range s.sessionsOf(in.User.Localpart) {
		if err != nil {
			return nil, err
		}
		all = append(all, info)
	}
	return all, nil
}

// OwnSessionOn finds the live session of a signed-in person on a device, with when it was last seen. ErrNotFound: there is none.
func (s *Service) OwnSessionOn(_ context.Context, in SignedIn, device mxid.DeviceID) (info SessionInfo, err error) {
	var unread failures
	err = s.DB.View(func(tx *store.Tx) error {
		sess, err := tx.SessionByDevice(in.User.ID, device)
		if err != nil {
			return err
		}
		info, err = s.sessionInfo(tx, sess, &unread)
		return err
	})
	s.logUnread(&unread)
	return info, notFound(err, "no such session")
}

// OtherSignIns lists the sign-ins of a signed-in person at our pages in other browsers, oldest first.
func (s *Service) OtherSignIns(_ context.Context, in SignedIn) ([]store.BrowserSession, error) {
	var others []store.BrowserSession
	var unread failures
	err := s.DB.View(func(tx *store.Tx) error {
		for bs, err := range known(tx.BrowserSessionsOf(in.User.ID), &unread) {
			if err != nil {
				return err
			}
			if bs.ID != in.Session.ID && tx.Now().Sub(bs.UsedAt) <= browserIdle {
				others = append(others, bs)
			}
		}
		return nil
	})
	s.logUnread(&unread)
	return others, err
}

// Remembered reports whether there is a client that signs a signed-in person in without asking again.
func (s *Service) Remembered(_ context.Context, in SignedIn) (bool, error) {
	some := false
	err := s.DB.View(func(tx *store.Tx) error {
		all, err := consentsOf(tx, in.User.ID)
		some = len(all) > 0
		return err
	})
	return some, err
}

// EndOwnSession ends one session of a signed-in person, whom its client has to ask again from now on. ErrNotFound: it is
// somebody else's, or does not exist. It is no error if it is over already.
func (s *Service) EndOwnSession(ctx context.Context, in SignedIn, id ulid.ULID, from From) error {
	var sess store.Session
	over := false
	err := s.update(ctx, func(tx *store.Tx) (err error) {
		if sess, err = tx.Session(id); err != nil {
			return err
		}
		if sess.UserID != in.User.ID {
			return store.ErrNotFound
		}
		if over = sess.Ended(); over {
			return nil
		}
		if err := forgetConsents(tx, &sess); err != nil {
			return err
		}
		return s.end(tx, &sess, "ended_by_user")
	})
	if err != nil || over {
		return notFound(err, "no such session")
	}
	s.ended(&sess, in.UserID, from)
	_ = s.settle(ctx, in.User.ID)
	return nil
}

// EndOtherSessions ends every session of a signed-in person but those that this browser approved, signs the person out of all
// other browsers, and has every client ask again. It reports how many sessions ended.
func (s *Service) EndOtherSessions(ctx context.Context, in SignedIn, from From) (int, error) {
	e := ending{
		reason: "ended_by_user", signIn: in.Session.ID,
		ends: func(sess *store.Session) bool { return sess.Approver != in.Session.ID },
	}
	if err := s.update(ctx, func(tx *store.Tx) error { return s.beginEnding(tx, &e, in.User.ID) }); err != nil {
		return 0, err
	}
	count, err := s.finishEnding(ctx, &e, &in.User, from)
	if err != nil {
		return count, err
	}
	_ = s.settle(ctx, in.User.ID)
	return count, nil
}

// AllowCrossSigningReset lets a signed-in person, who enters the password again, replace the cross-signing keys within ten
// minutes (MSC4312, Synapse mas.py). ErrBadCredentials, ErrRateLimited, ErrUserLocked, ErrUnavailable, ErrHomeserver.
func (s *Service) AllowCrossSigningReset(ctx context.Context, in SignedIn, pw token.Secret, from From) error {
	if err := s.CheckPassword(ctx, in.User.Localpart, pw, from); err != nil {
		return err
	}
	err := s.settings.Load().Homeserver.AllowCrossSigningReset(ctx, in.User.Localpart)
	switch {
	case err == nil:
		s.emit(Event{Name: "cross_signing_reset_allowed", UserID: in.UserID, Addr: from.Addr})
		return nil
	case unreachable(err):
		return fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	return fmt.Errorf("%w: %w", ErrHomeserver, err)
}

// ClientName is what a session's client calls itself; empty for legacy sessions and for clients that are gone.
func (s *Service) ClientName(ctx context.Context, id string) string {
	if id == "" {
		return ""
	}
	c, err := s.Client(ctx, id)
	if err != nil {
		return ""
	}
	return c.Name
}
