package caddymodule

import (
	"crypto/rsa"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"unicode"

	"github.com/go-jose/go-jose/v4"

	"github.com/caddy-matrix/caddy-matrix-auth/internal/auth"
	"github.com/caddy-matrix/caddy-matrix-auth/internal/mxid"
)

// What a client of the configuration may say.
const (
	maxClientID  = 255 // bytes
	maxNameChars = 100
	maxJWKS      = 10 // keys
	minRSABits   = 2048
	maxCSS       = 64 << 10 // bytes

	authNone, authBasic, authPost, authKey = "none", "basic", "post", "private_key_jwt"
)

var (
	clientAuthMethods = []string{authNone, authBasic, authPost, authKey}
	idTokenAlgs       = []string{"RS256", "ES256"}
	clientGrantTypes  = []string{
		auth.GrantTypeAuthorizationCode, auth.GrantTypeRefreshToken, auth.GrantTypeClientCredentials, auth.GrantTypeDeviceCode,
	}
)

var (
	errClientID       = fmt.Errorf("an ID has 1 to %d characters of ASCII, none of them a space, a quote or a backslash", maxClientID)
	errName           = fmt.Errorf("must have 1 to %d characters, none of them a control", maxNameChars)
	errRedirectURL    = errors.New("must be an absolute URI without user and fragment")
	errPlainRedirect  = errors.New("must begin with https; http is for loopback hosts only")
	errRedirectScheme = errors.New("must begin with https, or with a scheme of the app's own, in reverse domain form (com.example.app:/)")
	errNeedsSecret    = errors.New("needs a secret")
	errNeedsKeys      = errors.New("needs jwks")
	errSecretUnused   = errors.New("there is a secret, which this method does not use")
	errKeysUnused     = errors.New("there is jwks, which this method does not use")
	errSecretAndKeys  = errors.New("secret and jwks exclude each other: say which with auth")
	errNeedsProof     = errors.New("is for clients that prove who they are: give it a secret or jwks")
	errNoRedirect     = errors.New("redirect_uri is missing")
	errIdleRedirect   = errors.New("redirect_uri is for clients with the grant type authorization_code")
	errJWKS           = fmt.Errorf("must be a JSON Web Key Set of 1 to %d public keys, RSA with at least %d bits, elliptic or Ed25519", maxJWKS, minRSABits)
)

func oneOf(s string, allowed []string) error {
	if slices.Contains(allowed, s) {
		return nil
	}
	return fmt.Errorf("must be %s, not %q", strings.Join(allowed, ", "), s)
}

// checkClientID takes what needs no escaping in a log, a header and a Caddyfile (RFC 6749 appendix A.1 takes a little more).
func checkClientID(s string) error {
	bad := func(r rune) bool {
		return r <= ' ' || r > '~' || r == '"' || r == '\\' || r == '`' || r == '{' || r == '}'
	}
	if s == "" || len(s) > maxClientID || strings.ContainsFunc(s, bad) {
		return errClientID
	}
	return nil
}

// checkName checks what people read.
func checkName(s string) error {
	if s == "" || len([]rune(s)) > maxNameChars || strings.ContainsFunc(s, func(r rune) bool { return !unicode.IsGraphic(r) }) {
		return errName
	}
	return nil
}

// checkRedirectURI checks where people may be sent (RFC 6749 §3.1.2, RFC 8252 §7, RFC 9700 §2.1).
func checkRedirectURI(s string) error {
	u, err := url.Parse(s)
	if err != nil || u.Scheme == "" || u.User != nil || strings.ContainsAny(s, "#\\ ") || strings.ContainsFunc(s, unicode.IsControl) {
		return errRedirectURL
	}
	switch {
	case u.Scheme == "https" && u.Hostname() == "", u.Scheme == "http" && u.Hostname() == "":
		return errRedirectURL
	case u.Scheme == "http" && !loopbackHost(u.Hostname()):
		return errPlainRedirect
	case u.Scheme != "http" && u.Scheme != "https" && !strings.Contains(u.Scheme, "."): // javascript:, data:, anything
		return errRedirectScheme
	}
	return nil
}

// parseAdmin reads a user of this server: a localpart, with or without the sigil, or a full user ID.
func parseAdmin(s, server string) (mxid.Localpart, error) {
	name := s
	if !strings.Contains(s, ":") {
		name = strings.TrimPrefix(s, "@")
	}
	l, err := mxid.Resolve(name, mxid.ServerName(server))
	if errors.Is(err, mxid.ErrForeign) {
		return "", fmt.Errorf("%q is a user of another server than %s", s, server)
	}
	if err != nil {
		return "", fmt.Errorf("%q cannot be a user", s)
	}
	return l, nil
}

// complete returns the client with what it does not say filled in.
func (c Client) complete() *Client {
	if c.Auth == "" {
		switch {
		case c.Secret != "" && c.JWKS == "":
			c.Auth = authBasic
		case c.JWKS != "" && c.Secret == "":
			c.Auth = authKey
		case c.Secret == "":
			c.Auth = authNone
		}
	}
	if c.GrantTypes == nil && (len(c.RedirectURIs) > 0 || !c.Introspect) {
		c.GrantTypes = []string{auth.GrantTypeAuthorizationCode, auth.GrantTypeRefreshToken}
	}
	if c.IDTokenAlg == "" {
		c.IDTokenAlg = idTokenAlgs[0]
	}
	return &c
}

// check checks how the parts of a complete client fit together.
func (c *Client) check() error {
	if c.Auth == "" {
		return errSecretAndKeys
	}
	if err := c.checkAuth(); err != nil {
		return fmt.Errorf("auth %s: %w", c.Auth, err)
	}
	for _, g := range c.GrantTypes {
		if err := oneOf(g, clientGrantTypes); err != nil {
			return fmt.Errorf("grant_types: %w", err)
		}
	}
	codes := slices.Contains(c.GrantTypes, auth.GrantTypeAuthorizationCode)
	switch {
	case c.Auth == authNone && slices.Contains(c.GrantTypes, auth.GrantTypeClientCredentials):
		return fmt.Errorf("grant_types: client_credentials: %w", errNeedsProof)
	case c.Auth == authNone && c.Introspect:
		return fmt.Errorf("introspect: %w", errNeedsProof)
	case codes && len(c.RedirectURIs) == 0:
		return errNoRedirect
	case !codes && len(c.RedirectURIs) > 0:
		return errIdleRedirect
	}
	return nil
}

func (c *Client) checkAuth() error {
	if err := oneOf(c.Auth, clientAuthMethods); err != nil {
		return err
	}
	secret, key := c.Auth == authBasic || c.Auth == authPost, c.Auth == authKey
	switch {
	case secret && c.Secret == "":
		return errNeedsSecret
	case key && c.JWKS == "":
		return errNeedsKeys
	case !secret && c.Secret != "":
		return errSecretUnused
	case !key && c.JWKS != "":
		return errKeysUnused
	}
	return nil
}

// parseJWKS reads a set of public keys and returns it without anything else that was in it.
func parseJWKS(s string) ([]byte, error) {
	var set jose.JSONWebKeySet
	if json.Unmarshal([]byte(s), &set) != nil || len(set.Keys) == 0 || len(set.Keys) > maxJWKS {
		return nil, errJWKS
	}
	for i := range set.Keys {
		k := &set.Keys[i]
		if !k.Valid() || !k.IsPublic() {
			return nil, errJWKS
		}
		if rsaKey, ok := k.Key.(*rsa.PublicKey); ok && rsaKey.N.BitLen() < minRSABits {
			return nil, errJWKS
		}
	}
	return json.Marshal(set)
}

func (b *Branding) check() error {
	if b.Name != "" {
		if err := checkName(b.Name); err != nil {
			return fmt.Errorf("name: %w", err)
		}
	}
	for _, link := range []struct{ option, uri string }{{"policy_uri", b.PolicyURI}, {"tos_uri", b.TOSURI}, {"imprint", b.Imprint}} {
		if err := checkPage(link.uri); link.uri != "" && err != nil {
			return fmt.Errorf("%s: %w", link.option, err)
		}
	}
	return nil
}
