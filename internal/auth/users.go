package auth

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/caddy-matrix/caddy-matrix-auth/internal/mxid"
	"github.com/caddy-matrix/caddy-matrix-auth/internal/password"
	"github.com/caddy-matrix/caddy-matrix-auth/internal/token"
	"github.com/caddy-matrix/caddy-matrix-auth/store"
)

// AddUser adds a user: availability at the homeserver, our commit, then provisioning there (the one exception to Synapse
// first: a user there without one here could never be used). Refused there, now or by the job later, the user is removed.
//
// ErrConflict: the name is taken, here or there, or refused. ErrUnavailable: nothing has changed. Gate: the unique localpart.
func (s *Service) AddUser(ctx context.Context, p AddUserParams) (UserInfo, error) {
	set := s.settings.Load()
	u := store.User{Localpart: p.Localpart, DisplayName: p.DisplayName, Admin: p.Admin, CreatedAt: s.now()}
	if _, err := mxid.NewUserID(p.Localpart, s.ServerName); err != nil {
		return UserInfo{}, fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	if _, err := s.User(p.Localpart); !errors.Is(err, ErrNotFound) {
		if err == nil {
			err = errUserExists(p.Localpart)
		}
		return UserInfo{}, err
	}
	if err := s.available(ctx, set, &p); err != nil {
		return UserInfo{}, err
	}
	var err error
	if u.ID, err = s.newID(); err != nil {
		return UserInfo{}, err
	}
	hash, err := s.hashFor(ctx, p.Localpart, p.Password)
	if err != nil {
		return UserInfo{}, err
	}
	err = s.update(ctx, func(tx *store.Tx) error {
		if err := tx.InsertUser(u); err != nil {
			return err
		}
		if hash != "" {
			if err := s.putPassword(tx, &u, hash); err != nil {
				return err
			}
		}
		return s.listAccount(tx, u.ID)
	})
	if errors.Is(err, store.ErrConflict) {
		return UserInfo{}, errUserExists(p.Localpart)
	}
	if err != nil {
		return UserInfo{}, err
	}
	s.emit(Event{Name: "user_registered", UserID: s.userID(u.Localpart)})
	var refused *refusedError
	if err := s.settle(ctx, u.ID); errors.As(err, &refused) {
		return UserInfo{}, refused
	}
	return s.User(p.Localpart)
}

func errUserExists(l mxid.Localpart) error {
	return fmt.Errorf("%w: there is a user %s already", ErrConflict, l)
}

// available asks the homeserver whether the name can be ours.
func (s *Service) available(ctx context.Context, set *Settings, p *AddUserParams) error {
	var err error
	if p.Adopt {
		var deactivated bool
		_, deactivated, err = set.Homeserver.QueryUser(ctx, p.Localpart)
		switch {
		case isNotFound(err):
			return fmt.Errorf("%w: synapse has no user %s to adopt", ErrConflict, p.Localpart)
		case err == nil && deactivated: // provisioning would open the account, with another password
			return fmt.Errorf("%w: %s is deactivated at synapse and stays so; to bring the account back, "+
				"reactivate it with synapse's admin API first", ErrConflict, p.Localpart)
		}
	} else if err = set.Homeserver.IsLocalpartAvailable(ctx, p.Localpart); isTaken(err) {
		return fmt.Errorf("%w: %s (a user that synapse has already is taken over with --adopt)", ErrConflict, reason(err))
	} else if isConflict(err) {
		return fmt.Errorf("%w: %s", ErrConflict, reason(err))
	}
	switch {
	case err == nil:
		return nil
	case unreachable(err):
		return fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	return fmt.Errorf("%w: %w", ErrHomeserver, err)
}

// hashFor hashes an administrator's choice of a password; none gives an empty hash.
func (s *Service) hashFor(ctx context.Context, l mxid.Localpart, pw token.Secret) (string, error) {
	if pw.Empty() {
		return "", nil
	}
	hash, err := s.Hasher.Hash(ctx, password.Source{Account: string(l)}, pw.Reveal())
	if errors.Is(err, password.ErrTooLong) {
		return "", fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	if err != nil {
		return "", fmt.Errorf("%w: hashing a password: %w", ErrUnavailable, err)
	}
	return hash, nil
}

// putPassword stores a hash in the place of the one before it.
func (s *Service) putPassword(tx *store.Tx, u *store.User, hash string) error {
	if err := s.removePassword(tx, u); err != nil {
		return err
	}
	tx.OnCommit(func() { s.census.Add(hash) })
	return tx.PutPassword(store.Password{UserID: u.ID, Hash: hash, ChangedAt: tx.Now()})
}

// removePassword takes a user's password away, also one that cannot be read, and has not been counted.
func (s *Service) removePassword(tx *store.Tx, u *store.User) error {
	old, err := tx.Password(u.ID)
	switch {
	case err == nil:
		tx.OnCommit(func() { s.census.Remove(old.Hash) })
	case errors.Is(err, store.ErrNotFound):
		return nil
	case !errors.Is(err, store.ErrCorrupt):
		return err
	}
	return tx.RemovePassword(u.ID)
}

// changeUser runs one Update on a user and returns the user as it is then.
func (s *Service) changeUser(ctx context.Context, l mxid.Localpart, change func(tx *store.Tx, u *store.User) error) (store.User, error) {
	var user store.User
	err := s.update(ctx, func(tx *store.Tx) error {
		u, err := tx.UserByLocalpart(l)
		if err != nil {
			return err
		}
		if err := change(tx, &u); err != nil {
			return err
		}
		user = u
		return s.putUser(tx, &u)
	})
	return user, notFound(err, "no such user")
}

// notFound turns the store's answer into the administrator's.
func notFound(err error, what string) error {
	if errors.Is(err, store.ErrNotFound) {
		return fmt.Errorf("%w: %s", ErrNotFound, what)
	}
	return err
}

// SetPassword replaces a user's password; an empty one takes it away. With endSessions every session ends.
func (s *Service) SetPassword(ctx context.Context, l mxid.Localpart, pw token.Secret, endSessions bool) error {
	hash, err := s.hashFor(ctx, l, pw)
	if err != nil {
		return err
	}
	e := ending{reason: "password_changed"}
	if endSessions {
		e.ends = everySession
	}
	user, err := s.changeUser(ctx, l, func(tx *store.Tx, u *store.User) error {
		if u.Deactivated() {
			return fmt.Errorf("%w: %s is deactivated", ErrConflict, l)
		}
		if err := s.beginEnding(tx, &e, u.ID); err != nil {
			return err
		}
		if hash == "" {
			return s.removePassword(tx, u)
		}
		return s.putPassword(tx, u, hash)
	})
	if err != nil {
		return err
	}
	changed := Event{Name: "password_changed", UserID: s.userID(l)}
	if hash == "" {
		changed.Reason = "removed"
	}
	s.emit(changed)
	count, err := s.finishEnding(ctx, &e, &user, From{})
	if err != nil {
		return err
	}
	if count > 0 {
		_ = s.settle(ctx, user.ID)
	}
	return nil
}

// Lock suspends a user: sessions stay and answer M_USER_LOCKED (Matrix CS §account locking).
func (s *Service) Lock(ctx context.Context, l mxid.Localpart) error {
	_, err := s.changeUser(ctx, l, func(tx *store.Tx, u *store.User) error {
		if u.Deactivated() {
			return fmt.Errorf("%w: %s is deactivated", ErrConflict, l)
		}
		if !u.Locked() {
			u.LockedAt = tx.Now()
		}
		return nil
	})
	if err == nil {
		s.emit(Event{Name: "user_locked", UserID: s.userID(l)})
	}
	return err
}

// Unlock lets a locked user's sessions work again.
func (s *Service) Unlock(ctx context.Context, l mxid.Localpart) error {
	_, err := s.changeUser(ctx, l, func(_ *store.Tx, u *store.User) error {
		u.LockedAt = time.Time{}
		return nil
	})
	if err == nil {
		s.emit(Event{Name: "user_unlocked", UserID: s.userID(l)})
	}
	return err
}

// Deactivate closes an account for good: the password goes, every session ends, and the homeserver closes it too, with
// erase forgetting the person. It may be repeated.
func (s *Service) Deactivate(ctx context.Context, l mxid.Localpart, erase bool) error {
	e := ending{reason: "deactivated", ends: everySession}
	user, err := s.changeUser(ctx, l, func(tx *store.Tx, u *store.User) error {
		if !u.Deactivated() {
			u.DeactivatedAt = tx.Now()
		}
		u.Erase = u.Erase || erase
		if err := s.removePassword(tx, u); err != nil {
			return err
		}
		if err := s.beginEnding(tx, &e, u.ID); err != nil {
			return err
		}
		return s.listAccount(tx, u.ID)
	})
	if err != nil {
		return err
	}
	closed := Event{Name: "user_deactivated", UserID: s.userID(l)}
	if erase {
		closed.Reason = "erase"
	}
	s.emit(closed)
	if _, err := s.finishEnding(ctx, &e, &user, From{}); err != nil {
		return err
	}
	_ = s.settle(ctx, user.ID)
	return nil
}

// Reactivate opens a deactivated account again, with a new password. What its deactivation did not come to end it ends before.
func (s *Service) Reactivate(ctx context.Context, l mxid.Localpart, pw token.Secret) error {
	if pw.Empty() {
		return fmt.Errorf("%w: a new password is needed", ErrInvalid)
	}
	hash, err := s.hashFor(ctx, l, pw)
	if err != nil {
		return err
	}
	var e ending
	var user store.User
	for opened := false; !opened; opened = e.done() {
		if user, err = s.changeUser(ctx, l, func(tx *store.Tx, u *store.User) error { return s.reactivate(tx, &e, u, hash) }); err != nil {
			return err
		}
		s.endedAll(e.ended, &user, From{})
	}
	s.emit(Event{Name: "user_reactivated", UserID: s.userID(l)})
	_ = s.settle(ctx, user.ID)
	return nil
}

// reactivate ends as much as fits of what a deactivated user is still signed in with, and opens the account if that was all.
func (s *Service) reactivate(tx *store.Tx, e *ending, u *store.User, hash string) error {
	if !u.Deactivated() {
		return fmt.Errorf("%w: %s is not deactivated", ErrConflict, u.Localpart)
	}
	*e = ending{reason: "deactivated", ends: everySession}
	if err := s.beginEnding(tx, e, u.ID); err != nil || !e.done() {
		return err
	}
	*u = store.User{ID: u.ID, Localpart: u.Localpart, CreatedAt: u.CreatedAt, DisplayName: u.DisplayName, ProvisionedAt: u.ProvisionedAt}
	if err := s.putPassword(tx, u, hash); err != nil {
		return err
	}
	return s.listAccount(tx, u.ID)
}

// SetAdmin gives or takes the right to urn:synapse:admin:*. It is checked whenever a token is used.
func (s *Service) SetAdmin(ctx context.Context, l mxid.Localpart, admin bool) error {
	_, err := s.changeUser(ctx, l, func(_ *store.Tx, u *store.User) error {
		u.Admin = admin
		return nil
	})
	if err == nil {
		e := Event{Name: "admin_changed", UserID: s.userID(l), Reason: "revoked"}
		if admin {
			e.Reason = "granted"
		}
		s.emit(e)
	}
	return err
}
