package auth

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/caddy-matrix/caddy-matrix-auth/internal/token"
	"github.com/caddy-matrix/caddy-matrix-auth/store"
)

// reasonReplayed is why a session ends when a refresh token of its past is presented.
const reasonReplayed = "refresh_replayed"

// Refresh rotates a refresh token of the given kind (RFC 6749 §6, Matrix CS §refresh): a new pair, or the same pair as
// before while the answer to the last rotation may have been lost. Trouble never looks like a verdict: it is retried here
// for a while.
//
// ErrTokenUnknown: the session is over, or is now because the token was one of its past. Anything else: try again later.
// Gate: the Update that finds the presented token among those of its session.
func (s *Service) Refresh(ctx context.Context, text string, kind token.Kind, from From) (Tokens, error) {
	return s.refresh(ctx, text, kind, &RefreshParams{From: from})
}

// RefreshOAuth is Refresh at the token endpoint, for a client that has been authenticated.
//
// ErrTokenUnknown as there. ErrGrantInvalid: the token is another client's. ErrScopeDenied: a scope that was not granted, or
// without the device. Nothing has changed.
func (s *Service) RefreshOAuth(ctx context.Context, p RefreshParams) (Tokens, error) {
	return s.refresh(ctx, p.Text, token.Refresh, &p)
}

func (s *Service) refresh(ctx context.Context, text string, kind token.Kind, p *RefreshParams) (Tokens, error) {
	t, err := token.Parse(text)
	if err != nil || t.Kind != kind || !s.mint.Authentic(t) {
		return Tokens{}, ErrTokenUnknown
	}
	var out Tokens
	err = s.Hold(ctx, func(ctx context.Context) (err error) {
		out, err = s.rotate(ctx, t, p)
		return err
	})
	return out, err
}

// rotate is one attempt at a refresh: look the session up, mint what may be needed, decide in one Update.
func (s *Service) rotate(ctx context.Context, t token.Token, p *RefreshParams) (Tokens, error) {
	set := s.settings.Load()
	sess, user, seen, err := s.sessionByRefresh(t.Handle)
	if err != nil {
		return Tokens{}, err
	}
	if err := p.allowed(&sess); err != nil {
		return Tokens{}, err
	}
	r, err := s.newRotation(set, t, &sess)
	if err != nil {
		return Tokens{}, err
	}
	r.graces.firstUse = s.live.firstUses(sess.AccessHandle)
	var pair token.Successor
	var outcome rotated
	replayed := false
	err = s.update(ctx, func(tx *store.Tx) (err error) {
		tx.Recall(seen)
		if sess, err = tx.Session(sess.ID); err != nil {
			return err
		}
		if replayed, outcome = false, rotatedUnknown; sess.Ended() {
			return nil
		}
		if err := s.useAssertion(tx, p.ClientID, p.Assertion); err != nil {
			return err
		}
		if pair, outcome, err = r.apply(&sess, tx.Now()); err != nil {
			return err
		}
		switch outcome {
		case rotatedFresh:
			return s.putSession(tx, &sess)
		case rotatedRepeated:
			return nil
		}
		replayed = true
		return s.end(tx, &sess, reasonReplayed)
	})
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return Tokens{}, fmt.Errorf("rotating: %w", err)
	}
	if err != nil || outcome == rotatedUnknown {
		if replayed {
			s.ended(&sess, s.userID(user.Localpart), p.From)
			_ = s.settle(ctx, user.ID)
		}
		return Tokens{}, ErrTokenUnknown
	}
	s.live.noteRefresh(&sess, r.consumed, s.now(), p.From)
	out := s.tokens(&sess, &user, pair.Access, pair.AccessExpiresAt)
	out.RefreshToken = token.NewSecret(pair.Refresh.Reveal())
	s.emit(Event{Name: "token_refreshed", Method: sess.Kind.String(), UserID: out.UserID, DeviceID: out.DeviceID, SessionID: sess.ID, ClientID: sess.ClientID, Addr: p.From.Addr})
	return out, nil
}

// sessionByRefresh finds the live session of a refresh handle, and its user. seen is the session.
func (s *Service) sessionByRefresh(h token.Handle) (sess store.Session, user store.User, seen store.Seen, err error) {
	err = s.DB.View(func(tx *store.Tx) (err error) {
		if sess, err = tx.SessionByRefreshHandle(h); err != nil {
			return err
		}
		seen = tx.Seen()
		user, err = tx.User(sess.UserID)
		return err
	})
	switch {
	case errors.Is(err, store.ErrNotFound):
		return sess, user, seen, ErrTokenUnknown
	case err != nil:
		return sess, user, seen, unreadable(err)
	case sess.Ended() || user.Deactivated():
		return sess, user, seen, ErrTokenUnknown
	}
	return sess, user, seen, nil
}

// ClientOfRefresh returns the client of the live session that a refresh token is of. ErrTokenUnknown: there is none.
func (s *Service) ClientOfRefresh(text string) (string, error) {
	t, err := token.Parse(text)
	if err != nil || t.Kind != token.Refresh || !s.mint.Authentic(t) {
		return "", ErrTokenUnknown
	}
	sess, _, _, err := s.sessionByRefresh(t.Handle)
	return sess.ClientID, err
}

// newRotation mints and seals all that the Update may need, so that the writer only decides.
func (s *Service) newRotation(set *Settings, t token.Token, sess *store.Session) (*rotation, error) {
	r := &rotation{presented: t, ttl: set.ttl(sess.Kind), graces: s.graces(set)}
	access, refresh := tokenKinds(sess.Kind)
	var err error
	if r.fresh.Access, err = s.mint.New(access, sess.AccessHandle); err != nil {
		return nil, err
	}
	if r.fresh.Refresh, err = s.mint.New(refresh, sess.RefreshHandle); err != nil {
		return nil, err
	}
	if _, err = io.ReadFull(&s.rand, r.nonce[:]); err != nil {
		return nil, fmt.Errorf("reading randomness: %w", err)
	}
	r.fresh.AccessExpiresAt = s.now().Round(0).Add(r.ttl) // An end is a time of the wall clock, as the store keeps it.
	r.seal, err = token.Seal(t, sess.ID[:], r.nonce, r.fresh)
	return r, err
}

// ttl is the life of an access token of a refreshable session.
func (set *Settings) ttl(k store.SessionKind) time.Duration {
	if k == store.SessionCompat {
		return set.CompatTTL
	}
	return set.AccessTTL
}

// allowed refuses a refresh by another client than the session's, or for other scopes than those granted. A legacy refresh
// has no client.
func (p *RefreshParams) allowed(sess *store.Session) error {
	if sess.ClientID != p.ClientID {
		return ErrGrantInvalid
	}
	if p.Scope == nil {
		return nil
	}
	for _, sc := range p.Scope {
		if !slices.Contains(sess.Scope, sc) {
			return ErrScopeDenied
		}
	}
	if sess.DeviceID != "" && !sameDevice(p.Scope, sess.DeviceID) {
		return ErrScopeDenied
	}
	return nil
}

// stillGranted drops admin scopes to which the user has no right, or not any more.
func (set *Settings) stillGranted(scope []string, u *store.User) []string {
	return Grantable(scope, set.admin(u))
}

// tokenKinds are the kinds of a session's access and refresh tokens.
func tokenKinds(k store.SessionKind) (access, refresh token.Kind) {
	switch k {
	case store.SessionCompat:
		return token.CompatAccess, token.CompatRefresh
	case store.SessionPersonal:
		return token.Personal, 0
	}
	return token.Access, token.Refresh
}

// tokens is what a session's user is handed.
func (s *Service) tokens(sess *store.Session, user *store.User, access token.Token, end time.Time) Tokens {
	return Tokens{
		SessionID:   sess.ID,
		UserID:      s.userID(user.Localpart),
		DeviceID:    sess.DeviceID,
		Scope:       s.settings.Load().stillGranted(sess.Scope, user),
		AccessToken: token.NewSecret(access.Reveal()),
		ExpiresAt:   end,
	}
}

// firstUses returns what the live session of a handle knows of first uses, if it is in memory.
func (ls *liveSessions) firstUses(h token.Handle) firstUses {
	l := ls.peek(h)
	if l == nil {
		return nil
	}
	defer l.unpin()
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.firstUse)
}

// noteRefresh remembers a refresh as activity, and that it was the first use of the generation it consumed, if the session is
// in memory. The record has that on the wall clock.
func (ls *liveSessions) noteRefresh(sess *store.Session, consumed uint64, now time.Time, from From) {
	l := ls.peek(sess.AccessHandle)
	if l == nil {
		return
	}
	defer l.unpin()
	l.mu.Lock()
	for i := range l.firstUse {
		if f := &l.firstUse[i]; f.generation == consumed && f.at.Equal(sess.RefreshedAt) {
			f.at = now
		}
	}
	l.mu.Unlock()
	if !from.Unproven {
		l.note(new(liveState), token.Hash{}, now, from)
	}
}
