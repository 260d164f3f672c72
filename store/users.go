package store

import (
	"errors"
	"iter"

	"github.com/oklog/ulid/v2"

	"github.com/caddy-matrix/caddy-matrix-auth/internal/mxid"
)

// User reads a user by ID.
func (tx *Tx) User(id ulid.ULID) (User, error) { return users.get(tx, id[:]) }

// UserByLocalpart reads a user by name.
func (tx *Tx) UserByLocalpart(l mxid.Localpart) (User, error) {
	return users.lookup(tx, userByLocalpart, []byte(l))
}

// Users lists users by ID, which is by age, from the one after the given ID; the zero ID is before all.
func (tx *Tx) Users(after ulid.ULID) iter.Seq2[User, error] { return users.scan(tx, cursor(after)) }

// InsertUser writes a new user. ErrConflict: the ID or the localpart is taken.
func (tx *Tx) InsertUser(u User) error { return users.insert(tx, &u) }

// UpdateUser writes a user that is there. ErrConflict: the localpart is taken.
func (tx *Tx) UpdateUser(u User) error { return users.update(tx, &u) }

// RemoveUser deletes a user's record and nothing that belongs to it.
func (tx *Tx) RemoveUser(id ulid.ULID) error { return users.remove(tx, id[:]) }

// Password reads a user's password; ErrNotFound: the user has none.
func (tx *Tx) Password(user ulid.ULID) (Password, error) { return passwords.get(tx, user[:]) }

// PutPassword writes a user's password, new or not.
func (tx *Tx) PutPassword(p Password) error { return passwords.upsert(tx, &p) }

// RemovePassword makes sure that a user has no password.
func (tx *Tx) RemovePassword(user ulid.ULID) error { return absent(passwords.remove(tx, user[:])) }

// absent takes it well that what was to be removed was not there.
func absent(err error) error {
	if errors.Is(err, ErrNotFound) {
		return nil
	}
	return err
}

// cursor is the place after an ID; the zero ID is the beginning.
func cursor(after ulid.ULID) []byte {
	if after.IsZero() {
		return nil
	}
	return after[:]
}
