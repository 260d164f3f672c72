package store

import (
	"context"
	"errors"
	"strings"
	"testing"
)

// TestVerifyFinds damages a store in one way at a time.
func TestVerifyFinds(t *testing.T) {
	id, other, user := testID(1), testID(2), testID(7)
	s := testSession(1, 7)
	s.ClientID = "client"
	put := func(key, value []byte) func(tx *Tx) {
		return func(tx *Tx) { tx.set(key, value) }
	}
	for name, c := range map[string]struct {
		damage func(tx *Tx)
		want   string
	}{
		"a key of no kind":           {put([]byte("x\x00y"), []byte{1}), "unknown kind"},
		"a key of no index":          {put([]byte("u\x09y"), []byte{1}), "unknown index"},
		"a value that is no record":  {put(recordKey('u', other[:]), []byte{1, 0xff}), "users"},
		"a record under another key": {copyOf(recordKey('s', id[:]), recordKey('s', other[:])), "lies under"},
		"a lost unique entry":        {put(uniqueKey('s', sessionByAccess, s.AccessHandle[:]), nil), "missing in index 4"},
		"a lost entry":               {put(entryKey('s', sessionByUserLive, user[:], id[:]), nil), "missing in index 1"},
		"an entry of nothing":        {put(entryKey('s', sessionByUserEnded, user[:], other[:]), []byte{}), "not there"},
		"a unique entry of nothing":  {put(uniqueKey('u', userByLocalpart, []byte("bob")), other[:]), "not there"},
		"an entry too many":          {put(entryKey('s', sessionByUserEnded, user[:], id[:]), []byte{}), "does not belong"},
		"a lost client's entry":      {put(entryKey('s', sessionByClient, []byte("client"), id[:]), nil), "missing in index 3"},
		"an entry of another client": {put(entryKey('s', sessionByClient, []byte("other"), id[:]), []byte{}), "does not belong"},
		"an entry of another record": {put(uniqueKey('u', userByLocalpart, []byte(testUser(1).Localpart)), other[:]), "another one has its place"},
	} {
		db := mustOpen(t, testOptions(""))
		mustUpdate(t, db, func(tx *Tx) error { return errors.Join(tx.InsertUser(testUser(1)), tx.InsertSession(s)) })
		mustVerify(t, db)
		mustUpdate(t, db, func(tx *Tx) error { c.damage(tx); return nil })
		r, err := db.Verify(context.Background())
		if err != nil || r.OK() || !strings.Contains(strings.Join(r.Problems, "\n"), c.want) {
			t.Errorf("%s: got %v, %q, want a problem with %q", name, err, r.Problems, c.want)
		}
	}
}

// copyOf writes the value of one key under another one.
func copyOf(from, to []byte) func(tx *Tx) {
	return func(tx *Tx) {
		value, err := tx.get(from)
		if err == nil {
			tx.set(to, value)
		}
	}
}

func TestVerifyBoundsItsReport(t *testing.T) {
	db := mustOpen(t, testOptions(""))
	mustUpdate(t, db, func(tx *Tx) error {
		for i := range 3 * reportedProblems {
			tx.set([]byte{'x', 0, byte(i)}, []byte{1})
		}
		return nil
	})
	r, err := db.Verify(context.Background())
	if err != nil || r.ProblemCount != 3*reportedProblems || len(r.Problems) != reportedProblems {
		t.Errorf("got %v, %d problems and %d told, want %d and %d", err, r.ProblemCount, len(r.Problems), 3*reportedProblems, reportedProblems)
	}
}

func TestVerifyStopsWithItsContext(t *testing.T) {
	db := mustOpen(t, testOptions(""))
	ctx, cancel := context.WithCancelCause(context.Background())
	cancel(errTest)
	if _, err := db.Verify(ctx); !errors.Is(err, errTest) {
		t.Errorf("got %v, want the cause", err)
	}
}

func TestVerifyDirCounts(t *testing.T) {
	o := testOptions(t.TempDir())
	db := mustOpen(t, o)
	mustUpdate(t, db, func(tx *Tx) error {
		return errors.Join(tx.InsertUser(testUser(1)), tx.InsertSession(testSession(1, 1)), tx.PutJob(Job{UserID: testID(1)}))
	})
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	r, err := VerifyDir(context.Background(), o)
	if err != nil || !r.OK() {
		t.Fatalf("got %v, %+v", err, r)
	}
	for name, want := range map[string][2]int{"users": {1, 1}, "sessions": {1, 4}, "jobs": {1, 0}, "passwords": {0, 0}, "meta": {4, 0}} {
		if got := r.Tables[name]; got.Records != want[0] || got.Entries != want[1] {
			t.Errorf("%s: got %+v, want %v", name, got, want)
		}
	}
}

func TestCorruptIndexIsAnError(t *testing.T) {
	db := mustOpen(t, testOptions(""))
	id, user := testID(1), testID(7)
	mustUpdate(t, db, func(tx *Tx) error {
		tx.set(uniqueKey('u', userByLocalpart, []byte("bob")), id[:])
		tx.set(entryKey('s', sessionByUserLive, user[:], id[:]), []byte{})
		return nil
	})
	mustView(t, db, func(tx *Tx) error {
		if _, err := tx.UserByLocalpart("bob"); !errors.Is(err, ErrCorrupt) || errors.Is(err, ErrNotFound) {
			t.Errorf("got %v, want ErrCorrupt", err)
		}
		for _, err := range tx.LiveSessions(user) {
			if !errors.Is(err, ErrCorrupt) {
				t.Errorf("got %v, want ErrCorrupt", err)
			}
		}
		return nil
	})
}
