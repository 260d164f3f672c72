package store

import (
	"iter"

	"github.com/oklog/ulid/v2"
)

// Job reads a user's job; ErrNotFound: there is nothing to do.
func (tx *Tx) Job(user ulid.ULID) (Job, error) { return jobs.get(tx, user[:]) }

// PutJob writes a user's job, new or not.
func (tx *Tx) PutJob(j Job) error { return jobs.upsert(tx, &j) }

// RemoveJob makes sure that there is nothing to do for a user.
func (tx *Tx) RemoveJob(user ulid.ULID) error { return absent(jobs.remove(tx, user[:])) }

// Jobs lists all jobs by user.
func (tx *Tx) Jobs() iter.Seq2[Job, error] { return jobs.scan(tx, nil) }
