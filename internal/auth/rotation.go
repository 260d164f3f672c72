package auth

import (
	"fmt"
	"slices"
	"time"

	"github.com/caddy-matrix/caddy-matrix-auth/internal/token"
	"github.com/caddy-matrix/caddy-matrix-auth/store"
)

// minRemaining is how much of an access token must be left for it to be handed out again, and how long the access token
// before a rotation lives on at least: clients take a 401 on a token with a minute believed left for a logout.
const minRemaining = 60 * time.Second

// rotation is one presentation of a refresh token, with all that it may need minted beforehand.
type rotation struct {
	presented token.Token
	fresh     token.Successor // a new pair; ExpiresAt by the clock of the caller
	seal      []byte          // fresh, sealed under presented
	nonce     [24]byte        // for sealing again
	ttl       time.Duration
	graces    graces
	consumed  uint64 // set by apply: the generation that it has consumed; 0: none
}

// graces judges the graces of consumed refresh tokens. What a live session knows of first uses is on the monotonic clock: a step
// of the wall clock neither ends nor lengthens such a grace. A grace that began before the wall clock was started or set is not
// over while the clock is in doubt: its token is one that was in its grace shortly before, so its client gets the pair for which it
// may be asking again. To refuse it would sign the client out, and a thief is found out an hour later.
type graces struct {
	grace    time.Duration
	at       time.Time // of judging, with its monotonic reading; the time of a transaction has none
	doubted  time.Time // see clock
	firstUse firstUses // what the live session knows beyond the record
}

func (s *Service) graces(set *Settings) graces {
	return graces{grace: set.RefreshGrace, at: s.now(), doubted: s.clock.doubted()}
}

// rotated is what a rotation comes to.
type rotated uint8

const (
	rotatedUnknown  rotated = iota // an ancestor: somebody kept an old token
	rotatedFresh                   // the record has changed
	rotatedRepeated                // the same pair again; the record is as it was
)

// apply decides on the presented token and changes the record accordingly (RFC 9700 §4.14.2, Matrix CS §refresh). On
// rotatedUnknown the record is as it was but for marks of first use.
//
// An error means a broken record: no verdict.
func (r *rotation) apply(s *store.Session, now time.Time) (token.Successor, rotated, error) {
	r.consumed = 0
	for _, f := range r.graces.firstUse {
		s.MarkUsed(f.generation, f.at)
	}
	h := r.presented.Hash()
	if h == s.Refresh {
		return r.rotate(s, now), rotatedFresh, nil
	}
	holder := r.graces.find(s, h, now)
	if holder == nil {
		return token.Successor{}, rotatedUnknown, nil
	}
	return r.repeat(s, holder, now)
}

// rotate consumes the current refresh token, or with too many consumed ones in their grace hands it back.
func (r *rotation) rotate(s *store.Session, now time.Time) token.Successor {
	r.consumed = s.Generation
	s.MarkUsed(s.Generation, now)
	r.graces.prune(s, now)
	s.RefreshedAt = now
	if len(s.Consumed) >= store.MaxConsumedTokens {
		r.addAccess(s, now)
		return token.Successor{Refresh: r.presented, Access: r.fresh.Access, AccessExpiresAt: r.fresh.AccessExpiresAt}
	}
	s.Consumed = append([]store.ConsumedToken{{
		Hash: r.presented.Hash(), Generation: s.Generation, Seal: r.seal,
	}}, s.Consumed...)
	s.Generation++
	s.Refresh = r.fresh.Refresh.Hash()
	r.addAccess(s, now)
	return r.fresh
}

// repeat hands out the newest pair again: the one that the presented token, or its successor's successors, stand for.
func (r *rotation) repeat(s *store.Session, holder *store.ConsumedToken, now time.Time) (token.Successor, rotated, error) {
	key := r.presented
	next, err := token.Open(key, s.ID[:], holder.Seal)
	for err == nil && next.Refresh.Hash() != s.Refresh {
		key = next.Refresh
		if holder = r.graces.find(s, key.Hash(), now); holder == nil {
			return token.Successor{}, rotatedUnknown, nil
		}
		next, err = token.Open(key, s.ID[:], holder.Seal)
	}
	if err != nil {
		return token.Successor{}, rotatedUnknown, fmt.Errorf("opening a successor: %w", err)
	}
	if end, ok := remaining(s, next.Access.Hash(), now, r.ttl); ok {
		next.AccessExpiresAt = end
		return next, rotatedRepeated, nil
	}
	next.Access, next.AccessExpiresAt = r.fresh.Access, r.fresh.AccessExpiresAt
	if holder.Seal, err = token.Seal(key, s.ID[:], r.nonce, next); err != nil {
		return token.Successor{}, rotatedUnknown, fmt.Errorf("sealing a successor: %w", err)
	}
	r.graces.prune(s, now)
	r.addAccess(s, now)
	return next, rotatedFresh, nil
}

// find returns the consumed token with this hash whose grace runs.
func (g *graces) find(s *store.Session, h token.Hash, now time.Time) *store.ConsumedToken {
	for i := range s.Consumed {
		if c := &s.Consumed[i]; c.Hash == h && g.runs(c, now) {
			return c
		}
	}
	return nil
}

// runs reports whether a consumed token still stands for its successor: until that was used, and for the grace after it.
func (g *graces) runs(c *store.ConsumedToken, now time.Time) bool {
	used, known := g.firstUse.of(c.Generation + 1)
	if known {
		now = g.at
	} else {
		used = c.SuccessorUsedAt
	}
	return used.IsZero() || now.Sub(used) < g.grace || onWall(used) && used.Before(g.doubted)
}

// onWall reports whether a time has no monotonic reading.
func onWall(t time.Time) bool { return t == t.Round(0) }

// prune drops the consumed refresh tokens, with their seals, whose grace is over. It reports whether the record changed.
func (g *graces) prune(s *store.Session, now time.Time) bool {
	consumed := len(s.Consumed)
	s.Consumed = slices.DeleteFunc(s.Consumed, func(c store.ConsumedToken) bool { return !g.runs(&c, now) })
	return len(s.Consumed) != consumed
}

// addAccess keeps the new access token and lets the live ones before it live on for a while: requests are under way with them.
func (r *rotation) addAccess(s *store.Session, now time.Time) {
	s.PruneAccess(now)
	for i := range s.Access {
		a := &s.Access[i]
		if a.Live(now) && !a.ExpiresAt.IsZero() && a.ExpiresAt.Before(now.Add(minRemaining)) {
			a.ExpiresAt = now.Add(minRemaining)
		}
	}
	s.AddAccess(store.AccessToken{Hash: r.fresh.Access.Hash(), ExpiresAt: r.fresh.AccessExpiresAt, Generation: s.Generation})
}

// remaining reports the end of a kept access token if enough of it is left to hand it out again.
func remaining(s *store.Session, h token.Hash, now time.Time, ttl time.Duration) (end time.Time, ok bool) {
	for i := range s.Access {
		if a := &s.Access[i]; a.Hash == h {
			return a.ExpiresAt, a.ExpiresAt.Sub(now) >= min(minRemaining, ttl/2)
		}
	}
	return time.Time{}, false
}
