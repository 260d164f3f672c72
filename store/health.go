package store

import (
	"sync"
	"time"
)

// Health is whether the store can be written to.
type Health struct {
	Writable bool
	Reason   string // why not; for operators
	Revision uint64 // last committed
	Queue    int    // functions that wait
}

// Health looks at the store as it is now.
func (db *DB) Health() Health {
	h := Health{Writable: true, Revision: db.engine.last(), Queue: len(db.queue)}
	if err := db.trouble(); err != nil {
		h.Writable, h.Reason = false, err.Error()
	}
	return h
}

func (db *DB) trouble() error {
	select {
	case <-db.stopped:
		return errClosed
	default:
		return db.writable()
	}
}

// Stats are numbers for metrics; counts are since Open.
type Stats struct {
	TreeBytes uint64 // on disk, as of the last minute
	LogBytes  uint64

	Commits       uint64
	Committed     uint64        // functions that were part of a commit
	ReadOnly      uint64        // functions that succeeded in a batch that had nothing to write
	Failed        uint64        // functions that returned an error or panicked
	Abandoned     uint64        // functions whose context ended while they waited
	FailedCommits uint64        // and the functions in them
	Unwritten     uint64        // functions that were part of a failed commit
	Reopened      uint64        // times that the database was opened again
	CommitTime    time.Duration // sum over all commits
	LargestBatch  int
}

// Stats counts what the store has done.
func (db *DB) Stats() Stats {
	db.counters.mu.Lock()
	s := db.counters.stats
	db.counters.mu.Unlock()
	s.TreeBytes, s.LogBytes = db.engine.sizes()
	return s
}

// counters are the numbers in Stats, most of which the writer counts.
type counters struct {
	mu    sync.Mutex
	stats Stats
}

func (c *counters) count(fn func(s *Stats)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	fn(&c.stats)
}

func (c *counters) commit(functions int, took time.Duration) {
	c.count(func(s *Stats) {
		s.Commits++
		s.Committed += uint64(functions)
		s.CommitTime += took
		s.LargestBatch = max(s.LargestBatch, functions)
	})
}

func (c *counters) read(functions int) { c.count(func(s *Stats) { s.ReadOnly += uint64(functions) }) }
func (c *counters) fail()              { c.count(func(s *Stats) { s.Failed++ }) }
func (c *counters) abandon()           { c.count(func(s *Stats) { s.Abandoned++ }) }
func (c *counters) reopen()            { c.count(func(s *Stats) { s.Reopened++ }) }

func (c *counters) failCommit(functions int) {
	c.count(func(s *Stats) {
		s.FailedCommits++
		s.Unwritten += uint64(functions)
	})
}
