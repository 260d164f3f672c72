package store

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/oklog/ulid/v2"

	"github.com/caddy-matrix/caddy-matrix-auth/internal/token"
)

var errTest = errors.New("refused by the test")

func TestBatchIsOneCommitAndLaterFunctionsSeeEarlierWrites(t *testing.T) {
	db := mustOpen(t, testOptions(""))
	before := db.Stats()
	var order []string
	var revisions []uint64
	note := func(tx *Tx, name string) {
		revisions = append(revisions, tx.Revision())
		tx.OnCommit(func() { order = append(order, name) })
	}
	errs := together(t, db,
		func(tx *Tx) error {
			note(tx, "insert")
			return tx.InsertUser(testUser(1))
		},
		func(tx *Tx) error {
			note(tx, "refused")
			if err := tx.InsertUser(testUser(2)); err != nil {
				return err
			}
			return errTest
		},
		func(tx *Tx) error {
			note(tx, "panics")
			if err := tx.RemoveUser(testID(1)); err != nil {
				return err
			}
			panic("by the test")
		},
		func(tx *Tx) error {
			note(tx, "update")
			if _, err := tx.User(testID(2)); !errors.Is(err, ErrNotFound) {
				t.Errorf("got %v for what a failed function wrote, want ErrNotFound", err)
			}
			u, err := tx.User(testID(1))
			if err != nil {
				return err
			}
			u.Localpart = "renamed"
			return tx.UpdateUser(u)
		},
		func(tx *Tx) error {
			note(tx, "read")
			_, err := tx.UserByLocalpart("renamed")
			return err
		},
	)
	if errs[0] != nil || errs[3] != nil || errs[4] != nil {
		t.Errorf("got errors %v, want none for the first, fourth and fifth", errs)
	}
	if !errors.Is(errs[1], errTest) || errs[2] == nil {
		t.Errorf("got errors %v, want the second's and the third's own", errs)
	}
	if diff := cmp.Diff([]string{"insert", "update", "read"}, order); diff != "" {
		t.Errorf("hooks (-want +got):\n%s", diff)
	}
	after := db.Stats()
	if got := after.Commits - before.Commits; got != 1 {
		t.Errorf("got %d commits, want 1", got)
	}
	if got := slices.Compact(revisions); len(got) != 1 || got[0] != db.Health().Revision {
		t.Errorf("got revisions %v, want all %d", revisions, db.Health().Revision)
	}
	mustView(t, db, func(tx *Tx) error {
		if _, err := tx.UserByLocalpart(testUser(1).Localpart); !errors.Is(err, ErrNotFound) {
			t.Errorf("got %v for the old name, want ErrNotFound", err)
		}
		_, err := tx.UserByLocalpart("renamed")
		return err
	})
	mustVerify(t, db)
}

func TestUpdateThatWritesNothingCommitsNothing(t *testing.T) {
	db := mustOpen(t, testOptions(""))
	revision, called := db.Health().Revision, false
	mustUpdate(t, db, func(tx *Tx) error {
		tx.OnCommit(func() { called = true })
		return nil
	})
	if got := db.Health().Revision; got != revision || !called {
		t.Errorf("got revision %d and hook called %v, want %d and true", got, called, revision)
	}
	mustUpdate(t, db, func(tx *Tx) error { return tx.InsertUser(testUser(1)) })
	mustUpdate(t, db, func(tx *Tx) error { return tx.UpdateUser(testUser(1)) })
	if got := db.Health().Revision; got != revision+1 {
		t.Errorf("got revision %d after an update that changes nothing, want %d", got, revision+1)
	}
}

func TestPanicInHookEndsNothing(t *testing.T) {
	db := mustOpen(t, testOptions(""))
	mustUpdate(t, db, func(tx *Tx) error {
		tx.OnCommit(func() { panic("by the test") })
		return tx.InsertUser(testUser(1))
	})
	mustUpdate(t, db, func(tx *Tx) error { return tx.InsertUser(testUser(2)) })
}

func TestTxOutsideItsFunctionAndWritesInView(t *testing.T) {
	db := mustOpen(t, testOptions(""))
	var kept *Tx
	mustUpdate(t, db, func(tx *Tx) error { kept = tx; return tx.InsertUser(testUser(1)) })
	if _, err := kept.User(testID(1)); !errors.Is(err, errTxDone) {
		t.Errorf("got %v, want errTxDone", err)
	}
	if err := kept.InsertUser(testUser(2)); !errors.Is(err, errTxDone) {
		t.Errorf("got %v, want errTxDone", err)
	}
	for _, err := range kept.Users(ulid.ULID{}) {
		if !errors.Is(err, errTxDone) {
			t.Errorf("got %v, want errTxDone", err)
		}
	}
	mustView(t, db, func(tx *Tx) error {
		for _, err := range []error{tx.InsertUser(testUser(2)), tx.UpdateUser(testUser(1)), tx.RemoveUser(testID(1)), tx.PutJob(Job{UserID: testID(1)})} {
			if !errors.Is(err, ErrReadOnly) {
				t.Errorf("got %v, want ErrReadOnly", err)
			}
		}
		return nil
	})
}

func TestViewIsASnapshot(t *testing.T) {
	db := mustOpen(t, testOptions(""))
	mustUpdate(t, db, func(tx *Tx) error { return tx.InsertUser(testUser(1)) })
	mustView(t, db, func(tx *Tx) error {
		revision := tx.Revision()
		mustUpdate(t, db, func(tx *Tx) error { return tx.RemoveUser(testID(1)) })
		if _, err := tx.User(testID(1)); err != nil || tx.Revision() != revision {
			t.Errorf("got %v at revision %d, want the record at %d", err, tx.Revision(), revision)
		}
		return nil
	})
}

func TestScansSeeOverlaysInOrder(t *testing.T) {
	db := mustOpen(t, testOptions(""))
	mustUpdate(t, db, func(tx *Tx) error {
		for _, n := range []int{2, 4, 6, 8} {
			if err := tx.InsertUser(testUser(n)); err != nil {
				return err
			}
		}
		return nil
	})
	ids := func(tx *Tx, after int) (got []ulid.ULID) {
		var from ulid.ULID
		if after > 0 {
			from = testID(after)
		}
		for u, err := range tx.Users(from) {
			if err != nil {
				t.Errorf("Users: %v", err)
			}
			got = append(got, u.ID)
		}
		return got
	}
	wantIDs := func(ns ...int) (want []ulid.ULID) {
		for _, n := range ns {
			want = append(want, testID(n))
		}
		return want
	}
	errs := together(t, db,
		func(tx *Tx) error { return errors.Join(tx.InsertUser(testUser(5)), tx.RemoveUser(testID(2))) },
		func(tx *Tx) error {
			err := errors.Join(tx.InsertUser(testUser(1)), tx.InsertUser(testUser(9)), tx.RemoveUser(testID(6)))
			if diff := cmp.Diff(wantIDs(1, 4, 5, 8, 9), ids(tx, 0)); diff != "" {
				t.Errorf("all (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(wantIDs(8, 9), ids(tx, 5)); diff != "" {
				t.Errorf("after the fifth (-want +got):\n%s", diff)
			}
			for u, err := range tx.Users(ulid.ULID{}) {
				if err != nil || u.ID != testID(1) {
					t.Errorf("got %v, %v first, want the first user", u.ID, err)
				}
				break
			}
			return err
		})
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
	mustView(t, db, func(tx *Tx) error {
		if diff := cmp.Diff(wantIDs(1, 4, 5, 8, 9), ids(tx, 0)); diff != "" {
			t.Errorf("after the commit (-want +got):\n%s", diff)
		}
		return nil
	})
}

func TestSessionIndicesMoveWithTheSession(t *testing.T) {
	db := mustOpen(t, testOptions(""))
	s := testSession(1, 7)
	mustUpdate(t, db, func(tx *Tx) error {
		return errors.Join(tx.InsertSession(s), tx.InsertSession(testSession(2, 7)), tx.InsertSession(testSession(3, 8)))
	})
	mustView(t, db, func(tx *Tx) error {
		for name, get := range map[string]func() (Session, error){
			"id":      func() (Session, error) { return tx.Session(s.ID) },
			"access":  func() (Session, error) { return tx.SessionByAccessHandle(s.AccessHandle) },
			"refresh": func() (Session, error) { return tx.SessionByRefreshHandle(s.RefreshHandle) },
			"device":  func() (Session, error) { return tx.SessionByDevice(s.UserID, s.DeviceID) },
		} {
			got, err := get()
			if diff := cmp.Diff(s, got); err != nil || diff != "" {
				t.Errorf("by %s: %v (-want +got):\n%s", name, err, diff)
			}
		}
		return nil
	})
	mustUpdate(t, db, func(tx *Tx) error {
		n := 0
		for s, err := range tx.LiveSessions(testID(7)) {
			if err != nil {
				return err
			}
			s.End(tx.Now(), "logout")
			if err := tx.UpdateSession(s); err != nil {
				return err
			}
			n++
		}
		if n != 2 {
			t.Errorf("got %d live sessions, want 2", n)
		}
		return nil
	})
	mustView(t, db, func(tx *Tx) error {
		for range tx.LiveSessions(testID(7)) {
			t.Error("got a live session, want none")
		}
		ended := 0
		for _, err := range tx.EndedSessions(testID(7)) {
			if err != nil {
				return err
			}
			ended++
		}
		if _, err := tx.SessionByDevice(s.UserID, s.DeviceID); !errors.Is(err, ErrNotFound) || ended != 2 {
			t.Errorf("got %v by device and %d ended, want ErrNotFound and 2", err, ended)
		}
		_, err := tx.SessionByRefreshHandle(s.RefreshHandle)
		return err
	})
	mustUpdate(t, db, func(tx *Tx) error { return errors.Join(tx.RemoveSession(testID(1)), tx.RemoveSession(testID(2))) })
	r := mustVerify(t, db)
	if got := r.Tables["sessions"]; got.Records != 1 || got.Entries != 4 {
		t.Errorf("got %+v, want 1 record with 4 entries", got)
	}
}

func TestEndingAnotherSessionWhileRanging(t *testing.T) {
	db := mustOpen(t, testOptions(""))
	mustUpdate(t, db, func(tx *Tx) error {
		return errors.Join(tx.InsertSession(testSession(1, 7)), tx.InsertSession(testSession(2, 7)), tx.InsertSession(testSession(3, 7)))
	})
	mustUpdate(t, db, func(tx *Tx) error {
		var seen []ulid.ULID
		for s, err := range tx.LiveSessions(testID(7)) {
			if err != nil {
				return err
			}
			seen = append(seen, s.ID)
			if s.ID == testID(1) {
				if err := tx.RemoveSession(testID(2)); err != nil {
					return err
				}
			}
		}
		if diff := cmp.Diff([]ulid.ULID{testID(1), testID(3)}, seen); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
		return nil
	})
}

func TestConflicts(t *testing.T) {
	db := mustOpen(t, testOptions(""))
	mustUpdate(t, db, func(tx *Tx) error {
		return errors.Join(tx.InsertSession(testSession(1, 7)), tx.InsertUser(testUser(1)))
	})
	for name, change := range map[string]func(s *Session){
		"id": func(s *Session) {
			*s = testSession(1, 9)
			s.AccessHandle, s.RefreshHandle = testHandle('a', 5), testHandle('r', 5)
		},
		"access handle":  func(s *Session) { s.AccessHandle = testHandle('a', 1) },
		"refresh handle": func(s *Session) { s.RefreshHandle = testHandle('r', 1) },
		"device":         func(s *Session) { s.DeviceID = testSession(1, 7).DeviceID },
	} {
		mustUpdate(t, db, func(tx *Tx) error {
			s := testSession(2, 7)
			change(&s)
			if err := tx.InsertSession(s); !errors.Is(err, ErrConflict) {
				t.Errorf("%s: got %v, want ErrConflict", name, err)
			}
			if len(tx.own().writes) != 0 {
				t.Errorf("%s: something was written", name)
			}
			return nil
		})
	}
	mustUpdate(t, db, func(tx *Tx) error {
		same := testSession(2, 7)
		same.DeviceID = testSession(1, 7).DeviceID
		same.End(tx.Now(), "test")
		return tx.InsertSession(same) // ended: it does not hold the device
	})
	mustUpdate(t, db, func(tx *Tx) error {
		u := testUser(1)
		u.ID = testID(2)
		if err := tx.InsertUser(u); !errors.Is(err, ErrConflict) {
			t.Errorf("localpart: got %v, want ErrConflict", err)
		}
		if err := tx.UpdateUser(testUser(3)); !errors.Is(err, ErrNotFound) {
			t.Errorf("got %v, want ErrNotFound", err)
		}
		return nil
	})
	mustVerify(t, db)
}

func TestUniqueIndexRaceHasOneWinner(t *testing.T) {
	db := mustOpen(t, testOptions(t.TempDir()))
	var wg sync.WaitGroup
	results := make([]error, 20)
	start := make(chan struct{})
	for i := range results {
		wg.Go(func() {
			<-start
			results[i] = db.Update(context.Background(), func(tx *Tx) error {
				return tx.InsertUser(User{ID: testID(i + 1), Localpart: "alice"})
			})
		})
	}
	close(start)
	wg.Wait()
	winners := 0
	for _, err := range results {
		switch {
		case err == nil:
			winners++
		case !errors.Is(err, ErrConflict):
			t.Errorf("got %v, want ErrConflict", err)
		}
	}
	if winners != 1 {
		t.Errorf("got %d winners, want 1", winners)
	}
	mustVerify(t, db)
}

func TestClockSetBack(t *testing.T) {
	c := newClock()
	o := testOptions(t.TempDir())
	o.Now = c.Now
	db := mustOpen(t, o)
	mustUpdate(t, db, func(tx *Tx) error { return tx.InsertUser(testUser(1)) })
	c.Add(-40 * 24 * time.Hour)
	mustUpdate(t, db, func(tx *Tx) error { return tx.RemoveUser(testID(1)) })
	mustUpdate(t, db, func(tx *Tx) error { return tx.InsertUser(testUser(2)) })
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	c.Add(-40 * 24 * time.Hour)
	db = mustOpen(t, o)
	mustView(t, db, func(tx *Tx) error {
		if _, err := tx.User(testID(1)); !errors.Is(err, ErrNotFound) {
			t.Errorf("got %v for a removed user, want ErrNotFound", err)
		}
		if got, want := tx.Now(), c.Now().Truncate(time.Microsecond); !got.Equal(want) {
			t.Errorf("got now %v, want %v", got, want)
		}
		_, err := tx.User(testID(2))
		return err
	})
}

// TestReadAgain changes what was read, down to its tokens, without writing it: who reads it again sees nothing of that.
func TestReadAgain(t *testing.T) {
	db := mustOpen(t, testOptions(""))
	want := testSession(1, 2)
	mustUpdate(t, db, func(tx *Tx) error { return tx.InsertSession(want) })
	var seen Seen
	spoil := func(tx *Tx) {
		s, err := tx.Session(want.ID)
		if diff := cmp.Diff(want, s); err != nil || diff != "" {
			t.Errorf("%v (-want +got):\n%s", err, diff)
		}
		s.Access[0], s.Consumed[0] = AccessToken{Hash: token.Hash{8}}, ConsumedToken{}
	}
	mustView(t, db, func(tx *Tx) error {
		spoil(tx)
		spoil(tx)
		seen = tx.Seen()
		return nil
	})
	mustUpdate(t, db, func(tx *Tx) error {
		tx.Recall(seen)
		spoil(tx)
		spoil(tx)
		tx.Recall(seen) // as when the function is run again
		spoil(tx)
		return nil
	})
}

// TestRecall updates a session that a View has seen, with and without somebody having been faster.
func TestRecall(t *testing.T) {
	for name, c := range map[string]struct {
		before   func(tx *Tx) error // committed after the View
		together func(tx *Tx) error // committed with the update
		recalled bool
		want     uint64
	}{
		"unchanged":                  {recalled: true, want: 4},
		"changed":                    {before: rotated, want: 5},
		"changed in the same commit": {together: rotated, recalled: true, want: 5},
		"removed":                    {before: func(tx *Tx) error { return tx.RemoveSession(testID(1)) }},
		"removed in the same commit": {together: func(tx *Tx) error { return tx.RemoveSession(testID(1)) }, recalled: true},
	} {
		t.Run(name, func(t *testing.T) {
			db := mustOpen(t, testOptions(""))
			mustUpdate(t, db, func(tx *Tx) error { return tx.InsertSession(testSession(1, 2)) })
			var seen Seen
			mustView(t, db, func(tx *Tx) error {
				_, err := tx.SessionByRefreshHandle(testHandle('r', 1))
				seen = tx.Seen()
				return err
			})
			if c.before != nil {
				mustUpdate(t, db, c.before)
			}
			if c.together == nil {
				c.together = func(*Tx) error { return nil }
			}
			recalled := false
			err := together(t, db, c.together, func(tx *Tx) error {
				tx.Recall(seen)
				recalled = tx.last.key != nil
				return rotated(tx)
			})[1]
			if recalled != c.recalled {
				t.Errorf("recalled: got %t, want %t", recalled, c.recalled)
			}
			var got Session
			errView := db.View(func(tx *Tx) (err error) { got, err = tx.Session(testID(1)); return err })
			if c.want == 0 && (!errors.Is(err, ErrNotFound) || !errors.Is(errView, ErrNotFound)) {
				t.Errorf("got %v and %v, want ErrNotFound", err, errView)
			}
			if got.Generation != c.want {
				t.Errorf("got generation %d, want %d", got.Generation, c.want)
			}
			mustVerify(t, db)
		})
	}
}

// rotated counts a session's generation on.
func rotated(tx *Tx) error {
	s, err := tx.Session(testID(1))
	if err != nil {
		return err
	}
	s.Generation++
	s.Access[0].Generation = s.Generation
	return tx.UpdateSession(s)
}

// TestSeenInUpdate: what an Update has read may never be committed.
func TestSeenInUpdate(t *testing.T) {
	db := mustOpen(t, testOptions(""))
	mustUpdate(t, db, func(tx *Tx) error {
		if err := tx.InsertSession(testSession(1, 2)); err != nil {
			return err
		}
		if _, err := tx.Session(testID(1)); err != nil {
			return err
		}
		if seen := tx.Seen(); seen.key != nil {
			t.Errorf("got %x, want nothing", seen.key)
		}
		return nil
	})
}
