package auth

import (
	"context"
	"sync"

	"github.com/oklog/ulid/v2"
)

// userMutex is one lock per user. It is held from before a device is announced to the homeserver until after the commit
// that puts a session on it, and by every deletion of a device from its look at the live sessions until the homeserver's
// answer. The zero value is ready.
type userMutex struct {
	mu    sync.Mutex
	users map[ulid.ULID]*userLock // those held or waited for
}

type userLock struct {
	held    chan struct{} // capacity 1: full while held
	holders int           // the holder and those who wait; guarded by userMutex.mu
}

// lock waits for the user's lock, or for ctx. The returned function releases it.
func (m *userMutex) lock(ctx context.Context, user ulid.ULID) (unlock func(), err error) {
	m.mu.Lock()
	l := m.users[user]
	if l == nil {
		l = &userLock{held: make(chan struct{}, 1)}
		if m.users == nil {
			m.users = make(map[ulid.ULID]*userLock)
		}
		m.users[user] = l
	}
	l.holders++
	m.mu.Unlock()
	select {
	case l.held <- struct{}{}:
		return func() { <-l.held; m.leave(user, l) }, nil
	case <-ctx.Done():
		m.leave(user, l)
		return nil, context.Cause(ctx)
	}
}

func (m *userMutex) leave(user ulid.ULID, l *userLock) {
	m.mu.Lock()
	defer m.mu.Unlock()
	l.holders--
	if l.holders == 0 {
		delete(m.users, user)
	}
}
