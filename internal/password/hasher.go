package password

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os/exec"
	"runtime"
	"sync"
	"time"

	"go.uber.org/zap"
)

// MaxBytes is the longest password that is hashed, as typed. It bounds what normalising and hashing may cost.
const MaxBytes = 1024

const (
	defaultIdleTimeout = 30 * time.Second
	// defaultQueueLimit keeps the longest wait near ten seconds on two cores; a client hardly waits longer.
	defaultQueueLimit = 1000
	closePatience     = 5 * time.Second // for what runs at Close; nobody waits for it any more
)

// Errors that mean: no verdict.
var (
	ErrQueueFull = errors.New("password: too many hashes are waiting")
	ErrClosed    = errors.New("password: hasher is closed")
	ErrChildDied = errors.New("password: hasher process died twice in the same hash")
	// ErrTooLong is returned by Hash only: Verify answers Mismatch.
	ErrTooLong = errors.New("password: longer than 1024 bytes")
)

var errStuck = errors.New("password: closed under hashes that do not end")

// Result is the verdict on a password. The zero value is none, so that a result that is read without its error never lets
// anybody in (MAS CVE-2025-62425).
type Result uint8

// The verdicts.
const (
	NoVerdict Result = iota
	Mismatch
	Match
)

// String names the verdict.
func (r Result) String() string {
	switch r {
	case Mismatch:
		return "mismatch"
	case Match:
		return "match"
	default:
		return "no verdict"
	}
}

// Config is what a Hasher is made of. Zero values mean what the comments say.
type Config struct {
	Concurrency int              // hashes at a time in the child; 0: the number of cores
	Pepper      []byte           // Synapse's password_config.pepper, for imported hashes
	Rand        io.Reader        // salts; required
	Now         func() time.Time // when to try a child again; required
	Command     func() *exec.Cmd // starts a process that runs ChildMain; nil: hash in this process
	Log         *zap.Logger      // nil: none
	IdleTimeout time.Duration    // the child ends after that long without work; 0: 30 s
	QueueLimit  int              // hashes waiting for a place; 0: 1000
}

// Source is for whom a hash is computed: the queue is fair between addresses, and within one between accounts.
type Source struct {
	Addr    netip.Prefix // the zero value is the administrator
	Account string       // as submitted
}

// Hasher computes hashes, a bounded number at a time. It is safe for concurrent use.
type Hasher struct {
	rand     io.Reader
	log      *zap.Logger
	workers  *workers
	patience time.Duration // of Close

	mu          sync.Mutex // guards what follows; never held while anything is computed or written
	queue       queue
	running     int
	concurrency int
	closed      bool
	pepper      []byte        // never modified, only replaced
	drained     chan struct{} // closed once closed is set and nothing runs

	randMu sync.Mutex // one reader of rand at a time
}

// NewHasher returns a hasher. No child is started before the first hash.
func NewHasher(c Config) *Hasher {
	if c.Log == nil {
		c.Log = zap.NewNop()
	}
	if c.IdleTimeout <= 0 {
		c.IdleTimeout = defaultIdleTimeout
	}
	if c.QueueLimit <= 0 {
		c.QueueLimit = defaultQueueLimit
	}
	h := &Hasher{
		rand:        c.Rand,
		log:         c.Log,
		workers:     newWorkers(c),
		patience:    closePatience,
		queue:       newQueue(c.QueueLimit),
		concurrency: orCores(c.Concurrency),
		drained:     make(chan struct{}),
	}
	h.workers.setConcurrency(h.concurrency)
	h.SetPepper(c.Pepper)
	return h
}

func orCores(n int) int {
	if n > 0 {
		return n
	}
	return runtime.GOMAXPROCS(0)
}

// Verify judges a password against a stored hash. The error is set exactly when there is no verdict: ErrQueueFull, the
// context's error, ErrChildDied, ErrClosed. A stored hash that cannot be read is logged, and matches no password.
func (h *Hasher) Verify(ctx context.Context, src Source, encoded, password string) (Result, error) {
	if len(password) > MaxBytes {
		return Mismatch, nil
	}
	r, err := parseRecord(encoded)
	if err != nil {
		h.log.Error("stored password hash cannot be read", zap.String("account", src.Account), zap.Error(err))
		return h.mismatch(ctx, src, ours, password)
	}
	a, err := h.compute(ctx, src, r, password)
	if err != nil {
		return NoVerdict, err
	}
	if a.verdict == NoVerdict {
		return NoVerdict, errAnswer
	}
	return a.verdict, nil
}

// Dummy takes as long as Verify would for some user of the store, and answers Mismatch. It is for names that do not exist:
// the scheme is chosen by a keyed hash of the name, in the census's proportions, so that one name always takes the same
// time and names that exist cannot be told apart by it.
func (h *Hasher) Dummy(ctx context.Context, src Source, c *Census, key [32]byte, name, password string) (Result, error) {
	if len(password) > MaxBytes {
		return Mismatch, nil
	}
	return h.mismatch(ctx, src, c.pick(key, name), password)
}

// mismatch spends a verification under the scheme.
func (h *Hasher) mismatch(ctx context.Context, src Source, s scheme, password string) (Result, error) {
	if _, err := h.compute(ctx, src, s.dummy(), password); err != nil {
		return NoVerdict, err
	}
	return Mismatch, nil
}

// Hash returns the PHC string to store for a new password.
func (h *Hasher) Hash(ctx context.Context, src Source, password string) (string, error) {
	if len(password) > MaxBytes {
		return "", ErrTooLong
	}
	r := record{scheme: ours, salt: make([]byte, saltBytes)}
	if err := h.readRand(r.salt); err != nil {
		return "", err
	}
	a, err := h.compute(ctx, src, r, password)
	if err != nil {
		return "", err
	}
	if len(a.tag) != ours.size {
		return "", errAnswer
	}
	r.tag = a.tag
	return r.String(), nil
}

func (h *Hasher) readRand(p []byte) error {
	h.randMu.Lock()
	defer h.randMu.Unlock()
	if _, err := io.ReadFull(h.rand, p); err != nil {
		return fmt.Errorf("password: reading random bytes: %w", err)
	}
	return nil
}

// NeedsUpgrade reports whether a stored hash is anything but what Hash would make today.
func (h *Hasher) NeedsUpgrade(encoded string) bool {
	r, err := parseRecord(encoded)
	return err != nil || r.scheme != ours || len(r.salt) != saltBytes
}

// SetConcurrency changes how many hashes are computed at a time; 0 is the number of cores. Those that run go on.
func (h *Hasher) SetConcurrency(n int) {
	n = orCores(n)
	h.mu.Lock()
	h.concurrency = n
	h.mu.Unlock()
	h.workers.setConcurrency(n)
	h.dispatch()
}

// SetPepper changes the pepper of imported hashes. What is waiting already keeps the old one.
func (h *Hasher) SetPepper(pepper []byte) {
	own := append([]byte(nil), pepper...)
	h.mu.Lock()
	defer h.mu.Unlock()
	h.pepper = own
}

// Status is the hasher's state, for operators.
type Status struct {
	Waiting     int
	Running     int
	Concurrency int    // hashes at a time now
	ChildPID    int    // 0: no child is running now
	InProcess   string // why hashes are computed in this process; empty: they are computed in a child
}

// Status returns the state at this moment.
func (h *Hasher) Status() Status {
	pid, why := h.workers.status()
	h.mu.Lock()
	defer h.mu.Unlock()
	return Status{Waiting: h.queue.len, Running: h.running, Concurrency: h.limit(), ChildPID: pid, InProcess: why}
}

// Close refuses what waits, lets end what runs, and ends the child. What does not end in time is given up, with its child;
// that is an error.
func (h *Hasher) Close() error {
	h.mu.Lock()
	if !h.closed {
		h.closed = true
		h.queue.drain(ErrClosed)
		h.checkDrained()
	}
	h.mu.Unlock()
	timer := time.NewTimer(h.patience)
	defer timer.Stop()
	select {
	case <-h.drained:
		return h.workers.close()
	case <-timer.C:
		h.workers.kill()
		return errStuck
	}
}
