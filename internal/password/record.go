package password

import (
	"encoding/base64"
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// kind is the algorithm of a stored hash.
type kind uint8

const (
	argon2id kind = iota + 1
	bcryptKind
	pbkdf2SHA256
	pbkdf2SHA512
)

// scheme is everything that decides what a hash costs.
type scheme struct {
	kind    kind
	memory  uint32 // argon2id: KiB
	time    uint32 // argon2id: passes; bcrypt: cost; PBKDF2: iterations
	threads uint32 // argon2id
	size    int    // bytes of the tag
}

// ours is what Hash makes.
var ours = scheme{kind: argon2id, memory: 19456, time: 2, threads: 1, size: 32}

const saltBytes = 16

// Bounds on what a stored hash may ask for. They keep every scheme seen in the wild (conduit: 128 MiB; Synapse: cost 12, by
// configuration up to 15; passlib and OWASP: below a million iterations) and a hash within a few seconds.
const (
	maxMemory     = 128 << 10 // KiB
	maxMemoryTime = 1 << 20   // KiB × passes
	maxTime       = 64        // passes
	maxThreads    = 16
	minCost       = 4 // bcrypt's own
	maxCost       = 16
	maxIterations = 2_000_000
	minSalt       = 4
	minTag        = 16
	maxField      = 64  // bytes of a salt or a tag
	maxRecord     = 512 // bytes of a stored hash
)

var errRecord = errors.New("malformed password hash")

// record is a stored hash, or, with an empty tag, the wish for one.
type record struct {
	scheme scheme
	salt   []byte
	tag    []byte
	bcrypt string // the whole text, if it is bcrypt: that library takes nothing else
}

// parseRecord reads the text of a stored hash.
func parseRecord(encoded string) (record, error) {
	r, err := parseWish(encoded)
	if err == nil && r.bcrypt == "" && len(r.tag) == 0 {
		return record{}, fmt.Errorf("%w: no tag", errRecord)
	}
	return r, err
}

// parseWish reads a record whose tag may be missing.
func parseWish(encoded string) (record, error) {
	if len(encoded) > maxRecord {
		return record{}, fmt.Errorf("%w: longer than %d bytes", errRecord, maxRecord)
	}
	name, rest, _ := strings.Cut(strings.TrimPrefix(encoded, "$"), "$")
	switch {
	case !strings.HasPrefix(encoded, "$"):
		return record{}, fmt.Errorf("%w: no scheme", errRecord)
	case name == "argon2id":
		return parseArgon2id(rest)
	case name == "2a", name == "2b", name == "2y":
		return parseBcrypt(encoded, rest)
	case name == "pbkdf2-sha256":
		return parsePBKDF2(pbkdf2SHA256, rest)
	case name == "pbkdf2-sha512":
		return parsePBKDF2(pbkdf2SHA512, rest)
	}
	return record{}, fmt.Errorf("%w: unknown scheme", errRecord)
}

// parseArgon2id reads v=19$m=…,t=…,p=…$salt$tag, the PHC string of the reference implementation. Its optional keyid and data
// are refused: nothing in the Matrix world writes them.
func parseArgon2id(rest string) (record, error) {
	parameters, ok := strings.CutPrefix(rest, "v=19$")
	if !ok {
		return record{}, fmt.Errorf("%w: argon2 version is not 19", errRecord)
	}
	parameters, fields, _ := strings.Cut(parameters, "$")
	var s scheme
	var list = strings.Split(parameters, ",")
	if len(list) != 3 || !number(list[0], "m=", &s.memory) || !number(list[1], "t=", &s.time) || !number(list[2], "p=", &s.threads) {
		return record{}, fmt.Errorf("%w: argon2id parameters", errRecord)
	}
	if s.time < 1 || s.time > maxTime || s.threads < 1 || s.threads > maxThreads || s.memory < 8*s.threads ||
		s.memory > maxMemory || s.memory*s.time > maxMemoryTime {
		return record{}, fmt.Errorf("%w: argon2id parameters are out of bounds", errRecord)
	}
	s.kind, s.size = argon2id, ours.size
	return parseFields(s, fields)
}

// parsePBKDF2 reads i=…[,l=…]$salt$tag, as MAS writes it, or iterations$salt$tag, as passlib does.
func parsePBKDF2(k kind, rest string) (record, error) {
	parameters, fields, _ := strings.Cut(rest, "$")
	parameters, length, given := strings.Cut(parameters, ",")
	s := scheme{kind: k, size: ours.size}
	if !number(strings.TrimPrefix(parameters, "i="), "", &s.time) {
		return record{}, fmt.Errorf("%w: pbkdf2 parameters", errRecord)
	}
	if s.time < 1 || s.time > maxIterations {
		return record{}, fmt.Errorf("%w: pbkdf2 iterations are out of bounds", errRecord)
	}
	r, err := parseFields(s, fields)
	if err != nil {
		return record{}, err
	}
	var l uint32
	if given && (!number(length, "l=", &l) || int(l) != r.scheme.size) {
		return record{}, fmt.Errorf("%w: pbkdf2 length", errRecord)
	}
	return r, nil
}

// parseBcrypt checks cost$ and 53 characters of salt and tag; the library reads them.
func parseBcrypt(encoded, rest string) (record, error) {
	cost, text, _ := strings.Cut(rest, "$")
	n, err := strconv.ParseUint(cost, 10, 8)
	if err != nil || len(cost) != 2 || n < minCost || n > maxCost {
		return record{}, fmt.Errorf("%w: bcrypt cost", errRecord)
	}
	if len(text) != 53 || strings.Trim(text, bcryptAlphabet) != "" {
		return record{}, fmt.Errorf("%w: bcrypt salt and tag", errRecord)
	}
	return record{scheme: scheme{kind: bcryptKind, time: uint32(n)}, bcrypt: encoded}, nil
}

const bcryptAlphabet = "./ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"

// parseFields reads salt$tag, or salt alone.
func parseFields(s scheme, fields string) (record, error) {
	salt, tag, stored := strings.Cut(fields, "$")
	r := record{scheme: s}
	var err error
	if r.salt, err = field(salt, minSalt); err != nil {
		return record{}, err
	}
	if !stored {
		return r, nil
	}
	if r.tag, err = field(tag, minTag); err != nil {
		return record{}, err
	}
	r.scheme.size = len(r.tag)
	return r, nil
}

// field decodes base64 without padding; passlib writes a dot for the plus sign.
func field(text string, least int) ([]byte, error) {
	b, err := base64.RawStdEncoding.Strict().DecodeString(strings.ReplaceAll(text, ".", "+"))
	if err != nil || strings.ContainsAny(text, "\r\n") || len(b) < least || len(b) > maxField {
		return nil, fmt.Errorf("%w: salt or tag", errRecord)
	}
	return b, nil
}

// number reads a decimal after its name. No sign and no leading zero, so that a scheme has one spelling.
func number(text, name string, to *uint32) bool {
	digits, ok := strings.CutPrefix(text, name)
	if !ok || digits == "" || digits[0] < '1' || digits[0] > '9' {
		return false
	}
	n, err := strconv.ParseUint(digits, 10, 32)
	*to = uint32(n)
	return err == nil
}

// String is the text to store, and what the child is sent.
func (r record) String() string {
	if r.bcrypt != "" {
		return r.bcrypt
	}
	text := r.scheme.prefix() + "$" + base64.RawStdEncoding.EncodeToString(r.salt)
	if len(r.tag) > 0 {
		text += "$" + base64.RawStdEncoding.EncodeToString(r.tag)
	}
	return text
}

func (s scheme) prefix() string {
	switch s.kind {
	case argon2id:
		return fmt.Sprintf("$argon2id$v=19$m=%d,t=%d,p=%d", s.memory, s.time, s.threads)
	case bcryptKind:
		return fmt.Sprintf("$2b$%02d", s.time)
	case pbkdf2SHA256:
		return fmt.Sprintf("$pbkdf2-sha256$i=%d", s.time)
	default:
		return fmt.Sprintf("$pbkdf2-sha512$i=%d", s.time)
	}
}

// dummy is a record of the scheme that no known password fits.
func (s scheme) dummy() record {
	if s.kind == bcryptKind {
		return record{scheme: s, bcrypt: s.prefix() + "$" + strings.Repeat(".", 53)}
	}
	return record{scheme: s, salt: make([]byte, saltBytes), tag: make([]byte, s.size)}
}
