package rig

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"sync"
	"syscall"
	"time"
)

// StopTimeout is how long a child may take to end by itself before it is killed.
const StopTimeout = 20 * time.Second

// Process is a running child whose output goes to a file.
type Process struct {
	name string
	log  string
	cmd  *exec.Cmd
	done chan struct{} // closed when the child has ended and err is set
	err  error
}

// start runs a command as a child that writes to the file log, appending, and that dies with this process.
func start(name, log string, cmd *exec.Cmd) (*Process, error) {
	out, err := os.OpenFile(log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, err
	}
	defer out.Close()
	cmd.Stdout, cmd.Stderr = out, out
	cmd.SysProcAttr = childAttributes()
	if err := spawn(cmd); err != nil {
		return nil, fmt.Errorf("starting %s: %w", name, err)
	}
	p := &Process{name: name, log: log, cmd: cmd, done: make(chan struct{})}
	go func() {
		p.err = cmd.Wait()
		close(p.done)
	}()
	return p, nil
}

// spawns hands commands to the one thread that starts them: Linux ends a child with its parent's *thread*, so that thread must
// live as long as the process.
var spawns = sync.OnceValue(func() chan<- func() {
	work := make(chan func())
	go func() {
		runtime.LockOSThread()
		for f := range work {
			f()
		}
	}()
	return work
})

func spawn(cmd *exec.Cmd) error {
	result := make(chan error)
	spawns() <- func() { result <- cmd.Start() }
	return <-result
}

// PID is the child's process id.
func (p *Process) PID() int { return p.cmd.Process.Pid }

// Done is closed when the child has ended, for whatever reason.
func (p *Process) Done() <-chan struct{} { return p.done }

// Stop ends the child as an operator would, and kills it when it does not end.
func (p *Process) Stop() error {
	_ = p.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-p.done:
		return p.err
	case <-time.After(StopTimeout):
		p.Kill()
		return fmt.Errorf("%s did not end within %s of SIGTERM and was killed", p.name, StopTimeout)
	}
}

// Kill ends the child without a chance to write anything, and waits until it is gone.
func (p *Process) Kill() {
	_ = p.cmd.Process.Kill()
	<-p.done
}

// waitUntil asks ready every few milliseconds until it says yes, the child ends or the context does.
func (p *Process) waitUntil(ctx context.Context, ready func(context.Context) bool) error {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-p.done:
			return fmt.Errorf("%s ended before it was ready: %w\n%s", p.name, errors.Join(p.err, errEnded), Tail(p.log, 40))
		case <-ctx.Done():
			return fmt.Errorf("%s is not ready: %w\n%s", p.name, ctx.Err(), Tail(p.log, 40))
		case <-tick.C:
			if ready(ctx) {
				return nil
			}
		}
	}
}

var errEnded = errors.New("process ended")

// Tail returns the last lines of a log file, as far as they can be read.
func Tail(path string, lines int) string {
	b, err := os.ReadFile(path)
	if err != nil {
		return err.Error()
	}
	b = bytes.TrimRight(b, "\n")
	at := len(b)
	for range lines {
		if at = bytes.LastIndexByte(b[:max(at, 0)], '\n'); at < 0 {
			break
		}
	}
	return filepath.Base(path) + ":\n" + string(b[at+1:])
}
