package oidcprovider

import (
	"context"
	"sync"
	"time"
)

// patience is a context with a deadline whose clock starts when somebody begins to wait on it: most introspections are
// answered from memory, and a timer would be the dearest part of them.
type patience struct {
	context.Context
	limit time.Duration

	mu      sync.Mutex
	bounded context.Context // nil: nobody waits
	cancel  context.CancelFunc
}

// Done implements context.Context, and starts the clock.
func (p *patience) Done() <-chan struct{} {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.bounded == nil {
		p.bounded, p.cancel = context.WithTimeout(p.Context, p.limit)
	}
	return p.bounded.Done()
}

// Err implements context.Context.
func (p *patience) Err() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.bounded == nil {
		return p.Context.Err()
	}
	return p.bounded.Err()
}

// release stops the clock.
func (p *patience) release() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.cancel != nil {
		p.cancel()
	}
}
