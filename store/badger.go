package store

import (
	"errors"
	"fmt"
	"iter"
	"os"
	"path/filepath"
	"strings"

	"github.com/dgraph-io/badger/v4"
	badgeroptions "github.com/dgraph-io/badger/v4/options"
)

// This file is all that the rest of the package asks of Badger, but for the life of the database (engine.go).

// Badger's sizes. They are for one small machine beside other services: with 100,000 sessions the anonymous memory stays
// under 80 MB, and nothing larger was faster. Values stay in the LSM tree (the value threshold is 1 MiB by default), so
// there is no value log to collect.
const (
	memTableSize     = 16 << 20
	memTables        = 2
	cacheSize        = 8 << 20 // of blocks, and again of table indices
	baseTableSize    = 2 << 20
	levelZeroTables  = 5
	levelZeroStall   = 15
	compactors       = 2 // Badger's minimum
	valueLogFileSize = 16 << 20
)

// magic marks a Badger database as one of this program ("MA"). The version of the data is in Meta.
const magic = 0x4d41

func badgerOptions(o *Options) badger.Options {
	b := badger.DefaultOptions(o.Dir).
		WithInMemory(o.Dir == "").
		WithLogger(badgerLogger{o.Log}).
		WithSyncWrites(true).
		WithDetectConflicts(false). // there is one writer
		WithCompression(badgeroptions.None).
		WithMemTableSize(memTableSize).
		WithNumMemtables(memTables).
		WithBlockCacheSize(cacheSize).
		WithIndexCacheSize(cacheSize).
		WithBaseTableSize(baseTableSize).
		WithNumLevelZeroTables(levelZeroTables).
		WithNumLevelZeroTablesStall(levelZeroStall).
		WithNumCompactors(compactors).
		WithValueLogFileSize(valueLogFileSize).
		WithChecksumVerificationMode(badgeroptions.OnBlockRead).
		WithExternalMagic(magic)
	if len(o.EncryptionKey) > 0 {
		b = b.WithEncryptionKey(o.EncryptionKey)
	}
	return b
}

// openBadger opens the database and says in one sentence what is wrong, if something is.
func openBadger(o *Options) (*badger.DB, error) {
	if err := o.fault.at(faultOpen); err != nil {
		return nil, err
	}
	bdb, err := badger.OpenManaged(badgerOptions(o))
	if err == nil {
		return bdb, nil
	}
	return nil, explainOpen(o.Dir, err)
}

// explainOpen puts Badger's refusals into the operator's words. Badger does not wrap all of its errors, hence the texts.
func explainOpen(dir string, err error) error {
	switch {
	case strings.Contains(err.Error(), "Cannot acquire directory lock"):
		return fmt.Errorf("%w: %s is held by process %s: stop it first, or talk to it instead", ErrLocked, dir, lockHolder(dir))
	case errors.Is(err, badger.ErrEncryptionKeyMismatch), strings.Contains(err.Error(), badger.ErrEncryptionKeyMismatch.Error()):
		return fmt.Errorf("%w: the store in %s was made with another encryption key, or with none", ErrEncryptionKey, dir)
	case strings.Contains(err.Error(), "external magic number"):
		return fmt.Errorf("%w: the database in %s was made by another program: choose another directory", ErrForeign, dir)
	}
	return fmt.Errorf("opening the store in %s: %w", dir, err)
}

// lockHolder reads the process ID that Badger leaves beside its lock.
func lockHolder(dir string) string {
	b, err := os.ReadFile(filepath.Join(dir, "LOCK"))
	if pid := strings.TrimSpace(string(b)); err == nil && pid != "" {
		return pid
	}
	return "(unknown)"
}

// snapshot is the database at one revision.
type snapshot struct{ txn *badger.Txn }

func newSnapshot(bdb *badger.DB, revision uint64) snapshot {
	return snapshot{bdb.NewTransactionAt(revision, false)}
}

func (s snapshot) discard() { s.txn.Discard() }

// get reads a key, or gives ErrNotFound.
func (s snapshot) get(key []byte) ([]byte, error) {
	item, err := s.txn.Get(key)
	if errors.Is(err, badger.ErrKeyNotFound) {
		return nil, ErrNotFound
	}
	if err != nil {
		return nil, fmt.Errorf("reading: %w", err)
	}
	value, err := item.ValueCopy([]byte{}) // an empty value is not nil, which would be a deletion
	if err != nil {
		return nil, fmt.Errorf("reading: %w", err)
	}
	return value, nil
}

// scan lists keys with a prefix in order, beginning at from, and their values if wanted.
func (s snapshot) scan(prefix, from []byte, values bool) iter.Seq2[kv, error] {
	return func(yield func(kv, error) bool) {
		o := badger.DefaultIteratorOptions
		o.Prefix = prefix
		o.PrefetchValues = false // they are in the tree, so there is nothing to wait for
		it := s.txn.NewIterator(o)
		defer it.Close()
		for it.Seek(from); it.Valid(); it.Next() {
			item := it.Item()
			pair := kv{key: item.KeyCopy(nil)}
			if values {
				var err error
				if pair.value, err = item.ValueCopy([]byte{}); err != nil {
					yield(kv{}, fmt.Errorf("reading: %w", err))
					return
				}
			}
			if !yield(pair, nil) {
				return
			}
		}
	}
}

// commit makes writes durable and visible at a revision.
func commit(bdb *badger.DB, writes *overlay, revision uint64, fault faultFunc) error {
	txn := bdb.NewTransactionAt(revision-1, true)
	defer txn.Discard()
	for key, value := range writes.writes {
		if err := write(txn, []byte(key), value); err != nil {
			return err
		}
	}
	if err := fault.at(faultBeforeCommit); err != nil {
		return err
	}
	if err := txn.CommitAt(revision, nil); err != nil {
		return err
	}
	return fault.at(faultAfterCommit)
}

func write(txn *badger.Txn, key, value []byte) error {
	if value == nil {
		return txn.Delete(key)
	}
	return txn.Set(key, value)
}

// size is what the database takes on disk, as of the last minute.
func size(bdb *badger.DB) (tree, log uint64) {
	t, l := bdb.Size()
	return uint64(max(t, 0)), uint64(max(l, 0))
}
