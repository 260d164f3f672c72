package token

import (
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"golang.org/x/crypto/chacha20poly1305"
)

// ErrSeal: what was sealed cannot be opened by this token, or is damaged.
var ErrSeal = errors.New("seal cannot be opened")

// sealInfo tells this use of a token's text as a key from any other (RFC 5869 §3.2), and names the layout of the plain
// text.
const sealInfo = "refresh-successor/1"

// The plain text of a seal: refresh token, access token, end of the access token as seconds since 1970 and nanoseconds,
// both big-endian.
const (
	sealedAccessAt = textLen
	sealedEndAt    = 2 * textLen
	sealedNanosAt  = sealedEndAt + 8
	sealedLen      = sealedNanosAt + 4

	neverEnds = 1<<32 - 1 // in place of the nanoseconds
)

// Successor is what a consumed refresh token seals: the pair that replaced it, so that the same pair can be handed out
// again to who presents the consumed token, and to nobody else.
type Successor struct {
	Refresh         Token
	Access          Token
	AccessExpiresAt time.Time // zero: never
}

// Seal encrypts the successor so that only the full text of the old token opens it: XChaCha20-Poly1305 under a key that
// HKDF-SHA256 derives from that text, with the session as salt, bound to the SHA-256 of the text. The nonce must be
// random. The result is the nonce and the cipher text.
func Seal(old Token, salt []byte, nonce [chacha20poly1305.NonceSizeX]byte, s Successor) ([]byte, error) {
	if old.size != textLen || s.Refresh.size != textLen || s.Access.size != textLen {
		return nil, fmt.Errorf("sealing without a token: %w", ErrMalformed)
	}
	aead, err := sealAEAD(old, salt)
	if err != nil {
		return nil, err
	}
	var plain [sealedLen]byte
	copy(plain[:], s.Refresh.reveal())
	copy(plain[sealedAccessAt:], s.Access.reveal())
	binary.BigEndian.PutUint32(plain[sealedNanosAt:], neverEnds)
	if !s.AccessExpiresAt.IsZero() {
		binary.BigEndian.PutUint64(plain[sealedEndAt:], uint64(s.AccessExpiresAt.Unix()))
		binary.BigEndian.PutUint32(plain[sealedNanosAt:], uint32(s.AccessExpiresAt.Nanosecond()))
	}
	sum := old.Hash()
	out := make([]byte, len(nonce), len(nonce)+sealedLen+chacha20poly1305.Overhead)
	copy(out, nonce[:])
	return aead.Seal(out, nonce[:], plain[:], sum[:]), nil
}

// Open returns what Seal sealed under old, or ErrSeal.
func Open(old Token, salt, sealed []byte) (Successor, error) {
	if old.size != textLen || len(sealed) != chacha20poly1305.NonceSizeX+sealedLen+chacha20poly1305.Overhead {
		return Successor{}, ErrSeal
	}
	aead, err := sealAEAD(old, salt)
	if err != nil {
		return Successor{}, err
	}
	nonce, cipherText := sealed[:chacha20poly1305.NonceSizeX], sealed[chacha20poly1305.NonceSizeX:]
	sum := old.Hash()
	plain, err := aead.Open(nil, nonce, cipherText, sum[:])
	if err != nil {
		return Successor{}, ErrSeal
	}
	return parseSuccessor(plain)
}

func parseSuccessor(plain []byte) (s Successor, err error) {
	if s.Refresh, err = Parse(string(plain[:sealedAccessAt])); err != nil {
		return Successor{}, fmt.Errorf("%w: refresh token: %w", ErrSeal, err)
	}
	if s.Access, err = Parse(string(plain[sealedAccessAt:sealedEndAt])); err != nil {
		return Successor{}, fmt.Errorf("%w: access token: %w", ErrSeal, err)
	}
	seconds, nanos := binary.BigEndian.Uint64(plain[sealedEndAt:]), binary.BigEndian.Uint32(plain[sealedNanosAt:])
	if nanos != neverEnds {
		s.AccessExpiresAt = time.Unix(int64(seconds), int64(nanos)).UTC()
	}
	return s, nil
}

// sealAEAD fails only where the Go runtime is told to refuse these algorithms (FIPS 140 only mode).
func sealAEAD(old Token, salt []byte) (cipher.AEAD, error) {
	key, err := hkdf.Key(sha256.New, old.bytes(), salt, sealInfo, chacha20poly1305.KeySize)
	if err != nil {
		return nil, fmt.Errorf("deriving the key of a seal: %w", err)
	}
	return chacha20poly1305.NewX(key)
}
