package store

import (
	"time"

	"github.com/oklog/ulid/v2"

	"github.com/caddy-matrix/caddy-matrix-auth/internal/mxid"
)

// User is an account of this homeserver. Its ID is the OAuth subject (`sub`).
type User struct {
	ID            ulid.ULID      `cbor:"1,keyasint"`
	Localpart     mxid.Localpart `cbor:"2,keyasint"`
	CreatedAt     time.Time      `cbor:"3,keyasint"`
	DisplayName   string         `cbor:"4,keyasint,omitempty"` // as given when the user was added; Synapse owns the profile
	Admin         bool           `cbor:"5,keyasint,omitempty"` // may obtain urn:synapse:admin:*
	LockedAt      time.Time      `cbor:"6,keyasint,omitzero"`  // zero: not locked
	DeactivatedAt time.Time      `cbor:"7,keyasint,omitzero"`  // zero: not deactivated
	Erase         bool           `cbor:"8,keyasint,omitempty"` // deactivated with the wish to be forgotten
	ProvisionedAt time.Time      `cbor:"9,keyasint,omitzero"`  // zero: Synapse has not confirmed this user yet
}

// Locked reports whether the user's sessions are suspended (Matrix CS §account locking).
func (u *User) Locked() bool { return !u.LockedAt.IsZero() }

// Deactivated reports whether the account is closed.
func (u *User) Deactivated() bool { return !u.DeactivatedAt.IsZero() }

// Password is the hash of a user's password; a user without one has no record.
type Password struct {
	UserID    ulid.ULID `cbor:"1,keyasint"`
	Hash      string    `cbor:"2,keyasint"` // PHC string or modular crypt: argon2id, bcrypt, pbkdf2
	ChangedAt time.Time `cbor:"3,keyasint"`
}

// LastSeen is a session's activity, kept apart from the session so that traffic does not rewrite it.
type LastSeen struct {
	SessionID ulid.ULID `cbor:"1,keyasint"`
	At        time.Time `cbor:"2,keyasint"`
	Addr      string    `cbor:"3,keyasint,omitempty"`
	UserAgent string    `cbor:"4,keyasint,omitempty"`
}

// Job asks for a user's account, or one of the user's devices, to be reconciled with Synapse: what to do is decided from the state
// at the time it runs. A user has one for each of them that is listed, however many that are.
type Job struct {
	UserID    ulid.ULID     `cbor:"1,keyasint"`
	DeviceID  mxid.DeviceID `cbor:"5,keyasint,omitempty"` // it is deleted at Synapse unless a live session holds it; empty: the account
	Revision  uint64        `cbor:"6,keyasint"`           // that listed it last
	CreatedAt time.Time     `cbor:"4,keyasint"`           // when it was listed last
}
