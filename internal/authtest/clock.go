package authtest

import (
	"io"
	"math/rand/v2"
	"sync"
	"time"
	"unsafe"
)

// Clock is a clock that stands still until it is moved. It is safe for concurrent use.
type Clock struct {
	mu        sync.Mutex
	now       time.Time
	monotonic time.Duration // reading of the monotonic clock; 0: there is none
}

// NewClock makes a clock that shows now. Its times have no monotonic reading.
func NewClock(now time.Time) *Clock { return &Clock{now: now} }

// NewMonotonicClock is NewClock with a monotonic clock beside, as time.Now has one, so that Step can part the two.
func NewMonotonicClock(now time.Time) *Clock { return &Clock{now: now, monotonic: time.Hour} }

// Now returns the clock's time.
func (c *Clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.monotonic == 0 {
		return c.now
	}
	return withReading(c.now, c.monotonic)
}

// Step moves the wall clock alone, as an operator or NTP does.
func (c *Clock) Step(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

// withReading returns a time with a monotonic reading, which package time gives to nobody else: it is the second word of a
// time.Time that has one.
func withReading(wall time.Time, reading time.Duration) time.Time {
	t := time.Now()
	t = t.Add(wall.Sub(t.Round(0)))
	(*struct {
		wall uint64
		ext  time.Duration
		loc  *time.Location
	})(unsafe.Pointer(&t)).ext = reading
	return t
}

// Set moves the clock to a time, which may be in its past.
func (c *Clock) Set(now time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = now
}

// Advance moves the clock by d and returns its new time.
func (c *Clock) Advance(d time.Duration) time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
	if c.monotonic != 0 {
		c.monotonic += d
	}
	return c.now
}

// NewRand makes a source that yields the same bytes for the same seed. It is safe for concurrent use.
func NewRand(seed byte) io.Reader {
	return &seededRand{r: rand.NewChaCha8([32]byte{seed})}
}

type seededRand struct {
	mu sync.Mutex
	r  *rand.ChaCha8
}

func (s *seededRand) Read(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.r.Read(p)
}
