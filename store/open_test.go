package store

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/dgraph-io/badger/v4"

	"github.com/caddy-matrix/caddy-matrix-auth/internal/token"
)

// holdDir names the directory that the test binary, run again, opens and holds until its standard input ends.
const holdDir = "STORE_TEST_HOLD_DIR"

func TestMain(m *testing.M) {
	dir := os.Getenv(holdDir)
	if dir == "" {
		os.Exit(m.Run())
	}
	db, err := Open(context.Background(), testOptions(dir))
	if err != nil {
		os.Stdout.WriteString(err.Error() + "\n")
		os.Exit(1)
	}
	err = db.Update(context.Background(), func(tx *Tx) error { return tx.InsertUser(testUser(1)) })
	os.Stdout.WriteString("open\n")
	io.Copy(io.Discard, os.Stdin)
	if err != nil {
		os.Exit(1)
	}
	os.Exit(0) // without Close
}

// holder runs a second process that has the directory open.
func holder(t *testing.T, dir string) *exec.Cmd {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), holdDir+"="+dir)
	if _, err := cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	line := make([]byte, 5)
	if _, err := io.ReadFull(out, line); err != nil || string(line) != "open\n" {
		t.Fatalf("the other process said %q, %v", line, err)
	}
	return cmd
}

func TestOtherProcessHasTheDirectoryAndIsKilled(t *testing.T) {
	dir := t.TempDir()
	cmd := holder(t, dir)
	_, err := Open(context.Background(), testOptions(dir))
	if !errors.Is(err, ErrLocked) || !strings.Contains(err.Error(), dir) || !strings.Contains(err.Error(), strconv.Itoa(cmd.Process.Pid)) {
		t.Errorf("got %v, want ErrLocked with %s and %d", err, dir, cmd.Process.Pid)
	}
	if _, err := VerifyDir(context.Background(), testOptions(dir)); !errors.Is(err, ErrLocked) {
		t.Errorf("VerifyDir: got %v, want ErrLocked", err)
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait()
	db := mustOpen(t, testOptions(dir))
	mustView(t, db, func(tx *Tx) error { _, err := tx.User(testID(1)); return err })
	mustUpdate(t, db, func(tx *Tx) error { return tx.InsertUser(testUser(2)) })
	mustVerify(t, db)
}

func TestCopyOfAnOpenDirectoryOpens(t *testing.T) {
	dir, dup := t.TempDir(), filepath.Join(t.TempDir(), "copy")
	db := mustOpen(t, testOptions(dir))
	for i := range 50 {
		mustUpdate(t, db, func(tx *Tx) error { return tx.InsertSession(testSession(i, i%3)) })
	}
	if err := os.CopyFS(dup, os.DirFS(dir)); err != nil {
		t.Fatal(err)
	}
	mustUpdate(t, db, func(tx *Tx) error { return tx.InsertSession(testSession(50, 1)) })
	copied := mustOpen(t, testOptions(dup))
	if got := mustVerify(t, copied).Tables["sessions"].Records; got != 50 {
		t.Errorf("got %d sessions, want 50", got)
	}
	if copied.TokenKey() != db.TokenKey() || db.TokenKey() == (token.Key{}) {
		t.Error("got another token key, or none")
	}
}

func TestReopenKeepsEverything(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "made", "by", "open")
	db := mustOpen(t, testOptions(dir))
	key := db.TokenKey()
	mustUpdate(t, db, func(tx *Tx) error {
		return errors.Join(tx.InsertUser(testUser(1)), tx.PutMeta("test", []byte("value")))
	})
	revision := db.Health().Revision
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	o := testOptions(dir)
	o.Rand = strings.NewReader("") // nothing is made again
	db = mustOpen(t, o)
	if got := db.Health().Revision; got != revision || db.TokenKey() != key {
		t.Errorf("got revision %d, want %d, or another token key", got, revision)
	}
	mustView(t, db, func(tx *Tx) error {
		value, err := tx.Meta("test")
		if string(value) != "value" {
			t.Errorf("got %q, want value", value)
		}
		return err
	})
	info, err := os.Stat(dir)
	if err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("got mode %v, %v, want 0700", info.Mode(), err)
	}
}

func TestDirectoryOfOthers(t *testing.T) {
	loose := t.TempDir()
	if err := os.Chmod(loose, 0o755); err != nil {
		t.Fatal(err)
	}
	mustOpen(t, testOptions(loose))
	if info, err := os.Stat(loose); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("got mode %v, %v, want 0700", info.Mode(), err)
	}
	shared := t.TempDir()
	if err := errors.Join(os.Chmod(shared, 0o755), os.WriteFile(filepath.Join(shared, "other"), nil, 0o644)); err != nil {
		t.Fatal(err)
	}
	if err := prepareDir(shared); err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(shared); err != nil || info.Mode().Perm() != 0o755 {
		t.Errorf("got mode %v, %v for a directory with other things, want 0755", info.Mode(), err)
	}
	if os.Geteuid() != 0 {
		return // only root can give a directory away
	}
	if err := os.Chown(shared, 12345, -1); err != nil {
		t.Fatal(err)
	}
	_, err := Open(context.Background(), testOptions(shared))
	if !errors.Is(err, ErrForeign) || !strings.Contains(err.Error(), "12345") {
		t.Errorf("got %v, want ErrForeign with the owner", err)
	}
}

func TestForeignStores(t *testing.T) {
	dir := t.TempDir()
	if err := mustOpen(t, testOptions(dir)).Close(); err != nil {
		t.Fatal(err)
	}
	o := testOptions(dir)
	o.ServerName = "other.example"
	_, err := Open(context.Background(), o)
	if !errors.Is(err, ErrForeign) || !strings.Contains(err.Error(), "example.org") || !strings.Contains(err.Error(), "other.example") {
		t.Errorf("server name: got %v, want ErrForeign with both names", err)
	}
	o.ServerName = ""
	if r, err := VerifyDir(context.Background(), o); err != nil || !r.OK() {
		t.Errorf("VerifyDir without a server name: got %v, %v", r, err)
	}
	db := mustOpen(t, testOptions(dir))
	mustUpdate(t, db, func(tx *Tx) error {
		return tx.PutMeta(metaFormat, binary.BigEndian.AppendUint32(nil, format+1))
	})
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	_, err = Open(context.Background(), testOptions(dir))
	if !errors.Is(err, ErrForeign) || !strings.Contains(err.Error(), "format 2") {
		t.Errorf("format: got %v, want ErrForeign with the format", err)
	}
}

func TestDatabaseOfAnotherProgram(t *testing.T) {
	dir := t.TempDir()
	other, err := badger.Open(badger.DefaultOptions(dir).WithLogger(nil))
	if err != nil {
		t.Fatal(err)
	}
	if err := other.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(context.Background(), testOptions(dir)); !errors.Is(err, ErrForeign) {
		t.Errorf("got %v, want ErrForeign", err)
	}
}

func TestEncryptionKey(t *testing.T) {
	plain, secret := t.TempDir(), t.TempDir()
	if err := mustOpen(t, testOptions(plain)).Close(); err != nil {
		t.Fatal(err)
	}
	with := func(dir string, key string) Options {
		o := testOptions(dir)
		o.EncryptionKey = []byte(key)
		return o
	}
	right, wrong := strings.Repeat("k", 32), strings.Repeat("w", 32)
	db := mustOpen(t, with(secret, right))
	mustUpdate(t, db, func(tx *Tx) error {
		u := testUser(1)
		u.DisplayName = "a name that nobody may read"
		return tx.InsertUser(u)
	})
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	for name, o := range map[string]Options{
		"another": with(secret, wrong), "none": testOptions(secret), "one for a plain store": with(plain, right),
	} {
		if _, err := Open(context.Background(), o); !errors.Is(err, ErrEncryptionKey) || !strings.Contains(err.Error(), o.Dir) {
			t.Errorf("%s: got %v, want ErrEncryptionKey with the directory", name, err)
		}
	}
	if _, err := Open(context.Background(), with(plain, "short")); err == nil {
		t.Error("a short key: got no error")
	}
	mustVerify(t, mustOpen(t, with(secret, right)))
	err := filepath.WalkDir(secret, func(path string, e os.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		b, err := os.ReadFile(path)
		if strings.Contains(string(b), "nobody may read") {
			t.Errorf("%s holds clear text", path)
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
}

func TestOptionsThatCannotWork(t *testing.T) {
	for name, change := range map[string]func(*Options){
		"no clock":       func(o *Options) { o.Now = nil },
		"no randomness":  func(o *Options) { o.Rand = nil },
		"no server name": func(o *Options) { o.ServerName = "" },
	} {
		o := testOptions("")
		change(&o)
		if _, err := Open(context.Background(), o); err == nil {
			t.Errorf("%s: got no error", name)
		}
	}
	if _, err := VerifyDir(context.Background(), testOptions(t.TempDir())); !errors.Is(err, ErrNotFound) {
		t.Errorf("VerifyDir of an empty directory: got %v, want ErrNotFound", err)
	}
}

func TestLowDisk(t *testing.T) {
	var free atomic.Uint64
	free.Store(63 << 20)
	o := testOptions(t.TempDir())
	o.FreeBytes = func(dir string) (uint64, error) {
		if dir != o.Dir {
			t.Errorf("asked for %q, want %q", dir, o.Dir)
		}
		return free.Load(), nil
	}
	_, err := Open(context.Background(), o)
	if !errors.Is(err, ErrUnavailable) || !strings.Contains(err.Error(), "63 MiB") {
		t.Errorf("got %v, want ErrUnavailable with the space", err)
	}
	free.Store(1 << 30)
	db := mustOpen(t, o)
	insert := func(n int) error {
		return db.Update(context.Background(), func(tx *Tx) error { return tx.InsertUser(testUser(n)) })
	}
	if err := insert(1); err != nil {
		t.Fatal(err)
	}
	free.Store(255 << 20)
	if err := insert(2); !errors.Is(err, ErrUnavailable) || !strings.Contains(err.Error(), "255 MiB") {
		t.Errorf("got %v, want ErrUnavailable with the space", err)
	}
	if h := db.Health(); h.Writable || !strings.Contains(h.Reason, "255 MiB") {
		t.Errorf("got %+v, want the reason", h)
	}
	mustView(t, db, func(tx *Tx) error { _, err := tx.User(testID(1)); return err })
	free.Store(257 << 20)
	if err := insert(2); err != nil {
		t.Errorf("got %v with space again, want none", err)
	}
	if h := db.Health(); !h.Writable || h.Reason != "" {
		t.Errorf("got %+v, want writable", h)
	}
}

// TestFlippedByteIsNoticed damages the tree on disk: what is read from there is an error, never another value.
func TestFlippedByteIsNoticed(t *testing.T) {
	dir := t.TempDir()
	db := mustOpen(t, testOptions(dir))
	mustUpdate(t, db, func(tx *Tx) error { return tx.InsertSession(testSession(1, 7)) })
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob(filepath.Join(dir, "*.sst"))
	if err != nil || len(files) != 1 {
		t.Fatalf("got %v, %v, want one table", files, err)
	}
	b, err := os.ReadFile(files[0])
	if err != nil {
		t.Fatal(err)
	}
	at := strings.Index(string(b), string(testSession(1, 7).DeviceID))
	if at < 0 {
		t.Fatal("the device is not in the table")
	}
	b[at] ^= 1
	if err := os.WriteFile(files[0], b, 0o600); err != nil {
		t.Fatal(err)
	}
	db, err = Open(context.Background(), testOptions(dir))
	if err != nil {
		return // noticed already
	}
	defer db.Close()
	if err := db.View(func(tx *Tx) error { _, err := tx.Session(testID(1)); return err }); err == nil {
		t.Error("got a session from a damaged table")
	}
}
