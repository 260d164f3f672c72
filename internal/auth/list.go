package auth

import (
	"errors"
	"iter"

	"github.com/oklog/ulid/v2"
	"go.uber.org/zap"

	"github.com/caddy-matrix/caddy-matrix-auth/internal/mxid"
	"github.com/caddy-matrix/caddy-matrix-auth/store"
)

// page is how many records a list reads from one snapshot, so that no snapshot is held while a client reads.
const page = 256

// User returns one user. ErrNotFound: there is none.
func (s *Service) User(l mxid.Localpart) (info UserInfo, err error) {
	var unread failures
	err = s.DB.View(func(tx *store.Tx) error {
		u, err := tx.UserByLocalpart(l)
		if err != nil {
			return err
		}
		info, err = s.userInfo(tx, u, &unread)
		return err
	})
	s.logUnread(&unread)
	return info, notFound(err, "no such user")
}

func (s *Service) userInfo(tx *store.Tx, u store.User, unread *failures) (UserInfo, error) {
	_, err := tx.Password(u.ID)
	has := !errors.Is(err, store.ErrNotFound)
	return UserInfo{User: u, UserID: s.userID(u.Localpart), HasPassword: has}, unread.passOver(ignoreNotFound(err))
}

// Users yields all users, oldest first.
func (s *Service) Users() iter.Seq2[UserInfo, error] {
	return paged(s, func(tx *store.Tx, after ulid.ULID, unread *failures) ([]UserInfo, ulid.ULID, error) {
		var out []UserInfo
		for u, err := range known(tx.Users(after), unread) {
			if err != nil {
				return nil, after, err
			}
			info, err := s.userInfo(tx, u, unread)
			if err != nil {
				return nil, after, err
			}
			if out = append(out, info); len(out) == page {
				return out, u.ID, nil
			}
		}
		return out, ulid.ULID{}, nil
	})
}

// Sessions yields the live sessions of a user, or with l empty those of everybody, oldest first.
// ErrNotFound: there is no such user.
func (s *Service) Sessions(l mxid.Localpart) iter.Seq2[SessionInfo, error] {
	if l != "" {
		return s.sessionsOf(l)
	}
	return paged(s, func(tx *store.Tx, after ulid.ULID, unread *failures) ([]SessionInfo, ulid.ULID, error) {
		var out []SessionInfo
		read := 0
		for sess, err := range known(tx.Sessions(after), unread) {
			if err != nil {
				return nil, after, err
			}
			if !sess.Ended() {
				info, err := s.sessionInfo(tx, sess, unread)
				if err != nil {
					return nil, after, err
				}
				out = append(out, info)
			}
			if read++; read == page {
				return out, sess.ID, nil
			}
		}
		return out, ulid.ULID{}, nil
	})
}

func (s *Service) sessionsOf(l mxid.Localpart) iter.Seq2[SessionInfo, error] {
	return paged(s, func(tx *store.Tx, after ulid.ULID, unread *failures) ([]SessionInfo, ulid.ULID, error) {
		u, err := tx.UserByLocalpart(l)
		if err != nil {
			return nil, after, notFound(err, "no such user")
		}
		var out []SessionInfo
		for sess, err := range known(tx.LiveSessions(u.ID), unread) {
			if err != nil {
				return nil, after, err
			}
			info, err := s.sessionInfo(tx, sess, unread)
			if err != nil {
				return nil, after, err
			}
			out = append(out, info)
		}
		return out, ulid.ULID{}, nil
	})
}

// sessionInfo adds a session's owner and the newest of its recorded and its unsaved activity, as far as they can be read.
func (s *Service) sessionInfo(tx *store.Tx, sess store.Session, unread *failures) (SessionInfo, error) {
	info := SessionInfo{Session: sess}
	seen, err := tx.LastSeen(sess.ID)
	if err := unread.passOver(ignoreNotFound(err)); err != nil {
		return info, err
	}
	info.LastSeen = s.live.newest(sess.AccessHandle, seen)
	if sess.UserID.IsZero() {
		return info, nil
	}
	u, err := tx.User(sess.UserID)
	info.Owner = s.userID(u.Localpart)
	return info, unread.passOver(err)
}

// paged yields what read returns, one snapshot a page, until read returns the zero ID. What could not be read is logged: a list is
// there to find out what to do, with the rest too.
func paged[T any](s *Service, read func(tx *store.Tx, after ulid.ULID, unread *failures) ([]T, ulid.ULID, error)) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		var after ulid.ULID
		for {
			var items []T
			var unread failures
			err := s.DB.View(func(tx *store.Tx) (err error) {
				items, after, err = read(tx, after, &unread)
				return err
			})
			s.logUnread(&unread)
			if err != nil {
				var none T
				yield(none, err)
				return
			}
			for _, it := range items {
				if !yield(it, nil) {
					return
				}
			}
			if after.IsZero() {
				return
			}
		}
	}
}

// logUnread tells the operator what a list lacks.
func (s *Service) logUnread(unread *failures) {
	if unread.n > 0 {
		s.settings.Load().Log.Error("a list is incomplete, some records cannot be read", zap.Error(unread.err()))
	}
}
