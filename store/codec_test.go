package store

import (
	"encoding/hex"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/caddy-matrix/caddy-matrix-auth/internal/mxid"
	"github.com/caddy-matrix/caddy-matrix-auth/internal/token"
)

var update = flag.Bool("update", false, "write the golden files anew")

var testTime = time.Date(2026, 3, 4, 5, 6, 7, 891_234_000, time.UTC)

// checkGolden compares a record's value with the bytes that format 1 has for it, and reads those bytes back.
func checkGolden[T any](t *testing.T, table *table[T], name string, record T) {
	t.Helper()
	value, err := encode(&record)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join("testdata", "golden", name+".hex")
	if *update {
		if err := os.WriteFile(file, []byte(hex.EncodeToString(value)+"\n"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	want := strings.TrimSpace(string(text))
	if got := hex.EncodeToString(value); got != want {
		t.Errorf("%s: got %s, want %s: data of this format would no longer be read", name, got, want)
	}
	golden, err := hex.DecodeString(want)
	if err != nil {
		t.Fatal(err)
	}
	got, err := table.decode(golden)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(record, got); diff != "" {
		t.Errorf("%s (-want +got):\n%s", name, diff)
	}
}

func TestGolden(t *testing.T) {
	checkGolden(t, &users, "user", User{
		ID: testID(1), Localpart: "alice", CreatedAt: testTime, DisplayName: "Alice Ä", Admin: true,
		LockedAt: testTime.Add(1), DeactivatedAt: testTime.Add(time.Microsecond), Erase: true, ProvisionedAt: testTime,
	}.exact())
	checkGolden(t, &users, "user_least", User{ID: testID(1), Localpart: "alice", CreatedAt: testTime})
	checkGolden(t, &passwords, "password", Password{UserID: testID(1), Hash: "$argon2id$v=19$m=19456,t=2,p=1$c2FsdA$aGFzaA", ChangedAt: testTime})
	checkGolden(t, &sessions, "session", Session{
		ID: testID(1), Kind: SessionOAuth2, UserID: testID(2), DeviceID: "DEVICE", ClientID: "client", Scope: []string{"openid"},
		AccessHandle: testHandle('a', 1), RefreshHandle: testHandle('r', 1), CreatedAt: testTime, RefreshedAt: testTime,
		EndedAt: testTime, EndReason: "logout", Generation: 300, Refresh: token.Hash{1, 2, 3},
		Access:   []AccessToken{{Hash: token.Hash{4}, ExpiresAt: testTime, Generation: 300}, {Hash: token.Hash{5}}},
		Consumed: []ConsumedToken{{Hash: token.Hash{6}, Generation: 299, Seal: []byte("seal"), SuccessorUsedAt: testTime}, {Hash: token.Hash{7}}},
	})
	checkGolden(t, &sessions, "session_least", Session{ID: testID(1), Kind: SessionClient, AccessHandle: testHandle('a', 1), CreatedAt: testTime})
	checkGolden(t, &lastSeens, "last_seen", LastSeen{SessionID: testID(1), At: testTime, Addr: "192.0.2.1", UserAgent: "test/1 \xff"})
	checkGolden(t, &jobs, "job", Job{
		UserID: testID(1), DeviceID: "A", Revision: 1 << 40, CreatedAt: testTime,
	})
	checkGolden(t, &jobs, "job_account", Job{UserID: testID(1), Revision: 5, CreatedAt: testTime})
	checkGolden(t, &metas, "meta", meta{Name: "name", Value: []byte{1, 2, 3}})
}

// exact drops what is finer than a microsecond, as storing does.
func (u User) exact() User {
	u.LockedAt = u.LockedAt.Truncate(time.Microsecond)
	return u
}

// TestTimesAreExact writes every time of every record again and again: each comes back the same. It finds all times by
// reflection, so that none can be forgotten in the tables.
func TestTimesAreExact(t *testing.T) {
	checkTimes(t, &users, User{})
	checkTimes(t, &passwords, Password{})
	checkTimes(t, &sessions, Session{Access: make([]AccessToken, 2), Consumed: make([]ConsumedToken, 2)})
	checkTimes(t, &lastSeens, LastSeen{})
	checkTimes(t, &jobs, Job{})
	checkTimes(t, &metas, meta{})
	checkTimes(t, &browserSessions, BrowserSession{})
	checkTimes(t, &grants, Grant{})
	checkTimes(t, &deviceGrants, DeviceGrant{})
	checkTimes(t, &clients, Client{})
	checkTimes(t, &consents, Consent{})
	checkTimes(t, &assertions, Assertion{})
	checkTimes(t, &signingKeys, SigningKey{})
}

func checkTimes[T any](t *testing.T, table *table[T], record T) {
	t.Helper()
	for i := range 5000 {
		at := testTime.Add(time.Duration(i)*time.Microsecond + time.Duration(i)*17*time.Hour)
		setTimes(reflect.ValueOf(&record).Elem(), at)
		value, err := encode(&record)
		if err != nil {
			t.Fatal(err)
		}
		got, err := table.decode(value)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(record, got); diff != "" {
			t.Fatalf("%s (-want +got):\n%s", table.name, diff)
		}
	}
}

// setTimes sets all times in a value.
func setTimes(v reflect.Value, at time.Time) {
	switch {
	case v.Type() == reflect.TypeFor[time.Time]():
		v.Set(reflect.ValueOf(at))
	case v.Kind() == reflect.Struct:
		for i := range v.NumField() {
			setTimes(v.Field(i), at)
		}
	case v.Kind() == reflect.Slice:
		for i := range v.Len() {
			setTimes(v.Index(i), at)
		}
	}
}

func TestUnknownKeysAreIgnored(t *testing.T) {
	type newer struct {
		User
		Later string `cbor:"90,keyasint"`
	}
	value, err := encode(&newer{User: testUser(1), Later: "something"})
	if err != nil {
		t.Fatal(err)
	}
	got, err := users.decode(value)
	if diff := cmp.Diff(testUser(1), got); err != nil || diff != "" {
		t.Errorf("%v (-want +got):\n%s", err, diff)
	}
}

func TestDecodeRefuses(t *testing.T) {
	for name, value := range map[string][]byte{
		"nothing":        {},
		"another format": {2, 0xa0},
		"no CBOR":        {1, 0xff},
		"cut":            {1, 0xa1, 0x01},
		"deep":           append([]byte{1}, []byte(strings.Repeat("\x81", 100))...),
		"a tag":          {1, 0xc1, 0xa0},
		"indefinite":     {1, 0xbf, 0xff},
		"a huge array":   {1, 0x9a, 0x7f, 0xff, 0xff, 0xff},
	} {
		if _, err := users.decode(value); !errors.Is(err, ErrCorrupt) {
			t.Errorf("%s: got %v, want ErrCorrupt", name, err)
		}
	}
}

func TestTooBig(t *testing.T) {
	db := mustOpen(t, testOptions(""))
	mustUpdate(t, db, func(tx *Tx) error {
		if err := tx.PutPassword(Password{UserID: testID(1), Hash: strings.Repeat("x", maxValue)}); !errors.Is(err, ErrTooBig) {
			t.Errorf("got %v, want ErrTooBig", err)
		}
		u := testUser(1)
		for _, l := range []string{"", strings.Repeat("x", maxText+1), "a\x00b"} {
			u.Localpart = mxid.Localpart(l)
			if err := tx.InsertUser(u); err == nil {
				t.Errorf("localpart %.20q: got no error", l)
			}
		}
		return nil
	})
	mustVerify(t, db)
}

func FuzzDecode(f *testing.F) {
	files, err := filepath.Glob("testdata/golden/*.hex")
	if err != nil || len(files) == 0 {
		f.Fatalf("no golden files: %v", err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		value, err := hex.DecodeString(strings.TrimSpace(string(text)))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(value)
	}
	f.Fuzz(func(t *testing.T, value []byte) {
		roundTrip(t, &users, value)
		roundTrip(t, &sessions, value)
		roundTrip(t, &jobs, value)
		roundTrip(t, &grants, value)
		roundTrip(t, &deviceGrants, value)
		roundTrip(t, &clients, value)
		roundTrip(t, &signingKeys, value)
	})
}

// roundTrip writes what was read, if anything was, and reads the same again.
func roundTrip[T any](t *testing.T, table *table[T], value []byte) {
	record, err := table.decode(value)
	if err != nil {
		return
	}
	again, err := encode(&record)
	if err != nil {
		t.Fatalf("encoding what was decoded: %v", err)
	}
	if _, err := table.decode(again); err != nil {
		t.Fatalf("decoding what was encoded: %v", err)
	}
}
