package password

import (
	"errors"
	"os/exec"
	"runtime"
	"slices"
	"sync"
	"time"

	"go.uber.org/zap"
)

// childRetry is how long hashes stay in this process after no child could be started.
const childRetry = time.Minute

// workers decides where a hash is computed: in the one child, started when it is needed and ended when it is idle, or here.
type workers struct {
	command func() *exec.Cmd
	now     func() time.Time
	log     *zap.Logger
	idle    time.Duration
	places  chan struct{} // of hashes in this process: one fewer than cores, so that the rest of the process goes on

	starting sync.Mutex // at most one child is being started; taken before mu

	mu          sync.Mutex // guards what follows; held for moments only
	concurrency int
	child       *child // nil: none
	timer       *time.Timer
	why         string // hashes are computed in this process; empty: in a child
	retryAt     time.Time
	children    []*child // those that may not have ended yet
	killed      bool     // there are to be no more children
}

func newWorkers(c Config) *workers {
	w := &workers{
		command: c.Command,
		now:     c.Now,
		log:     c.Log,
		idle:    c.IdleTimeout,
		places:  make(chan struct{}, max(1, runtime.GOMAXPROCS(0)-1)),
	}
	if w.command == nil {
		w.why = "no hasher process is configured"
	}
	return w
}

// compute computes a record, once more if the child dies over it.
func (w *workers) compute(r record, prepared []byte) (answer, error) {
	for range 2 {
		c := w.acquire()
		if c == nil {
			return w.here(r, prepared)
		}
		a, err := c.do(r, prepared)
		w.release(c)
		if !errors.Is(err, errChildGone) {
			return a, err
		}
		<-c.gone
		w.log.Warn("hasher process ended in the middle of a hash", zap.Int("pid", c.cmd.Process.Pid), zap.Error(c.fate))
	}
	return answer{}, ErrChildDied
}

// here computes in this process.
func (w *workers) here(r record, prepared []byte) (answer, error) {
	w.places <- struct{}{}
	defer func() { <-w.places }()
	return compute(r, prepared)
}

// acquire returns a child, which lives at least until release; nil: compute here.
func (w *workers) acquire() *child {
	w.starting.Lock()
	defer w.starting.Unlock()
	c, concurrency := w.running()
	if concurrency == 0 {
		return c
	}
	c, err := startChild(w.command(), concurrency)
	w.mu.Lock()
	defer w.mu.Unlock()
	if err != nil {
		w.fallBack(err)
		return nil
	}
	if w.why != "" {
		w.log.Info("hashing passwords in a process of their own again")
	}
	if w.killed {
		c.kill()
		return nil
	}
	w.why = ""
	if concurrency == w.concurrency { // else it is for this hash only
		w.child = c
	}
	w.children = append(slices.DeleteFunc(w.children, (*child).isGone), c)
	c.users++
	return c
}

// running returns the child that is there, or nil to compute here; concurrency is not 0 if one has to be started first, with
// that many processors.
func (w *workers) running() (c *child, concurrency int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.child != nil && !w.child.isGone() {
		w.child.users++
		return w.child, 0
	}
	w.child = nil
	if w.command == nil || w.killed || w.why != "" && w.now().Before(w.retryAt) {
		return nil, 0
	}
	return nil, w.concurrency
}

// fallBack is said once, and again only after a child has run. mu is held.
func (w *workers) fallBack(err error) {
	if w.why == "" {
		w.log.Warn("hashing passwords inside this process: logins are slower, and everything else is slow while they last",
			zap.Int("at_a_time", cap(w.places)), zap.Error(err))
	}
	w.why = err.Error()
	w.retryAt = w.now().Add(childRetry)
}

func (w *workers) release(c *child) {
	w.mu.Lock()
	defer w.mu.Unlock()
	c.users--
	if c.users > 0 {
		return
	}
	if c != w.child {
		c.end()
		return
	}
	w.stopTimer()
	w.timer = time.AfterFunc(w.idle, func() { w.expire(c) })
}

// expire ends the child if it is still idle.
func (w *workers) expire(c *child) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.child == c && c.users == 0 {
		w.retire()
	}
}

// retire makes room for another child. The old one ends when its last hash is done. mu is held.
func (w *workers) retire() {
	c := w.child
	w.child = nil
	w.stopTimer()
	if c != nil && c.users == 0 {
		c.end()
	}
}

func (w *workers) stopTimer() {
	if w.timer != nil {
		w.timer.Stop()
	}
}

// setConcurrency gives the next hash a child with that many processors. It does not wait for a child that is being started.
func (w *workers) setConcurrency(n int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if n == w.concurrency {
		return
	}
	w.concurrency = n
	w.retire()
}

func (w *workers) inProcess() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.why != ""
}

func (w *workers) status() (pid int, why string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.child != nil && !w.child.isGone() {
		pid = w.child.cmd.Process.Pid
	}
	return pid, w.why
}

// close ends the child and waits until it is gone. Nothing uses it any more.
func (w *workers) close() error {
	w.mu.Lock()
	w.retire()
	children := w.children
	w.mu.Unlock()
	for _, c := range children {
		<-c.gone
	}
	return nil
}

// kill ends the children in the middle of their hashes, which are computed here in their place, for nobody.
func (w *workers) kill() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.killed = true
	for _, c := range w.children {
		c.kill()
	}
}
