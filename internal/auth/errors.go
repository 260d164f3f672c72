package auth

import (
	"errors"
	"time"
)

// The errors of use cases. Wrapped ones keep their cause for the log; a client never sees it.
var (
	// ErrBadCredentials: unknown user, no password, wrong password, deactivated. One error and one timing.
	ErrBadCredentials = errors.New("bad credentials")
	// ErrUserLocked: the account is locked, told only after its password or token proved right.
	ErrUserLocked = errors.New("user locked")
	// ErrRateLimited: too many attempts; see RateLimitError.
	ErrRateLimited = errors.New("rate limited")
	// ErrTokenUnknown: malformed, never made by us, of an ended session, of another kind, or replayed.
	ErrTokenUnknown = errors.New("token unknown")
	// ErrTokenExpired: past its end, but its session is alive.
	ErrTokenExpired = errors.New("token expired")
	// ErrUnavailable: the homeserver is unreachable, the store is full or closing, a queue is full. Try again.
	ErrUnavailable = errors.New("temporarily unavailable")
	// ErrHomeserver: the homeserver refused.
	ErrHomeserver = errors.New("homeserver refused")
	// ErrPasswordsDisabled: password logins are switched off.
	ErrPasswordsDisabled = errors.New("password login disabled")

	// ErrNotFound: the administrator named a user or session that does not exist.
	ErrNotFound = errors.New("not found")
	// ErrConflict: the administrator asked for what the present state forbids; the text says why.
	ErrConflict = errors.New("conflict")
	// ErrInvalid: the administrator's input is malformed; the text says why.
	ErrInvalid = errors.New("invalid")
)

// RateLimitError is ErrRateLimited with the time to wait.
type RateLimitError struct{ RetryAfter time.Duration }

// Error implements error.
func (e *RateLimitError) Error() string { return ErrRateLimited.Error() }

// Is makes errors.Is(err, ErrRateLimited) true.
func (e *RateLimitError) Is(target error) bool { return target == ErrRateLimited }
