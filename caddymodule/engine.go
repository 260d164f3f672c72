package caddymodule

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/caddyserver/caddy/v2"
	"go.uber.org/zap"

	"github.com/caddy-matrix/caddy-matrix-auth/internal/auth"
	"github.com/caddy-matrix/caddy-matrix-auth/internal/mxid"
	"github.com/caddy-matrix/caddy-matrix-auth/internal/password"
	"github.com/caddy-matrix/caddy-matrix-auth/store"
)

// Bounds of opening and closing. Both happen under Caddy's configuration lock.
const (
	lockedPatience = 10 * time.Second       // for the process before us, when a container is replaced
	lockedRetry    = 250 * time.Millisecond // between attempts
	drainPatience  = 10 * time.Second       // for requests under way, when the last configuration lets go
	flushPatience  = 10 * time.Second       // for the service to write what it has in memory
)

// engines holds what outlives a configuration, by the absolute, symlink-free data directory and nothing else: a reload that
// changes any other option joins the open engine.
var engines = caddy.NewUsagePool()

// engine is an open database and everything in memory that belongs to it.
type engine struct {
	dir           string
	server        mxid.ServerName
	encryptionKey []byte
	log           *liveLogger

	db      *store.DB
	hasher  *password.Hasher
	service *auth.Service
	leases  leases
	stop    context.CancelFunc // ends the service's work
	stopped chan struct{}      // closed when it has ended
	unlog   func()             // takes the log away from zitadel/oidc

	mu    sync.Mutex // guards owner and every App.gone; what the owner says is applied while it is held
	owner *App       // whose settings are in force
}

// acquireEngine opens the engine of a directory, or joins the open one. Every success needs one releaseEngine.
func acquireEngine(ctx context.Context, dir string, a *App) (*engine, error) {
	value, _, err := engines.LoadOrNew(dir, func() (caddy.Destructor, error) { return openEngine(ctx, dir, a) })
	if err != nil {
		return nil, err
	}
	return value.(*engine), nil
}

// releaseEngine gives up one use of an engine. The last one closes it.
func releaseEngine(e *engine) error {
	_, err := engines.Delete(e.dir)
	return err
}

func openEngine(ctx context.Context, dir string, a *App) (*engine, error) {
	e := &engine{
		dir:           dir,
		server:        a.conf.server,
		encryptionKey: a.conf.encryptionKey,
		log:           newLiveLogger(a.log),
		stopped:       make(chan struct{}),
	}
	e.leases.init()
	db, err := openStore(ctx, a.log, store.Options{
		Dir:           dir,
		EncryptionKey: a.conf.encryptionKey,
		ServerName:    a.conf.server,
		Now:           time.Now,
		Rand:          rand.Reader,
		Log:           e.log.logger("store"),
	})
	if err != nil {
		return nil, err
	}
	e.db = db
	e.hasher = password.NewHasher(password.Config{
		Concurrency: a.conf.concurrency,
		Pepper:      a.conf.pepper,
		Rand:        rand.Reader,
		Now:         time.Now,
		Command:     hasherCommand,
		Log:         e.log.logger("password"),
	})
	if err := e.startService(a); err != nil {
		return nil, errors.Join(err, e.hasher.Close(), db.Close())
	}
	opened.add(e)
	e.unlog = setLibraryLog(e.log.logger("oidc"))
	return e, nil
}

// openStore waits a little for a process that is about to let go of the directory.
func openStore(ctx context.Context, log *zap.Logger, o store.Options) (*store.DB, error) {
	ctx, cancel := context.WithTimeout(ctx, lockedPatience)
	defer cancel()
	for attempt := 0; ; attempt++ {
		db, err := store.Open(ctx, o)
		if !errors.Is(err, store.ErrLocked) {
			return db, err
		}
		if attempt == 0 {
			log.Warn("the data directory is in use by another process, waiting for it", zap.String("data_dir", o.Dir))
		}
		select {
		case <-ctx.Done():
			return nil, err
		case <-time.After(lockedRetry):
		}
	}
}

func (e *engine) startService(a *App) error {
	service, err := auth.New(auth.Config{
		DB:         e.db,
		ServerName: e.server,
		Hasher:     e.hasher,
		Now:        time.Now,
		Rand:       rand.Reader,
	}, a.authSettings())
	if err != nil {
		return err
	}
	e.service = service
	ctx, cancel := context.WithCancel(context.Background())
	e.stop = cancel
	go e.run(ctx)
	return nil
}

// run is the one goroutine of ours that outlives a configuration.
func (e *engine) run(ctx context.Context) {
	defer close(e.stopped)
	if err := e.service.Run(ctx); err != nil && ctx.Err() == nil {
		e.log.logger("jobs").Error("the service has stopped working on jobs and activity", zap.Error(err))
	}
}

// matches refuses a configuration that means the same directory differently.
func (e *engine) matches(s *settings) error {
	if e.server != s.server {
		return fmt.Errorf("server_name: data_dir %s belongs to %s; another server needs another data_dir", e.dir, e.server)
	}
	if !bytes.Equal(e.encryptionKey, s.encryptionKey) {
		return fmt.Errorf("encryption_key: data_dir %s is open with another one; it cannot be changed", e.dir)
	}
	return nil
}

// claim puts an app's settings in force. The returned function is for the app's end: it brings back the settings before, if
// those are of an app that still runs and nobody else has claimed the engine, which is when a reload has failed after our
// start. When Caddy ends, requests under way keep the settings they have.
func (e *engine) claim(a *App) (release func()) {
	e.mu.Lock()
	defer e.mu.Unlock()
	back := e.service.Claim(a.authSettings())
	before := e.owner
	e.setOwner(a)
	return func() {
		e.mu.Lock()
		defer e.mu.Unlock()
		a.gone = true
		if e.owner == a && before != nil && !before.gone {
			back()
			e.setOwner(before)
		}
	}
}

// setOwner applies what an app says about the parts that have settings of their own. Callers hold mu.
func (e *engine) setOwner(a *App) {
	e.owner = a
	e.log.set(a.log)
	e.hasher.SetConcurrency(a.conf.concurrency)
	e.hasher.SetPepper(a.conf.pepper)
}

// Destruct closes the engine: requests that use it finish first, within reason, then what is in memory is written.
func (e *engine) Destruct() error {
	opened.remove(e)
	defer e.unlog()
	log := e.log.logger("")
	if !waitFor(e.leases.close(), drainPatience) {
		log.Warn("closing the database under requests that do not end", zap.Duration("waited", drainPatience))
	}
	e.stop()
	if !waitFor(e.stopped, flushPatience) {
		log.Error("closing the database before everything in memory was written", zap.Duration("waited", flushPatience))
	}
	err := errors.Join(e.hasher.Close(), e.db.Close())
	log.Info("database closed", zap.String("data_dir", e.dir), zap.Error(err))
	return err
}

// waitFor reports whether the channel was closed in time.
func waitFor(done <-chan struct{}, patience time.Duration) bool {
	timer := time.NewTimer(patience)
	defer timer.Stop()
	select {
	case <-done:
		return true
	case <-timer.C:
		return false
	}
}

// Interface guard.
var _ caddy.Destructor = (*engine)(nil)
