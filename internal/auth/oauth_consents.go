package auth

import (
	"errors"

	"github.com/oklog/ulid/v2"

	"github.com/caddy-matrix/caddy-matrix-auth/store"
)

// idleConsents finds remembered decisions that can spare nobody a question any more.
func (s *Service) idleConsents(tx *store.Tx, remove func(func(tx *store.Tx) error) bool) error {
	for c, err := range tx.Consents() {
		if err != nil {
			return err
		}
		idle, err := s.consentIdle(tx, &c)
		if err != nil {
			return err
		}
		if idle && !remove(func(tx *store.Tx) error { return s.removeIdleConsent(tx, &c) }) {
			return nil
		}
	}
	return nil
}

// removeIdleConsent removes a remembered decision unless it was made anew meanwhile.
func (s *Service) removeIdleConsent(tx *store.Tx, found *store.Consent) error {
	if idle, err := s.consentIdle(tx, found); err != nil || !idle {
		return err
	}
	return tx.RemoveConsent(found.UserID, found.ClientID, found.Scope)
}

// consentIdle reports whether nobody can make use of a remembered decision: the person's account is closed, or the program is
// gone or returns to other places.
func (s *Service) consentIdle(tx *store.Tx, c *store.Consent) (bool, error) {
	user, err := tx.User(c.UserID)
	if errors.Is(err, store.ErrNotFound) || err == nil && user.Deactivated() {
		return true, nil
	}
	if err != nil {
		return false, err
	}
	client, err := s.clientIn(tx, c.ClientID)
	if errors.Is(err, ErrClientUnknown) {
		return registeredID(c.ClientID), nil
	}
	return err == nil && c.Redirects != redirectsDigest(client.RedirectURIs), err
}

// registeredID reports whether a client's name is one that RegisterClient gives. A client of the configuration has one that the
// operator chose: taken out, perhaps by mistake, it may come back.
func registeredID(id string) bool {
	parsed, err := ulid.ParseStrict(id)
	return err == nil && parsed.String() == id
}
