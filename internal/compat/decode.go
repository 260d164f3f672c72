package compat

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

const (
	// maxBody bounds a body in bytes. The largest honest one has a password and a few names.
	maxBody = 64 << 10
	// maxDepth bounds how deep a body's objects and arrays may nest; ours have two levels, clients may add their own.
	maxDepth = 64
)

// decode reads a request's body, whatever its Content-Type, as one JSON object. Unknown members are ignored (Matrix CS
// §api-standards); those of T must have the right type, null counts as absent.
func decode[T any](r *http.Request) (T, error) {
	var v T
	b, err := readBody(r)
	if err != nil {
		return v, err
	}
	if err := checkObject(b); err != nil {
		return v, err
	}
	if err := json.Unmarshal(b, &v); err != nil {
		return v, errBadJSON // The cause may quote a password.
	}
	return v, nil
}

// readBody reads the whole body, or nothing if it is known to be too large.
func readBody(r *http.Request) ([]byte, error) {
	if r.ContentLength > maxBody {
		return nil, errTooLarge
	}
	b, err := io.ReadAll(io.LimitReader(r.Body, maxBody+1))
	if tooLarge := (*http.MaxBytesError)(nil); errors.As(err, &tooLarge) {
		return nil, errTooLarge // A limit of the server's own configuration.
	}
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errBodyBroken, err)
	}
	if len(b) > maxBody {
		return nil, errTooLarge
	}
	return b, nil
}

// drainBody reads a body that means nothing, so that the connection can be used again.
func drainBody(r *http.Request) {
	_, _ = io.Copy(io.Discard, io.LimitReader(r.Body, maxBody))
}

// checkObject says whether b is one JSON object, valid to the end, without repeated names, and not too deep.
func checkObject(b []byte) error {
	d := jsontext.NewDecoder(bytes.NewReader(b))
	if d.PeekKind() != jsontext.KindBeginObject {
		if d.SkipValue() != nil || checkEnd(d) != nil {
			return errNotJSON
		}
		return errBadJSON
	}
	for {
		if _, err := d.ReadToken(); err != nil {
			return syntaxError(err)
		}
		if d.StackDepth() > maxDepth {
			return errBadJSON
		}
		if d.StackDepth() == 0 {
			return checkEnd(d)
		}
	}
}

// checkEnd says whether nothing but white space is left.
func checkEnd(d *jsontext.Decoder) error {
	if _, err := d.ReadToken(); err != io.EOF {
		return errNotJSON
	}
	return nil
}

// syntaxError classifies a decoder's error. An object with a name twice is JSON, but not one that has a meaning (RFC 8259 §4).
func syntaxError(err error) error {
	if errors.Is(err, jsontext.ErrDuplicateName) {
		return errBadJSON
	}
	return errNotJSON
}
