package password

import (
	"bytes"
	"context"
	"crypto/rand"
	"fmt"
	"io"
	"net/netip"
	"os"
	"os/exec"
	"testing"
	"time"
)

// childMode makes the test binary a hasher process, as os/exec's own tests do.
const childMode = "PASSWORD_TEST_CHILD"

func TestMain(m *testing.M) {
	switch os.Getenv(childMode) {
	case "":
		os.Exit(m.Run())
	case "serve":
		exit(ChildMain(os.Stdin, os.Stdout))
	case "tell":
		exit(ChildMain(teller{os.Stdin, os.NewFile(3, "told")}, os.Stdout))
	case "chatter":
		fmt.Println("Usage: caddy <command>")
	case "garbage":
		exit(garble())
	case "mute":
		exit(mute())
	case "fail":
		os.Exit(3)
	}
}

func exit(err error) {
	if err != nil {
		os.Exit(1)
	}
	os.Exit(0)
}

// teller tells its process id on another file as soon as a request is read, which is when its hash begins.
type teller struct {
	io.Reader
	told io.Writer
}

func (r teller) Read(p []byte) (int, error) {
	n, err := r.Reader.Read(p)
	if n > 4 {
		fmt.Fprintln(r.told, os.Getpid())
	}
	return n, err
}

// mute greets and never answers.
func mute() error {
	os.Stdout.Write(appendFrame(nil, func(b []byte) []byte { return append(b, greeting...) }))
	_, err := io.Copy(io.Discard, os.Stdin)
	return err
}

// garble greets and answers the first request with nonsense.
func garble() error {
	os.Stdout.Write(appendFrame(nil, func(b []byte) []byte { return append(b, greeting...) }))
	if _, err := readFrame(os.Stdin, maxRequest); err != nil {
		return err
	}
	os.Stdout.Write(bytes.Repeat([]byte{0xff}, 64))
	_, err := io.Copy(io.Discard, os.Stdin)
	return err
}

func command(mode string) *exec.Cmd {
	cmd := exec.Command(os.Args[0])
	cmd.Env = []string{childMode + "=" + mode}
	return cmd
}

// serving is a Command whose children work.
func serving() *exec.Cmd { return command("serve") }

// telling returns a Command whose children tell their process ids on told, which ends when the last of them and stop have.
func telling(t *testing.T) (start func() *exec.Cmd, told io.Reader, stop func()) {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close(); w.Close() })
	return func() *exec.Cmd {
		cmd := command("tell")
		cmd.ExtraFiles = []*os.File{w}
		return cmd
	}, r, func() { w.Close() }
}

func newTestHasher(t testing.TB, c Config) *Hasher {
	t.Helper()
	c.Rand, c.Now = rand.Reader, time.Now
	h := NewHasher(c)
	t.Cleanup(func() {
		if err := h.Close(); err != nil {
			t.Errorf("closing: %v", err)
		}
	})
	return h
}

func verify(t *testing.T, h *Hasher, encoded, password string) Result {
	t.Helper()
	got, err := h.Verify(context.Background(), home, encoded, password)
	if err != nil {
		t.Fatalf("verifying against %q: %v", encoded, err)
	}
	return got
}

func source(addr, account string) Source {
	return Source{Addr: netip.MustParsePrefix(addr), Account: account}
}

var home = source("192.0.2.1/32", "alice")

const (
	horse = "correct horse"
	// cheap is horse under argon2id with the least that it can cost.
	cheap = "$argon2id$v=19$m=8,t=1,p=1$c29tZXNhbHQtMTZieXRlcw$vU5Pv2B4F2khrFcwuYR+qw"
)

// dear is horse under argon2id with the most that it may cost: about a second.
func dear(t *testing.T) string {
	t.Helper()
	s := scheme{kind: argon2id, memory: maxMemory, time: maxMemoryTime / maxMemory, threads: 1, size: 32}
	r := record{scheme: s, salt: make([]byte, saltBytes)}
	a, err := compute(r, []byte(horse))
	if err != nil {
		t.Fatal(err)
	}
	r.tag = a.tag
	return r.String()
}
