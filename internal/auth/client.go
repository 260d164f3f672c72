package auth

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/caddy-matrix/caddy-matrix-auth/internal/token"
	"github.com/caddy-matrix/caddy-matrix-auth/store"
)

// Client finds an OAuth client. One of the configuration wins over a stored one. ErrClientUnknown: there is none.
func (s *Service) Client(_ context.Context, id string) (c Client, err error) {
	err = s.DB.View(func(tx *store.Tx) (err error) {
		c, err = s.clientIn(tx, id)
		return err
	})
	if err != nil && !errors.Is(err, ErrClientUnknown) {
		err = fmt.Errorf("%w: reading a client: %w", ErrUnavailable, err)
	}
	return c, err
}

// clientIn is Client within a transaction.
func (s *Service) clientIn(tx *store.Tx, id string) (Client, error) {
	if c, ok := s.settings.Load().Clients[id]; ok {
		return c, nil
	}
	if id == "" || len(id) > maxClientID {
		return Client{}, ErrClientUnknown
	}
	c, err := tx.Client(id)
	if errors.Is(err, store.ErrNotFound) {
		return Client{}, ErrClientUnknown
	}
	return Client{Client: c}, err
}

const (
	maxClientID = 255            // bytes; longer ones are not looked up
	clientTouch = 24 * time.Hour // how exactly the use of a client is known
)

// RegisterClient registers a client that describes itself (RFC 7591). c is checked and canonical. Clients without a secret
// and with the same metadata are one (MSC2966); the others get a secret, which is told once.
//
// ErrRateLimited. Gate: the unique digest of the metadata.
func (s *Service) RegisterClient(ctx context.Context, c store.Client, from From) (Client, token.Secret, error) {
	if err := s.limits.spend(limitRegistration, s.settings.Load().RegisterLimit, from.Addr); err != nil {
		return Client{}, token.Secret{}, err
	}
	id, err := s.newID()
	if err != nil {
		return Client{}, token.Secret{}, err
	}
	var secret token.Secret
	c.ID, c.Digest, c.Secret = id.String(), store.Digest{}, store.Digest{}
	switch c.AuthMethod {
	case "none", "private_key_jwt":
		if c.Digest, err = c.MetadataDigest(); err != nil {
			return Client{}, token.Secret{}, err
		}
	default:
		if secret, err = s.random(); err != nil {
			return Client{}, token.Secret{}, err
		}
		c.Secret = sha256.Sum256([]byte(secret.Reveal()))
	}
	err = s.spareUpdate(ctx, func(tx *store.Tx) error {
		if c.Digest != (store.Digest{}) {
			if old, err := tx.ClientByDigest(c.Digest); err == nil {
				c = old
				return registeredAgain(tx, c)
			} else if !errors.Is(err, store.ErrNotFound) {
				return err
			}
		}
		c.CreatedAt, c.RegisteredAt = tx.Now(), tx.Now()
		return tx.InsertClient(c)
	})
	if err == nil && c.ID == id.String() {
		s.wrote(clientSize(&c))
		s.emit(Event{Name: "client_registered", ClientID: c.ID, Addr: from.Addr})
	}
	return Client{Client: c}, secret, err
}

// registeredAgain keeps a client that was just handed out once more from being swept as unused.
func registeredAgain(tx *store.Tx, c store.Client) error {
	if tx.Now().Sub(c.RegisteredAt) < clientTouch {
		return nil
	}
	c.RegisteredAt = tx.Now()
	return tx.UpdateClient(c)
}

// useClient notes that a self-registered client got a session.
func useClient(tx *store.Tx, id string) error {
	c, err := tx.Client(id)
	if errors.Is(err, store.ErrNotFound) { // of the configuration
		return nil
	}
	if err != nil || tx.Now().Sub(c.UsedAt) < clientTouch {
		return err
	}
	c.UsedAt = tx.Now()
	return tx.UpdateClient(c)
}

// AuthenticateClient checks a client secret, in constant time. ErrClientUnknown: no such client, or another secret.
func (s *Service) AuthenticateClient(ctx context.Context, id string, secret token.Secret) (Client, error) {
	c, err := s.Client(ctx, id)
	if err != nil {
		return Client{}, err
	}
	given := sha256.Sum256([]byte(secret.Reveal()))
	if c.Secret == (store.Digest{}) || subtle.ConstantTimeCompare(given[:], c.Secret[:]) != 1 {
		return Client{}, ErrClientUnknown
	}
	return c, nil
}

// useAssertion consumes a client assertion. ErrClientUnknown: another request has used it.
func (s *Service) useAssertion(tx *store.Tx, clientID string, a *Assertion) error {
	if a == nil || a.consumed {
		return nil
	}
	key := store.Digest(sha256.Sum256([]byte(clientID + "\x00" + a.ID)))
	_, err := tx.Assertion(key)
	if err == nil {
		return fmt.Errorf("%w: the assertion has been used", ErrClientUnknown)
	}
	if !errors.Is(err, store.ErrNotFound) {
		return err
	}
	tx.OnCommit(func() { a.consumed = true })
	return tx.PutAssertion(store.Assertion{Key: key, ExpiresAt: a.ExpiresAt})
}

// UseAssertion consumes a client assertion that buys nothing which is stored: an introspection. ErrClientUnknown: it has been
// used.
func (s *Service) UseAssertion(ctx context.Context, clientID string, a Assertion) error {
	return s.update(ctx, func(tx *store.Tx) error { return s.useAssertion(tx, clientID, &a) })
}

// random is a new secret of 256 bits, in base64url.
func (s *Service) random() (token.Secret, error) {
	var b [32]byte
	if _, err := io.ReadFull(&s.rand, b[:]); err != nil {
		return token.Secret{}, fmt.Errorf("reading randomness: %w", err)
	}
	return token.NewSecret(base64.RawURLEncoding.EncodeToString(b[:])), nil
}

// digest is what is kept of a secret.
func digest(s token.Secret) store.Digest { return sha256.Sum256([]byte(s.Reveal())) }
