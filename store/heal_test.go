package store

import (
	"context"
	"errors"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/oklog/ulid/v2"
)

// faults fails steps of a store as often as a test says.
type faults struct {
	mu    sync.Mutex
	times map[faultStep]int
}

func (f *faults) set(step faultStep, times int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.times == nil {
		f.times = make(map[faultStep]int)
	}
	f.times[step] = times
}

func (f *faults) at(step faultStep) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.times[step] == 0 {
		return nil
	}
	f.times[step]--
	return errTest
}

// faulty opens a store with faults. reopened receives when the store has been opened again, before it is writable, and
// waits for the test to receive from it.
func faulty(t *testing.T, dir string) (db *DB, f *faults, reopened chan struct{}) {
	f, reopened = new(faults), make(chan struct{})
	o := testOptions(dir)
	o.fault = func(step faultStep) error {
		if step == faultHealed {
			reopened <- struct{}{}
		}
		return f.at(step)
	}
	return mustOpen(t, o), f, reopened
}

// healed waits until writing works.
func healed(t *testing.T, db *DB, reopened chan struct{}) {
	t.Helper()
	<-reopened
	db.healing.Wait()
	if h := db.Health(); !h.Writable {
		t.Fatalf("got %+v after reopening, want writable", h)
	}
}

func TestFailedCommit(t *testing.T) {
	for name, step := range map[string]faultStep{"not written": faultBeforeCommit, "written": faultAfterCommit} {
		t.Run(name+" on disk", func(t *testing.T) { testFailedCommit(t, t.TempDir(), step) })
		t.Run(name+" in memory", func(t *testing.T) { testFailedCommit(t, "", step) })
	}
}

func testFailedCommit(t *testing.T, dir string, step faultStep) {
	db, f, reopened := faulty(t, dir)
	mustUpdate(t, db, func(tx *Tx) error {
		return errors.Join(tx.InsertSession(testSession(1, 7)), tx.InsertSession(testSession(2, 7)), tx.InsertUser(testUser(1)))
	})
	revision := db.Health().Revision
	f.set(step, 1)
	hooked := false
	errs := together(t, db,
		func(tx *Tx) error { tx.OnCommit(func() { hooked = true }); return tx.InsertUser(testUser(2)) },
		func(tx *Tx) error { _, err := tx.User(testID(2)); return err },
		func(tx *Tx) error {
			s, err := tx.Session(testID(1))
			if err != nil {
				return err
			}
			s.End(tx.Now(), "test")
			return errors.Join(tx.UpdateSession(s), tx.RemoveSession(testID(2)), tx.RemoveUser(testID(1)))
		},
		func(*Tx) error { return ErrConflict })
	for i, err := range errs {
		if !errors.Is(err, ErrUnavailable) || !errors.Is(err, errTest) {
			t.Errorf("function %d: got %v, want ErrUnavailable with the cause", i, err)
		}
	}
	if hooked {
		t.Error("got a hook, want none")
	}
	if h := db.Health(); h.Writable || !strings.Contains(h.Reason, "commit failed") || h.Revision < revision {
		t.Errorf("got %+v, want read-only at %d", h, revision)
	}
	if err := db.Update(context.Background(), func(*Tx) error { return nil }); !errors.Is(err, ErrUnavailable) {
		t.Errorf("Update while broken: got %v, want ErrUnavailable", err)
	}
	checkUntouched(t, db)
	healed(t, db, reopened)
	checkUntouched(t, db)
	mustVerify(t, db)
	mustUpdate(t, db, func(tx *Tx) error {
		if tx.Revision() <= revision {
			t.Errorf("got revision %d, want one after %d", tx.Revision(), revision)
		}
		return tx.InsertUser(testUser(2))
	})
	if s := db.Stats(); s.FailedCommits != 1 || s.Reopened != 1 || s.Unwritten != 3 {
		t.Errorf("got %+v, want one failed commit of three functions, reopened once", s)
	}
	if dir == "" {
		return
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	db = mustOpen(t, testOptions(dir))
	mustVerify(t, db)
	mustView(t, db, func(tx *Tx) error { _, err := tx.User(testID(2)); return err })
}

// checkUntouched makes sure that nothing of the failed commit is seen.
func checkUntouched(t *testing.T, db *DB) {
	t.Helper()
	mustView(t, db, func(tx *Tx) error {
		if _, err := tx.User(testID(2)); !errors.Is(err, ErrNotFound) {
			t.Errorf("got %v for what was inserted, want ErrNotFound", err)
		}
		live := 0
		for _, err := range tx.LiveSessions(testID(7)) {
			if err != nil {
				return err
			}
			live++
		}
		_, err := tx.UserByLocalpart(testUser(1).Localpart)
		if live != 2 || err != nil {
			t.Errorf("got %d live sessions and %v for the user, want 2 and none", live, err)
		}
		return nil
	})
}

func TestOpeningAgainFailsForAWhile(t *testing.T) {
	db, f, reopened := faulty(t, t.TempDir())
	f.set(faultBeforeCommit, 1)
	f.set(faultOpen, 2)
	err := db.Update(context.Background(), func(tx *Tx) error { return tx.InsertUser(testUser(1)) })
	if !errors.Is(err, ErrUnavailable) {
		t.Fatalf("got %v, want ErrUnavailable", err)
	}
	healed(t, db, reopened)
	mustUpdate(t, db, func(tx *Tx) error { return tx.InsertUser(testUser(1)) })
}

func TestUndoingFailsForAWhile(t *testing.T) {
	for _, dir := range []string{"", t.TempDir()} {
		db, f, reopened := faulty(t, dir)
		f.set(faultAfterCommit, 1)
		f.set(faultUndo, 2)
		err := db.Update(context.Background(), func(tx *Tx) error { return tx.InsertUser(testUser(1)) })
		if !errors.Is(err, ErrUnavailable) {
			t.Fatalf("got %v, want ErrUnavailable", err)
		}
		healed(t, db, reopened)
		mustUpdate(t, db, func(tx *Tx) error { return tx.InsertUser(testUser(1)) })
		mustVerify(t, db)
	}
}

// TestUndoingTakesMoreThanOneCommit fails the removal of more than one commit can write again.
func TestUndoingTakesMoreThanOneCommit(t *testing.T) {
	const count = 2000
	for _, dir := range []string{"", t.TempDir()} {
		db, f, reopened := faulty(t, dir)
		for from := 0; from < count; from += 500 {
			mustUpdate(t, db, func(tx *Tx) error {
				for n := from; n < from+500; n++ {
					if err := tx.InsertSession(testSession(n, 7)); err != nil {
						return err
					}
				}
				return nil
			})
		}
		revision := db.Health().Revision
		f.set(faultAfterCommit, 1)
		err := db.Update(context.Background(), func(tx *Tx) error {
			for n := range count {
				if err := tx.RemoveSession(testID(n)); err != nil {
					return err
				}
			}
			return nil
		})
		if !errors.Is(err, ErrUnavailable) {
			t.Fatalf("got %v, want ErrUnavailable", err)
		}
		healed(t, db, reopened)
		if got := mustVerify(t, db); got.Tables["sessions"].Records != count || got.Revision < revision+3 {
			t.Errorf("got %+v, want %d sessions, and two commits to undo", got, count)
		}
	}
}

func TestCloseWhileBroken(t *testing.T) {
	db, f, _ := faulty(t, t.TempDir())
	f.set(faultBeforeCommit, 1)
	f.set(faultOpen, 1000)
	err := db.Update(context.Background(), func(tx *Tx) error { return tx.InsertUser(testUser(1)) })
	if !errors.Is(err, ErrUnavailable) {
		t.Fatalf("got %v, want ErrUnavailable", err)
	}
	if err := db.Close(); err != nil {
		t.Errorf("got %v, want none", err)
	}
}

// TestViewsDuringReopen reads all the time while commits fail and the database is exchanged: no View fails, and none sees
// anything but its snapshot.
func TestViewsDuringReopen(t *testing.T) {
	db, f, reopened := faulty(t, t.TempDir())
	mustUpdate(t, db, func(tx *Tx) error {
		for i := range 200 {
			if err := tx.InsertSession(testSession(i, 7)); err != nil {
				return err
			}
		}
		return nil
	})
	var stop atomic.Bool
	var views atomic.Int64
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for !stop.Load() {
				views.Add(1)
				err := db.View(func(tx *Tx) error {
					n := 0
					for _, err := range tx.Sessions(ulid.ULID{}) {
						if err != nil {
							return err
						}
						n++
					}
					if n != 200 {
						t.Errorf("got %d sessions, want 200", n)
					}
					return nil
				})
				if err != nil {
					t.Errorf("View: %v", err)
					return
				}
			}
		})
	}
	for range 3 {
		f.set(faultAfterCommit, 1)
		err := db.Update(context.Background(), func(tx *Tx) error { return tx.RemoveSession(testID(1)) })
		if !errors.Is(err, ErrUnavailable) {
			t.Errorf("got %v, want ErrUnavailable", err)
		}
		healed(t, db, reopened)
	}
	stop.Store(true)
	wg.Wait()
	t.Logf("%d views", views.Load())
	mustVerify(t, db)
}

func TestVerifyLeavesForAnExchange(t *testing.T) {
	db, f, reopened := faulty(t, t.TempDir())
	p, err := db.engine.pin()
	if err != nil {
		t.Fatal(err)
	}
	f.set(faultBeforeCommit, 1)
	if err := db.Update(context.Background(), func(tx *Tx) error { return tx.InsertUser(testUser(1)) }); !errors.Is(err, ErrUnavailable) {
		t.Fatalf("got %v, want ErrUnavailable", err)
	}
	<-p.leave // a long reader is asked to leave
	db.engine.unpin(p)
	healed(t, db, reopened)
}
