package password

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"runtime/pprof"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"
)

// killNext kills the next child that tells its process id, in the middle of its hash.
func killNext(t *testing.T, told *bufio.Reader) {
	t.Helper()
	var pid int
	if _, err := fmt.Fscanln(told, &pid); err != nil {
		t.Fatal(err)
	}
	p, err := os.FindProcess(pid)
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Kill(); err != nil {
		t.Fatal(err)
	}
}

func TestChildKilledInTheMiddleOfAHash(t *testing.T) {
	encoded := dear(t)
	for name, c := range map[string]struct {
		kills int
		want  Result
		err   error
	}{
		"once":  {1, Match, nil},
		"twice": {2, NoVerdict, ErrChildDied},
	} {
		t.Run(name, func(t *testing.T) {
			start, told, _ := telling(t)
			core, logs := observer.New(zap.DebugLevel)
			h := newTestHasher(t, Config{Command: start, Log: zap.New(core)})
			var got Result
			var err error
			var done sync.WaitGroup
			done.Go(func() { got, err = h.Verify(context.Background(), home, encoded, horse) })
			pids := bufio.NewReader(told)
			for range c.kills {
				killNext(t, pids)
			}
			done.Wait()
			if got != c.want || !errors.Is(err, c.err) {
				t.Errorf("got %v and %v, want %v and %v", got, err, c.want, c.err)
			}
			if n := logs.FilterMessage("hasher process ended in the middle of a hash").Len(); n != c.kills {
				t.Errorf("got %d log lines, want %d", n, c.kills)
			}
			if got := verify(t, h, cheap, horse); got != Match {
				t.Errorf("afterwards: got %v, want %v", got, Match)
			}
		})
	}
}

// TestChildKilledFailsOnlyItsHashes: with two in the child, both are computed again.
func TestChildKilledFailsOnlyItsHashes(t *testing.T) {
	encoded := dear(t)
	start, told, _ := telling(t)
	h := newTestHasher(t, Config{Command: start, Concurrency: 2})
	var done sync.WaitGroup
	for range 2 {
		done.Go(func() {
			if got, err := h.Verify(context.Background(), home, encoded, horse); got != Match || err != nil {
				t.Errorf("got %v and %v, want %v", got, err, Match)
			}
		})
	}
	pids := bufio.NewReader(told)
	if _, err := pids.ReadString('\n'); err != nil {
		t.Fatal(err)
	}
	killNext(t, pids) // now that both are in it
	done.Wait()
}

func TestChildThatAnswersNonsense(t *testing.T) {
	h := newTestHasher(t, Config{Command: func() *exec.Cmd { return command("garbage") }})
	got, err := h.Verify(context.Background(), home, cheap, horse)
	if got != NoVerdict || !errors.Is(err, ErrChildDied) {
		t.Errorf("got %v and %v, want %v", got, err, ErrChildDied)
	}
}

func TestChildEndsWhenIdle(t *testing.T) {
	start, told, stop := telling(t)
	h := newTestHasher(t, Config{Command: start, IdleTimeout: time.Millisecond})
	if got := verify(t, h, cheap, horse); got != Match {
		t.Fatalf("got %v, want %v", got, Match)
	}
	stop()
	// Only the child still holds the other end: this reads until it has ended.
	if _, err := io.Copy(io.Discard, told); err != nil {
		t.Fatal(err)
	}
	if got := h.Status().ChildPID; got != 0 {
		t.Errorf("got child %d, want none", got)
	}
}

func TestChildStartsAgain(t *testing.T) {
	h := newTestHasher(t, Config{Command: serving})
	seen := map[int]bool{}
	for range 3 {
		if got := verify(t, h, cheap, horse); got != Match {
			t.Fatalf("got %v, want %v", got, Match)
		}
		seen[h.Status().ChildPID] = true
		h.workers.expire(h.workers.child)
		if got := h.Status().ChildPID; got != 0 {
			t.Errorf("idle: got child %d, want none", got)
		}
	}
	if len(seen) != 3 || seen[0] {
		t.Errorf("got children %v, want three", seen)
	}
}

// TestConcurrencyReplacesTheChild under load: nothing is lost, and the next child has the new number of processors.
func TestConcurrencyReplacesTheChild(t *testing.T) {
	h := newTestHasher(t, Config{Command: serving, Concurrency: 1})
	var done sync.WaitGroup
	for range 8 {
		done.Go(func() {
			for range 20 {
				if got, err := h.Verify(context.Background(), home, cheap, horse); got != Match || err != nil {
					t.Errorf("got %v and %v, want %v", got, err, Match)
				}
			}
		})
	}
	for n := range 4 {
		h.SetConcurrency(n + 1)
	}
	done.Wait()
	if got := h.Status(); got.Concurrency != 4 || got.InProcess != "" {
		t.Errorf("got %+v, want 4 at a time in a child", got)
	}
}

func TestNoChildCanBeStarted(t *testing.T) {
	unrunnable := filepath.Join(t.TempDir(), "caddy")
	if err := os.WriteFile(unrunnable, []byte("no program"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, start := range map[string]func() *exec.Cmd{
		"no permission":  func() *exec.Cmd { return exec.Command(unrunnable) },
		"no such file":   func() *exec.Cmd { return exec.Command(unrunnable + "-gone") },
		"ends at once":   func() *exec.Cmd { return command("fail") },
		"says something": func() *exec.Cmd { return command("chatter") },
	} {
		t.Run(name, func(t *testing.T) {
			core, logs := observer.New(zap.InfoLevel)
			h := newTestHasher(t, Config{Command: start, Concurrency: 64, Log: zap.New(core)})
			for range 3 {
				if got := verify(t, h, cheap, horse); got != Match {
					t.Errorf("got %v, want %v", got, Match)
				}
			}
			got := h.Status()
			if want := max(1, runtime.GOMAXPROCS(0)-1); got.InProcess == "" || got.ChildPID != 0 || got.Concurrency != want {
				t.Errorf("got %+v, want %d at a time in this process", got, want)
			}
			if n := logs.Len(); n != 1 {
				t.Errorf("got %d log lines, want it said once: %v", n, logs.All())
			}
		})
	}
}

// TestChildIsTriedAgain after a while without one.
func TestChildIsTriedAgain(t *testing.T) {
	now := time.Unix(1e9, 0)
	mode := "fail"
	core, logs := observer.New(zap.InfoLevel)
	h := newTestHasher(t, Config{Command: func() *exec.Cmd { return command(mode) }, Log: zap.New(core)})
	h.workers.now = func() time.Time { return now }
	verify(t, h, cheap, horse)
	mode = "serve"
	for _, c := range []struct {
		after time.Duration
		child bool
	}{{0, false}, {childRetry - 1, false}, {1, true}} {
		now = now.Add(c.after)
		verify(t, h, cheap, horse)
		if got := h.Status(); (got.ChildPID != 0) != c.child || (got.InProcess == "") != c.child {
			t.Errorf("after %v: got %+v, want child %v", c.after, got, c.child)
		}
	}
	if n := logs.Len(); n != 2 {
		t.Errorf("got %d log lines, want 2: %v", n, logs.All())
	}
}

func TestNothingIsLeftAfterClose(t *testing.T) {
	start, told, stop := telling(t)
	h := NewHasher(Config{Command: start, Now: time.Now})
	for range 3 {
		verify(t, h, cheap, horse)
		h.SetConcurrency(h.Status().Concurrency + 1)
	}
	verify(t, h, cheap, horse)
	if err := h.Close(); err != nil {
		t.Fatal(err)
	}
	if err := h.Close(); err != nil {
		t.Errorf("the second time: %v", err)
	}
	stop()
	if _, err := io.Copy(io.Discard, told); err != nil { // no child is left
		t.Fatal(err)
	}
	deadline := time.Now().Add(10 * time.Second)
	for leaked(t) {
		if time.Now().After(deadline) {
			pprof.Lookup("goroutine").WriteTo(os.Stderr, 1)
			t.Fatal("goroutines are left")
		}
		runtime.Gosched()
	}
}

// TestCloseEndsAChildThatHangs and starts no other one in its place.
func TestCloseEndsAChildThatHangs(t *testing.T) {
	started := make(chan *exec.Cmd, 2)
	h := NewHasher(Config{Now: time.Now, Command: func() *exec.Cmd {
		cmd := command("mute")
		started <- cmd
		return cmd
	}})
	h.patience = time.Millisecond
	done := make(chan error, 1)
	go func() {
		_, err := h.Verify(context.Background(), home, cheap, horse)
		done <- err
	}()
	cmd := <-started
	waitFor(t, "the child to be asked", func() bool { return h.Status().ChildPID != 0 })
	if err := h.Close(); !errors.Is(err, errStuck) {
		t.Errorf("got %v, want %v", err, errStuck)
	}
	if err := <-done; err != nil { // The child is gone, else this would take minutes.
		t.Error(err)
	}
	if h.Status().ChildPID != 0 || len(started) != 0 || cmd.ProcessState == nil {
		t.Errorf("got %+v, want no child", h.Status())
	}
}

// leaked reports whether a goroutine other than the test's own is in this package.
func leaked(t *testing.T) bool {
	t.Helper()
	buf := make([]byte, 1<<20)
	stacks := strings.Split(string(buf[:runtime.Stack(buf, true)]), "\n\n")
	for _, s := range stacks[1:] { // the first is this one
		if strings.Contains(s, "internal/password.") && !strings.Contains(s, "testing.(*M)") {
			return true
		}
	}
	return false
}
