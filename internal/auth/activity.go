package auth

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/oklog/ulid/v2"

	"github.com/caddy-matrix/caddy-matrix-auth/internal/token"
	"github.com/caddy-matrix/caddy-matrix-auth/store"
)

const (
	flushEvery  = 45 * time.Second
	flushBatch  = 500 // sessions in one Update
	maxAgentLen = 255 // bytes of a user agent that are stored
)

// unsaved is what one live session has to write.
type unsaved struct {
	live     *liveSession
	id       ulid.ULID
	seen     store.LastSeen
	firstUse firstUses
}

// flush writes what live sessions know and the disk does not: activity, in records of its own, and first uses, into the
// sessions. A crash before it only lengthens a grace.
func (s *Service) flush(ctx context.Context) error {
	var batch []unsaved
	var failed failures
	write := func() {
		inHalves(batch, func(some []unsaved) error { return s.save(ctx, some) }, func(some []unsaved, err error) {
			failed.add(err)
			if errors.Is(err, ErrUnavailable) {
				putBack(some)
			}
		})
		for i := range batch {
			batch[i].live.unpin()
		}
		batch = batch[:0]
	}
	s.live.each(func(l *liveSession) {
		u, ok := l.unsavedNow()
		if !ok {
			return
		}
		if batch = append(batch, u); len(batch) == flushBatch {
			write()
		}
	})
	if len(batch) > 0 {
		write()
	}
	s.live.trim()
	return failed.err()
}

// putBack marks what could not be written now. What can never be written is not marked again: its session cannot be read.
func putBack(some []unsaved) {
	for i := range some {
		some[i].live.mu.Lock()
		some[i].live.unsaved = true
		some[i].live.mu.Unlock()
	}
}

// unsavedNow takes what is to be written, and pins the object: until it is written, it may not leave memory. A failure puts the
// mark back.
func (l *liveSession) unsavedNow() (unsaved, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	st := l.state.Load()
	if !l.unsaved || st == nil || st.id.IsZero() {
		return unsaved{}, false
	}
	u := unsaved{live: l, id: st.id, seen: l.lastSeenLocked(), firstUse: slices.Clone(l.firstUse)}
	l.unsaved = false
	l.pins.Add(1)
	return u, true
}

// lastSeenLocked is the activity as it is stored; its time is zero if there was none.
func (l *liveSession) lastSeenLocked() (seen store.LastSeen) {
	if l.seenAt == 0 {
		return seen
	}
	seen.At, seen.UserAgent = time.UnixMicro(l.seenAt).UTC(), l.agent.Value()
	if l.addr.IsValid() {
		seen.Addr = l.addr.String()
	}
	return seen
}

// save writes some of a batch.
func (s *Service) save(ctx context.Context, some []unsaved) error {
	return s.update(ctx, func(tx *store.Tx) error {
		for i := range some {
			if err := s.saveOne(tx, &some[i]); err != nil {
				return fmt.Errorf("session %v: %w", some[i].id, err)
			}
		}
		return nil
	})
}

func (s *Service) saveOne(tx *store.Tx, u *unsaved) error {
	sess, err := tx.Session(u.id)
	if errors.Is(err, store.ErrNotFound) || err == nil && sess.Ended() {
		return nil
	}
	if err != nil {
		return err
	}
	changed := false
	for _, f := range u.firstUse {
		changed = sess.MarkUsed(f.generation, f.at) || changed
	}
	if changed {
		if err := s.putSession(tx, &sess); err != nil {
			return err
		}
	}
	if u.seen.At.IsZero() {
		return nil
	}
	old, err := tx.LastSeen(u.id)
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return err
	}
	return tx.PutLastSeen(merge(u.id, old, u.seen))
}

// merge is the newer activity, with what it does not know from the older.
func merge(id ulid.ULID, old, newer store.LastSeen) store.LastSeen {
	newer.SessionID = id
	if newer.At.Before(old.At) {
		newer.At = old.At
	}
	if newer.Addr == "" {
		newer.Addr = old.Addr
	}
	if newer.UserAgent == "" {
		newer.UserAgent = old.UserAgent
	}
	return newer
}

// newest merges what is stored with what the live session of the handle, if there is one, has seen since.
func (ls *liveSessions) newest(h token.Handle, stored store.LastSeen) store.LastSeen {
	l := ls.peek(h)
	if l == nil {
		return stored
	}
	defer l.unpin()
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.seenAt == 0 {
		return stored
	}
	return merge(stored.SessionID, stored, l.lastSeenLocked())
}
