package store

import (
	"slices"
	"time"

	"github.com/oklog/ulid/v2"

	"github.com/caddy-matrix/caddy-matrix-auth/internal/mxid"
	"github.com/caddy-matrix/caddy-matrix-auth/internal/token"
)

// SessionKind says how a session came to be.
type SessionKind uint8

// The kinds of session.
const (
	SessionCompat   SessionKind = iota + 1 // legacy login
	SessionOAuth2                          // authorization code or device code
	SessionPersonal                        // issued by an administrator
	SessionClient                          // client credentials: no user, no device
)

var sessionKindNames = [...]string{SessionCompat: "compat", SessionOAuth2: "oauth2", SessionPersonal: "personal", SessionClient: "client"}

// String returns the kind's name on the command line, in the audit log and in metrics.
func (k SessionKind) String() string {
	if int(k) < len(sessionKindNames) {
		return sessionKindNames[k]
	}
	return ""
}

// Bounds of a session record, so that it never grows.
const (
	MaxAccessTokens   = 8 // kept per session, newest first
	MaxConsumedTokens = 8 // consumed refresh tokens whose grace runs
)

// StaleAccess is how long past its end an access token is kept: Synapse is told of an end that much later than the gate
// enforces, so that nothing expires there first.
const StaleAccess = 90 * time.Second

// AccessToken is a kept access token of a session: only its hash.
type AccessToken struct {
	Hash       token.Hash `cbor:"1,keyasint"`
	ExpiresAt  time.Time  `cbor:"2,keyasint,omitzero"`  // zero: never
	Generation uint64     `cbor:"3,keyasint,omitempty"` // the rotation that made it
}

// Live reports whether the token has not reached its end.
func (a *AccessToken) Live(now time.Time) bool {
	return a.ExpiresAt.IsZero() || now.Before(a.ExpiresAt)
}

// ConsumedToken is a refresh token that has been rotated and may be presented again until its grace is over: the answer
// to the rotation may have been lost.
type ConsumedToken struct {
	Hash            token.Hash `cbor:"1,keyasint"`
	Generation      uint64     `cbor:"2,keyasint,omitempty"` // of this token; its successor has the next one
	Seal            []byte     `cbor:"3,keyasint,omitempty"` // token.Successor, sealed under this token's full text
	SuccessorUsedAt time.Time  `cbor:"4,keyasint,omitzero"`  // first use of the successor's generation; zero: unused
}

// Session is one login of one device by one client, with its tokens inside: a refresh reads and writes one record.
type Session struct {
	ID            ulid.ULID       `cbor:"1,keyasint"`
	Kind          SessionKind     `cbor:"2,keyasint"`
	UserID        ulid.ULID       `cbor:"3,keyasint,omitzero"`  // zero: a client's own session
	DeviceID      mxid.DeviceID   `cbor:"4,keyasint,omitempty"` // empty: no Matrix device
	ClientID      string          `cbor:"5,keyasint,omitempty"`
	Scope         []string        `cbor:"6,keyasint,omitempty"` // as granted, in the form asked for; legacy sessions have none
	AccessHandle  token.Handle    `cbor:"7,keyasint"`
	RefreshHandle token.Handle    `cbor:"8,keyasint,omitzero"` // zero: no refresh tokens
	CreatedAt     time.Time       `cbor:"9,keyasint"`
	RefreshedAt   time.Time       `cbor:"10,keyasint,omitzero"` // zero: never
	EndedAt       time.Time       `cbor:"11,keyasint,omitzero"` // zero: live
	EndReason     string          `cbor:"12,keyasint,omitempty"`
	Generation    uint64          `cbor:"13,keyasint,omitempty"` // of the current refresh token
	Refresh       token.Hash      `cbor:"14,keyasint,omitzero"`  // current refresh token
	Access        []AccessToken   `cbor:"15,keyasint,omitempty"` // newest first, ≤ MaxAccessTokens
	Consumed      []ConsumedToken `cbor:"16,keyasint,omitempty"` // newest first, ≤ MaxConsumedTokens
	Approver      ulid.ULID       `cbor:"17,keyasint,omitzero"`  // the browser session in which it was approved
}

// Ended reports whether the session is over. Nothing brings it back.
func (s *Session) Ended() bool { return !s.EndedAt.IsZero() }

// End marks the session as over and forgets every secret it kept; its handles stay for the audit and so that its tokens
// are known to be dead.
func (s *Session) End(now time.Time, reason string) {
	s.EndedAt, s.EndReason = now, reason
	s.Refresh, s.Access, s.Consumed = token.Hash{}, nil, nil
}

// AddAccess keeps a new access token, first, and drops the oldest ones beyond MaxAccessTokens.
func (s *Session) AddAccess(a AccessToken) {
	s.Access = slices.Insert(s.Access, 0, a)
	if len(s.Access) > MaxAccessTokens {
		s.Access = s.Access[:MaxAccessTokens]
	}
}

// MarkUsed notes the first use of a generation: the grace of the refresh token that it replaced begins to run.
// It reports whether the record changed.
func (s *Session) MarkUsed(generation uint64, at time.Time) bool {
	for i := range s.Consumed {
		c := &s.Consumed[i]
		if c.Generation+1 == generation && c.SuccessorUsedAt.IsZero() {
			c.SuccessorUsedAt = at
			return true
		}
	}
	return false
}

// PruneAccess drops the access tokens that are more than StaleAccess past their end, on which no answer depends any more. It
// reports whether the record changed.
func (s *Session) PruneAccess(now time.Time) bool {
	access := len(s.Access)
	s.Access = slices.DeleteFunc(s.Access, func(a AccessToken) bool { return !a.Live(now.Add(-StaleAccess)) })
	return len(s.Access) != access
}
