package auth

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"

	"github.com/oklog/ulid/v2"

	"github.com/caddy-matrix/caddy-matrix-auth/store"
)

// Redeem turns a code into a session (RFC 6749 §4.1.3): client, redirect URI and verifier first (wrong ones change nothing,
// whatever the state), then Synapse, then the Update.
//
// ErrGrantInvalid: nothing has changed. ErrGrantReplayed: the code was redeemed some time ago, and that session has ended.
// ErrUnavailable, ErrHomeserver: nothing has changed, the code is still good. Gate: the Update that finds the grant fulfilled.
func (s *Service) Redeem(ctx context.Context, p RedeemParams) (Redeemed, error) {
	if p.Arrived.IsZero() {
		p.Arrived = s.now()
	}
	var out Redeemed
	err := s.Hold(ctx, func(ctx context.Context) (err error) {
		out, err = s.redeem(ctx, &p)
		return err
	})
	return out, err
}

func (s *Service) redeem(ctx context.Context, p *RedeemParams) (Redeemed, error) {
	var g store.Grant
	var user store.User
	var approval error // why it does not count any more
	err := s.DB.View(func(tx *store.Tx) (err error) {
		if g, err = tx.GrantByCode(digest(p.Code)); err != nil {
			return err
		}
		user, approval, err = approver(tx, g.UserID, g.BrowserSessionID)
		return err
	})
	if errors.Is(err, store.ErrNotFound) {
		return Redeemed{}, ErrGrantInvalid
	}
	if err != nil {
		return Redeemed{}, fmt.Errorf("%w: reading a grant: %w", ErrUnavailable, err)
	}
	if g.ClientID != p.ClientID || g.RedirectURI != p.RedirectURI || !verifies(g.Challenge, p.Verifier) {
		return Redeemed{}, ErrGrantInvalid
	}
	if g.Status == store.GrantExchanged {
		return Redeemed{}, s.replayed(ctx, &g, p)
	}
	if !g.Redeemable(p.Arrived) {
		return Redeemed{}, ErrGrantInvalid
	}
	if approval != nil {
		return Redeemed{}, approval
	}
	st := s.oauthStart(GrantTypeAuthorizationCode, &g.BrowserSessionID, user, g.ClientID, g.Scope, p.From)
	st.grantID = g.ID
	st.gate = func(tx *store.Tx, _ *store.User, sess *store.Session) error {
		return s.exchange(tx, g.ID, p, sess)
	}
	t, err := s.start(ctx, st)
	if errors.Is(err, ErrBadCredentials) || errors.Is(err, ErrUserLocked) {
		err = ErrGrantInvalid
	}
	return Redeemed{Tokens: t, Subject: user.ID, Nonce: g.Nonce, AuthTime: g.AuthTime, ACR: g.ACR}, err
}

// exchange consumes a grant in the Update that inserts its session.
func (s *Service) exchange(tx *store.Tx, id ulid.ULID, p *RedeemParams, sess *store.Session) error {
	g, err := tx.Grant(id)
	if errors.Is(err, store.ErrNotFound) || err == nil && !g.Redeemable(p.Arrived) {
		return ErrGrantInvalid
	}
	if err != nil {
		return err
	}
	if err := approverIsLive(tx, g.BrowserSessionID); err != nil {
		return err
	}
	if err := s.useAssertion(tx, p.ClientID, p.Assertion); err != nil {
		return err
	}
	if err := useClient(tx, g.ClientID); err != nil {
		return err
	}
	g.Status, g.ExchangedAt, g.SessionID = store.GrantExchanged, tx.Now(), sess.ID
	return tx.UpdateGrant(g)
}

// approver reads who approved, and refuses what that person may not use any more, before Synapse hears of it. The Update
// decides again.
func approver(tx *store.Tx, user, browserSession ulid.ULID) (u store.User, refused, err error) {
	if u, err = tx.User(user); err != nil {
		return u, nil, err
	}
	if u.Locked() || u.Deactivated() {
		return u, ErrGrantInvalid, nil
	}
	err = approverIsLive(tx, browserSession)
	if errors.Is(err, ErrGrantInvalid) {
		return u, err, nil
	}
	return u, nil, err
}

// approverIsLive refuses what was approved in a sign-in that has ended since.
func approverIsLive(tx *store.Tx, id ulid.ULID) error {
	_, err := tx.BrowserSession(id)
	if errors.Is(err, store.ErrNotFound) {
		return ErrGrantInvalid
	}
	return err
}

// replayed refuses a code that was exchanged before; a late replay ends the session it was exchanged for (RFC 6749 §4.1.2).
func (s *Service) replayed(ctx context.Context, g *store.Grant, p *RedeemParams) error {
	if s.now().Sub(g.ExchangedAt) <= store.CodeReplayLeeway {
		return ErrGrantInvalid
	}
	return s.endReplayed(ctx, replay{session: g.SessionID, client: g.ClientID, assertion: p.Assertion, from: p.From})
}

// replay is a late second presentation of something that is redeemed once.
type replay struct {
	session   ulid.ULID // what it was redeemed for
	client    string
	assertion *Assertion
	from      From
}

// endReplayed ends the session of a replayed code, if it lives, and answers ErrGrantReplayed once that is on disk.
func (s *Service) endReplayed(ctx context.Context, r replay) error {
	var sess store.Session
	over := false
	err := s.update(ctx, func(tx *store.Tx) (err error) {
		if err := s.useAssertion(tx, r.client, r.assertion); err != nil {
			return err
		}
		sess, err = tx.Session(r.session)
		if over = errors.Is(err, store.ErrNotFound) || err == nil && sess.Ended(); over {
			return nil
		}
		if err != nil {
			return err
		}
		return s.end(tx, &sess, "code_replayed")
	})
	if err != nil {
		return err
	}
	if over {
		return ErrGrantReplayed
	}
	user, _ := s.owner(&sess)
	s.ended(&sess, s.userID(user.Localpart), r.from)
	_ = s.settle(ctx, sess.UserID)
	return ErrGrantReplayed
}

// verifies checks a PKCE verifier against an S256 challenge, in constant time (RFC 7636 §4.6).
func verifies(challenge, verifier string) bool {
	h := sha256.Sum256([]byte(verifier))
	want := base64.RawURLEncoding.EncodeToString(h[:])
	return subtle.ConstantTimeCompare([]byte(want), []byte(challenge)) == 1
}
