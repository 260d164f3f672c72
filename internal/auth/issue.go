package auth

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/caddy-matrix/caddy-matrix-auth/internal/mxid"
	"github.com/caddy-matrix/caddy-matrix-auth/store"
)

// IssueToken gives an administrator a token for a user: a personal one, without a device or on the device named, or a legacy
// one on a device. A live session on that device ends. Gate: the Update that inserts the session.
//
// ErrNotFound, ErrConflict (deactivated; an admin scope without the right), ErrInvalid (a scope that does not exist),
// ErrUserLocked.
func (s *Service) IssueToken(ctx context.Context, p IssueTokenParams) (Tokens, error) {
	info, err := s.User(p.Localpart)
	if err != nil {
		return Tokens{}, err
	}
	set := s.settings.Load()
	if err := set.checkIssue(&p, &info.User); err != nil {
		return Tokens{}, err
	}
	st := start{user: info.User, kind: store.SessionPersonal, grant: "admin", device: p.DeviceID, displayName: "Issued by an administrator", ttl: p.ExpiresIn}
	st.scope = append([]string{mxid.ScopeAPI}, p.Scope...)
	st.gate = func(_ *store.Tx, u *store.User, _ *store.Session) error { return set.checkIssue(&p, u) }
	if p.Legacy {
		st.kind, st.scope = store.SessionCompat, nil
		if st.device == "" {
			if st.device, err = mxid.NewDeviceID(&s.rand); err != nil {
				return Tokens{}, err
			}
		}
	}
	out, err := s.start(ctx, st)
	if errors.Is(err, ErrBadCredentials) {
		err = fmt.Errorf("%w: the user was removed or deactivated meanwhile", ErrConflict)
	}
	return out, err
}

// checkIssue refuses what cannot be issued to the user as it is now.
func (set *Settings) checkIssue(p *IssueTokenParams, u *store.User) error {
	for _, sc := range p.Scope {
		if sc != mxid.ScopeAdmin {
			return fmt.Errorf("%w: there is no scope %q to be issued", ErrInvalid, sc)
		}
	}
	switch admin := slices.Contains(p.Scope, mxid.ScopeAdmin); {
	case p.ExpiresIn < 0:
		return fmt.Errorf("%w: a token cannot end before it begins", ErrInvalid)
	case u.Deactivated():
		return fmt.Errorf("%w: %s is deactivated", ErrConflict, u.Localpart)
	case admin && p.Legacy:
		return fmt.Errorf("%w: a legacy token has no scopes", ErrInvalid)
	case admin && !set.admin(u):
		return fmt.Errorf("%w: %s has not the admin right", ErrConflict, u.Localpart)
	}
	return nil
}
