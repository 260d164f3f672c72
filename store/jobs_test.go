package store

import (
	"encoding/hex"
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/caddy-matrix/caddy-matrix-auth/internal/mxid"
)

// putJobs lists things of testID(1) and, so that there are others, of its neighbours.
func putJobs(t *testing.T, db *DB, devices ...mxid.DeviceID) {
	t.Helper()
	mustUpdate(t, db, func(tx *Tx) error {
		for n := range 3 {
			for _, d := range devices {
				if err := tx.PutJob(Job{UserID: testID(n), DeviceID: d, Revision: tx.Revision(), CreatedAt: testTime}); err != nil {
					return err
				}
			}
		}
		return nil
	})
}

func devicesOf(t *testing.T, tx *Tx, after mxid.DeviceID) (devices []mxid.DeviceID) {
	t.Helper()
	for j, err := range tx.JobsOf(testID(1), after) {
		if err != nil || j.UserID != testID(1) {
			t.Fatalf("got %v, %v", j, err)
		}
		devices = append(devices, j.DeviceID)
	}
	return devices
}

func TestJobsOfAUserComeInOrder(t *testing.T) {
	db := mustOpen(t, testOptions(""))
	putJobs(t, db, "b", "", "a", "a\xffb", "ab", "d")
	mustView(t, db, func(tx *Tx) error {
		for after, want := range map[mxid.DeviceID][]mxid.DeviceID{
			"":   {"", "a", "ab", "a\xffb", "b", "d"},
			"a":  {"ab", "a\xffb", "b", "d"},
			"aa": {"ab", "a\xffb", "b", "d"}, // it need not be there
			"d":  nil,
		} {
			if diff := cmp.Diff(want, devicesOf(t, tx, after)); diff != "" {
				t.Errorf("after %q (-want +got):\n%s", after, diff)
			}
		}
		return nil
	})
}

// What is listed again while it is acted on stays listed.
func TestFinishedJobsGoUnlessListedAgain(t *testing.T) {
	db := mustOpen(t, testOptions(""))
	putJobs(t, db, "", "again", "once")
	var old []Job
	mustView(t, db, func(tx *Tx) error {
		for j, err := range tx.JobsOf(testID(1), "") {
			if err != nil {
				return err
			}
			old = append(old, j)
		}
		return nil
	})
	putJobs(t, db, "again")
	for range 2 {
		mustUpdate(t, db, func(tx *Tx) error {
			for _, j := range old {
				if err := tx.FinishJob(j); err != nil {
					return err
				}
			}
			if diff := cmp.Diff([]mxid.DeviceID{"again"}, devicesOf(t, tx, "")); diff != "" {
				t.Errorf("devices (-want +got):\n%s", diff)
			}
			return nil
		})
	}
}

// The key of a job says what it is about: one whose record cannot be read is listed, can be finished, and listed again.
func TestAJobThatCannotBeRead(t *testing.T) {
	db := mustOpen(t, testOptions(""))
	putJobs(t, db, "", "a")
	spoil := func() {
		mustUpdate(t, db, func(tx *Tx) error {
			for _, d := range []mxid.DeviceID{"", "a"} {
				tx.set(recordKey(jobs.id, jobKey(testID(1), d)), []byte("spoiled"))
			}
			tx.set(recordKey(jobs.id, make([]byte, widthID)), []byte("spoiled")) // and this is no job's key
			return nil
		})
	}
	spoil()
	var found []Job
	mustView(t, db, func(tx *Tx) error {
		var names []string
		for j, err := range tx.Jobs() {
			if errors.Is(err, ErrCorrupt) {
				found, names = append(found, j), append(names, err.Error())
			}
		}
		want := []Job{{}, {UserID: testID(1)}, {UserID: testID(1), DeviceID: "a"}}
		if diff := cmp.Diff(want, found); diff != "" {
			t.Errorf("jobs that cannot be read (-want +got):\n%s", diff)
		}
		if key := hex.EncodeToString(jobKey(testID(1), "a")); !strings.Contains(names[2], key) {
			t.Errorf("got %q, want the key", names[2])
		}
		return nil
	})
	mustUpdate(t, db, func(tx *Tx) error { return errors.Join(tx.FinishJob(found[1]), tx.FinishJob(found[2])) })
	mustView(t, db, func(tx *Tx) error {
		if got := devicesOf(t, tx, ""); got != nil {
			t.Errorf("after they were finished: got %q", got)
		}
		return nil
	})
	spoil()
	putJobs(t, db, "", "a")
	mustUpdate(t, db, func(tx *Tx) error { return errors.Join(tx.FinishJob(found[1]), tx.FinishJob(found[2])) })
	mustView(t, db, func(tx *Tx) error {
		if diff := cmp.Diff([]mxid.DeviceID{"", "a"}, devicesOf(t, tx, "")); diff != "" {
			t.Errorf("listed again (-want +got):\n%s", diff)
		}
		return nil
	})
}

// Whatever a damaged job says, it is about what its key says: else it could never be finished.
func TestAJobIsAboutWhatItsKeySays(t *testing.T) {
	db := mustOpen(t, testOptions(""))
	value, err := encode(&Job{UserID: testID(2), DeviceID: "A", Revision: 7, CreatedAt: testTime})
	if err != nil {
		t.Fatal(err)
	}
	mustUpdate(t, db, func(tx *Tx) error {
		tx.set(recordKey(jobs.id, jobKey(testID(1), "B")), value)
		tx.set(recordKey(jobs.id, append(testID(1).Bytes(), "xPHONE"...)), value) // and this is no job's key
		return nil
	})
	mustView(t, db, func(tx *Tx) error {
		corrupt := 0
		for j, err := range tx.Jobs() {
			if errors.Is(err, ErrCorrupt) {
				corrupt++
			} else if err != nil || j.UserID != testID(1) || j.DeviceID != "B" || j.Revision != 7 {
				t.Errorf("got %+v, %v", j, err)
			}
		}
		if corrupt != 1 {
			t.Errorf("got %d jobs that are none, want 1", corrupt)
		}
		return nil
	})
}

// A record that cannot be read gives way to another one, where no index depends on it.
func TestWhatCannotBeReadCanBeReplaced(t *testing.T) {
	db := mustOpen(t, testOptions(""))
	id := testID(1)
	mustUpdate(t, db, func(tx *Tx) error {
		tx.set(recordKey(passwords.id, id[:]), []byte("spoiled"))
		tx.set(recordKey(users.id, id[:]), []byte("spoiled"))
		return nil
	})
	mustUpdate(t, db, func(tx *Tx) error { return tx.PutPassword(Password{UserID: id, Hash: "new"}) })
	mustView(t, db, func(tx *Tx) error {
		if p, err := tx.Password(id); err != nil || p.Hash != "new" {
			t.Errorf("got %v, %v", p, err)
		}
		return nil
	})
	mustUpdate(t, db, func(tx *Tx) error { tx.set(recordKey(passwords.id, id[:]), []byte("spoiled")); return nil })
	mustUpdate(t, db, func(tx *Tx) error { return tx.RemovePassword(id) })
	mustView(t, db, func(tx *Tx) error {
		if _, err := tx.Password(id); !errors.Is(err, ErrNotFound) {
			t.Errorf("got %v, want none", err)
		}
		return nil
	})
	mustUpdate(t, db, func(tx *Tx) error {
		if err := tx.RemoveUser(id); !errors.Is(err, ErrCorrupt) {
			t.Errorf("with an index: got %v", err)
		}
		return nil
	})
}
