package auth

import (
	"context"
	"fmt"

	"github.com/oklog/ulid/v2"

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

// EndOwnSession ends one session of a signed-in person. ErrNotFound: it is somebody else's, or does not exist. It is no error
// if it is over already.
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
		return s.end(tx, &sess, "ended_by_user")
	})
	if err != nil || over {
		return notFound(err, "no such session")
	}
	s.ended(&sess, in.UserID, from)
	_ = s.settle(ctx, in.User.ID)
	return nil
}

// EndOtherSessions ends every session of a signed-in person but those that this browser approved, and signs the person out of
// all other browsers. It reports how many sessions ended.
func (s *Service) EndOtherSessions(ctx context.Context, in SignedIn, from From) (int, error) {
	var ended []store.Session
	err := s.update(ctx, func(tx *store.Tx) error {
		ended = nil
		for sess, err := range tx.LiveSessions(in.User.ID) {
			if err != nil {
				return err
			}
			if sess.Approver != in.Session.ID {
				ended = append(ended, sess)
			}
		}
		for i := range ended {
			if err := s.end(tx, &ended[i], "ended_by_user"); err != nil {
				return err
			}
		}
		return removeBrowserSessions(tx, &in.User, in.Session)
	})
	if err != nil {
		return 0, err
	}
	s.endedAll(ended, &in.User, from)
	_ = s.settle(ctx, in.User.ID)
	return len(ended), nil
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
