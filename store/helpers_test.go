package store

import (
	"context"
	"encoding/binary"
	"io"
	"math/rand/v2"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/oklog/ulid/v2"

	"github.com/caddy-matrix/caddy-matrix-auth/internal/mxid"
	"github.com/caddy-matrix/caddy-matrix-auth/internal/token"
)

// clock is a clock that a test sets.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

func newClock() *clock { return &clock{now: time.Date(2026, 3, 4, 5, 6, 7, 891_234_567, time.UTC)} }

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) Add(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

// testRand is randomness that is the same every time.
func testRand() io.Reader { return rand.NewChaCha8([32]byte{'s', 't', 'o', 'r', 'e'}) }

func testOptions(dir string) Options {
	return Options{Dir: dir, ServerName: "example.org", Now: newClock().Now, Rand: testRand()}
}

func mustOpen(t testing.TB, o Options) *DB {
	t.Helper()
	db, err := Open(context.Background(), o)
	if err != nil {
		t.Fatalf("Open: %v", err)
	}
	t.Cleanup(func() {
		if err := db.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
	})
	return db
}

func mustUpdate(t testing.TB, db *DB, fn func(tx *Tx) error) {
	t.Helper()
	if err := db.Update(context.Background(), fn); err != nil {
		t.Fatalf("Update: %v", err)
	}
}

func mustView(t testing.TB, db *DB, fn func(tx *Tx) error) {
	t.Helper()
	if err := db.View(fn); err != nil {
		t.Fatalf("View: %v", err)
	}
}

func mustVerify(t testing.TB, db *DB) Report {
	t.Helper()
	r, err := db.Verify(context.Background())
	if err != nil {
		t.Fatalf("Verify: %v", err)
	}
	if !r.OK() {
		t.Fatalf("Verify found %d problems: %q", r.ProblemCount, r.Problems)
	}
	return r
}

// testID is the nth ID; IDs grow with n.
func testID(n int) ulid.ULID {
	var id ulid.ULID
	id[0] = 1
	binary.BigEndian.PutUint64(id[8:], uint64(n))
	return id
}

func testHandle(kind byte, n int) token.Handle {
	var h token.Handle
	binary.BigEndian.PutUint64(h[:], uint64(n))
	h[0] = kind
	return h
}

func testUser(n int) User {
	return User{ID: testID(n), Localpart: mxid.Localpart("user" + string(rune('a'+n%26)) + testID(n).String()), CreatedAt: newClock().Now().Truncate(time.Microsecond)}
}

// testSession is the nth session, of about 700 bytes, of the given user and on its own device.
func testSession(n, user int) Session {
	now := newClock().Now().Truncate(time.Microsecond)
	s := Session{
		ID: testID(n), Kind: SessionCompat, UserID: testID(user), DeviceID: mxid.DeviceID("DEV" + testID(n).String()),
		AccessHandle: testHandle('a', n), RefreshHandle: testHandle('r', n),
		CreatedAt: now, RefreshedAt: now, Generation: 3, Refresh: token.Hash{1, byte(n)},
		Consumed: []ConsumedToken{{Hash: token.Hash{9}, Generation: 2, Seal: make([]byte, 200)}},
	}
	for i := range 5 {
		s.Access = append(s.Access, AccessToken{Hash: token.Hash{2, byte(i)}, ExpiresAt: now.Add(5 * time.Minute), Generation: uint64(5 - i)})
	}
	return s
}

// together runs functions in one batch, in order, and returns their errors: the writer is held until all of them wait.
func together(t testing.TB, db *DB, fns ...func(tx *Tx) error) []error {
	t.Helper()
	hold, held := make(chan struct{}), make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		_ = db.Update(context.Background(), func(*Tx) error {
			close(held)
			<-hold
			return nil
		})
	})
	<-held
	errs := make([]error, len(fns))
	for i, fn := range fns {
		wg.Go(func() { errs[i] = db.Update(context.Background(), fn) })
		for len(db.queue) <= i {
			runtime.Gosched()
		}
	}
	close(hold)
	wg.Wait()
	return errs
}
