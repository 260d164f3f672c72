package store

import "errors"

// Errors of the store, to be asked for with errors.Is.
var (
	ErrNotFound    = errors.New("store: not found")
	ErrConflict    = errors.New("store: already there")      // the record, or another one with the same unique index key
	ErrUnavailable = errors.New("store: unavailable")        // wraps a reason; nothing was written; try again later
	ErrReadOnly    = errors.New("store: read-only snapshot") // a write inside View
	ErrTooBig      = errors.New("store: too big")            // a record, or all that one function writes: write in smaller pieces
	ErrCorrupt     = errors.New("store: corrupt")            // a record that cannot be read, an index that disagrees with its record
)

// Errors of Open.
var (
	ErrLocked        = errors.New("store: in use by another process")
	ErrForeign       = errors.New("store: the directory belongs to something else") // another user, server, format or program
	ErrEncryptionKey = errors.New("store: wrong encryption key")
)

// errTxDone is the error of a Tx that is used after its function has returned.
var errTxDone = errors.New("store: transaction is over")
