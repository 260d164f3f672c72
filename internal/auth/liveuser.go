package auth

import (
	"slices"
	"sync"
	"sync/atomic"

	"github.com/oklog/ulid/v2"

	"github.com/caddy-matrix/caddy-matrix-auth/internal/mxid"
	"github.com/caddy-matrix/caddy-matrix-auth/store"
)

// liveUser is what all live sessions of one user share.
type liveUser struct {
	id          ulid.ULID
	locked      atomic.Bool
	admin       atomic.Bool
	deactivated atomic.Bool

	mu        sync.Mutex
	stamp     uint64 // revision of the last flip
	filled    bool
	localpart mxid.Localpart // set once
	userID    mxid.UserID    // set once
	sessions  []*liveSession
}

// liveUsers is the map of live users; one goes with its last session.
type liveUsers struct {
	mu  sync.Mutex
	all map[ulid.ULID]*liveUser
}

// acquire finds or makes the user's object, with l among its sessions, and fills it.
func (us *liveUsers) acquire(ls *liveSessions, id ulid.ULID, l *liveSession) (*liveUser, error) {
	us.mu.Lock()
	u := us.all[id]
	if u == nil {
		u = &liveUser{id: id}
		us.all[id] = u
	}
	u.mu.Lock()
	u.sessions = append(u.sessions, l)
	u.mu.Unlock()
	us.mu.Unlock()
	for {
		if done, err := u.fill(ls); done || err != nil {
			if err != nil {
				us.release(u, l)
			}
			return u, err
		}
	}
}

// release takes a session off its user.
func (us *liveUsers) release(u *liveUser, l *liveSession) {
	us.mu.Lock()
	defer us.mu.Unlock()
	u.mu.Lock()
	defer u.mu.Unlock()
	u.sessions = slices.DeleteFunc(u.sessions, func(of *liveSession) bool { return of == l })
	if len(u.sessions) == 0 && us.all[u.id] == u {
		delete(us.all, u.id)
	}
}

// fill reads the user, and reports false if a flip has overtaken the snapshot.
func (u *liveUser) fill(ls *liveSessions) (bool, error) {
	u.mu.Lock()
	filled := u.filled
	u.mu.Unlock()
	if filled {
		return true, nil
	}
	var rec store.User
	var revision uint64
	err := ls.db.View(func(tx *store.Tx) (err error) {
		revision = tx.Revision()
		rec, err = tx.User(u.id)
		return err
	})
	if err != nil {
		return false, err
	}
	userID, err := mxid.NewUserID(rec.Localpart, ls.server)
	if err != nil {
		return false, err
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.stamp > revision {
		return false, nil
	}
	u.localpart, u.userID, u.filled = rec.Localpart, userID, true
	u.set(&rec)
	return true, nil
}

func (u *liveUser) set(rec *store.User) {
	u.locked.Store(rec.Locked())
	u.admin.Store(rec.Admin)
	u.deactivated.Store(rec.Deactivated())
}

// out reports whether no session of the user lets anything through now.
func (u *liveUser) out() bool { return u.locked.Load() || u.deactivated.Load() }

// flip brings the user's object, if there is one, to what was just committed. It runs on the store's writer.
func (us *liveUsers) flip(rec *store.User, revision uint64) {
	us.mu.Lock()
	u := us.all[rec.ID]
	us.mu.Unlock()
	if u == nil {
		return
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	u.stamp = revision
	u.set(rec)
	if !u.out() {
		return
	}
	for _, l := range u.sessions {
		l.cut()
	}
}
