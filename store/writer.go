package store

import (
	"context"
	"fmt"
	"sync/atomic"
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

// UpdateSpare is Update for what can wait or be refused: it takes part in at most half of the writer's queue, and of the disk it
// leaves as much again as the others need, so that neither is full because of it. ErrUnavailable: that half is full, or the disk.
func (db *DB) UpdateSpare(ctx context.Context, fn func(tx *Tx) error) error {
	if err := db.spacious(2); err != nil {
		return fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
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

// outcome is the answer to a request after the writer has ended: it has been answered, unless its function ended the writer.
func (r *request) outcome() error {
	select {
	case err := <-r.done:
		return err
	default:
		return errEnded
	}
}

var errEnded = fmt.Errorf("%w: the writer has ended", ErrUnavailable)

// writer runs the functions that wait, and has what they have written committed. While one batch is being made durable it runs
// functions for the next one, on top of what that batch has written; they are answered after it, and fail if it fails.
type writer struct {
	*DB
	next   *batch // being filled; nil: nothing
	flying *batch // being committed; nil: none
}

// run serves the queue until it is closed and empty.
func (w *writer) run() {
	defer close(w.stopped)
	defer w.end()
	for open := true; open || w.next != nil; {
		open = w.fill()
		w.launch()
	}
}

// fill runs functions for the next batch: what waits, without waiting itself, because a commit lets enough gather; and whatever
// comes until the batch in flight has landed. It reports whether the queue is open still.
func (w *writer) fill() (open bool) {
	for {
		queue, landed := w.queue, (<-chan struct{})(nil)
		if w.next.full() {
			queue = nil
		}
		if w.flying != nil {
			landed = w.flying.landed
		} else if w.next != nil && len(queue) == 0 {
			return true
		}
		select {
		case r, ok := <-queue:
			if !ok {
				return false
			}
			w.serve(r)
		case <-landed:
			w.land()
		}
	}
}

// serve runs a request in the next batch, or in one after it if that is full. Requests whose callers have left are passed over.
func (w *writer) serve(r *request) {
	if !r.state.CompareAndSwap(waiting, taken) {
		w.counters.abandon()
		return
	}
	for {
		if w.next == nil {
			var err error
			if w.next, err = w.newBatch(w.flying); err != nil {
				r.done <- err
				return
			}
		}
		if w.next.take(w.DB, r) {
			return
		}
		w.launch() // and run the function again, on a batch of its own
	}
}

// launch has the next batch committed once the one in flight has landed.
func (w *writer) launch() {
	w.land()
	b := w.next
	if b == nil {
		return
	}
	w.next = nil
	if len(b.writes.writes) == 0 {
		w.finish(b)
		return
	}
	w.changes.note(b.writes, b.revision())
	w.flying = b
	go w.finish(b)
}

// land waits for the batch in flight. If it has failed, so has the next one, which has read what was not written.
func (w *writer) land() {
	b := w.flying
	if b == nil {
		return
	}
	<-b.landed
	w.flying = nil
	if b.err != nil {
		w.drop(b.err)
	}
}

// drop fails the next batch.
func (w *writer) drop(cause error) {
	if w.next == nil {
		return
	}
	w.next.err = cause
	w.finish(w.next)
	w.next = nil
}

// end answers those who are left if a function has ended this goroutine (runtime.Goexit).
func (w *writer) end() {
	w.land()
	w.drop(errEnded)
}
