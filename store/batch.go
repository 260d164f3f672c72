package store

import (
	"errors"
	"fmt"
	"runtime/debug"
	"time"

	"go.uber.org/zap"
)

// batch is what becomes one commit.
type batch struct {
	pinned
	base     uint64     // the revision that it comes after
	below    []*overlay // what is between the snapshot and it: the writes of the batch in flight
	changes  *changes
	writes   *overlay
	requests []*request // whose writes these are
	refused  []*request // whose functions returned an error
	hooks    []func()
	err      error         // why it is not committed; read after landed
	landed   chan struct{} // closed once everybody in it is answered
}

// newBatch begins a batch on top of the one in flight, if there is one, and if the store can be written to.
func (db *DB) newBatch(flying *batch) (*batch, error) {
	if err := db.writable(); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	p, err := db.engine.pin()
	if err != nil {
		return nil, err
	}
	b := &batch{pinned: p, base: p.revision, changes: &db.changes, writes: newOverlay(), landed: make(chan struct{})}
	if flying != nil {
		b.base, b.below = flying.revision(), []*overlay{flying.writes}
	}
	return b, nil
}

// writable says why the store cannot be written to.
func (db *DB) writable() error {
	if b := db.broken.Load(); b != nil {
		return b.cause
	}
	return db.spacious(1)
}

// spacious says why there is not so many times the disk space that writing needs.
func (db *DB) spacious(times uint64) error {
	tree, log := db.engine.sizes()
	return checkSpaceToWrite(&db.options, tree+log, times)
}

// revision is the one that the batch commits as.
func (b *batch) revision() uint64 { return b.base + 1 }

// full reports whether the batch has as many functions as a commit may have.
func (b *batch) full() bool { return b != nil && len(b.requests)+len(b.refused) >= batchLimit }

// tx begins a function's transaction on top of what the batch holds.
func (b *batch) tx(now time.Time) *Tx {
	stack := append(b.below[:len(b.below):len(b.below)], b.writes, newOverlay())
	return &Tx{snapshot: b.snapshot, stack: stack, now: now, revision: b.revision(), changes: b.changes}
}

// own is what the function has written itself.
func (tx *Tx) own() *overlay { return tx.stack[len(tx.stack)-1] }

// take runs a request's function in the batch. It reports false if the batch has no room for what the function wrote.
func (b *batch) take(db *DB, r *request) bool {
	tx := b.tx(db.now())
	tx.room = db.limits
	r.err = db.run(r.fn, tx)
	switch {
	case r.err == nil && b.fits(tx, db.limits):
		b.keep(tx)
		b.requests = append(b.requests, r)
		return true
	case r.err == nil && len(b.writes.writes) > 0:
		return false
	case r.err == nil:
		r.err = fmt.Errorf("%w: a function that writes %d entries", ErrTooBig, len(tx.own().writes))
	}
	db.counters.fail()
	b.refused = append(b.refused, r)
	return true
}

// run runs a function and turns a panic into its error: one function must not end the writer.
func (db *DB) run(fn func(*Tx) error, tx *Tx) (err error) {
	defer func() {
		tx.done = true
		if cause := recover(); cause != nil {
			db.options.Log.Error("a function given to the store panicked", zap.Any("panic", cause), zap.ByteString("stack", debug.Stack()))
			err = fmt.Errorf("store: the function panicked: %v", cause)
		}
	}()
	return fn(tx)
}

// fits reports whether a function's writes can go into the same commit.
func (b *batch) fits(tx *Tx, l limits) bool {
	own := tx.own()
	return int64(len(b.writes.writes)+len(own.writes)) <= l.entries && b.writes.bytes+own.bytes <= l.bytes
}

// keep takes a function's writes and hooks over.
func (b *batch) keep(tx *Tx) {
	b.writes.merge(tx.own())
	b.hooks = append(b.hooks, tx.hooks...)
}

// finish commits a batch that has not failed already, and answers everybody in it. A refusal too waits for the commit: it may
// rest on what another function in it, or before it, has written.
func (db *DB) finish(b *batch) {
	defer close(b.landed)
	if b.err == nil {
		b.err = db.commit(b)
	} else {
		db.counters.drop(len(b.requests))
	}
	db.engine.unpin(b.pinned)
	if b.err == nil {
		db.runHooks(b.hooks)
	}
	for _, r := range b.requests {
		r.done <- b.err
	}
	for _, r := range b.refused {
		if b.err != nil {
			r.err = b.err
		}
		r.done <- r.err
	}
}

// commit makes a batch durable and visible.
func (db *DB) commit(b *batch) error {
	if len(b.writes.writes) == 0 {
		db.counters.read(len(b.requests))
		return nil
	}
	begin := db.options.Now()
	if err := commit(b.bdb, b.writes, b.revision(), db.options.fault); err != nil {
		db.fail(b, err)
		return fmt.Errorf("%w: the commit failed: %w", ErrUnavailable, err)
	}
	db.engine.committed(b.revision())
	db.counters.commit(len(b.requests), db.options.Now().Sub(begin))
	return nil
}

// runHooks calls what waits for the commit. A panic there is a bug of the caller's, and must not end the writer either.
func (db *DB) runHooks(hooks []func()) {
	for _, hook := range hooks {
		err := db.run(func(*Tx) error { hook(); return nil }, &Tx{})
		if err != nil {
			db.options.Log.Error("after a commit", zap.Error(err))
		}
	}
}

// errBroken says in Health why the store is read-only.
var errBroken = errors.New("the last commit failed, and the database has not been opened again yet")
