package password

import (
	"crypto/pbkdf2"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/subtle"
	"errors"
	"fmt"

	"golang.org/x/crypto/argon2"
	"golang.org/x/crypto/bcrypt"
	"golang.org/x/text/unicode/norm"
)

// bcryptBytes is how much of a password bcrypt uses. Synapse cuts it there (handlers/auth.py).
const bcryptBytes = 72

// prepare returns the bytes that the scheme hashes, in memory of its own.
func (s scheme) prepare(password string, pepper []byte) []byte {
	b := norm.NFKC.AppendString(make([]byte, 0, len(password)+len(pepper)), password)
	if s.kind == argon2id {
		return b
	}
	b = append(b, pepper...)
	if s.kind == bcryptKind && len(b) > bcryptBytes {
		clear(b[bcryptBytes:])
		b = b[:bcryptBytes]
	}
	return b
}

// answer is what became of a record: a verdict if it had a tag, else its tag.
type answer struct {
	verdict Result
	tag     []byte
}

// compute does the work, wherever that is.
func compute(r record, prepared []byte) (answer, error) {
	if r.scheme.kind == bcryptKind {
		return compareBcrypt(r.bcrypt, prepared)
	}
	tag, err := derive(r, prepared)
	if err != nil {
		return answer{}, err
	}
	if len(r.tag) == 0 {
		return answer{tag: tag}, nil
	}
	if subtle.ConstantTimeCompare(tag, r.tag) == 1 {
		return answer{verdict: Match}, nil
	}
	return answer{verdict: Mismatch}, nil
}

func derive(r record, prepared []byte) ([]byte, error) {
	s := r.scheme
	switch s.kind {
	case argon2id:
		return argon2.IDKey(prepared, r.salt, s.time, s.memory, uint8(s.threads), uint32(s.size)), nil
	case pbkdf2SHA256:
		return pbkdf2.Key(sha256.New, string(prepared), r.salt, int(s.time), s.size)
	default:
		return pbkdf2.Key(sha512.New, string(prepared), r.salt, int(s.time), s.size)
	}
}

func compareBcrypt(encoded string, prepared []byte) (answer, error) {
	err := bcrypt.CompareHashAndPassword([]byte(encoded), prepared)
	if err == nil {
		return answer{verdict: Match}, nil
	}
	if errors.Is(err, bcrypt.ErrMismatchedHashAndPassword) {
		return answer{verdict: Mismatch}, nil
	}
	return answer{}, fmt.Errorf("password: comparing bcrypt: %w", err)
}
