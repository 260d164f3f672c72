package store

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"runtime/debug"
	"sync/atomic"
	"time"

	"go.uber.org/zap"
)

// batchLimit bounds the functions of one commit, so that the first does not wait long for the last.
const batchLimit = 256

// request is a function that waits for the writer.
type request struct {
	fn    func(*Tx) error
	state atomic.Int32
	err   error      // of the function
	done  chan error // buffered: the writer never waits
}

// The states of a request. Who moves it out of waiting, the writer or its caller, has it.
const (
	waiting int32 = iota
	taken
	abandoned
)

// Update runs a function that may write, in order with all others, and returns when its writes are durable. It returns
// the function's error, in which case nothing is written, or ErrUnavailable: the queue is full, the context ended while
// the function waited, the disk is low, or the commit failed. Once the function has been taken from the queue the context
// no longer matters: the caller gets the true outcome.
func (db *DB) Update(ctx context.Context, fn func(tx *Tx) error) error {
	return db.update(ctx, fn, queueLimit)
}

// UpdateSpare is Update for what can wait or be refused: it takes part in at most half of the writer's queue, so that the rest
// is never full of it. ErrUnavailable: that half is full.
func (db *DB) UpdateSpare(ctx context.Context, fn func(tx *Tx) error) error {
	return db.update(ctx, fn, queueLimit/2)
}

func (db *DB) update(ctx context.Context, fn func(tx *Tx) error, limit int) error {
	r := &request{fn: fn, done: make(chan error, 1)}
	if err := db.enqueue(ctx, r, limit); err != nil {
		return err
	}
	select {
	case err := <-r.done:
		return err
	case <-db.stopped:
		return r.outcome()
	case <-ctx.Done():
	}
	if r.state.CompareAndSwap(waiting, abandoned) {
		return fmt.Errorf("%w: waiting for the writer: %w", ErrUnavailable, context.Cause(ctx))
	}
	select {
	case err := <-r.done:
		return err
	case <-db.stopped:
		return r.outcome()
	}
}

func (db *DB) enqueue(ctx context.Context, r *request, limit int) error {
	if ctx.Err() != nil {
		return fmt.Errorf("%w: waiting for the writer: %w", ErrUnavailable, context.Cause(ctx))
	}
	db.admission.RLock()
	defer db.admission.RUnlock()
	if db.closing {
		return errClosed
	}
	if len(db.queue) >= limit {
		return fmt.Errorf("%w: %d functions are waiting for the writer", ErrUnavailable, limit)
	}
	select {
	case db.queue <- r:
		return nil
	default:
		return fmt.Errorf("%w: %d functions are waiting for the writer", ErrUnavailable, queueLimit)
	}
}

// outcome is the answer to a request after the writer has ended: it has been answered, unless the writer was killed by a
// function that called runtime.Goexit.
func (r *request) outcome() error {
	select {
	case err := <-r.done:
		return err
	default:
		return fmt.Errorf("%w: the writer has ended", ErrUnavailable)
	}
}

// write is the writer: it takes what waits, and serves it together, until the queue is closed and empty.
func (db *DB) write() {
	defer close(db.stopped)
	for first := range db.queue {
		db.serve(db.collect(first))
	}
}

// maxYields bounds how often others run before a commit. On a busy machine each time may take a while.
const maxYields = 4

// collect takes what waits. It sets no time for that, but lets others run as long as it brings more: those who have just been
// answered may have something else to write, and a commit costs the disk the same for few and for many.
func (db *DB) collect(first *request) []*request {
	requests := []*request{first}
	for yields, before := 0, 0; len(requests) < batchLimit; {
		select {
		case r, ok := <-db.queue:
			if !ok {
				return requests
			}
			requests = append(requests, r)
		default:
			if len(requests) == before || yields == maxYields {
				return requests
			}
			before = len(requests)
			yields++
			runtime.Gosched()
		}
	}
	return requests
}

// serve runs and answers requests, as a rule with one commit.
func (db *DB) serve(requests []*request) {
	var b *batch
	for _, r := range requests {
		if !r.state.CompareAndSwap(waiting, taken) {
			db.counters.abandon()
			continue
		}
		b = db.add(b, r)
	}
	db.finish(b)
}

// add runs a request in the batch, or in a new one if there is none or it is full, and returns the batch to go on with.
func (db *DB) add(b *batch, r *request) *batch {
	for {
		if b == nil {
			var err error
			if b, err = db.newBatch(); err != nil {
				r.done <- err
				return nil
			}
		}
		tx := b.tx(db.now())
		tx.room = db.limits
		r.err = db.runIn(b, r.fn, tx)
		if r.err == nil && b.fits(tx, db.limits) {
			b.keep(tx)
			b.requests = append(b.requests, r)
			return b
		}
		if r.err == nil && len(b.writes.writes) == 0 {
			r.err = fmt.Errorf("%w: a function that writes %d entries", ErrTooBig, len(tx.own().writes))
		}
		if r.err != nil {
			db.counters.fail()
			b.refused = append(b.refused, r)
			return b
		}
		db.finish(b) // and run the function again, on a batch of its own
		b = nil
	}
}

// runIn runs a function of a batch, and lets go of the batch's snapshot if the function ends the writer.
func (db *DB) runIn(b *batch, fn func(*Tx) error, tx *Tx) error {
	exited := true // by runtime.Goexit
	defer func() {
		if exited {
			db.engine.unpin(b.pinned)
		}
	}()
	err := db.run(fn, tx)
	exited = false
	return err
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

// batch is what becomes one commit.
type batch struct {
	pinned
	changes  *changes
	writes   *overlay
	requests []*request // whose writes these are
	refused  []*request // whose functions returned an error
	hooks    []func()
}

// newBatch begins a batch, if the store can be written to.
func (db *DB) newBatch() (*batch, error) {
	if err := db.writable(); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	p, err := db.engine.pin()
	if err != nil {
		return nil, err
	}
	return &batch{pinned: p, changes: &db.changes, writes: newOverlay()}, nil
}

// writable says why the store cannot be written to.
func (db *DB) writable() error {
	if b := db.broken.Load(); b != nil {
		return b.cause
	}
	tree, log := db.engine.sizes()
	return checkSpaceToWrite(&db.options, tree+log)
}

// revision is the one that the batch commits as.
func (b *batch) revision() uint64 { return b.pinned.revision + 1 }

// tx begins a function's transaction on top of what the batch holds.
func (b *batch) tx(now time.Time) *Tx {
	return &Tx{snapshot: b.snapshot, stack: []*overlay{b.writes, newOverlay()}, now: now, revision: b.revision(), changes: b.changes}
}

// own is what the function has written itself.
func (tx *Tx) own() *overlay { return tx.stack[len(tx.stack)-1] }

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

// finish commits a batch, if there is something to commit, and answers everybody in it. A refusal too waits for the commit: it may
// rest on what another function of the batch has written.
func (db *DB) finish(b *batch) {
	if b == nil {
		return
	}
	err := db.commit(b)
	db.engine.unpin(b.pinned)
	if err == nil {
		db.runHooks(b.hooks)
	}
	for _, r := range b.requests {
		r.done <- err
	}
	for _, r := range b.refused {
		if err != nil {
			r.err = err
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
	db.changes.note(b.writes, b.revision())
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
