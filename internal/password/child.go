package password

import (
	"errors"
	"fmt"
	"io"
	"os/exec"
	"strconv"
	"sync"
	"time"
)

const (
	// A child of the lowest priority is slow on a machine that is busy with something else, so these are for one that is
	// stuck: from its start to its greeting (40 ms are usual), and for the dearest record (a few seconds).
	greetingTimeout = 30 * time.Second
	hashTimeout     = 2 * time.Minute
	endTimeout      = 5 * time.Second // from the end of a child's input to its own; it has nothing left to do
)

// errChildGone means that the child ended before it answered.
var errChildGone = errors.New("hasher process ended")

// child is a running hasher process.
type child struct {
	cmd   *exec.Cmd
	in    io.WriteCloser
	out   io.Reader
	users int // jobs that hold it; guarded by workers.mu

	writing sync.Mutex // one frame at a time

	mu      sync.Mutex // guards what follows
	last    uint64
	waiting map[uint64]chan<- answer // nil: the child is gone
	ending  *time.Timer              // kills it if it does not end by itself

	gone chan struct{} // closed once the process is reaped and everybody who waited knows
	fate error         // how it ended; read after gone
}

// startChild starts a process and waits for its greeting. The environment is what the command sets itself, and never ours:
// it may hold secrets.
func startChild(cmd *exec.Cmd, concurrency int) (*child, error) {
	cmd.Env = append(append([]string(nil), cmd.Env...), "GOMAXPROCS="+strconv.Itoa(concurrency))
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, fmt.Errorf("making a pipe: %w", err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, fmt.Errorf("making a pipe: %w", err)
	}
	if err := startLow(cmd); err != nil {
		return nil, fmt.Errorf("starting the hasher process: %w", err)
	}
	c := &child{cmd: cmd, in: in, out: out, waiting: map[uint64]chan<- answer{}, gone: make(chan struct{})}
	if err := c.greet(); err != nil {
		c.kill()
		return nil, fmt.Errorf("%w (%v)", err, cmd.Wait())
	}
	go c.read()
	return c, nil
}

func (c *child) greet() error {
	timer := time.AfterFunc(greetingTimeout, c.kill)
	defer timer.Stop()
	hello, err := readFrame(c.out, len(greeting))
	if err != nil {
		return fmt.Errorf("hasher process was not ready: %w", noEOF(err))
	}
	if string(hello) != greeting {
		return errors.New("hasher process gave a wrong greeting")
	}
	return nil
}

// do has the child compute one record. errChildGone: another child may be asked.
func (c *child) do(r record, prepared []byte) (answer, error) {
	answers := make(chan answer, 1)
	id, ok := c.register(answers)
	if !ok {
		return answer{}, errChildGone
	}
	frame, err := request{id: id, record: r.String(), prepared: prepared}.frame()
	if err != nil {
		c.forget(id)
		return answer{}, err
	}
	timer := time.AfterFunc(hashTimeout, c.kill)
	defer timer.Stop()
	c.write(frame)
	a, ok := <-answers
	if !ok {
		return answer{}, errChildGone
	}
	return a, nil
}

func (c *child) register(answers chan<- answer) (id uint64, ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.waiting == nil {
		return 0, false
	}
	c.last++
	c.waiting[c.last] = answers
	return c.last, true
}

func (c *child) forget(id uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.waiting, id)
}

// write sends a frame and clears it. A child that does not take it is of no use to anybody; its end answers the job.
func (c *child) write(frame []byte) {
	c.writing.Lock()
	defer c.writing.Unlock()
	_, err := c.in.Write(frame)
	clear(frame)
	if err != nil {
		c.kill()
	}
}

// read delivers answers until the child ends, and then tells everybody who still waits.
func (c *child) read() {
	for c.deliver() == nil {
	}
	c.kill()
	c.fate = c.cmd.Wait()
	c.mu.Lock()
	for _, answers := range c.waiting {
		close(answers)
	}
	c.waiting = nil
	if c.ending != nil {
		c.ending.Stop()
	}
	c.mu.Unlock()
	close(c.gone)
}

func (c *child) deliver() error {
	payload, err := readFrame(c.out, maxAnswer)
	if err != nil {
		return err
	}
	id, a, err := parseAnswer(payload)
	if err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	answers, ok := c.waiting[id]
	if !ok {
		return errFrame
	}
	delete(c.waiting, id)
	answers <- a
	return nil
}

// end closes the child's input, whereupon it ends. Nobody uses it any more.
func (c *child) end() {
	_ = c.in.Close()
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.waiting != nil && c.ending == nil {
		c.ending = time.AfterFunc(endTimeout, c.kill)
	}
}

func (c *child) kill() { _ = c.cmd.Process.Kill() }

func (c *child) isGone() bool {
	select {
	case <-c.gone:
		return true
	default:
		return false
	}
}
