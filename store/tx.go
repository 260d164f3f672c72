package store

import (
	"bytes"
	"iter"
	"slices"
	"time"
)

// Tx is a transaction: in View a snapshot, in Update the place to write. It is good until the function returns, and only
// in that function's goroutine.
type Tx struct {
	snapshot snapshot
	stack    []*overlay // lowest first; the last is this function's own; nil in a View
	room     limits     // of what an Update's function may write
	now      time.Time
	revision uint64
	hooks    []func()
	last     lastRead
	changes  *changes // nil in a View
	done     bool
}

// lastRead is what a transaction has read last: it is often written next, and then read again.
type lastRead struct {
	key, value []byte
	record     any // *T of the table, which nobody changes; nil: not decoded, or its table has no clone
}

// Now is the time of this transaction: one for all that it decides, in UTC and as exact as it is stored.
func (tx *Tx) Now() time.Time { return tx.now }

// Revision is, in a View, the revision of the snapshot, and in an Update the one that this function's writes will have.
// Revisions grow; several functions may share one.
func (tx *Tx) Revision() uint64 { return tx.revision }

// Full reports, in an Update, whether what the function has written takes half of the room that there is: a function with an
// unbounded number of records to write writes the rest in another Update. The other half is for what it still has to write of
// those it has begun.
func (tx *Tx) Full() bool {
	own := tx.own()
	return own.bytes >= tx.room.bytes/2 || int64(len(own.writes)) >= tx.room.entries/2
}

// Seen is what a View has read last, for an Update that will read it again. The zero value is nothing.
type Seen struct {
	lastRead
	revision uint64
}

// Seen returns what was read last, in a View; in an Update nothing.
func (tx *Tx) Seen() Seen {
	if tx.stack != nil {
		return Seen{}
	}
	return Seen{tx.last, tx.revision}
}

// Recall spares an Update to read from the engine what a View has just read, unless it was written to meanwhile. Whatever the
// Update reads is the same with and without it.
func (tx *Tx) Recall(seen Seen) {
	if tx.changes != nil && seen.key != nil && !tx.changes.since(seen.key, seen.revision) {
		tx.last = seen.lastRead
	}
}

// OnCommit adds a function that is called once this one's writes are durable and visible, in the order of commits and
// before the caller of Update is answered; never if the function or the commit fails. It runs on the writer's goroutine:
// it must be short and must not call the store. In a View it is never called.
func (tx *Tx) OnCommit(fn func()) { tx.hooks = append(tx.hooks, fn) }

// get reads a key. Neither the key nor the value may be written to afterwards.
func (tx *Tx) get(key []byte) ([]byte, error) {
	if tx.done {
		return nil, errTxDone
	}
	for _, o := range slices.Backward(tx.stack) {
		value, ok := o.get(key)
		if ok && value == nil {
			return nil, ErrNotFound
		}
		if ok {
			return value, nil
		}
	}
	if bytes.Equal(tx.last.key, key) {
		return tx.last.value, nil
	}
	value, err := tx.snapshot.get(key)
	if err != nil {
		return nil, err
	}
	tx.last = lastRead{key: key, value: value}
	return value, nil
}

// set writes a key; nil deletes it.
func (tx *Tx) set(key, value []byte) { tx.stack[len(tx.stack)-1].set(key, value) }

// writable reports why nothing can be written.
func (tx *Tx) writable() error {
	if tx.done {
		return errTxDone
	}
	if tx.stack == nil {
		return ErrReadOnly
	}
	return nil
}

// scan lists keys with a prefix in order, beginning at from, as they are at the call; what the function writes while it
// ranges is not seen. Values are read only if wanted.
func (tx *Tx) scan(prefix, from []byte, values bool) iter.Seq2[kv, error] {
	return func(yield func(kv, error) bool) {
		if tx.done {
			yield(kv{}, errTxDone)
			return
		}
		above := rangeOf(tx.stack, prefix, from)
		for item, err := range tx.snapshot.scan(prefix, from, values) {
			if err != nil {
				yield(kv{}, err)
				return
			}
			var stop, same bool
			if above, stop, same = yieldUpTo(above, item.key, yield); stop {
				return
			}
			if !same && !yield(item, nil) {
				return
			}
		}
		yieldUpTo(above, nil, yield)
	}
}

// yieldUpTo yields what was written up to and including key (nil: everything) and returns the rest. Deletions are
// skipped. same reports whether key itself was written over.
func yieldUpTo(above []kv, key []byte, yield func(kv, error) bool) (rest []kv, stop, same bool) {
	for len(above) > 0 && (key == nil || string(above[0].key) <= string(key)) {
		first := above[0]
		above = above[1:]
		same = string(first.key) == string(key)
		if first.value != nil && !yield(first, nil) {
			return nil, true, same
		}
	}
	return above, false, same
}
