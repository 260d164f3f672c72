package auth

import (
	"context"
	"crypto/hkdf"
	"crypto/sha256"
	"errors"
	"fmt"
	"net/netip"

	"github.com/caddy-matrix/caddy-matrix-auth/internal/mxid"
	"github.com/caddy-matrix/caddy-matrix-auth/internal/password"
	"github.com/caddy-matrix/caddy-matrix-auth/internal/token"
	"github.com/caddy-matrix/caddy-matrix-auth/store"
)

// Login checks a password and starts a session (Matrix CS §login).
//
// ErrRateLimited, ErrBadCredentials, ErrUserLocked (after the password proved right), ErrPasswordsDisabled: nothing has
// changed. ErrUnavailable, ErrHomeserver: neither. Gate: the Update that inserts the session, where the user must still be
// unlocked and the password the one that was checked.
func (s *Service) Login(ctx context.Context, p LoginParams) (Tokens, error) {
	out, user, err := s.login(ctx, p)
	e := Event{
		Name: "login_succeeded", Method: "password", UserID: s.userID(user.Localpart), DeviceID: out.DeviceID, SessionID: out.SessionID,
		Addr: p.From.Addr,
	}
	if err != nil {
		e.Name, e.Reason = "login_failed", loginReason(err)
	}
	s.emit(e)
	return out, err
}

// login also returns whose password was checked, if there is such a user. What somebody typed is told to nobody: it may be a
// password in the wrong field.
func (s *Service) login(ctx context.Context, p LoginParams) (Tokens, store.User, error) {
	set := s.settings.Load()
	if !set.PasswordEnabled {
		return Tokens{}, store.User{}, ErrPasswordsDisabled
	}
	user, hash, err := s.checkPassword(ctx, set, &p)
	if err != nil {
		return Tokens{}, user, err
	}
	st := start{
		user: user, kind: store.SessionCompat, grant: "password", device: p.DeviceID, displayName: p.DisplayName,
		refreshable: p.Refreshable, from: p.From,
	}
	same := s.samePassword(hash.Hash, s.upgraded(ctx, &p, hash.Hash))
	st.gate = func(tx *store.Tx, user *store.User, _ *store.Session) error { return same(tx, user) }
	if p.Refreshable {
		st.ttl = set.CompatTTL
	}
	if st.device == "" {
		if st.device, err = mxid.NewDeviceID(&s.rand); err != nil {
			return Tokens{}, user, err
		}
	}
	out, err := s.startSession(ctx, st)
	return out, user, err
}

// checkPassword is everything up to a right password of a user who may use it: limits first, then the queue, then the hash.
func (s *Service) checkPassword(ctx context.Context, set *Settings, p *LoginParams) (store.User, store.Password, error) {
	try, err := s.limits.take(set.LoginLimit, p.account(), p.From.Addr)
	if err != nil {
		return store.User{}, store.Password{}, err
	}
	user, hash, err := s.userWithPassword(p.Localpart)
	if err != nil {
		try.giveBack()
		return user, hash, err
	}
	verdict, err := s.verify(ctx, p, hash.Hash)
	switch {
	case err != nil:
		try.giveBack()
		return user, hash, fmt.Errorf("%w: checking a password: %w", ErrUnavailable, err)
	case verdict != password.Match:
		return user, hash, ErrBadCredentials
	}
	try.succeed()
	if user.Locked() {
		return user, hash, ErrUserLocked
	}
	return user, hash, nil
}

// maxAccount is how many bytes of a name that cannot be a user of this server count; no user ID is longer.
const maxAccount = 255

// account is who an attempt is at, for the limits and the queue: one user however the name is spelt, whether or not there is
// such a user.
func (p *LoginParams) account() string {
	if p.Localpart != "" {
		return string(p.Localpart)
	}
	return cut(p.Name, maxAccount)
}

func (p *LoginParams) source() password.Source {
	return password.Source{Addr: limitPrefix(p.From.Addr), Account: p.account()}
}

// verify spends the time of a hash whether or not there is one to check.
func (s *Service) verify(ctx context.Context, p *LoginParams, hash string) (password.Result, error) {
	src := p.source()
	if hash == "" {
		return s.Hasher.Dummy(ctx, src, &s.census, s.dummyKey, src.Account, p.Password.Reveal())
	}
	return s.Hasher.Verify(ctx, src, hash, p.Password.Reveal())
}

// userWithPassword reads a user, zero if there is none, and the hash to check, empty for who cannot log in with a password.
func (s *Service) userWithPassword(l mxid.Localpart) (user store.User, hash store.Password, err error) {
	if l == "" {
		return user, hash, nil
	}
	err = s.DB.View(func(tx *store.Tx) (err error) {
		if user, err = tx.UserByLocalpart(l); err != nil || user.Deactivated() {
			return err
		}
		hash, err = tx.Password(user.ID)
		return err
	})
	if errors.Is(err, store.ErrNotFound) {
		return user, store.Password{}, nil
	}
	if err != nil {
		return user, hash, fmt.Errorf("%w: reading a user: %w", ErrUnavailable, err)
	}
	return user, hash, nil
}

// upgraded hashes the password anew if its hash is of an older kind; empty if it is not, or if that cannot be done now.
func (s *Service) upgraded(ctx context.Context, p *LoginParams, hash string) string {
	if !s.Hasher.NeedsUpgrade(hash) {
		return ""
	}
	better, err := s.Hasher.Hash(ctx, p.source(), p.Password.Reveal())
	if err != nil {
		return ""
	}
	return better
}

// samePassword makes a login's Update fail if the password has changed since it was checked, and stores a better hash.
func (s *Service) samePassword(checked, better string) func(*store.Tx, *store.User) error {
	return func(tx *store.Tx, user *store.User) error {
		now, err := tx.Password(user.ID)
		if errors.Is(err, store.ErrNotFound) || err == nil && now.Hash != checked {
			return ErrBadCredentials
		}
		if err != nil || better == "" {
			return err
		}
		now.Hash = better
		tx.OnCommit(func() { s.census.Remove(checked); s.census.Add(better) })
		return tx.PutPassword(now)
	}
}

// loginReason is why a login failed, for the audit log and the metrics: from a closed set.
func loginReason(err error) string {
	switch {
	case errors.Is(err, ErrRateLimited):
		return "rate_limited"
	case errors.Is(err, ErrBadCredentials):
		return "bad_credentials"
	case errors.Is(err, ErrUserLocked):
		return "locked"
	case errors.Is(err, ErrPasswordsDisabled):
		return "disabled"
	case errors.Is(err, ErrHomeserver):
		return "homeserver"
	case errors.Is(err, ErrUnavailable):
		return "unavailable"
	}
	return "error"
}

// dummyKey is what chooses the scheme of a dummy hash.
func dummyKey(k token.Key) (key [32]byte, err error) {
	b, err := hkdf.Key(sha256.New, k[:], nil, "dummy-hash/1", len(key))
	copy(key[:], b)
	return key, err
}

// limitPrefix is what counts as one address: an IPv4 address, an IPv6 /64.
func limitPrefix(a netip.Addr) netip.Prefix {
	a = a.Unmap().WithZone("")
	bits := a.BitLen()
	if a.Is6() {
		bits = 64
	}
	p, err := a.Prefix(bits)
	if err != nil {
		return netip.Prefix{}
	}
	return p
}
