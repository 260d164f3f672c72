package caddymodule

import (
	"math"
	"sync"
	"sync/atomic"
)

// leases counts the requests that use an engine, so that it is not closed under them. Taking one costs one atomic addition,
// and never waits: an RWMutex would make requests wait behind the closer that waits for other requests.
type leases struct {
	n    atomic.Int64 // those taken; less than zero once closed
	once sync.Once
	idle chan struct{} // closed when it is closed and none is left
}

// leasesClosed is added when no more leases are given out.
const leasesClosed = math.MinInt64 / 2

func (l *leases) init() { l.idle = make(chan struct{}) }

// take reports whether a lease was taken. Each one taken needs one release.
func (l *leases) take() bool {
	if l.n.Add(1) > 0 {
		return true
	}
	l.release()
	return false
}

func (l *leases) release() {
	if l.n.Add(-1) == leasesClosed {
		l.once.Do(func() { close(l.idle) })
	}
}

// close gives out no more leases. The channel is closed when the last one is back.
func (l *leases) close() <-chan struct{} {
	if l.n.Add(leasesClosed) == leasesClosed {
		l.once.Do(func() { close(l.idle) })
	}
	return l.idle
}
