package token

import (
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"hash/crc32"
)

// The layout of a token: prefix with its underscore, the handle, random characters, their MAC, an underscore, the
// checksum.
const (
	prefixLen = 4
	handleLen = 8
	randomLen = 16
	macLen    = 6
	crcLen    = 6

	randomAt = prefixLen + handleLen
	macAt    = randomAt + randomLen
	bodyLen  = macAt + macLen // what the checksum covers
	textLen  = bodyLen + 1 + crcLen
)

// The errors of Parse.
var (
	// ErrForeign: none of our prefixes: an application service's token, one imported from Synapse, anything.
	ErrForeign = errors.New("not a token of ours")
	// ErrMalformed: one of our prefixes, but not the length, the alphabet or the checksum.
	ErrMalformed = errors.New("malformed token")
)

// Kind is what a token is for.
type Kind uint8

// The kinds of token, by MAS's names.
const (
	Access        Kind = iota + 1 // OAuth access token
	Refresh                       // OAuth refresh token
	CompatAccess                  // access token of a legacy login
	CompatRefresh                 // refresh token of a legacy login
	Personal                      // access token issued by an administrator
)

var prefixes = [...]string{Access: "mat_", Refresh: "mar_", CompatAccess: "mct_", CompatRefresh: "mcr_", Personal: "mpt_"}

// Prefix returns the four characters that tokens of the kind begin with; none for a kind that does not exist.
func (k Kind) Prefix() string {
	if int(k) < len(prefixes) {
		return prefixes[k]
	}
	return ""
}

// IsRefresh reports whether tokens of the kind are for refreshing only.
func (k Kind) IsRefresh() bool { return k == Refresh || k == CompatRefresh }

// kindOf returns the kind whose prefix s begins with, or zero.
func kindOf(s string) Kind {
	if len(s) < prefixLen || s[0] != 'm' || s[3] != '_' {
		return 0
	}
	switch s[1:3] {
	case "at":
		return Access
	case "ar":
		return Refresh
	case "ct":
		return CompatAccess
	case "cr":
		return CompatRefresh
	case "pt":
		return Personal
	}
	return 0
}

// Handle finds the session of a token: eight characters of 0-9A-Za-z. It is no secret and proves nothing. The zero
// value is none.
type Handle [handleLen]byte

// String returns the handle's characters; none for the zero value.
func (h Handle) String() string {
	if h == (Handle{}) {
		return ""
	}
	return string(h[:])
}

// Hash is the SHA-256 of a token's whole text: all that is kept of it.
type Hash [sha256.Size]byte

// Equal compares in constant time.
func (h Hash) Equal(other Hash) bool { return subtle.ConstantTimeCompare(h[:], other[:]) == 1 }

// HashText hashes a token of any form, as an imported one.
func HashText(text string) Hash { return sha256.Sum256(hide(text).bytes()) }

// Token is a text of our form. That it was made by us only Mint.Authentic or its kept hash can say: MAS's tokens have
// the same form. The zero value is no token.
type Token struct {
	Kind   Kind
	Handle Handle
	hidden
}

// Parse takes a token apart. It allocates nothing; the token shares s.
func Parse(s string) (Token, error) {
	kind := kindOf(s)
	if kind == 0 {
		return Token{}, ErrForeign
	}
	if len(s) != textLen || s[bodyLen] != '_' || !isBase62(s[prefixLen:bodyLen]) {
		return Token{}, ErrMalformed
	}
	if sum := checksum(hide(s[:bodyLen]).bytes()); s[bodyLen+1:] != string(sum[:]) {
		return Token{}, ErrMalformed
	}
	t := Token{Kind: kind, hidden: hide(s)}
	copy(t.Handle[:], s[prefixLen:randomAt])
	return t, nil
}

// Reveal returns the text, for the one place that sends it.
func (t Token) Reveal() string { return t.reveal() }

// Secret returns the text as a Secret.
func (t Token) Secret() Secret { return Secret{t.hidden} }

// Hash returns the SHA-256 of the text, without allocating.
func (t Token) Hash() Hash { return sha256.Sum256(t.bytes()) }

// Equal compares in constant time.
func (t Token) Equal(other Token) bool { return t.equal(other.hidden) }

// checksum is MAS's: CRC-32 (ISO-HDLC) in base 62, least significant digit first, and yet padded with zeros on the left
// (MAS data-model/src/tokens.rs, base62_encode).
func checksum(body []byte) (sum [crcLen]byte) {
	digits, n := base62(uint64(crc32.ChecksumIEEE(body)))
	pad := copy(sum[:], "000000"[n:])
	copy(sum[pad:], digits[:n])
	return sum
}
