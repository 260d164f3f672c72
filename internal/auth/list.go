package auth

import (
	"errors"
	"iter"

	"github.com/oklog/ulid/v2"

	"github.com/caddy-matrix/caddy-matrix-auth/internal/mxid"
	"github.com/caddy-matrix/caddy-matrix-auth/store"
)

// page is how many records a list reads from one snapshot, so that no snapshot is held while a client reads.
const page = 256

// User returns one user. ErrNotFound: there is none.
func (s *Service) User(l mxid.Localpart) (info UserInfo, err error) {
	err = s.DB.View(func(tx *store.Tx) error {
		u, err := tx.UserByLocalpart(l)
		if err != nil {
			return err
		}
		info, err = s.userInfo(tx, u)
		return err
	})
	return info, notFound(err, "no such user")
}

func (s *Service) userInfo(tx *store.Tx, u store.User) (UserInfo, error) {
	_, err := tx.Password(u.ID)
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return UserInfo{}, err
	}
	return UserInfo{User: u, UserID: s.userID(u.Localpart), HasPassword: err == nil}, nil
}

// Users yields all users, oldest first.
func (s *Service) Users() iter.Seq2[UserInfo, error] {
	return paged(s.DB, func(tx *store.Tx, after ulid.ULID) ([]UserInfo, ulid.ULID, error) {
		var out []UserInfo
		for u, err := range tx.Users(after) {
			if err != nil {
				return nil, after, err
			}
			info, err := s.userInfo(tx, u)
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
	return paged(s.DB, func(tx *store.Tx, after ulid.ULID) ([]SessionInfo, ulid.ULID, error) {
		var out []SessionInfo
		read := 0
		for sess, err := range tx.Sessions(after) {
			if err != nil {
				return nil, after, err
			}
			if !sess.Ended() {
				info, err := s.sessionInfo(tx, sess)
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
	return paged(s.DB, func(tx *store.Tx, after ulid.ULID) ([]SessionInfo, ulid.ULID, error) {
		u, err := tx.UserByLocalpart(l)
		if err != nil {
			return nil, after, notFound(err, "no such user")
		}
		var out []SessionInfo
		for sess, err := range tx.LiveSessions(u.ID) {
			if err != nil {
				return nil, after, err
			}
			info, err := s.sessionInfo(tx, sess)
			if err != nil {
				return nil, after, err
			}
			out = append(out, info)
		}
		return out, ulid.ULID{}, nil
	})
}

// sessionInfo adds a session's owner and the newest of its recorded and its unsaved activity.
func (s *Service) sessionInfo(tx *store.Tx, sess store.Session) (SessionInfo, error) {
	info := SessionInfo{Session: sess}
	seen, err := tx.LastSeen(sess.ID)
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return info, err
	}
	info.LastSeen = s.live.newest(sess.AccessHandle, seen)
	if sess.UserID.IsZero() {
		return info, nil
	}
	u, err := tx.User(sess.UserID)
	info.Owner = s.userID(u.Localpart)
	return info, err
}

// paged yields what read returns, one snapshot a page, until read returns the zero ID.
func paged[T any](db *store.DB, read func(tx *store.Tx, after ulid.ULID) ([]T, ulid.ULID, error)) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		var after ulid.ULID
		for {
			var items []T
			err := db.View(func(tx *store.Tx) (err error) {
				items, after, err = read(tx, after)
				return err
			})
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
