package auth

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/caddy-matrix/caddy-matrix-auth/internal/mxid"
	"github.com/caddy-matrix/caddy-matrix-auth/internal/token"
	"github.com/caddy-matrix/caddy-matrix-auth/store"
)

const (
	browserIdle  = 30 * 24 * time.Hour // a sign-in ends after that long without use
	browserTouch = time.Hour           // how exactly its use is known
)

// SignIn checks a password entered at our pages and signs its owner in. Every sign-in is a new record; the same person
// signing in again keeps the record, with a new cookie.
//
// ErrRateLimited, ErrBadCredentials, ErrUserLocked, ErrPasswordsDisabled: nothing has changed. Gate: the Update, where the
// user must still be unlocked and the password the one that was checked.
func (s *Service) SignIn(ctx context.Context, p SignInParams) (SignedIn, error) {
	out, user, err := s.signIn(ctx, &p)
	e := Event{Name: "login_succeeded", Method: "browser", UserID: s.userID(user.Localpart), Addr: p.From.Addr}
	if err != nil {
		e.Name, e.Reason = "login_failed", loginReason(err)
	}
	s.emit(e)
	return out, err
}

// signIn also returns whose password was checked, as login does.
func (s *Service) signIn(ctx context.Context, p *SignInParams) (SignedIn, store.User, error) {
	set := s.settings.Load()
	if !set.PasswordEnabled {
		return SignedIn{}, store.User{}, ErrPasswordsDisabled
	}
	lp := LoginParams{Name: p.Name, Localpart: p.Localpart, Password: p.Password, From: p.From}
	user, hash, err := s.checkPassword(ctx, set, &lp)
	if err != nil {
		return SignedIn{}, user, err
	}
	out, err := s.startBrowserSession(ctx, p, user, s.samePassword(hash.Hash, s.upgraded(ctx, &lp, hash.Hash)))
	return out, user, err
}

// startBrowserSession is the Update of a sign-in; same is samePassword's.
func (s *Service) startBrowserSession(
	ctx context.Context, p *SignInParams, user store.User, same func(*store.Tx, *store.User) error,
) (SignedIn, error) {
	cookie, err := s.random()
	if err != nil {
		return SignedIn{}, err
	}
	id, err := s.newID()
	if err != nil {
		return SignedIn{}, err
	}
	fresh := store.BrowserSession{
		ID: id, UserID: user.ID, Cookie: digest(cookie), Addr: addrText(p.From), UserAgent: cut(p.From.UserAgent, maxAgentLen),
	}
	var bs store.BrowserSession
	err = s.update(ctx, func(tx *store.Tx) error {
		if user, err = s.usable(tx, user); err != nil {
			return err
		}
		if err := same(tx, &user); err != nil {
			return err
		}
		bs = fresh
		bs.CreatedAt, bs.AuthenticatedAt, bs.UsedAt = tx.Now(), tx.Now(), tx.Now()
		return replaceBrowserSession(tx, p.Cookie, &bs)
	})
	if err != nil {
		return SignedIn{}, err
	}
	return s.signedIn(bs, user, cookie), nil
}

// usable reads a user again inside an Update. ErrBadCredentials: gone or deactivated. ErrUserLocked.
func (s *Service) usable(tx *store.Tx, user store.User) (store.User, error) {
	now, err := tx.User(user.ID)
	switch {
	case errors.Is(err, store.ErrNotFound) || err == nil && now.Deactivated():
		return user, ErrBadCredentials
	case err != nil:
		return user, err
	case now.Locked():
		return user, ErrUserLocked
	}
	return now, nil
}

// replaceBrowserSession puts bs in the place of the sign-in that the browser had: the same person's record lives on.
func replaceBrowserSession(tx *store.Tx, cookie token.Secret, bs *store.BrowserSession) error {
	if cookie.Empty() {
		return tx.InsertBrowserSession(*bs)
	}
	old, err := tx.BrowserSessionByCookie(digest(cookie))
	if errors.Is(err, store.ErrNotFound) {
		return tx.InsertBrowserSession(*bs)
	}
	if err != nil {
		return err
	}
	if old.UserID == bs.UserID && tx.Now().Sub(old.UsedAt) <= browserIdle {
		bs.ID, bs.CreatedAt = old.ID, old.CreatedAt
		return tx.UpdateBrowserSession(*bs)
	}
	if err := tx.RemoveBrowserSession(old.ID); err != nil {
		return err
	}
	return tx.InsertBrowserSession(*bs)
}

// BrowserSession finds the sign-in of a cookie. ErrSignInNeeded: there is none, it is over, or its user cannot use it now.
func (s *Service) BrowserSession(ctx context.Context, cookie token.Secret) (SignedIn, error) {
	if cookie.Empty() {
		return SignedIn{}, ErrSignInNeeded
	}
	var bs store.BrowserSession
	var user store.User
	err := s.DB.View(func(tx *store.Tx) (err error) {
		bs, user, err = liveBrowserSession(tx, digest(cookie))
		return err
	})
	if err != nil {
		return SignedIn{}, notSignedIn(err)
	}
	if s.now().Sub(bs.UsedAt) > browserTouch {
		if err := s.update(ctx, func(tx *store.Tx) error { return touchBrowserSession(tx, digest(cookie)) }); err != nil {
			return SignedIn{}, notSignedIn(err)
		}
	}
	return s.signedIn(bs, user, token.Secret{}), nil
}

// liveBrowserSession reads the sign-in of a cookie and its user, if both can be used.
func liveBrowserSession(tx *store.Tx, cookie store.Digest) (bs store.BrowserSession, user store.User, err error) {
	if bs, err = tx.BrowserSessionByCookie(cookie); err != nil {
		return bs, user, err
	}
	if user, err = tx.User(bs.UserID); err != nil {
		return bs, user, err
	}
	if user.Locked() || user.Deactivated() || tx.Now().Sub(bs.UsedAt) > browserIdle {
		return bs, user, ErrSignInNeeded
	}
	return bs, user, nil
}

func touchBrowserSession(tx *store.Tx, cookie store.Digest) error {
	bs, err := tx.BrowserSessionByCookie(cookie)
	if err != nil {
		return err
	}
	bs.UsedAt = tx.Now()
	return tx.UpdateBrowserSession(bs)
}

// notSignedIn turns the store's answer into the page's.
func notSignedIn(err error) error {
	if err == nil {
		return nil
	}
	if errors.Is(err, store.ErrNotFound) || errors.Is(err, ErrSignInNeeded) {
		return ErrSignInNeeded
	}
	return fmt.Errorf("%w: reading a sign-in: %w", ErrUnavailable, err)
}

func (s *Service) signedIn(bs store.BrowserSession, user store.User, cookie token.Secret) SignedIn {
	return SignedIn{Session: bs, User: user, UserID: s.userID(user.Localpart), Admin: s.settings.Load().admin(&user), Cookie: cookie}
}

// admin reports whether a user may obtain admin scopes: by the configuration, or by the right given with set-admin.
func (set *Settings) admin(u *store.User) bool { return u.Admin || set.Admins[u.Localpart] }

// SignOut ends a sign-in. It is no error if there is none.
func (s *Service) SignOut(ctx context.Context, cookie token.Secret, from From) error {
	if cookie.Empty() {
		return nil
	}
	var user store.User
	err := s.update(ctx, func(tx *store.Tx) error {
		bs, err := tx.BrowserSessionByCookie(digest(cookie))
		if err != nil {
			return err
		}
		if user, err = tx.User(bs.UserID); err != nil && !errors.Is(err, store.ErrNotFound) {
			return err
		}
		return tx.RemoveBrowserSession(bs.ID)
	})
	if err == nil {
		s.emit(Event{Name: "signed_out", Method: "browser", UserID: s.userID(user.Localpart), Addr: from.Addr})
	}
	return ignoreNotFound(err)
}

// CheckPassword makes sure that the person at the keyboard is still the one who signed in, before something that cannot be
// taken back. The limits of logins hold. ErrRateLimited, ErrBadCredentials, ErrUserLocked.
func (s *Service) CheckPassword(ctx context.Context, l mxid.Localpart, pw token.Secret, from From) error {
	_, _, err := s.checkPassword(ctx, s.settings.Load(), &LoginParams{Name: string(l), Localpart: l, Password: pw, From: from})
	return err
}

func addrText(f From) string {
	if !f.Addr.IsValid() {
		return ""
	}
	return f.Addr.String()
}

func cut(s string, n int) string { return s[:min(len(s), n)] }
