package store

import (
	"errors"
	"fmt"
	"time"

	"github.com/dgraph-io/badger/v4"
	"go.uber.org/zap"
)

// Backoff between two attempts to open the database again.
const (
	firstBackoff = 100 * time.Millisecond
	maxBackoff   = 30 * time.Second
)

// fail makes the store read-only after a failed commit and sets about opening it again. The batch is still pinned, and is
// let go by the writer.
func (db *DB) fail(b *batch, cause error) {
	db.options.Log.Error("commit failed: the store is read-only until its database has been opened again",
		zap.Uint64("revision", b.revision()), zap.Error(cause))
	db.counters.failCommit(len(b.requests))
	db.broken.Store(&brokenness{fmt.Errorf("%w: %w", errBroken, cause)})
	db.healing.Go(func() { db.heal(b.pinned.revision, b.writes) })
}

// heal tries to reopen until it works or the store is closed.
func (db *DB) heal(revision uint64, failed *overlay) {
	for backoff := firstBackoff; ; backoff = min(2*backoff, maxBackoff) {
		err := db.reopen(revision, failed)
		if err == nil {
			break
		}
		db.options.Log.Error("opening the database again failed", zap.Error(err), zap.Duration("next", backoff))
		if !db.pause(backoff) {
			return
		}
	}
	_ = db.options.fault.at(faultHealed)
	db.counters.reopen()
	db.broken.Store(nil)
	db.options.Log.Info("the database has been opened again: the store is writable")
}

// pause waits and reports whether to go on.
func (db *DB) pause(d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-db.stopping.Done():
		return false
	}
}

// reopen closes the database, opens it, and undoes what the failed commit may have left: the log may hold all of it, and
// the part of the tree that closing has written down may hold some.
func (db *DB) reopen(revision uint64, failed *overlay) error {
	bdb, err := db.exchange()
	if err != nil {
		return err
	}
	last := max(revision, bdb.MaxVersion())
	if last > revision {
		if last, err = db.undo(bdb, revision, failed, last); err != nil {
			return errors.Join(fmt.Errorf("undoing the failed commit: %w", err), db.discard(bdb))
		}
	}
	db.engine.install(bdb, last)
	return nil
}

// exchange gives a freshly opened database, with no reader at it. One in memory is the same as before: it has no other copy.
func (db *DB) exchange() (*badger.DB, error) {
	old, err := db.engine.take(drainWait)
	if err != nil {
		return nil, err
	}
	if db.options.Dir == "" {
		return old, nil
	}
	if old != nil {
		if err := old.Close(); err != nil {
			db.options.Log.Warn("closing the database after a failed commit", zap.Error(err))
		}
	}
	if err := checkSpaceToOpen(&db.options); err != nil {
		return nil, err
	}
	return openBadger(&db.options)
}

// discard gets rid of a database that could not be used; one in memory is kept for the next attempt.
func (db *DB) discard(bdb *badger.DB) error {
	if db.options.Dir == "" {
		db.engine.putBack(bdb)
		return nil
	}
	return bdb.Close()
}

// undo writes the values that the keys of a failed commit had at the revision before it, and returns the revision after
// that. What was there may be larger than what was to replace it, so this may take more than one commit; nobody reads
// meanwhile.
func (db *DB) undo(bdb *badger.DB, before uint64, failed *overlay, revision uint64) (uint64, error) {
	if err := db.options.fault.at(faultUndo); err != nil {
		return 0, err
	}
	then := newSnapshot(bdb, before)
	defer then.discard()
	restored := newOverlay()
	for key := range failed.writes {
		value, err := then.get([]byte(key))
		if err != nil && !errors.Is(err, ErrNotFound) {
			return 0, err
		}
		restored.set([]byte(key), value)
		if restored.bytes < db.limits.bytes {
			continue
		}
		revision++
		if err := commit(bdb, restored, revision, nil); err != nil {
			return 0, err
		}
		restored = newOverlay()
	}
	revision++
	return revision, commit(bdb, restored, revision, nil)
}
