package store

import (
	"bytes"
	"fmt"
)

// The key map. A key is a kind byte, an index byte (0 for the record itself), and parts of fixed width or, as text, without
// NUL and running to the end or to a NUL; so no two keys can be read two ways. A unique index (u) holds the primary key of
// its record as its value; any other one has it at the end of its key, behind a NUL, and an empty value.
//
//	kind           0: record      indices
//	u User         ulid16         1u localpart
//	p Password     user16         –
//	b BrowserSession ulid16       1 user16 ‖ 0 ‖ id             2u sha256(cookie)
//	s Session      ulid16         1 user16 ‖ 0 ‖ id (live)      2u user16 ‖ device (live)    3 client ‖ 0 ‖ id
//	                              4u access handle8             5u refresh handle8           6 user16 ‖ 0 ‖ id (ended)
//	t LastSeen     session16      –
//	g Grant        ulid16         1u sha256(code)
//	d DeviceGrant  ulid16         1u sha256(device code)        2u user code (pending)
//	c Client       id             1u sha256(metadata)
//	o Consent      user16 ‖ sha256(scope) ‖ client              –
//	n Assertion    sha256(client ‖ 0 ‖ jti)                     –
//	k SigningKey   kid            –
//	j Job          user16 ‖ "a" (account), user16 ‖ "d" ‖ device
//	m Meta         name           –
//
// Reserved for what comes later: u.2u normalised e-mail · i imported token sha256 · l LoginToken sha256. A letter or an index
// number is never used for something else.

// layout describes the parts of a key: the width of each in bytes, or text.
type layout []int

// text is a part of variable length. It ends the layout.
const text = 0

// Widths of fixed parts.
const (
	widthID     = 16 // ulid.ULID
	widthHandle = 8  // token.Handle
)

// maxText bounds a text part: localparts are under 255 bytes, device IDs at most 255 characters.
const maxText = 1024

// separator stands between the key of an index that is not unique and the primary key of the record.
const separator = 0

// recordIndex is the index byte of a record's own key.
const recordIndex = 0

// recordKey is the key of a record: kind ‖ 0 ‖ primary key.
func recordKey(kind byte, pk []byte) []byte {
	return append(append(make([]byte, 0, 2+len(pk)), kind, recordIndex), pk...)
}

// uniqueKey is the key of a unique index entry: kind ‖ index ‖ key.
func uniqueKey(kind, index byte, key []byte) []byte {
	return append(append(make([]byte, 0, 2+len(key)), kind, index), key...)
}

// entryKey is the key of an index entry: kind ‖ index ‖ key ‖ 0 ‖ primary key.
func entryKey(kind, index byte, key, pk []byte) []byte {
	k := append(make([]byte, 0, 3+len(key)+len(pk)), kind, index)
	k = append(k, key...)
	k = append(k, separator)
	return append(k, pk...)
}

// entryPrefix begins the keys of all entries of an index with that key.
func entryPrefix(kind, index byte, key []byte) []byte {
	return entryKey(kind, index, key, nil)
}

// parsedKey is a key taken apart.
type parsedKey struct {
	kind  byte
	index byte
	key   []byte // of an index; nil in a record's key
	pk    []byte // nil in a unique index's key
}

// bytes puts the key together again.
func (k parsedKey) bytes() []byte {
	switch {
	case k.index == recordIndex:
		return recordKey(k.kind, k.pk)
	case k.pk == nil:
		return uniqueKey(k.kind, k.index, k.key)
	}
	return entryKey(k.kind, k.index, k.key, k.pk)
}

// parseKey takes a key apart. It accepts exactly what the builders make for the tables there are.
func parseKey(b []byte) (parsedKey, error) {
	if len(b) < 2 {
		return parsedKey{}, fmt.Errorf("%w: key %x is too short", ErrCorrupt, b)
	}
	k := parsedKey{kind: b[0], index: b[1]}
	s, ok := schemas[k.kind]
	if !ok {
		return parsedKey{}, fmt.Errorf("%w: key %x is of an unknown kind", ErrCorrupt, b)
	}
	if err := k.parse(b[2:], s.shape()); err != nil {
		return parsedKey{}, fmt.Errorf("%w: key %x of %s: %w", ErrCorrupt, b, s.title(), err)
	}
	return k, nil
}

// shape is what a table's keys look like.
type shape struct {
	pk      layout
	indices []indexShape
}

type indexShape struct {
	id     byte
	unique bool
	key    layout
}

func (k *parsedKey) parse(rest []byte, s shape) error {
	if k.index == recordIndex {
		k.pk = rest
		return s.pk.check(rest)
	}
	for _, i := range s.indices {
		if i.id == k.index {
			return k.parseIndex(rest, i, s.pk)
		}
	}
	return fmt.Errorf("unknown index %d", k.index)
}

func (k *parsedKey) parseIndex(rest []byte, i indexShape, pk layout) error {
	if i.unique {
		k.key = rest
		return i.key.check(rest)
	}
	at := len(rest) - pk.width() - 1
	if at < 0 || rest[at] != separator {
		return fmt.Errorf("index %d without its separator", i.id)
	}
	k.key, k.pk = rest[:at], rest[at+1:]
	return i.key.check(k.key)
}

// width is the length of a layout of fixed parts.
func (l layout) width() int {
	n := 0
	for _, w := range l {
		n += w
	}
	return n
}

// check reports whether b has this layout.
func (l layout) check(b []byte) error {
	fixed := l.width()
	if l[len(l)-1] != text {
		if len(b) != fixed {
			return fmt.Errorf("%d bytes instead of %d", len(b), fixed)
		}
		return nil
	}
	if len(b) <= fixed || len(b) > fixed+maxText {
		return fmt.Errorf("%d bytes of text", len(b)-fixed)
	}
	if bytes.IndexByte(b[fixed:], 0) >= 0 {
		return fmt.Errorf("text with NUL")
	}
	return nil
}
