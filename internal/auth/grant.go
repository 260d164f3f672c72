package auth

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"math/big"
	"slices"
	"strings"
	"time"

	"github.com/oklog/ulid/v2"

	"github.com/caddy-matrix/caddy-matrix-auth/internal/mxid"
	"github.com/caddy-matrix/caddy-matrix-auth/internal/token"
	"github.com/caddy-matrix/caddy-matrix-auth/store"
)

// StartGrant notes an authorization request whose client, redirect URI and parameters have been checked (RFC 6749 §4.1.1).
// ErrRateLimited.
func (s *Service) StartGrant(ctx context.Context, g store.Grant, from From) (store.Grant, error) {
	if err := s.limits.spend(limitAuthorize, s.settings.Load().AuthorizeLimit, from.Addr); err != nil {
		return g, err
	}
	var err error
	if g.ID, err = s.newID(); err != nil {
		return g, err
	}
	g.Status = store.GrantPending
	err = s.spareUpdate(ctx, func(tx *store.Tx) error {
		g.CreatedAt = tx.Now()
		return tx.InsertGrant(g)
	})
	if err == nil {
		s.wrote(grantSize(&g))
	}
	return g, err
}

// Grant returns an authorization request to the browser that started it, and its client.
//
// ErrNotFound; ErrOtherBrowser; ErrExpired: nobody has decided in time, and here are the request and its client nevertheless.
// ErrClientUnknown, ErrRedirectUnknown: the client has gone or changed since, and nothing may be sent to where it wanted its
// answer.
func (s *Service) Grant(_ context.Context, id ulid.ULID, browser store.Digest) (g store.Grant, c Client, err error) {
	err = s.DB.View(func(tx *store.Tx) (err error) {
		g, c, err = s.grantOf(tx, id, browser)
		return err
	})
	return g, c, notFound(err, "no such request")
}

// grantOf reads a grant for a browser, and its client.
func (s *Service) grantOf(tx *store.Tx, id ulid.ULID, browser store.Digest) (store.Grant, Client, error) {
	g, err := tx.Grant(id)
	switch {
	case err != nil:
		return g, Client{}, err
	case subtle.ConstantTimeCompare(g.Browser[:], browser[:]) != 1:
		return store.Grant{}, Client{}, ErrOtherBrowser
	}
	c, err := s.clientIn(tx, g.ClientID)
	switch {
	case err != nil:
		return store.Grant{}, Client{}, err
	case !c.ReturnsTo(g.RedirectURI):
		return store.Grant{}, Client{}, ErrRedirectUnknown
	case g.Status == store.GrantPending && !g.Pending(tx.Now()):
		return g, c, ErrExpired
	}
	return g, c, nil
}

// ApproveGrant is the signed-in person's yes. Its code is derived from the browser's cookie, the grant and the person: a
// double click gives the same code. Only its hash is kept.
//
// As Grant; ErrSignInNeeded (none, or not recent enough), ErrScopeDenied, ErrDone (decided, and the code redeemed or too old;
// here is the request as it was decided). Gate: the Update that fulfils the pending grant.
func (s *Service) ApproveGrant(ctx context.Context, p ApproveParams) (Approved, error) {
	var out Approved
	var user store.User
	first := false
	err := s.update(ctx, func(tx *store.Tx) error {
		first = false
		g, c, err := s.grantOf(tx, p.ID, p.Browser.Digest())
		if err != nil {
			return err
		}
		var bs store.BrowserSession
		if bs, user, err = liveBrowserSession(tx, digest(p.Cookie)); err != nil {
			return notSignedIn(err)
		}
		out = Approved{Grant: g, Code: codeOf(p.Browser, g.ID, user.ID)}
		if g.Status == store.GrantFulfilled && g.BrowserSessionID == bs.ID && g.Redeemable(tx.Now()) {
			return nil // the same answer again
		}
		if g.Status != store.GrantPending {
			return ErrDone
		}
		if bs.AuthenticatedAt.Before(g.MinAuthTime) {
			return ErrSignInNeeded
		}
		first = true
		return s.fulfil(tx, &out, &c, &bs, &user, p.Scope)
	})
	if errors.Is(err, ErrDone) {
		return Approved{Grant: out.Grant}, err
	}
	if err != nil {
		return Approved{}, notFound(err, "no such request")
	}
	if first {
		s.emit(Event{
			Name: "grant_approved", Grant: GrantTypeAuthorizationCode, UserID: s.userID(user.Localpart), GrantID: out.Grant.ID,
			ClientID: out.Grant.ClientID, Addr: p.From.Addr,
		})
	}
	return out, nil
}

// fulfil writes the yes. An admin scope is dropped for who has no right to it, and needs a password that was entered a moment
// ago.
func (s *Service) fulfil(tx *store.Tx, out *Approved, c *Client, bs *store.BrowserSession, user *store.User, scope []string) error {
	g := &out.Grant
	granted := s.settings.Load().stillGranted(scope, user)
	if !isPart(scope, g.Scope) || len(granted) == 0 {
		return ErrScopeDenied
	}
	if !adminAuthenticated(tx, bs, granted) {
		return ErrSignInNeeded
	}
	g.Status, g.UserID, g.BrowserSessionID, g.AuthTime = store.GrantFulfilled, user.ID, bs.ID, bs.AuthenticatedAt
	g.Scope, g.Code, g.FulfilledAt = granted, digest(out.Code), tx.Now()
	if err := rememberConsent(tx, user.ID, g, c); err != nil {
		return err
	}
	return tx.UpdateGrant(*g)
}

// isPart reports whether a scope has something, and nothing that is not in another.
func isPart(scope, of []string) bool {
	return len(scope) > 0 && !slices.ContainsFunc(scope, func(sc string) bool { return !slices.Contains(of, sc) })
}

// Grantable is the part of a scope that a person can grant: an admin scope takes the right to it.
func Grantable(scope []string, admin bool) []string {
	if admin || !slices.ContainsFunc(scope, mxid.IsAdminScope) {
		return scope
	}
	return slices.DeleteFunc(slices.Clone(scope), mxid.IsAdminScope)
}

// AdminAuthFor is how old the password may be with which an admin scope is granted.
const AdminAuthFor = 5 * time.Minute

// adminAuthenticated reports whether the password was entered recently enough for a scope.
func adminAuthenticated(tx *store.Tx, bs *store.BrowserSession, scope []string) bool {
	return !slices.ContainsFunc(scope, mxid.IsAdminScope) || tx.Now().Sub(bs.AuthenticatedAt) <= AdminAuthFor
}

// codeOf derives a grant's code, in base62.
func codeOf(b Browser, grant, user ulid.ULID) token.Secret {
	mac := hmac.New(sha256.New, b.Secret[:])
	mac.Write([]byte("code"))
	mac.Write(grant[:])
	mac.Write(user[:])
	return token.NewSecret(new(big.Int).SetBytes(mac.Sum(nil)).Text(62))
}

// DenyGrant is the person's no. It may be repeated. As Grant; ErrDone (decided otherwise before, and here is how).
func (s *Service) DenyGrant(ctx context.Context, p DenyParams) (store.Grant, error) {
	var g store.Grant
	first := false
	err := s.spareUpdate(ctx, func(tx *store.Tx) (err error) {
		first = false
		if g, _, err = s.grantOf(tx, p.ID, p.Browser); err != nil {
			return err
		}
		switch g.Status {
		case store.GrantDenied:
			return nil
		case store.GrantPending:
			first, g.Status = true, store.GrantDenied
			return tx.UpdateGrant(g)
		}
		return ErrDone
	})
	if err == nil && first {
		s.emit(Event{
			Name: "grant_denied", Grant: GrantTypeAuthorizationCode, UserID: p.UserID, GrantID: g.ID, ClientID: g.ClientID, Addr: p.From.Addr,
		})
	}
	return g, notFound(err, "no such request")
}

// FailGrant is the end of a request in which there is nothing to decide: its client is told why, and no more. Who fails it again
// gets it as it failed. As Grant; ErrDone (decided before, and here is how).
func (s *Service) FailGrant(ctx context.Context, id ulid.ULID, browser store.Digest, why store.Failure) (store.Grant, error) {
	var g store.Grant
	err := s.spareUpdate(ctx, func(tx *store.Tx) (err error) {
		if g, _, err = s.grantOf(tx, id, browser); err != nil {
			return err
		}
		switch g.Status {
		case store.GrantFailed:
			return nil
		case store.GrantPending:
			g.Status, g.Failure = store.GrantFailed, why
			return tx.UpdateGrant(g)
		}
		return ErrDone
	})
	return g, notFound(err, "no such request")
}

// ConsentRemembered reports whether the person has said yes to the same before, so that nobody needs to be asked. A Matrix
// device, the API and admin scopes are always asked for: silence plus an open redirector at a client would be an account.
func (s *Service) ConsentRemembered(_ context.Context, user ulid.ULID, c *Client, scope []string) (bool, error) {
	if !rememberable(scope) {
		return false, nil
	}
	found := false
	err := s.DB.View(func(tx *store.Tx) error {
		consent, err := tx.Consent(user, c.ID, scopeDigest(scope))
		if errors.Is(err, store.ErrNotFound) {
			return nil
		}
		found = err == nil && consent.Redirects == redirectsDigest(c.RedirectURIs)
		return err
	})
	return found, err
}

func rememberConsent(tx *store.Tx, user ulid.ULID, g *store.Grant, c *Client) error {
	if !rememberable(g.Scope) {
		return nil
	}
	return tx.PutConsent(store.Consent{
		UserID: user, ClientID: g.ClientID, Scope: scopeDigest(g.Scope), GrantedAt: tx.Now(), Redirects: redirectsDigest(c.RedirectURIs),
	})
}

func rememberable(scope []string) bool {
	return len(scope) > 0 && !slices.ContainsFunc(scope, func(sc string) bool { return strings.HasPrefix(sc, "urn:") })
}

func scopeDigest(scope []string) store.Digest {
	sorted := slices.Sorted(slices.Values(scope))
	return sha256.Sum256([]byte(strings.Join(slices.Compact(sorted), " ")))
}

func redirectsDigest(uris []string) store.Digest {
	return sha256.Sum256([]byte(strings.Join(uris, "\x00")))
}
