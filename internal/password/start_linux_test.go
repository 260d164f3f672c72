package password

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func TestChildHasTheLowestPriority(t *testing.T) {
	t.Setenv("SYNAPSE_SECRET", "not for the child")
	before := niceValues(t, os.Getpid())
	h := newTestHasher(t, Config{Command: serving, Concurrency: 3})
	verify(t, h, cheap, horse)
	pid := h.Status().ChildPID
	for _, got := range niceValues(t, pid) {
		if got != "19" {
			t.Errorf("a thread of the child: got nice value %s, want 19", got)
		}
	}
	if got, want := strings.TrimSpace(readProc(t, pid, "oom_score_adj")), "1000"; got != want {
		t.Errorf("oom_score_adj: got %s, want %s", got, want)
	}
	got := strings.Split(strings.TrimRight(readProc(t, pid, "environ"), "\x00"), "\x00")
	if want := []string{childMode + "=serve", "GOMAXPROCS=3"}; !slices.Equal(got, want) {
		t.Errorf("environment: got %q, want %q", got, want)
	}
	// The thread that started the child ends by itself; the others have never been lowered.
	waitFor(t, "our threads have their priority", func() bool {
		return !slices.ContainsFunc(niceValues(t, os.Getpid()), func(v string) bool { return v != before[0] })
	})
}

// TestChildAsksForHugePages where the kernel has them.
func TestChildAsksForHugePages(t *testing.T) {
	if err := unix.Madvise(make([]byte, 1<<20), unix.MADV_HUGEPAGE); err != nil {
		t.Logf("this kernel has none: %v", err)
		return
	}
	h := newTestHasher(t, Config{Command: serving, Concurrency: 2})
	verify(t, h, cheap, horse)
	if got := readProc(t, h.Status().ChildPID, "smaps"); !strings.Contains(got, " hg ") {
		t.Errorf("got no memory with the flag hg in smaps:\n%s", got)
	}
}

// TestStartFromTheMainThread many times: the runtime may pick the main thread, which has to stay as it is.
func TestStartFromTheMainThread(t *testing.T) {
	for range 20 {
		cmd := command("fail")
		if err := startLow(cmd); err != nil {
			t.Fatal(err)
		}
		_ = cmd.Wait()
		if got := nice(readProc(t, os.Getpid(), "stat")); got == "19" {
			t.Fatalf("main thread: got nice value %s", got)
		}
	}
}

// TestChildOutlivesTheSignalOfItsGroup: a terminal and a service manager send one to all, and logins still end well.
func TestChildOutlivesTheSignalOfItsGroup(t *testing.T) {
	h := newTestHasher(t, Config{Command: serving})
	verify(t, h, cheap, horse)
	pid := h.Status().ChildPID
	for _, s := range []unix.Signal{unix.SIGTERM, unix.SIGINT, unix.SIGHUP} {
		if err := unix.Kill(pid, s); err != nil {
			t.Fatal(err)
		}
	}
	if got := verify(t, h, cheap, horse); got != Match {
		t.Errorf("got %v, want %v", got, Match)
	}
	if got := h.Status().ChildPID; got != pid {
		t.Errorf("got child %d, want %d still", got, pid)
	}
}

// niceValues returns that of each thread, the main one first.
func niceValues(t *testing.T, pid int) (values []string) {
	t.Helper()
	threads, err := os.ReadDir(fmt.Sprintf("/proc/%d/task", pid))
	if err != nil {
		t.Fatal(err)
	}
	for _, thread := range threads {
		stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%s/stat", pid, thread.Name()))
		if err == nil { // else it has ended
			values = append(values, nice(string(stat)))
		}
	}
	return values
}

// nice is field 19 of proc_pid_stat(5); field 2 may hold blanks and ends with the last parenthesis.
func nice(stat string) string {
	return strings.Fields(stat[strings.LastIndex(stat, ")")+1:])[19-3]
}

func readProc(t *testing.T, pid int, name string) string {
	t.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/%s", pid, name))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}
