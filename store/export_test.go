package store

import "github.com/dgraph-io/badger/v4"

// This file is for benchmarks that compare the whole service with Badger alone.

// EncodedSize is how many bytes a session's value takes.
func EncodedSize(s Session) (int, error) {
	value, err := encode(&s)
	return len(value), err
}

// PutBytes has a transaction write bytes, without a look at what is there.
func PutBytes(tx *Tx, name string, value []byte) { tx.set(recordKey(metas.id, []byte(name)), value) }

// PlainUpdate runs a function in a transaction of Badger's own, durable by itself, on top of a revision, and commits it as
// the next one. The writer must be idle, and be told the last revision with SetRevision before it goes on.
func (db *DB) PlainUpdate(revision uint64, fn func(tx *Tx) error) error {
	txn := db.engine.bdb.NewTransactionAt(revision, true)
	defer txn.Discard()
	tx := &Tx{snapshot: snapshot{txn}, stack: []*overlay{newOverlay()}, now: db.now()}
	if err := fn(tx); err != nil {
		return err
	}
	for key, value := range tx.own().writes {
		if err := txn.SetEntry(badger.NewEntry([]byte(key), value)); err != nil {
			return err
		}
	}
	return txn.CommitAt(revision+1, nil)
}

// Revision is the last one.
func (db *DB) Revision() uint64 { return db.engine.last() }

// SetRevision makes a revision the last one.
func (db *DB) SetRevision(revision uint64) { db.engine.committed(revision) }
