package caddymodule

import (
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"strings"
	"time"
)

// minSecretBytes is the shortest shared secret that is taken: 128 bits if it is random.
const minSecretBytes = 16

// minTokenTTL keeps clients from refreshing all the time, and above the leeway that they subtract from a token's end.
const minTokenTTL = time.Minute

var (
	errNotURL         = errors.New("must be an http or https URL with a host")
	errURLExtra       = errors.New("must have no user, path, query or fragment")
	errPlainIssuer    = errors.New("must be an https URL; http is for loopback hosts only")
	errEncryptionKey  = errors.New("must be 64 hexadecimal digits, or 32 bytes in base64")
	errShortSecret    = fmt.Errorf("is empty or shorter than %d bytes", minSecretBytes)
	errTwoSecrets     = errors.New("secret and secret_file exclude each other")
	errShortTTL       = fmt.Errorf("must be at least %s", minTokenTTL)
	errNotPositive    = errors.New("must be more than zero")
	errNegative       = errors.New("must not be negative")
	errSupportContact = errors.New("needs a role, and a Matrix user ID or an e-mail address")
	errSupportRole    = errors.New("must be admin, security, or a name of your own in reverse domain form")
)

// parseOrigin parses a URL that is nothing but a scheme, a host and perhaps a port. The result ends in "/".
func parseOrigin(s string) (*url.URL, error) {
	u, err := url.Parse(s)
	if err != nil {
		return nil, errNotURL
	}
	if u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "" {
		return nil, errNotURL
	}
	if u.User != nil || strings.Trim(u.Path, "/") != "" || len(u.Path) > 1 || u.RawQuery != "" || u.ForceQuery || strings.Contains(s, "#") {
		return nil, errURLExtra
	}
	u.Host, u.Path = strings.ToLower(u.Host), "/"
	return u, nil
}

// parseIssuer parses the base of every public link (RFC 8414 §2). Plain http is for trying things out on one machine.
func parseIssuer(s string) (*url.URL, error) {
	u, err := parseOrigin(s)
	if err != nil {
		return nil, err
	}
	if u.Scheme != "https" && !loopbackHost(u.Hostname()) {
		return nil, errPlainIssuer
	}
	return u, nil
}

// loopbackHost reports whether a host name or address can only mean this machine (RFC 6761 §6.3).
func loopbackHost(host string) bool {
	host = strings.ToLower(strings.TrimSuffix(host, "."))
	if host == "localhost" || strings.HasSuffix(host, ".localhost") {
		return true
	}
	addr, err := netip.ParseAddr(strings.Trim(host, "[]"))
	return err == nil && addr.Unmap().IsLoopback()
}

// parseEncryptionKey reads a key of 32 bytes.
func parseEncryptionKey(s string) ([]byte, error) {
	s = strings.TrimSpace(s)
	if len(s) == 64 {
		if key, err := hex.DecodeString(s); err == nil {
			return key, nil
		}
	}
	for _, enc := range []*base64.Encoding{base64.StdEncoding, base64.RawStdEncoding, base64.URLEncoding, base64.RawURLEncoding} {
		if key, err := enc.DecodeString(s); err == nil && len(key) == 32 {
			return key, nil
		}
	}
	return nil, errEncryptionKey
}

// checkSecret returns a secret as Synapse reads it: without the white space at its ends.
func checkSecret(s string) (string, error) {
	s = strings.TrimSpace(s)
	if len(s) < minSecretBytes {
		return "", errShortSecret
	}
	return s, nil
}

// parsePrefixes reads addresses and ranges of addresses.
func parsePrefixes(list []string) ([]netip.Prefix, error) {
	var prefixes []netip.Prefix
	for _, s := range list {
		if addr, err := netip.ParseAddr(s); err == nil {
			prefixes = append(prefixes, netip.PrefixFrom(addr.Unmap(), addr.Unmap().BitLen()))
			continue
		}
		p, err := netip.ParsePrefix(s)
		if err != nil {
			return nil, fmt.Errorf("%q is neither an address nor a range", s)
		}
		prefixes = append(prefixes, p.Masked())
	}
	return prefixes, nil
}

func (t *Tokens) check() error {
	if t.AccessTTL != 0 && time.Duration(t.AccessTTL) < minTokenTTL {
		return fmt.Errorf("access_ttl: %w", errShortTTL)
	}
	if t.CompatTTL != 0 && time.Duration(t.CompatTTL) < minTokenTTL {
		return fmt.Errorf("compat_ttl: %w", errShortTTL)
	}
	if t.RefreshGrace < 0 {
		return fmt.Errorf("refresh_grace: %w", errNegative)
	}
	if t.RefreshIdle < 0 {
		return fmt.Errorf("refresh_idle: %w", errNegative)
	}
	return nil
}

func (l *RateLimit) check() error {
	if l.Burst < 0 || l.Window < 0 {
		return errNegative
	}
	return nil
}

func (s *Support) check() error {
	for _, c := range s.Contacts {
		if err := c.check(); err != nil {
			return fmt.Errorf("contact: %w", err)
		}
	}
	if err := checkPage(s.Page); s.Page != "" && err != nil {
		return fmt.Errorf("page: %w", err)
	}
	return nil
}

func (c *SupportContact) check() error {
	if c.Role == "" || c.MatrixID == "" && c.EmailAddress == "" {
		return errSupportContact
	}
	if !strings.Contains(c.Role, ".") {
		return fmt.Errorf("role %q: %w", c.Role, errSupportRole)
	}
	return nil
}

// checkPage checks the URL of a page for people.
func checkPage(s string) error {
	u, err := url.Parse(s)
	if err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Host == "" {
		return errNotURL
	}
	return nil
}
