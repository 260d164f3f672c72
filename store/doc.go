// Package store keeps what the authentication service must not forget: users, passwords, sessions with their tokens, when
// a session was last seen, and the jobs that reconcile users with the homeserver.
//
// Policy. One process owns one directory. Everything that is written is written by one goroutine: it takes the functions
// that wait in Update, runs each on top of the ones before it, makes all of them durable with one synced commit, and only
// then answers, refusals too. So transactions are serialisable by construction: no retries, no phantoms, no lost updates.
// Readers see the snapshot of the last commit and never wait for a writer.
//
// A function given to Update may run more than once. It touches only its Tx and result variables that it sets from
// scratch; it does nothing slow and keeps no Tx, and it calls neither Update nor View nor runtime.Goexit (so no FailNow).
// A function given to View does not call View or Update either, and is not held open across the network.
//
// When a commit fails, all of its functions fail with ErrUnavailable, the store is read-only, and it closes and opens its
// engine again by itself, with backoff. The outcome of a failed commit is unknown until then: whatever of it turns up is undone
// before writing goes on, so a function that was told of its failure has done nothing, unless the process died before that.
// Reads go on meanwhile, at the last commit; while the engine is being opened they wait for a few seconds at most. When
// disk space is low every Update fails, and works again by itself when there is space: the engine writes to sparse
// mappings, and a full disk would kill the process.
//
// Validity in time is not the store's business: nothing expires here, records are removed by their owner.
// The package knows no use case, hashes no password and mints no token.
package store
