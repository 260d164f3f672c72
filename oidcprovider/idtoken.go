package oidcprovider

import (
	"fmt"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/oklog/ulid/v2"
	"github.com/zitadel/oidc/v3/pkg/crypto"
	"github.com/zitadel/oidc/v3/pkg/oidc"

	"github.com/caddy-matrix/caddy-matrix-auth/internal/auth"
)

// The signatures of id tokens. RS256 is what every client of OpenID Connect can verify.
const (
	algRS256 = "RS256"
	algES256 = "ES256"
)

const (
	idTokenFor  = time.Hour
	acrPassword = "0" // less than the lowest level of ISO/IEC 29115 (OIDC Core §2)
)

// idToken makes the id token of a new session (OIDC Core §2, §3.1.3.6).
func (s *server) idToken(c *auth.Client, keys *auth.Keys, r *auth.Redeemed) (string, error) {
	alg := algRS256
	if c.IDTokenAlg == algES256 {
		alg = algES256
	}
	key, ok := keys.Signing[alg]
	if !ok {
		return "", fmt.Errorf("no key for %s", alg)
	}
	acr := ""
	if r.ACR {
		acr = acrPassword
	}
	now := s.o.Now()
	claims := oidc.NewIDTokenClaims(
		s.o.issuer, r.Subject.String(), []string{c.ID}, now.Add(idTokenFor), r.AuthTime, r.Nonce, acr, []string{"pwd"}, c.ID, 0)
	claims.IssuedAt = oidc.FromTime(now) // By our clock.
	var err error
	if claims.AccessTokenHash, err = oidc.ClaimHash(r.AccessToken.Reveal(), jose.SignatureAlgorithm(alg)); err != nil {
		return "", err
	}
	signer, err := jose.NewSigner(jose.SigningKey{
		Algorithm: jose.SignatureAlgorithm(alg), Key: &jose.JSONWebKey{Key: key.Private, KeyID: key.ID},
	}, (&jose.SignerOptions{}).WithType("JWT"))
	if err != nil {
		return "", err
	}
	return crypto.Sign(claims, signer)
}

// subjectOfHint is whom an id_token_hint is about: ours by its signature, retired keys included; its age does not matter
// (OIDC Core §3.1.2.1). Anything else is about nobody.
func (o *OAuth) subjectOfHint(keys *auth.Keys, hint string) ulid.ULID {
	jws, err := jose.ParseSignedCompact(hint, []jose.SignatureAlgorithm{jose.RS256, jose.ES256})
	if err != nil || len(jws.Signatures) != 1 {
		return ulid.ULID{}
	}
	for _, k := range keys.Hints {
		if jws.Signatures[0].Header.KeyID != k.ID || jws.Signatures[0].Header.Algorithm != k.Algorithm {
			continue
		}
		payload, err := jws.Verify(k.Public)
		if err != nil {
			return ulid.ULID{}
		}
		return o.subjectOf(hint, payload)
	}
	return ulid.ULID{}
}

func (o *OAuth) subjectOf(hint string, payload []byte) ulid.ULID {
	var claims oidc.TokenClaims
	if p, err := oidc.ParseToken(hint, &claims); err != nil || string(p) != string(payload) || claims.Issuer != o.issuer {
		return ulid.ULID{}
	}
	subject, err := ulid.ParseStrict(claims.Subject)
	if err != nil {
		return ulid.ULID{}
	}
	return subject
}
