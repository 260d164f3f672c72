package store

import (
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/dgraph-io/badger/v4"
)

// How long is waited around an exchange of the database.
const (
	exchangeWait = 5 * time.Second  // a reader for the database to be back
	drainWait    = 2 * time.Second  // an exchange for the readers to leave, before it tries again later
	closeWait    = 10 * time.Second // Close for the readers to leave
)

// engine holds the open database and the revision up to which it is read, and knows its readers: they pin the database,
// which is never closed under them, and their snapshots, which are not discarded.
type engine struct {
	mu       sync.Mutex
	bdb      *badger.DB     // nil: closed, or between two
	revision uint64         // last committed
	pins     map[uint64]int // open snapshots by revision
	blocked  chan struct{}  // nil: readers may come in; closed when they may again
	drained  chan struct{}  // closed when the last reader has left; nil: nobody waits
	leave    chan struct{}  // closed when long readers should leave
	closed   bool
}

// pinned is a reader's hold on the database.
type pinned struct {
	snapshot
	bdb      *badger.DB
	revision uint64
	leave    <-chan struct{}
}

var errClosed = fmt.Errorf("%w: it is closed", ErrUnavailable)

// pin takes a snapshot of the last commit. It waits while the database is being exchanged, but not for long.
func (e *engine) pin() (pinned, error) {
	p, blocked, err := e.tryPin()
	if blocked == nil {
		return p, err
	}
	timeout := time.NewTimer(exchangeWait)
	defer timeout.Stop()
	for blocked != nil {
		select {
		case <-blocked:
		case <-timeout.C:
			return pinned{}, fmt.Errorf("%w: the database is being opened again", ErrUnavailable)
		}
		p, blocked, err = e.tryPin()
	}
	return p, err
}

func (e *engine) tryPin() (p pinned, blocked <-chan struct{}, err error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.closed {
		return pinned{}, nil, errClosed
	}
	if e.blocked != nil {
		return pinned{}, e.blocked, nil
	}
	e.pins[e.revision]++
	return pinned{newSnapshot(e.bdb, e.revision), e.bdb, e.revision, e.leave}, nil, nil
}

// unpin lets go of a snapshot.
func (e *engine) unpin(p pinned) {
	defer p.discard()
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.pins[p.revision]--; e.pins[p.revision] == 0 {
		delete(e.pins, p.revision)
	}
	if len(e.pins) == 0 && e.drained != nil {
		close(e.drained)
		e.drained = nil
	}
}

// committed makes a revision the one that is read.
func (e *engine) committed(revision uint64) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.revision = revision
	e.allowDiscard()
}

// allowDiscard lets compactions drop versions that no reader sees any more. Without it nothing is ever dropped.
func (e *engine) allowDiscard() {
	oldest := e.revision
	for revision := range e.pins {
		oldest = min(oldest, revision)
	}
	e.bdb.SetDiscardTs(oldest)
}

// last is the last committed revision.
func (e *engine) last() uint64 {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.revision
}

// sizes is what the database takes on disk; nothing while there is none.
func (e *engine) sizes() (tree, log uint64) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.bdb == nil {
		return 0, 0
	}
	return size(e.bdb)
}

// install makes a database the one that is used, read at the given revision, and lets readers in.
func (e *engine) install(bdb *badger.DB, revision uint64) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.bdb, e.revision = bdb, revision
	e.allowDiscard()
	e.admit()
}

// admit lets readers in. The caller holds the mutex.
func (e *engine) admit() {
	e.leave = make(chan struct{})
	if e.blocked != nil {
		close(e.blocked)
		e.blocked = nil
	}
}

// block keeps new readers out and asks long ones to leave.
func (e *engine) block() (drained <-chan struct{}) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.blocked == nil {
		e.blocked = make(chan struct{})
		close(e.leave)
	}
	c := make(chan struct{})
	if len(e.pins) == 0 {
		close(c)
		return c
	}
	e.drained = c
	return c
}

// errReaders says that readers did not leave in time.
var errReaders = errors.New("readers are still at work")

// take waits until nobody uses the database and takes it out; nil if there is none. When readers stay, it is left as it was.
func (e *engine) take(wait time.Duration) (*badger.DB, error) {
	drained := e.block()
	timeout := time.NewTimer(wait)
	defer timeout.Stop()
	select {
	case <-drained:
	case <-timeout.C:
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.drained = nil
	if len(e.pins) > 0 {
		e.admit()
		return nil, errReaders
	}
	bdb := e.bdb
	e.bdb = nil
	return bdb, nil
}

// shut turns readers away for good and closes the database when they have left. If they stay it is left open: what is
// committed is durable, and closing it under a reader would crash.
func (e *engine) shut() error {
	e.mu.Lock()
	e.closed = true
	e.mu.Unlock()
	bdb, err := e.take(closeWait)
	e.mu.Lock()
	e.admit() // those who wait, so that they are turned away
	e.mu.Unlock()
	if err != nil || bdb == nil {
		return err
	}
	return bdb.Close()
}

// putBack returns a database that was taken, without letting anybody in.
func (e *engine) putBack(bdb *badger.DB) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.bdb = bdb
}
