package mxid

import (
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"
)

// MaxUserID is the greatest length of a user ID in bytes, sigil and server name included (Matrix appendices
// §user-identifiers).
const MaxUserID = 255

// The errors of this package.
var (
	// ErrMalformed: the text breaks the grammar.
	ErrMalformed = errors.New("malformed identifier")
	// ErrForeign: a user of another server.
	ErrForeign = errors.New("user of another server")
)

// Localpart is the part of a user ID that names a user of this server: not empty, of the characters a-z, 0-9, '.', '_',
// '=', '-', '/' and '+' (Matrix appendices §user-identifiers).
type Localpart string

// ParseLocalpart returns s as a localpart, or ErrMalformed. It does not fold case; see Resolve.
func ParseLocalpart(s string) (Localpart, error) {
	if s == "" {
		return "", fmt.Errorf("empty localpart: %w", ErrMalformed)
	}
	if len(s) > MaxUserID-len("@:")-1 {
		return "", fmt.Errorf("localpart of %d bytes: %w", len(s), ErrMalformed)
	}
	for i := range len(s) {
		if !localpartByte(s[i]) {
			return "", fmt.Errorf("byte %#02x in localpart: %w", s[i], ErrMalformed)
		}
	}
	return Localpart(s), nil
}

func localpartByte(c byte) bool {
	switch {
	case 'a' <= c && c <= 'z', '0' <= c && c <= '9':
		return true
	}
	return strings.IndexByte("._=-/+", c) >= 0
}

// UserID is a user ID of any server, "@localpart:server".
type UserID string

// NewUserID returns the user ID of a localpart, or ErrMalformed if it would be longer than MaxUserID.
func NewUserID(l Localpart, s ServerName) (UserID, error) {
	if l == "" || s == "" {
		return "", fmt.Errorf("empty part of a user ID: %w", ErrMalformed)
	}
	if n := len("@:") + len(l) + len(s); n > MaxUserID {
		return "", fmt.Errorf("user ID of %d bytes: %w", n, ErrMalformed)
	}
	return UserID("@" + string(l) + ":" + string(s)), nil
}

// ParseUserID returns s as a user ID, or ErrMalformed. It takes historical ones too (Matrix appendices
// §historical-user-ids), whose localpart may be empty or hold any character but a colon, NUL, surrogates aside.
func ParseUserID(s string) (UserID, error) {
	if len(s) > MaxUserID {
		return "", fmt.Errorf("user ID of %d bytes: %w", len(s), ErrMalformed)
	}
	rest, found := strings.CutPrefix(s, "@")
	if !found {
		return "", fmt.Errorf("user ID without sigil: %w", ErrMalformed)
	}
	local, server, found := strings.Cut(rest, ":")
	if !found {
		return "", fmt.Errorf("user ID without server name: %w", ErrMalformed)
	}
	if !utf8.ValidString(local) || strings.IndexByte(local, 0) >= 0 {
		return "", fmt.Errorf("localpart of a user ID: %w", ErrMalformed)
	}
	if _, err := ParseServerName(server); err != nil {
		return "", err
	}
	return UserID(s), nil
}

// Localpart returns what stands between the sigil and the first colon. For a user of another server it may be of the
// historical kind, which ParseLocalpart would not take.
func (u UserID) Localpart() Localpart {
	local, _, _ := strings.Cut(strings.TrimPrefix(string(u), "@"), ":")
	return Localpart(local)
}

// ServerName returns what stands after the first colon.
func (u UserID) ServerName() ServerName {
	_, server, _ := strings.Cut(string(u), ":")
	return ServerName(server)
}

// Resolve returns the user of this server that a person means at login (Matrix CS §login): a localpart or a full user
// ID, in any case. ErrForeign: it is the user ID of another server. ErrMalformed: it can be nobody's name.
//
// Only the letters A-Z are folded: other letters are no part of a localpart, and mapping one onto another (the Kelvin
// sign onto k) would let one name stand for somebody else.
func Resolve(s string, server ServerName) (Localpart, error) {
	local := s
	if strings.HasPrefix(s, "@") {
		u, err := ParseUserID(s)
		if err != nil {
			return "", err
		}
		if !u.ServerName().Equal(server) {
			return "", ErrForeign
		}
		local = string(u.Localpart())
	}
	l, err := ParseLocalpart(lowerASCII(local))
	if err != nil {
		return "", err
	}
	if _, err := NewUserID(l, server); err != nil {
		return "", err
	}
	return l, nil
}

func lowerASCII(s string) string {
	i := strings.IndexFunc(s, func(r rune) bool { return 'A' <= r && r <= 'Z' })
	if i < 0 {
		return s
	}
	b := []byte(s)
	for ; i < len(b); i++ {
		if 'A' <= b[i] && b[i] <= 'Z' {
			b[i] += 'a' - 'A'
		}
	}
	return string(b)
}
