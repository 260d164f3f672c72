package auth

import (
	"errors"

	"github.com/oklog/ulid/v2"

	"github.com/caddy-matrix/caddy-matrix-auth/store"
)

// forgetConsents takes back what a person has decided for the client of a session: who ends it wants to be asked again.
func forgetConsents(tx *store.Tx, sess *store.Session) error {
	all, err := consentsOf(tx, sess.UserID)
	if err != nil {
		return err
	}
	for i := range all {
		if c := &all[i]; c.ClientID == sess.ClientID {
			if err := tx.RemoveConsent(c.UserID, c.ClientID, c.Scope); err != nil {
				return err
			}
		}
	}
	return nil
}

// consentsOf is what a person has decided, but for what cannot be read, and spares nobody a question.
func consentsOf(tx *store.Tx, user ulid.ULID) (all []store.Consent, err error) {
	for c, err := range known(tx.ConsentsOf(user), new(failures)) {
		if err != nil {
			return nil, err
		}
		all = append(all, c)
	}
	return all, nil
}

// idleConsents finds remembered decisions that can spare nobody a question any more. Many are of the same people and clients: each
// is read once.
func (s *Service) idleConsents(tx *store.Tx, f *findings) error {
	idle := s.consentIdle(tx)
	for c, err := range known(tx.Consents(), &f.failed) {
		if err != nil {
			return err
		}
		over, err := idle(&c)
		if err != nil {
			f.failed.add(err)
			continue
		}
		if over && !f.remove(func(tx *store.Tx) error { return s.removeIdleConsent(tx, &c) }) {
			return nil
		}
	}
	return nil
}

// removeIdleConsent removes a remembered decision unless it was made anew meanwhile.
func (s *Service) removeIdleConsent(tx *store.Tx, found *store.Consent) error {
	c, err := tx.Consent(found.UserID, found.ClientID, found.Scope)
	if err != nil {
		return err
	}
	if idle, err := s.consentIdle(tx)(&c); err != nil || !idle {
		return err
	}
	return tx.RemoveConsent(c.UserID, c.ClientID, c.Scope)
}

// consentIdle tells whether nobody can make use of a remembered decision: the person's account is closed, or the program is gone
// or returns to other places.
func (s *Service) consentIdle(tx *store.Tx) func(c *store.Consent) (bool, error) {
	closed := readOnce(func(id ulid.ULID) (bool, error) {
		user, err := tx.User(id)
		if errors.Is(err, store.ErrNotFound) {
			return true, nil
		}
		return user.Deactivated(), err
	})
	places := readOnce(func(client string) (store.Digest, error) {
		c, err := s.clientIn(tx, client)
		return redirectsDigest(c.RedirectURIs), err
	})
	return func(c *store.Consent) (bool, error) {
		if over, err := closed(c.UserID); over || err != nil {
			return over, err
		}
		redirects, err := places(c.ClientID)
		if errors.Is(err, ErrClientUnknown) {
			return registeredID(c.ClientID), nil
		}
		return redirects != c.Redirects, err
	}
}

// readOnce remembers what was read.
func readOnce[K comparable, V any](read func(K) (V, error)) func(K) (V, error) {
	type result struct {
		value V
		err   error
	}
	seen := make(map[K]result)
	return func(key K) (V, error) {
		r, ok := seen[key]
		if !ok {
			r.value, r.err = read(key)
			seen[key] = r
		}
		return r.value, r.err
	}
}

// registeredID reports whether a client's name is one that RegisterClient gives. A client of the configuration has one that the
// operator chose: taken out, perhaps by mistake, it may come back.
func registeredID(id string) bool {
	parsed, err := ulid.ParseStrict(id)
	return err == nil && parsed.String() == id
}
