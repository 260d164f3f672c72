package store

import (
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"sync"
	"sync/atomic"
	"time"

	"github.com/dgraph-io/badger/v4"

	"github.com/caddy-matrix/caddy-matrix-auth/internal/token"
)

// queueLimit bounds what waits for the writer: more is a stall that nobody should wait behind.
const queueLimit = 4096

// DB is an open store. It is safe for concurrent use.
type DB struct {
	options  Options
	engine   engine
	tokenKey token.Key

	admission sync.RWMutex // guards closing against sends to queue
	closing   bool
	queue     chan *request
	changes   changes       // of the writer
	stopped   chan struct{} // closed when the writer has ended
	shut      sync.Once
	shutErr   error

	limits   limits
	broken   atomic.Pointer[brokenness] // nil: commits work
	stop     context.CancelFunc         // ends healing
	stopping context.Context
	healing  sync.WaitGroup
	counters counters
}

// brokenness is why the store is read-only.
type brokenness struct{ cause error }

// limits bound a commit: half of what Badger takes.
type limits struct{ entries, bytes int64 }

// Open opens the store in a directory, or makes one. The context is only for the opening.
//
// Errors: ErrLocked, ErrForeign, ErrEncryptionKey, ErrUnavailable (no disk space); each says what to do.
func Open(ctx context.Context, o Options) (*DB, error) {
	if err := o.check(); err != nil {
		return nil, err
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if o.Dir != "" {
		if err := prepareDir(o.Dir); err != nil {
			return nil, err
		}
	}
	if err := checkSpaceToOpen(&o); err != nil {
		return nil, err
	}
	bdb, err := openBadger(&o)
	if err != nil {
		return nil, err
	}
	db := newDB(o, bdb)
	if err := db.identify(); err != nil {
		return nil, errors.Join(err, bdb.Close())
	}
	go db.write()
	return db, nil
}

func newDB(o Options, bdb *badger.DB) *DB {
	db := &DB{
		options: o,
		engine:  engine{pins: make(map[uint64]int)},
		queue:   make(chan *request, queueLimit),
		changes: changes{seed: maphash.MakeSeed()},
		stopped: make(chan struct{}),
		limits:  limits{entries: bdb.MaxBatchCount() / 2, bytes: bdb.MaxBatchSize() / 2},
	}
	db.stopping, db.stop = context.WithCancel(context.Background())
	db.engine.install(bdb, bdb.MaxVersion())
	return db
}

// identify writes the first facts into an empty store, and makes sure that any other one is ours.
func (db *DB) identify() error {
	if db.engine.last() == 0 {
		b, err := db.newBatch()
		if err != nil {
			return err
		}
		defer db.engine.unpin(b.pinned)
		tx := b.tx(db.now())
		if err := initMeta(tx, &db.options); err != nil {
			return err
		}
		b.keep(tx)
		if err := commit(b.bdb, b.writes, b.revision(), nil); err != nil {
			return fmt.Errorf("writing the first facts into the store: %w", err)
		}
		db.engine.committed(b.revision())
	}
	return db.View(func(tx *Tx) (err error) {
		db.tokenKey, err = readMeta(tx, &db.options)
		return err
	})
}

// TokenKey is the MAC key of this store's tokens, made when the store was made.
func (db *DB) TokenKey() token.Key { return db.tokenKey }

// now is the clock as exact as times are stored.
func (db *DB) now() time.Time { return db.options.Now().UTC().Truncate(time.Microsecond) }

// View runs a function on the snapshot of the last commit. It never waits for a writer. It gives the function's error, or
// ErrUnavailable if the store is closed or its engine is not back within a few seconds.
func (db *DB) View(fn func(tx *Tx) error) error {
	p, err := db.engine.pin()
	if err != nil {
		return err
	}
	defer db.engine.unpin(p)
	tx := &Tx{snapshot: p.snapshot, now: db.now(), revision: p.revision}
	defer func() { tx.done = true }()
	return fn(tx)
}

// Close refuses what comes, finishes what waits, and closes the directory. It may be called more than once.
func (db *DB) Close() error {
	db.shut.Do(func() { db.shutErr = db.close() })
	return db.shutErr
}

func (db *DB) close() error {
	db.admission.Lock()
	db.closing = true
	close(db.queue)
	db.admission.Unlock()
	<-db.stopped
	db.stop()
	db.healing.Wait()
	if err := db.engine.shut(); err != nil {
		return fmt.Errorf("closing the store: %w", err)
	}
	return nil
}
