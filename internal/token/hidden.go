package token

import (
	"crypto/subtle"
	"fmt"
	"io"
	"log/slog"
	"unsafe"
)

// redacted is what every printer shows of a secret.
const redacted = "[secret]"

// hidden holds a text that no printer reaches. A printer that calls methods gets redacted; one that walks fields by
// reflection, as fmt does for an unexported field of another struct, where it may call no method, finds a bare pointer
// to one byte and stops. It allocates nothing, and cannot be compared by ==, which would not take constant time.
type hidden struct {
	_    [0]func()
	data *byte
	size int
}

func hide(s string) hidden { return hidden{data: unsafe.StringData(s), size: len(s)} }

func (h hidden) reveal() string { return unsafe.String(h.data, h.size) }

// bytes views the text, which must not be written to.
func (h hidden) bytes() []byte { return unsafe.Slice(h.data, h.size) }

func (h hidden) equal(other hidden) bool {
	return subtle.ConstantTimeCompare(h.bytes(), other.bytes()) == 1
}

// String implements fmt.Stringer, and with it zap's.
func (hidden) String() string { return redacted }

// GoString implements fmt.GoStringer.
func (hidden) GoString() string { return redacted }

// Format implements fmt.Formatter for every verb.
func (hidden) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, redacted) }

// MarshalText implements encoding.TextMarshaler.
func (hidden) MarshalText() ([]byte, error) { return []byte(redacted), nil }

// MarshalJSON implements json.Marshaler.
func (hidden) MarshalJSON() ([]byte, error) { return []byte(`"` + redacted + `"`), nil }

// LogValue implements slog.LogValuer.
func (hidden) LogValue() slog.Value { return slog.StringValue(redacted) }
