package password

import (
	"fmt"
	"os"
	"os/exec"
	"runtime"

	"golang.org/x/sys/unix"
)

const (
	lowest = 19 // nice value
	// firstToGo makes the child the kernel's first choice when memory runs out, before the edge.
	firstToGo = 1000
)

// startLow starts a command at the lowest priority. On Linux that belongs to threads and is inherited: it has to be set on
// the thread that forks, which cannot go back up without privilege and therefore ends with its goroutine. (So the command
// must not set Pdeathsig, which fires when that thread ends.) Where lowering is forbidden, the child runs as we do.
func startLow(cmd *exec.Cmd) error {
	failed := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		if unix.Gettid() == unix.Getpid() {
			// The main thread cannot end. It waits here, locked, while another one does it.
			failed <- startLow(cmd)
			runtime.UnlockOSThread()
			return
		}
		_ = unix.Setpriority(unix.PRIO_PROCESS, unix.Gettid(), lowest) // and never unlocked
		failed <- cmd.Start()
	}()
	if err := <-failed; err != nil {
		return err
	}
	// Raising needs no privilege; where there is no /proc, the child is as likely a victim as the edge.
	_ = os.WriteFile(fmt.Sprintf("/proc/%d/oom_score_adj", cmd.Process.Pid), fmt.Appendf(nil, "%d", firstToGo), 0)
	return nil
}

// useHugePages asks for huge pages where the memory of so many hashes at a time will be. argon2 reads it at random, and with
// pages of 4 KiB waits for their addresses a tenth of its time. The advice belongs to addresses and outlives what is allocated
// there: the heap takes them again for the hashes. Where there are many cores it is for some, so as not to ask for much memory.
func useHugePages(hashes int) {
	const most = 8
	room := make([]byte, 2*min(hashes, most)*int(ours.memory)<<10) // twice: what is freed is taken again a collection later
	_ = unix.Madvise(room, unix.MADV_HUGEPAGE)                     // Go begins what is this large at a page
	runtime.KeepAlive(room)
	runtime.GC()
}
