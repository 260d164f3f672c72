package store

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"testing"

	"github.com/caddy-matrix/caddy-matrix-auth/internal/mxid"
)

// hold keeps the writer busy until the returned function is called, which waits for the held Update's error.
func hold(db *DB, ctx context.Context) (release func() error) {
	let, held, done := make(chan struct{}), make(chan struct{}), make(chan error, 1)
	go func() {
		done <- db.Update(ctx, func(tx *Tx) error {
			close(held)
			<-let
			return tx.InsertUser(testUser(1000))
		})
	}()
	<-held
	return func() error { close(let); return <-done }
}

func TestDeadlineInTheQueue(t *testing.T) {
	db := mustOpen(t, testOptions(""))
	release := hold(db, context.Background())
	ctx, cancel := context.WithCancelCause(context.Background())
	done := make(chan error, 1)
	go func() {
		done <- db.Update(ctx, func(*Tx) error { t.Error("an abandoned function was run"); return nil })
	}()
	for len(db.queue) == 0 {
		runtime.Gosched()
	}
	cancel(errTest)
	if err := <-done; !errors.Is(err, ErrUnavailable) || !errors.Is(err, errTest) {
		t.Errorf("got %v, want ErrUnavailable with the cause", err)
	}
	if err := release(); err != nil {
		t.Error(err)
	}
	if err := db.Update(ctx, func(*Tx) error { return nil }); !errors.Is(err, ErrUnavailable) {
		t.Errorf("got %v for an ended context, want ErrUnavailable", err)
	}
	mustUpdate(t, db, func(*Tx) error { return nil })
	if got := db.Stats().Abandoned; got != 1 {
		t.Errorf("got %d abandoned, want 1", got)
	}
}

func TestTakenFunctionHasItsTrueOutcome(t *testing.T) {
	db := mustOpen(t, testOptions(""))
	ctx, cancel := context.WithCancel(context.Background())
	release := hold(db, ctx)
	cancel()
	if err := release(); err != nil {
		t.Errorf("got %v, want the true outcome, none", err)
	}
	mustView(t, db, func(tx *Tx) error { _, err := tx.User(testID(1000)); return err })
}

func TestQueueIsBounded(t *testing.T) {
	db := mustOpen(t, testOptions(""))
	release := hold(db, context.Background())
	var wg sync.WaitGroup
	for range queueLimit {
		wg.Go(func() {
			if err := db.Update(context.Background(), func(*Tx) error { return nil }); err != nil {
				t.Error(err)
			}
		})
	}
	for db.Health().Queue < queueLimit {
		runtime.Gosched()
	}
	if err := db.Update(context.Background(), func(*Tx) error { return nil }); !errors.Is(err, ErrUnavailable) {
		t.Errorf("got %v, want ErrUnavailable", err)
	}
	if err := release(); err != nil {
		t.Error(err)
	}
	wg.Wait()
}

func TestBatchIsBounded(t *testing.T) {
	db := mustOpen(t, testOptions(""))
	before := db.Stats().Commits
	fns := make([]func(*Tx) error, batchLimit+10)
	for i := range fns {
		fns[i] = func(tx *Tx) error { return tx.InsertUser(testUser(i)) }
	}
	if err := errors.Join(together(t, db, fns...)...); err != nil {
		t.Fatal(err)
	}
	s := db.Stats()
	if got := s.Commits - before; got != 2 || s.LargestBatch != batchLimit {
		t.Errorf("got %d commits, the largest of %d, want 2 and %d", got, s.LargestBatch, batchLimit)
	}
}

func TestBatchThatIsTooBigIsSplit(t *testing.T) {
	db := mustOpen(t, testOptions(""))
	before := db.Stats().Commits
	big := strings.Repeat("x", maxValue-200)
	var revisions []uint64
	fns := make([]func(*Tx) error, 5)
	for i := range fns {
		fns[i] = func(tx *Tx) error {
			revision := tx.Revision()
			tx.OnCommit(func() { revisions = append(revisions, revision) })
			return tx.PutPassword(Password{UserID: testID(i + 1), Hash: big})
		}
	}
	if err := errors.Join(together(t, db, fns...)...); err != nil {
		t.Fatal(err)
	}
	if got := db.Stats().Commits - before; got < 2 || got > 5 {
		t.Errorf("got %d commits, want a few", got)
	}
	mustView(t, db, func(tx *Tx) error {
		for i := range fns {
			if _, err := tx.Password(testID(i + 1)); err != nil {
				return err
			}
		}
		return nil
	})
	if last := revisions[len(revisions)-1]; len(revisions) != 5 || last != db.Health().Revision {
		t.Errorf("got revisions %v, want five that end with %d", revisions, db.Health().Revision)
	}
}

func TestFunctionThatIsTooBigFailsAlone(t *testing.T) {
	db := mustOpen(t, testOptions(""))
	errs := together(t, db,
		func(tx *Tx) error { return tx.InsertUser(testUser(1)) },
		func(tx *Tx) error {
			for i := range 20_000 {
				if err := tx.PutPassword(Password{UserID: testID(i), Hash: "x"}); err != nil {
					return err
				}
			}
			return nil
		},
		func(tx *Tx) error { return tx.InsertUser(testUser(2)) })
	if errs[0] != nil || !errors.Is(errs[1], ErrTooBig) || errs[2] != nil {
		t.Errorf("got %v, want ErrTooBig for the second only", errs)
	}
	if h := db.Health(); !h.Writable {
		t.Errorf("got %+v, want writable", h)
	}
}

func TestCloseFinishesWhatWaits(t *testing.T) {
	dir := t.TempDir()
	db := mustOpen(t, testOptions(dir))
	release := hold(db, context.Background())
	var wg sync.WaitGroup
	for i := range 10 {
		wg.Go(func() {
			err := db.Update(context.Background(), func(tx *Tx) error { return tx.InsertUser(testUser(i)) })
			if err != nil {
				t.Error(err)
			}
		})
	}
	for len(db.queue) < 10 {
		runtime.Gosched()
	}
	closed := make(chan error, 2)
	for range 2 {
		go func() { closed <- db.Close() }()
	}
	if err := release(); err != nil {
		t.Error(err)
	}
	wg.Wait()
	if err := errors.Join(<-closed, <-closed, db.Close()); err != nil {
		t.Error(err)
	}
	if err := db.Update(context.Background(), func(*Tx) error { return nil }); !errors.Is(err, ErrUnavailable) {
		t.Errorf("Update after Close: got %v, want ErrUnavailable", err)
	}
	if err := db.View(func(*Tx) error { return nil }); !errors.Is(err, ErrUnavailable) {
		t.Errorf("View after Close: got %v, want ErrUnavailable", err)
	}
	if h := db.Health(); h.Writable {
		t.Errorf("got %+v, want not writable", h)
	}
	db = mustOpen(t, testOptions(dir))
	mustView(t, db, func(tx *Tx) error {
		for i := range 10 {
			if _, err := tx.User(testID(i)); err != nil {
				return fmt.Errorf("user %d: %w", i, err)
			}
		}
		return nil
	})
}

func TestGoexitEndsTheWriterAndNobodyHangs(t *testing.T) {
	db := mustOpen(t, testOptions(""))
	err := db.Update(context.Background(), func(*Tx) error { runtime.Goexit(); return nil })
	if !errors.Is(err, ErrUnavailable) {
		t.Errorf("got %v, want ErrUnavailable", err)
	}
	err = db.Update(context.Background(), func(tx *Tx) error { return tx.InsertUser(User{Localpart: mxid.Localpart("x")}) })
	if !errors.Is(err, ErrUnavailable) {
		t.Errorf("got %v, want ErrUnavailable", err)
	}
}

// A function that writes until it is full has as much room again.
func TestFull(t *testing.T) {
	db := mustOpen(t, testOptions(""))
	n := 0
	mustUpdate(t, db, func(tx *Tx) error {
		for n = 0; !tx.Full(); n++ {
			if err := tx.InsertSession(testSession(n, 1)); err != nil {
				return err
			}
		}
		for i := range n - 1 {
			if err := tx.InsertSession(testSession(n+i, 1)); err != nil {
				return err
			}
		}
		return nil
	})
	if n < 100 {
		t.Errorf("full after %d sessions", n)
	}
}
