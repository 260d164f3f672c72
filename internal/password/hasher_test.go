package password

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os/exec"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"
)

// waitFor waits for what another thread or process is about to do.
func waitFor(t *testing.T, what string, done func() bool) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); !done(); runtime.Gosched() {
		if time.Now().After(deadline) {
			t.Fatalf("%s: not within 10 s", what)
		}
	}
}

func TestHash(t *testing.T) {
	h := newTestHasher(t, Config{Command: serving, Pepper: []byte(pepper)})
	encoded, err := h.Hash(context.Background(), home, "cafe\u0301")
	if err != nil {
		t.Fatal(err)
	}
	if want := "$argon2id$v=19$m=19456,t=2,p=1$"; !strings.HasPrefix(encoded, want) || len(encoded) != len(want)+22+1+43 {
		t.Errorf("got %q, want %q with a salt of 16 and a tag of 32 bytes", encoded, want)
	}
	h.SetPepper(nil) // plays no part
	for password, want := range map[string]Result{"caf\u00e9": Match, "cafe\u0301": Match, "cafe": Mismatch, "": Mismatch} {
		if got := verify(t, h, encoded, password); got != want {
			t.Errorf("%q: got %v, want %v", password, got, want)
		}
	}
	other, err := h.Hash(context.Background(), home, "cafe\u0301")
	if err != nil || other == encoded {
		t.Errorf("got the same hash twice, or %v", err)
	}
}

func TestHashNeedsRandomness(t *testing.T) {
	h := NewHasher(Config{Rand: bytes.NewReader(make([]byte, 15)), Now: time.Now})
	defer h.Close()
	if got, err := h.Hash(context.Background(), home, horse); err == nil {
		t.Errorf("got %q, want an error", got)
	}
}

// TestLongPassword: no child is started for it.
func TestLongPassword(t *testing.T) {
	h := newTestHasher(t, Config{Command: func() *exec.Cmd { t.Error("a child was started"); return serving() }})
	long := strings.Repeat("x", MaxBytes+1)
	for name, judge := range map[string]func() (Result, error){
		"Verify": func() (Result, error) { return h.Verify(context.Background(), home, cheap, long) },
		"Dummy": func() (Result, error) {
			return h.Dummy(context.Background(), home, new(Census), [32]byte{}, "nobody", long)
		},
	} {
		if got, err := judge(); got != Mismatch || err != nil {
			t.Errorf("%s: got %v and %v, want %v", name, got, err, Mismatch)
		}
	}
	if _, err := h.Hash(context.Background(), home, long); !errors.Is(err, ErrTooLong) {
		t.Errorf("Hash: got %v, want %v", err, ErrTooLong)
	}
}

// TestLongestPassword fits into a frame even if NFKC blows it up as far as it can.
func TestLongestPassword(t *testing.T) {
	h := newTestHasher(t, Config{Command: serving, Pepper: bytes.Repeat([]byte("p"), 1024)})
	longest := strings.Repeat("\ufdfa", MaxBytes/3)
	encoded, err := h.Hash(context.Background(), home, longest)
	if err != nil {
		t.Fatal(err)
	}
	if got := verify(t, h, encoded, longest); got != Match {
		t.Errorf("got %v, want %v", got, Match)
	}
	for _, v := range vectors {
		if got := verify(t, h, v.encoded, longest); got != Mismatch {
			t.Errorf("%s: got %v, want %v", v.name, got, Mismatch)
		}
	}
}

// TestUnreadableHash is said in the log, costs a hash, and never matches.
func TestUnreadableHash(t *testing.T) {
	core, logs := observer.New(zap.DebugLevel)
	h := newTestHasher(t, Config{Log: zap.New(core)})
	for _, encoded := range []string{"", "$", "correct horse", "$1$salt$hash", "$argon2id$v=19$m=4194304,t=1,p=1$AAAAAAAA$AAAA"} {
		logs.TakeAll()
		if got := verify(t, h, encoded, horse); got != Mismatch {
			t.Errorf("%q: got %v, want %v", encoded, got, Mismatch)
		}
		if n := logs.FilterMessage("stored password hash cannot be read").FilterField(zap.String("account", "alice")).Len(); n != 1 {
			t.Errorf("%q: got %d log lines, want 1", encoded, n)
		}
	}
}

// TestNoPasswordInAnyLog goes through everything that logs.
func TestNoPasswordInAnyLog(t *testing.T) {
	const secret = "hunter2 hunter2"
	core, logs := observer.New(zap.DebugLevel)
	for _, mode := range []string{"serve", "fail", "garbage", "chatter"} {
		h := newTestHasher(t, Config{Command: func() *exec.Cmd { return command(mode) }, Log: zap.New(core), Pepper: []byte(secret)})
		for _, encoded := range []string{cheap, "", secret, "$argon2id$" + secret, "$2b$04$" + secret, vectors[7].encoded} {
			_, _ = h.Verify(context.Background(), home, encoded, secret)
		}
		_, _ = h.Hash(context.Background(), home, secret)
	}
	if logs.Len() == 0 {
		t.Error("nothing was logged")
	}
	for _, line := range logs.All() {
		if text := fmt.Sprint(line.Message, line.ContextMap()); strings.Contains(text, "hunter2") {
			t.Errorf("the log holds the password: %s", text)
		}
	}
}

func TestResultString(t *testing.T) {
	got := fmt.Sprint(NoVerdict, Mismatch, Match)
	if diff := cmp.Diff("no verdict mismatch match", got); diff != "" {
		t.Error(diff)
	}
}
