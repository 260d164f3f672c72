package token

import (
	"crypto/sha256"
	"crypto/subtle"
	"encoding/binary"
	"fmt"
	"io"
	"log/slog"
	"sync"
)

// Key is the key of the MAC in our tokens. It prints as "[secret]", but not from an unexported field of a struct, where
// fmt calls no method.
type Key [32]byte

// Format implements fmt.Formatter for every verb.
func (Key) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, redacted) }

// MarshalJSON implements json.Marshaler.
func (Key) MarshalJSON() ([]byte, error) { return []byte(`"` + redacted + `"`), nil }

// LogValue implements slog.LogValuer.
func (Key) LogValue() slog.Value { return slog.StringValue(redacted) }

// Mint makes tokens and recognises those that it made. It is safe for concurrent use.
type Mint struct {
	pads hidden // the key twice, as HMAC uses it for its inner and its outer hash (RFC 2104 §2)

	mu     sync.Mutex
	random io.Reader // guarded by mu: a reader given by a test need not be safe
	buf    [2 * randomLen]byte
}

// NewMint returns the mint of a key; its randomness comes from r.
func NewMint(key Key, r io.Reader) *Mint {
	var pads [2 * sha256.BlockSize]byte
	inner, outer := pads[:sha256.BlockSize], pads[sha256.BlockSize:]
	copy(inner, key[:])
	copy(outer, key[:])
	for i := range sha256.BlockSize {
		inner[i] ^= 0x36
		outer[i] ^= 0x5c
	}
	return &Mint{pads: hide(string(pads[:])), random: r}
}

// Handle makes a new handle. That it is unique is for the store to see to.
func (m *Mint) Handle() (h Handle, err error) {
	err = m.characters(h[:])
	return h, err
}

// New makes a token of the kind for the session that h finds.
func (m *Mint) New(k Kind, h Handle) (Token, error) {
	if k.Prefix() == "" || !isBase62(string(h[:])) {
		return Token{}, fmt.Errorf("minting kind %d for handle %q: %w", k, h.String(), ErrMalformed)
	}
	var text [textLen]byte
	copy(text[:], k.Prefix())
	copy(text[prefixLen:], h[:])
	if err := m.characters(text[randomAt:macAt]); err != nil {
		return Token{}, err
	}
	mac := m.mac(text[:macAt])
	copy(text[macAt:], mac[:])
	text[bodyLen] = '_'
	sum := checksum(text[:bodyLen])
	copy(text[bodyLen+1:], sum[:])
	return Token{Kind: k, Handle: h, hidden: hide(string(text[:]))}, nil
}

// Authentic reports whether this mint's key made the token, in constant time and without allocating. An imported token
// of MAS has our form and is not authentic.
func (m *Mint) Authentic(t Token) bool {
	if t.size != textLen {
		return false
	}
	text := t.bytes()
	mac := m.mac(text[:macAt])
	return subtle.ConstantTimeCompare(mac[:], text[macAt:bodyLen]) == 1
}

// mac is HMAC-SHA256 (RFC 2104 §2) over prefix, handle and random characters, the first 64 bits of it mod 62⁶. It is
// written out on arrays because the gate computes it for each token that it does not know, and crypto/hmac allocates.
func (m *Mint) mac(text []byte) [macLen]byte {
	pads := m.pads.bytes()
	var inner [sha256.BlockSize + macAt]byte
	copy(inner[:], pads[:sha256.BlockSize])
	copy(inner[sha256.BlockSize:], text[:macAt])
	sum := sha256.Sum256(inner[:])

	var outer [sha256.BlockSize + sha256.Size]byte
	copy(outer[:], pads[sha256.BlockSize:])
	copy(outer[sha256.BlockSize:], sum[:])
	sum = sha256.Sum256(outer[:])

	digits, _ := base62(binary.BigEndian.Uint64(sum[:]))
	return digits
}

// characters fills dst with characters of the alphabet, each equally likely.
func (m *Mint) characters(dst []byte) error {
	const unbiased = 256 - 256%int(base) // bytes from here on would favour the first characters
	m.mu.Lock()
	defer m.mu.Unlock()
	defer clear(m.buf[:])
	for n := 0; n < len(dst); {
		if _, err := io.ReadFull(m.random, m.buf[:]); err != nil {
			return fmt.Errorf("reading randomness: %w", err)
		}
		for _, b := range m.buf {
			if int(b) < unbiased && n < len(dst) {
				dst[n] = alphabet[uint64(b)%base]
				n++
			}
		}
	}
	return nil
}
