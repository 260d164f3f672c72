package auth

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/caddy-matrix/caddy-matrix-auth/store"
)

// signingAlgorithms are those that we sign with: RS256 because OpenID Connect asks for it, ES256 because it is 30 times cheaper.
var signingAlgorithms = []string{"RS256", "ES256"}

const rsaBits = 2048

// Keys are the signing keys at one moment.
type Keys struct {
	Signing map[string]SigningKey // :: algorithm → the key that signs
	Public  []PublicKey           // published: those that sign, and those retired a short time ago
	Hints   []PublicKey           // good for recognising an id_token_hint, published ones included
}

// SigningKey signs id tokens.
type SigningKey struct {
	ID        string
	Algorithm string
	Private   crypto.Signer
}

// PublicKey verifies id tokens.
type PublicKey struct {
	ID        string
	Algorithm string
	Public    crypto.PublicKey
}

// Keys returns the signing keys, and makes those that are missing, or cannot be read. They are not to be changed.
func (s *Service) Keys(ctx context.Context) (Keys, error) {
	k, err := s.readKeys()
	if err != nil || len(k.Signing) == len(signingAlgorithms) {
		return k, err
	}
	if err := s.makeKeys(ctx, false); err != nil {
		return Keys{}, err
	}
	return s.readKeys()
}

// keyring keeps the signing keys in memory: to parse an RSA key takes as long as to sign with it.
type keyring struct {
	changes atomic.Uint64 // commits that changed keys
	kept    atomic.Pointer[keptKeys]
}

type keptKeys struct {
	keys    Keys
	changes uint64
	at      time.Time
}

// keysKeptFor is how late a retired key may leave the published ones.
const keysKeptFor = time.Minute

func (s *Service) readKeys() (Keys, error) {
	now, changes := s.now(), s.keys.changes.Load()
	if kept := s.keys.kept.Load(); kept != nil && kept.changes == changes && now.Sub(kept.at).Abs() < keysKeptFor {
		return kept.keys, nil
	}
	k, err := s.loadKeys()
	if err == nil {
		s.keys.kept.Store(&keptKeys{keys: k, changes: changes, at: now})
	}
	return k, err
}

func (s *Service) loadKeys() (Keys, error) {
	k := Keys{Signing: make(map[string]SigningKey)}
	var unread failures
	err := s.DB.View(func(tx *store.Tx) error {
		for rec, err := range known(tx.SigningKeys(), &unread) {
			if err != nil {
				return err
			}
			if err := k.add(&rec, tx.Now()); err != nil {
				return fmt.Errorf("signing key %s: %w", rec.ID, err)
			}
		}
		return nil
	})
	s.logUnread(&unread)
	return k, err
}

func (k *Keys) add(rec *store.SigningKey, now time.Time) error {
	public, err := x509.ParsePKIXPublicKey(rec.Public)
	if err != nil {
		return err
	}
	p := PublicKey{ID: rec.ID, Algorithm: rec.Algorithm, Public: public}
	retired := now.Sub(rec.RetiredAt)
	if rec.RetiredAt.IsZero() || retired < store.KeyHintFor {
		k.Hints = append(k.Hints, p)
	}
	if rec.RetiredAt.IsZero() || retired < store.KeyPublishedFor {
		k.Public = append(k.Public, p)
	}
	if !rec.RetiredAt.IsZero() {
		return nil
	}
	private, err := x509.ParsePKCS8PrivateKey(rec.Private)
	if err != nil {
		return err
	}
	signer, ok := private.(crypto.Signer)
	if !ok {
		return errors.New("not a signing key")
	}
	k.Signing[rec.Algorithm] = SigningKey{ID: rec.ID, Algorithm: rec.Algorithm, Private: signer}
	return nil
}

// RotateKeys makes new signing keys, which sign from now on. The old ones are retired: their private halves are erased, their
// public ones stay published for a day.
func (s *Service) RotateKeys(ctx context.Context) error {
	if err := s.makeKeys(ctx, true); err != nil {
		return err
	}
	s.emit(Event{Name: "key_rotated"})
	return nil
}

// makeKeys makes a key for each algorithm that has none, or with rotate for all. Gate: the Update, where a key made by
// somebody else meanwhile wins.
func (s *Service) makeKeys(ctx context.Context, rotate bool) error {
	var made []store.SigningKey
	for _, alg := range signingAlgorithms {
		k, err := s.newKey(alg)
		if err != nil {
			return fmt.Errorf("making a signing key: %w", err)
		}
		made = append(made, k)
	}
	return s.update(ctx, func(tx *store.Tx) error {
		tx.OnCommit(func() { s.keys.changes.Add(1) })
		old := make(map[string]store.SigningKey)
		for rec, err := range known(tx.SigningKeys(), new(failures)) {
			if err != nil {
				return err
			}
			if rec.RetiredAt.IsZero() {
				old[rec.Algorithm] = rec
			}
		}
		for _, k := range made {
			if before, ok := old[k.Algorithm]; ok {
				if !rotate {
					continue
				}
				before.Private, before.RetiredAt = nil, tx.Now()
				if err := tx.PutSigningKey(before); err != nil {
					return err
				}
			}
			k.CreatedAt = tx.Now()
			if err := tx.PutSigningKey(k); err != nil {
				return err
			}
		}
		return nil
	})
}

func (s *Service) newKey(alg string) (store.SigningKey, error) {
	var signer crypto.Signer
	var err error
	if alg == "RS256" {
		signer, err = rsa.GenerateKey(&s.rand, rsaBits)
	} else {
		signer, err = ecdsa.GenerateKey(elliptic.P256(), &s.rand)
	}
	if err != nil {
		return store.SigningKey{}, err
	}
	k := store.SigningKey{Algorithm: alg}
	if k.Private, err = x509.MarshalPKCS8PrivateKey(signer); err != nil {
		return k, err
	}
	if k.Public, err = x509.MarshalPKIXPublicKey(signer.Public()); err != nil {
		return k, err
	}
	thumb, err := (&jose.JSONWebKey{Key: signer.Public()}).Thumbprint(crypto.SHA256) // RFC 7638
	k.ID = base64.RawURLEncoding.EncodeToString(thumb)
	return k, err
}
