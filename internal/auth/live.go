package auth

import (
	"context"
	"errors"
	"net/netip"
	"sync"
	"sync/atomic"
	"unique"

	"github.com/hashicorp/golang-lru/v2/simplelru"
	"github.com/oklog/ulid/v2"

	"github.com/caddy-matrix/caddy-matrix-auth/internal/mxid"
	"github.com/caddy-matrix/caddy-matrix-auth/internal/token"
	"github.com/caddy-matrix/caddy-matrix-auth/store"
)

// Bounds of what is kept in memory. Beyond them the least recently used objects go that nobody holds.
const (
	liveShards    = 64
	maxLive       = 32 << 10 // live sessions, half a kilobyte each
	maxNegative   = 4 << 10  // handles known to belong to no session
	evictionProbe = 8        // candidates looked at for one eviction
)

// liveSessions holds one object per session in use, found by access handle, and one per user of such a session.
//
// An Update that changes a session or a user flips its object after the commit, on the store's writer goroutine and in
// commit order, before its caller is answered. A fill puts an empty object into the map before it takes its snapshot, so
// that such a flip finds it; if one came in between, the fill reads again. A request pins the object it uses, under the
// shard's lock; only unpinned objects are evicted, under the same lock: nobody holds an object that has left the map.
type liveSessions struct {
	db interface {
		View(func(*store.Tx) error) error
	}
	server mxid.ServerName
	shards [liveShards]liveShard
	users  liveUsers
	most   int           // sessions of one shard
	full   chan struct{} // capacity 1: objects cannot be evicted before they are saved
}

type liveShard struct {
	mu       sync.RWMutex
	sessions map[token.Handle]*liveSession
	recent   [64]atomic.Pointer[liveSession]        // some of sessions, found without the map's cold memory
	absent   *simplelru.LRU[token.Handle, struct{}] // negative answers
}

// liveSession is the object of one access handle.
type liveSession struct {
	handle token.Handle
	pins   atomic.Int32
	state  atomic.Pointer[liveState] // nil: not filled yet

	mu       sync.Mutex
	fill     chan struct{} // capacity 1: one fill at a time; nil: filled
	stamp    uint64        // revision of the last flip
	watches  *Watch        // the first of those who hear of the end
	firstUse firstUses
	unsaved  bool                  // marks or activity that are not on disk yet
	seenAt   int64                 // the newest activity, in µs since 1970; 0: none since the fill
	addr     netip.Addr            // where it came from
	agent    unique.Handle[string] // and with what, at most maxAgentLen bytes
}

// liveState is what judging needs of a session. It is never changed, only replaced.
type liveState struct {
	id         ulid.ULID // zero: there is no such session
	device     mxid.DeviceID
	client     unique.Handle[string]
	user       *liveUser           // nil: a client's own session
	access     []store.AccessToken // newest first
	unused     uint64              // generation whose first use is awaited; 0: none
	scopes     []string            // granted beside the client-server API's and the device's
	api        bool                // grants the client-server API
	admin      bool                // some of scopes are admin scopes
	registered bool                // its client is in the store, not in the configuration
	ended      bool
}

func newLiveSessions(db *store.DB, server mxid.ServerName) *liveSessions {
	ls := &liveSessions{db: db, server: server, most: maxLive / liveShards, full: make(chan struct{}, 1)}
	for i := range ls.shards {
		ls.shards[i].sessions = make(map[token.Handle]*liveSession)
		ls.shards[i].absent, _ = simplelru.NewLRU[token.Handle, struct{}](maxNegative/liveShards, nil)
	}
	ls.users.all = make(map[ulid.ULID]*liveUser)
	return ls
}

func (ls *liveSessions) shard(h token.Handle) *liveShard {
	return &ls.shards[(uint(h[0])*31+uint(h[1])*7+uint(h[7]))%liveShards]
}

func (sh *liveShard) slot(h token.Handle) *atomic.Pointer[liveSession] {
	return &sh.recent[(uint(h[2])*31+uint(h[3])*7+uint(h[4]))%uint(len(sh.recent))]
}

// forgetLocked takes an object out of the map.
func (sh *liveShard) forgetLocked(l *liveSession) {
	delete(sh.sessions, l.handle)
	sh.slot(l.handle).CompareAndSwap(l, nil)
}

// peek returns the object of a handle if it is in memory and filled, pinned. It does not allocate.
func (ls *liveSessions) peek(h token.Handle) *liveSession {
	sh := ls.shard(h)
	sh.mu.RLock()
	defer sh.mu.RUnlock()
	recent := sh.slot(h)
	l := recent.Load()
	if l == nil || l.handle != h {
		if l = sh.sessions[h]; l == nil || l.state.Load() == nil {
			return nil
		}
		recent.Store(l)
	}
	l.pins.Add(1)
	return l
}

// acquire returns the object of a handle, pinned and filled, or nil if no session has that handle.
func (ls *liveSessions) acquire(ctx context.Context, h token.Handle) (*liveSession, error) {
	l := ls.pinned(h)
	if l == nil {
		return nil, nil
	}
	if err := ls.filled(ctx, l); err != nil {
		l.unpin()
		return nil, err
	}
	if l.state.Load().id.IsZero() {
		l.unpin()
		return nil, nil
	}
	return l, nil
}

// pinned finds or makes the object of a handle, or returns nil if the handle is known to be nobody's.
func (ls *liveSessions) pinned(h token.Handle) *liveSession {
	sh := ls.shard(h)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	if l := sh.sessions[h]; l != nil {
		l.pins.Add(1)
		return l
	}
	if _, ok := sh.absent.Get(h); ok {
		return nil
	}
	for len(sh.sessions) >= ls.most {
		if !ls.evictLocked(sh) { // all of them have something to save
			ls.wantFlush()
			break
		}
	}
	l := &liveSession{handle: h, fill: make(chan struct{}, 1), agent: unique.Make("")}
	l.pins.Add(1)
	sh.sessions[h] = l
	return l
}

// wantFlush asks for what is unsaved to be written soon.
func (ls *liveSessions) wantFlush() {
	select {
	case ls.full <- struct{}{}:
	default:
	}
}

// trim evicts what is beyond the bound, after a batch has been saved.
func (ls *liveSessions) trim() {
	for i := range ls.shards {
		sh := &ls.shards[i]
		sh.mu.Lock()
		for len(sh.sessions) > ls.most && ls.evictLocked(sh) {
		}
		sh.mu.Unlock()
	}
}

// evictLocked makes room for one object, and reports whether there was one that nobody holds and that has nothing to save.
func (ls *liveSessions) evictLocked(sh *liveShard) bool {
	var victim *liveSession
	var oldest int64
	probes := 0
	for _, l := range sh.sessions { // in random order
		if at, ok := l.evictable(); ok {
			if victim == nil || at < oldest {
				victim, oldest = l, at
			}
			if probes++; probes == evictionProbe {
				break
			}
		}
	}
	if victim == nil {
		return false
	}
	ls.dropLocked(sh, victim)
	return true
}

// dropLocked takes an object out of the map, together with its share in its user.
func (ls *liveSessions) dropLocked(sh *liveShard, l *liveSession) {
	sh.forgetLocked(l)
	if st := l.state.Load(); st != nil && st.user != nil {
		ls.users.release(st.user, l)
	}
}

// filled waits until the object has a state, and reads it from the store if nobody else does.
func (ls *liveSessions) filled(ctx context.Context, l *liveSession) error {
	l.mu.Lock()
	fill := l.fill
	l.mu.Unlock()
	if fill == nil {
		return nil
	}
	select {
	case fill <- struct{}{}:
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	defer func() { <-fill }()
	for l.state.Load() == nil {
		if err := ls.read(l); err != nil {
			return err
		}
	}
	return nil
}

// read takes one snapshot of the session and sets the state from it, unless a flip has overtaken it.
func (ls *liveSessions) read(l *liveSession) error {
	var s store.Session
	var revision uint64
	registered := false
	err := ls.db.View(func(tx *store.Tx) (err error) {
		revision = tx.Revision()
		if s, err = tx.SessionByAccessHandle(l.handle); err != nil || s.ClientID == "" {
			return err
		}
		registered, err = isRegistered(tx, s.ClientID)
		return err
	})
	var u *liveUser
	if err == nil && !s.UserID.IsZero() {
		u, err = ls.users.acquire(ls, s.UserID, l)
	}
	if errors.Is(err, store.ErrNotFound) { // no session, or one of a user who was removed
		ls.setAbsent(l, revision)
		return nil
	}
	if err != nil {
		return err
	}
	st := newLiveState(&s, u)
	st.registered = registered
	if !l.set(st, revision) && u != nil {
		ls.users.release(u, l)
	}
	return nil
}

// isRegistered reports whether a client is in the store. It stays there while it has a session.
func isRegistered(tx *store.Tx, client string) (bool, error) {
	_, err := tx.Client(client)
	if errors.Is(err, store.ErrNotFound) {
		return false, nil
	}
	return err == nil, err
}

// set fills the object from a snapshot, unless a flip has overtaken it.
func (l *liveSession) set(st *liveState, revision uint64) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.stamp > revision {
		return false
	}
	l.fillLocked(st)
	return true
}

func (l *liveSession) fillLocked(st *liveState) {
	l.state.Store(st)
	l.fill = nil
}

// setAbsent notes that no session has this handle; the object leaves the map for the small cache of negative answers.
func (ls *liveSessions) setAbsent(l *liveSession, revision uint64) {
	sh := ls.shard(l.handle)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.stamp > revision {
		return
	}
	l.fillLocked(new(liveState))
	sh.forgetLocked(l)
	sh.absent.Add(l.handle, struct{}{})
}

// flip brings the object of a session, if it is in memory, to what was just committed. It runs on the store's writer.
func (ls *liveSessions) flip(s *store.Session, revision uint64) {
	sh := ls.shard(s.AccessHandle)
	sh.mu.Lock()
	l := sh.sessions[s.AccessHandle]
	sh.absent.Remove(s.AccessHandle)
	if l != nil {
		l.mu.Lock() // before the shard is let go: setAbsent must not come in between, with an older snapshot
	}
	sh.mu.Unlock()
	if l == nil {
		return
	}
	defer l.mu.Unlock()
	l.stamp = revision
	if old := l.state.Load(); old != nil && !old.id.IsZero() {
		l.state.Store(old.changed(s))
	}
	l.rememberFirstUses(s)
	if s.Ended() {
		l.cutLocked()
	}
}

// each calls fn for every object in memory, pinned meanwhile.
func (ls *liveSessions) each(fn func(*liveSession)) {
	for i := range ls.shards {
		sh := &ls.shards[i]
		sh.mu.RLock()
		all := make([]*liveSession, 0, len(sh.sessions))
		for _, l := range sh.sessions {
			l.pins.Add(1)
			all = append(all, l)
		}
		sh.mu.RUnlock()
		for _, l := range all {
			fn(l)
			l.unpin()
		}
	}
}

// size is the number of sessions in memory.
func (ls *liveSessions) size() (n int) {
	for i := range ls.shards {
		ls.shards[i].mu.RLock()
		n += len(ls.shards[i].sessions)
		ls.shards[i].mu.RUnlock()
	}
	return n
}

func newLiveState(s *store.Session, u *liveUser) *liveState {
	st := liveState{id: s.ID, device: s.DeviceID, client: unique.Make(s.ClientID), user: u}
	st.grant(s)
	return st.changed(s)
}

// changed is the state when the session's record has changed. What was granted stays as it is, from a login to its end.
func (st *liveState) changed(s *store.Session) *liveState {
	next := *st
	next.access, next.ended, next.unused = s.Access, s.Ended(), 0
	for i := range s.Consumed {
		if s.Consumed[i].SuccessorUsedAt.IsZero() {
			next.unused = max(next.unused, s.Consumed[i].Generation+1)
		}
	}
	return &next
}

func (l *liveSession) unpin() { l.pins.Add(-1) }

// evictable reports whether the object may leave the map, and when it was last used.
func (l *liveSession) evictable() (lastUse int64, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.seenAt, l.pins.Load() == 0 && !l.unsaved
}
