package store

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/oklog/ulid/v2"

	"github.com/caddy-matrix/caddy-matrix-auth/internal/mxid"
	"github.com/caddy-matrix/caddy-matrix-auth/internal/token"
)

// model is what the store should hold: plain maps, and rules by scanning them.
type model struct {
	users     map[ulid.ULID]User
	passwords map[ulid.ULID]Password
	sessions  map[ulid.ULID]Session
	lastSeens map[ulid.ULID]LastSeen
	jobs      map[ulid.ULID]Job // on a device each
}

func newModel() *model {
	return &model{map[ulid.ULID]User{}, map[ulid.ULID]Password{}, map[ulid.ULID]Session{}, map[ulid.ULID]LastSeen{}, map[ulid.ULID]Job{}}
}

func (m *model) clone() *model {
	return &model{maps.Clone(m.users), maps.Clone(m.passwords), maps.Clone(m.sessions), maps.Clone(m.lastSeens), maps.Clone(m.jobs)}
}

// putUser and putSession say what the store should answer.
func (m *model) putUser(u User, fresh bool) error {
	if _, there := m.users[u.ID]; there == fresh {
		return absentOrThere(fresh)
	}
	for id, other := range m.users {
		if id != u.ID && other.Localpart == u.Localpart {
			return ErrConflict
		}
	}
	m.users[u.ID] = u
	return nil
}

func (m *model) putSession(s Session, fresh bool) error {
	if _, there := m.sessions[s.ID]; there == fresh {
		return absentOrThere(fresh)
	}
	for id, o := range m.sessions {
		if id == s.ID {
			continue
		}
		device := !s.Ended() && !o.Ended() && s.UserID == o.UserID && s.DeviceID == o.DeviceID && s.DeviceID != "" && !s.UserID.IsZero()
		refresh := s.RefreshHandle == o.RefreshHandle && s.RefreshHandle != token.Handle{}
		if device || refresh || s.AccessHandle == o.AccessHandle {
			return ErrConflict
		}
	}
	m.sessions[s.ID] = s
	return nil
}

func absentOrThere(fresh bool) error {
	if fresh {
		return ErrConflict
	}
	return ErrNotFound
}

func remove[T any](m map[ulid.ULID]T, id ulid.ULID, mustBe bool) error {
	if _, there := m[id]; !there && mustBe {
		return ErrNotFound
	}
	delete(m, id)
	return nil
}

// step does one random thing to both, and compares the errors.
func step(t *testing.T, rng *rand.Rand, tx *Tx, m *model) {
	t.Helper()
	n := rng.IntN(12) + 1
	id := testID(n)
	var got, want error
	what := rng.IntN(12)
	switch what {
	case 0, 1:
		u := randomUser(rng, id)
		got, want = tx.InsertUser(u), m.putUser(u, true)
	case 2:
		u := randomUser(rng, id)
		got, want = tx.UpdateUser(u), m.putUser(u, false)
	case 3:
		got, want = tx.RemoveUser(id), remove(m.users, id, true)
	case 4, 5:
		s := randomSession(rng, id)
		got, want = tx.InsertSession(s), m.putSession(s, true)
	case 6, 7:
		s := randomSession(rng, id)
		got, want = tx.UpdateSession(s), m.putSession(s, false)
	case 8:
		got, want = tx.RemoveSession(id), remove(m.sessions, id, true)
	case 9:
		p := Password{UserID: id, Hash: fmt.Sprint(rng.IntN(100)), ChangedAt: randomTime(rng)}
		m.passwords[id] = p
		l := LastSeen{SessionID: id, At: randomTime(rng), UserAgent: fmt.Sprint(rng.IntN(100))}
		m.lastSeens[id] = l
		got = errors.Join(tx.PutPassword(p), tx.PutLastSeen(l))
	case 10:
		got = errors.Join(tx.RemovePassword(id), tx.RemoveLastSeen(id), tx.RemoveJob(id, modelDevice(id)))
		want = errors.Join(remove(m.passwords, id, false), remove(m.lastSeens, id, false), remove(m.jobs, id, false))
	case 11:
		j := Job{UserID: id, DeviceID: modelDevice(id), Revision: tx.Revision(), CreatedAt: randomTime(rng)}
		m.jobs[id] = j
		got = tx.PutJob(j)
	}
	if !errors.Is(got, want) {
		t.Fatalf("step %d on %v: got %v, want %v", what, id, got, want)
	}
}

// modelDevice is the device that a user's job is about; some are about the account.
func modelDevice(user ulid.ULID) mxid.DeviceID {
	return mxid.DeviceID(strings.Repeat("D", int(user[15])%3))
}

func randomTime(rng *rand.Rand) time.Time {
	if rng.IntN(3) == 0 {
		return time.Time{}
	}
	return testTime.Add(time.Duration(rng.IntN(1e9)) * time.Microsecond)
}

func randomUser(rng *rand.Rand, id ulid.ULID) User {
	return User{ID: id, Localpart: mxid.Localpart(fmt.Sprintf("user%d", rng.IntN(10))), CreatedAt: randomTime(rng), LockedAt: randomTime(rng)}
}

// randomSession often has no user, device or refresh handle, is often ended, and often collides with another one.
func randomSession(rng *rand.Rand, id ulid.ULID) Session {
	s := Session{ID: id, Kind: SessionKind(rng.IntN(4) + 1), AccessHandle: testHandle('a', rng.IntN(20)), CreatedAt: randomTime(rng), EndedAt: randomTime(rng)}
	if rng.IntN(4) > 0 {
		s.UserID = testID(rng.IntN(3) + 1)
	}
	if rng.IntN(3) > 0 {
		s.DeviceID = mxid.DeviceID(fmt.Sprintf("D%d", rng.IntN(4)))
	}
	if rng.IntN(2) > 0 {
		s.ClientID = fmt.Sprintf("client%d", rng.IntN(4))
	}
	if rng.IntN(2) > 0 {
		s.RefreshHandle = testHandle('r', rng.IntN(20))
	}
	return s
}

// compare reads everything in every way and compares it with the model.
func compare(t *testing.T, tx *Tx, m *model) {
	t.Helper()
	checkAll(t, "users", tx.Users(ulid.ULID{}), sorted(m.users, func(User) bool { return true }))
	checkAll(t, "sessions", tx.Sessions(ulid.ULID{}), sorted(m.sessions, func(Session) bool { return true }))
	checkAll(t, "sessions after", tx.Sessions(testID(6)), sorted(m.sessions, func(s Session) bool { return s.ID.Compare(testID(6)) > 0 }))
	checkAll(t, "jobs", tx.Jobs(), sorted(m.jobs, func(Job) bool { return true }))
	for n := range 14 {
		id := testID(n)
		checkAll(t, "live", tx.LiveSessions(id), sorted(m.sessions, func(s Session) bool { return s.UserID == id && !s.Ended() }))
		checkAll(t, "ended", tx.EndedSessions(id), sorted(m.sessions, func(s Session) bool { return s.UserID == id && s.Ended() }))
		client := fmt.Sprintf("client%d", n)
		checkAll(t, "of a client", tx.SessionsOfClient(client), sorted(m.sessions, func(s Session) bool { return s.ClientID == client }))
		checkOne(t, "password", tx.Password, m.passwords, id)
		checkOne(t, "last seen", tx.LastSeen, m.lastSeens, id)
		checkAll(t, "jobs of a user", tx.JobsOf(id, ""), sorted(m.jobs, func(j Job) bool { return j.UserID == id }))
		_, there := m.jobs[id]
		if has, err := tx.HasJob(id, modelDevice(id)); err != nil || has != there {
			t.Fatalf("job %v: got %v, %v, there %v", id, has, err, there)
		}
		checkOne(t, "user", tx.User, m.users, id)
		checkOne(t, "session", tx.Session, m.sessions, id)
	}
	for n := range 20 {
		h := testHandle('a', n)
		_, err := tx.SessionByAccessHandle(h)
		held := len(sorted(m.sessions, func(s Session) bool { return s.AccessHandle == h })) > 0
		if held != (err == nil) {
			t.Fatalf("access handle %d: got %v, held %v", n, err, held)
		}
	}
}

func checkAll[T any](t *testing.T, name string, got func(func(T, error) bool), want []T) {
	t.Helper()
	var all []T
	for record, err := range got {
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		all = append(all, record)
	}
	if diff := cmp.Diff(want, all); diff != "" {
		t.Fatalf("%s (-want +got):\n%s", name, diff)
	}
}

func checkOne[T any](t *testing.T, name string, get func(ulid.ULID) (T, error), all map[ulid.ULID]T, id ulid.ULID) {
	t.Helper()
	got, err := get(id)
	want, there := all[id]
	if there != (err == nil) || err != nil && !errors.Is(err, ErrNotFound) {
		t.Fatalf("%s %v: got %v, there %v", name, id, err, there)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Fatalf("%s %v (-want +got):\n%s", name, id, diff)
	}
}

// sorted lists the records that count, by ID.
func sorted[T any](m map[ulid.ULID]T, counts func(T) bool) (all []T) {
	for _, id := range slices.SortedFunc(maps.Keys(m), ulid.ULID.Compare) {
		if counts(m[id]) {
			all = append(all, m[id])
		}
	}
	return all
}

// TestModel does random things, some of which fail or are undone with their function, and compares all that can be read,
// inside functions, after commits, after compactions and after reopening.
func TestModel(t *testing.T) {
	dir := t.TempDir()
	rng := rand.New(rand.NewPCG(1, 2))
	db, m := mustOpen(t, testOptions(dir)), newModel()
	for round := range 400 {
		next := m.clone()
		refuse := rng.IntN(5) == 0
		err := db.Update(context.Background(), func(tx *Tx) error {
			for range rng.IntN(8) {
				step(t, rng, tx, next)
			}
			if round%10 == 0 {
				compare(t, tx, next)
			}
			if refuse {
				return errTest
			}
			return nil
		})
		if refuse != errors.Is(err, errTest) || !refuse && err != nil {
			t.Fatalf("got %v, refused %v", err, refuse)
		}
		if !refuse {
			m = next
		}
		mustView(t, db, func(tx *Tx) error { compare(t, tx, m); return nil })
		if round%40 == 39 {
			mustVerify(t, db)
			if err := db.Close(); err != nil {
				t.Fatal(err)
			}
			db = mustOpen(t, testOptions(dir))
			if err := db.engine.bdb.Flatten(1); err != nil {
				t.Fatal(err)
			}
			mustView(t, db, func(tx *Tx) error { compare(t, tx, m); return nil })
		}
	}
	mustVerify(t, db)
}

// TestModelInBatches is the same with several functions in a commit, some of which fail.
func TestModelInBatches(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 4))
	db, f, reopened := faulty(t, t.TempDir())
	m := newModel()
	for range 200 {
		top := m
		fns := make([]func(*Tx) error, 1+rng.IntN(4))
		for i := range fns {
			refuse := i > 0 && rng.IntN(4) == 0
			fns[i] = func(tx *Tx) error {
				next := top.clone()
				p := Password{UserID: testID(1), Hash: fmt.Sprint(rng.IntN(100)), ChangedAt: randomTime(rng)}
				next.passwords[p.UserID] = p
				if err := tx.PutPassword(p); err != nil {
					return err
				}
				for range rng.IntN(6) {
					step(t, rng, tx, next)
				}
				compare(t, tx, next)
				if refuse {
					return ErrConflict
				}
				top = next
				return nil
			}
		}
		fault := []faultStep{0, 0, faultBeforeCommit, faultAfterCommit}[rng.IntN(4)]
		f.set(fault, 1)
		for _, err := range together(t, db, fns...) {
			if fault != 0 && !errors.Is(err, errTest) || fault == 0 && err != nil && !errors.Is(err, ErrConflict) {
				t.Fatalf("with fault %d: got %v", fault, err)
			}
		}
		if fault == 0 {
			m = top
		} else {
			healed(t, db, reopened)
		}
		mustView(t, db, func(tx *Tx) error { compare(t, tx, m); return nil })
	}
	mustVerify(t, db)
}

// TestRemovedStaysRemoved looks for removed records after compactions and reopening: a token that is dead stays dead.
func TestRemovedStaysRemoved(t *testing.T) {
	dir := t.TempDir()
	for round := range 4 {
		db := mustOpen(t, testOptions(dir))
		mustUpdate(t, db, func(tx *Tx) error {
			for i := range 300 {
				if round > 0 {
					if _, err := tx.SessionByAccessHandle(testHandle('a', i)); !errors.Is(err, ErrNotFound) {
						t.Fatalf("round %d: got %v for a removed session, want ErrNotFound", round, err)
					}
				}
				if err := tx.InsertSession(testSession(i, i%5)); err != nil {
					return err
				}
			}
			return nil
		})
		if err := db.Close(); err != nil { // puts them into the tree
			t.Fatal(err)
		}
		db = mustOpen(t, testOptions(dir))
		if err := db.engine.bdb.Flatten(1); err != nil {
			t.Fatal(err)
		}
		mustUpdate(t, db, func(tx *Tx) error {
			for i := range 300 {
				if err := tx.RemoveSession(testID(i)); err != nil {
					return err
				}
			}
			return nil
		})
		if err := db.Close(); err != nil {
			t.Fatal(err)
		}
		db = mustOpen(t, testOptions(dir))
		if err := db.engine.bdb.Flatten(1); err != nil {
			t.Fatal(err)
		}
		if got := mustVerify(t, db).Tables["sessions"]; got != (TableReport{}) {
			t.Fatalf("round %d: got %+v, want nothing", round, got)
		}
		if err := db.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// TestOldVersionsAreDiscarded writes one record again and again: what nobody can see any more does not outlive a compaction.
func TestOldVersionsAreDiscarded(t *testing.T) {
	dir := t.TempDir()
	for round := range levelZeroTables + 1 { // each leaves a table at level zero
		db := mustOpen(t, testOptions(dir))
		for i := range 200 {
			s := testSession(1, 7)
			s.Generation = uint64(round*200 + i)
			mustUpdate(t, db, func(tx *Tx) error {
				if round == 0 && i == 0 {
					return tx.InsertSession(s)
				}
				return tx.UpdateSession(s)
			})
		}
		if err := db.Close(); err != nil {
			t.Fatal(err)
		}
	}
	db := mustOpen(t, testOptions(dir))
	if err := db.engine.bdb.Flatten(1); err != nil {
		t.Fatal(err)
	}
	var bytes uint64
	for _, table := range db.engine.bdb.Tables() {
		bytes += uint64(table.OnDiskSize)
	}
	if bytes > 10<<10 {
		t.Errorf("got %d bytes in the tree, want less than 10 KiB", bytes)
	}
}
