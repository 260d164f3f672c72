package oidcprovider

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-json-experiment/json"
	"github.com/zitadel/oidc/v3/pkg/oidc"

	"github.com/caddy-matrix/caddy-matrix-auth/internal/auth"
)

// assertionAlgs are the signatures that a client's assertion may have.
var assertionAlgs = []string{"RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"}

const (
	assertionFor   = 10 * time.Minute // an assertion ends at most so much ahead
	maxAssertionID = 255
)

// assertionClaims are those of a client assertion (RFC 7523 §3). The library's have no nbf.
type assertionClaims struct {
	oidc.JWTTokenRequest
	notBefore float64 // seconds since 1970, with any fraction and of any size (RFC 7519 §2 NumericDate)
}

func (c *assertionClaims) read() error {
	switch nbf := c.GetCustomClaim("nbf").(type) {
	case nil:
	case float64:
		c.notBefore = nbf
	default:
		return errors.New("nbf is not a number")
	}
	return nil
}

// unverifiedIssuer is the client that an assertion claims to be of.
func unverifiedIssuer(assertion string) string {
	var c oidc.JWTTokenRequest
	if _, err := oidc.ParseToken(assertion, &c); err != nil {
		return ""
	}
	return c.Issuer
}

// checkAssertion checks a client's assertion, as of a time (RFC 7523 §3, OIDC Core §9). What it buys has to consume it: that is not done
// here. auth.ErrClientUnknown, for whatever reason.
func (s *server) checkAssertion(c *auth.Client, text string, now time.Time) (*auth.Assertion, error) {
	var claims assertionClaims
	payload, err := oidc.ParseToken(text, &claims.JWTTokenRequest)
	if err == nil {
		err = claims.read()
	}
	if err == nil {
		err = s.checkClaims(c, &claims, now)
	}
	if err == nil {
		err = oidc.CheckSignature(context.Background(), text, payload, &claims.JWTTokenRequest, assertionAlgs, clientKeys(c.JWKS))
	}
	if err != nil {
		return nil, fmt.Errorf("%w: assertion: %w", auth.ErrClientUnknown, err)
	}
	return &auth.Assertion{ID: claims.JWTID, ExpiresAt: claims.GetExpiration()}, nil
}

// checkClaims checks what an assertion says of itself, its times by our clock to the second: a client whose clock is wrong
// learns so at once, and not on some days.
func (s *server) checkClaims(c *auth.Client, claims *assertionClaims, now time.Time) error {
	end := claims.GetExpiration()
	switch {
	case claims.Issuer != c.ID || claims.Subject != c.ID:
		return errors.New("iss and sub have to be the client")
	case len(claims.Audience) != 1 || !slices.Contains([]string{s.o.issuer, s.o.urls.Token()}, claims.Audience[0]):
		return errors.New("aud has to be the issuer or the token endpoint alone")
	case end.IsZero() || !now.Before(end):
		return errors.New("exp is over")
	case end.Sub(now) > assertionFor:
		return errors.New("exp is too far ahead")
	case float64(now.UnixMilli()) < claims.notBefore*1000:
		return errors.New("nbf is ahead")
	case claims.JWTID == "" || len(claims.JWTID) > maxAssertionID:
		return errors.New("jti is missing or too long")
	}
	return nil
}

// clientKeys are a client's registered keys, as JSON (RFC 7517 §5).
type clientKeys []byte

// VerifySignature implements oidc.KeySet. A key that the header names is the only one that counts.
func (k clientKeys) VerifySignature(_ context.Context, jws *jose.JSONWebSignature) ([]byte, error) {
	var set jose.JSONWebKeySet
	if err := json.Unmarshal(k, &set); err != nil {
		return nil, err
	}
	id, _ := oidc.GetKeyIDAndAlg(jws)
	for i := range set.Keys {
		key := &set.Keys[i]
		if id != "" && key.KeyID != "" && id != key.KeyID || key.Use == "enc" {
			continue
		}
		if payload, err := jws.Verify(key); err == nil {
			return payload, nil
		}
	}
	return nil, errors.New("no registered key made the signature")
}
