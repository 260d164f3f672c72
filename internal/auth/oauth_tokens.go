package auth

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/oklog/ulid/v2"

	"github.com/caddy-matrix/caddy-matrix-auth/internal/mxid"
	"github.com/caddy-matrix/caddy-matrix-auth/internal/token"
	"github.com/caddy-matrix/caddy-matrix-auth/store"
)

// oauthStart is a session for what a person approved.
func (s *Service) oauthStart(grant string, approver *ulid.ULID, user store.User, client string, scope []string, from From) start {
	device, _ := mxid.DeviceOf(scope)
	return start{
		user: user, kind: store.SessionOAuth2, grant: grant, device: device, refreshable: true, clientID: client, scope: scope,
		ttl: s.settings.Load().AccessTTL, approver: *approver, displayName: "", from: from,
	}
}

// sameDevice reports whether a scope names this device.
func sameDevice(scope []string, d mxid.DeviceID) bool {
	got, err := mxid.DeviceOf(scope)
	return err == nil && got == d
}

// Revoke ends the session of a token of ours, access or refresh, however old (RFC 7009, MSC4254): whoever holds it may. It is
// no error if there is no such session.
func (s *Service) Revoke(ctx context.Context, text string, from From) error {
	t, err := token.Parse(text)
	if err != nil || !s.mint.Authentic(t) {
		return nil
	}
	var sess store.Session
	over := false
	err = s.update(ctx, func(tx *store.Tx) (err error) {
		if t.Kind.IsRefresh() {
			sess, err = tx.SessionByRefreshHandle(t.Handle)
		} else {
			sess, err = tx.SessionByAccessHandle(t.Handle)
		}
		if over = errors.Is(err, store.ErrNotFound) || err == nil && sess.Ended(); over {
			return nil
		}
		if err != nil {
			return err
		}
		return s.end(tx, &sess, "revoked")
	})
	if err != nil || over {
		return err
	}
	user, _ := s.owner(&sess)
	s.ended(&sess, s.userID(user.Localpart), from)
	_ = s.settle(ctx, sess.UserID)
	return nil
}

// ClientCredentials gives a client a token of its own (RFC 6749 §4.4): a session without a user, which the gate refuses. Only
// a client that an operator vouches for, and that proves who it is, may have one.
//
// ErrClientNotAllowed, ErrScopeDenied. Gate: the Update that inserts the session.
func (s *Service) ClientCredentials(ctx context.Context, p ClientCredentialsParams) (Tokens, error) {
	if !p.Client.Static || p.Client.AuthMethod == "none" || !p.Client.May(GrantTypeClientCredentials) {
		return Tokens{}, ErrClientNotAllowed
	}
	if slices.ContainsFunc(p.Scope, func(sc string) bool { return sc != mxid.ScopeMASAdmin || !p.Client.Admin }) {
		return Tokens{}, ErrScopeDenied
	}
	var out Tokens
	err := s.Hold(ctx, func(ctx context.Context) (err error) {
		out, err = s.startClient(ctx, &p)
		return err
	})
	return out, err
}

func (s *Service) startClient(ctx context.Context, p *ClientCredentialsParams) (Tokens, error) {
	st := start{
		kind: store.SessionClient, grant: GrantTypeClientCredentials, clientID: p.Client.ID, scope: p.Scope,
		ttl: s.settings.Load().AccessTTL, from: p.From,
	}
	sess, access, _, err := s.newSession(&st)
	if err != nil {
		return Tokens{}, err
	}
	err = s.update(ctx, func(tx *store.Tx) error {
		if err := s.useAssertion(tx, p.Client.ID, p.Assertion); err != nil {
			return err
		}
		_, err := s.insertSession(tx, sess)
		return err
	})
	if err != nil {
		return Tokens{}, err
	}
	s.started(sess, "", &st)
	return Tokens{SessionID: sess.ID, Scope: sess.Scope, AccessToken: token.NewSecret(access.Reveal()), ExpiresAt: sess.Access[0].ExpiresAt}, nil
}

// UserInfo tells a client about the user of an access token (OIDC Core §5.3). ErrTokenUnknown, ErrTokenExpired, ErrUserLocked;
// ErrScopeDenied: the token was not granted openid.
func (s *Service) UserInfo(ctx context.Context, text string, from From) (Claims, error) {
	t, err := token.Parse(text)
	if err != nil || t.Kind.IsRefresh() {
		return Claims{}, ErrTokenUnknown
	}
	h, now := t.Hash(), s.now()
	a, err := s.admit(ctx, t, h, now)
	if err != nil {
		return Claims{}, err
	}
	defer a.Release()
	if a.state == nil || a.state.user == nil {
		return Claims{}, ErrTokenUnknown
	}
	a.note(h, now, from)
	switch {
	case a.Verdict == Expired:
		return Claims{}, ErrTokenExpired
	case a.Verdict == Locked:
		return Claims{}, ErrUserLocked
	case !slices.Contains(a.state.scopes, "openid"):
		return Claims{}, ErrScopeDenied
	}
	c := Claims{Subject: a.state.user.id, Localpart: a.state.user.localpart, Scope: a.state.scopes}
	err = s.DB.View(func(tx *store.Tx) error {
		u, err := tx.User(c.Subject)
		c.DisplayName = u.DisplayName
		return err
	})
	if err != nil {
		return Claims{}, fmt.Errorf("%w: reading a user: %w", ErrUnavailable, err)
	}
	return c, nil
}
