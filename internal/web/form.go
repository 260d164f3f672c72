package web

import (
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/url"
	"strings"
	"unicode/utf8"
)

// maxBody bounds a form in bytes. The largest honest one has a user name and a password.
const maxBody = 64 << 10

// maxQuery bounds a query in bytes, as at the authorization endpoint. Element sends an id_token_hint of a kilobyte.
const maxQuery = 16 << 10

// params are the parameters of a query or a form, each sent once.
type params map[string]string

// parseParams reads parameters strictly: none twice, all of them text.
func parseParams(raw string) (params, error) {
	values, err := url.ParseQuery(raw)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errBadForm, err)
	}
	p := make(params, len(values))
	for name, list := range values {
		if len(list) != 1 {
			return nil, fmt.Errorf("%w: repeated", errBadForm)
		}
		if !isText(name) || !isText(list[0]) {
			return nil, fmt.Errorf("%w: not text", errBadForm)
		}
		p[name] = list[0]
	}
	return p, nil
}

func isText(s string) bool { return utf8.ValidString(s) && !strings.Contains(s, "\x00") }

// readForm reads the form in a body.
func readForm(r *http.Request) (params, error) {
	kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if err != nil || kind != "application/x-www-form-urlencoded" {
		return nil, fmt.Errorf("%w: not a form", errBadForm)
	}
	b, err := io.ReadAll(io.LimitReader(r.Body, maxBody+1))
	tooLarge := (*http.MaxBytesError)(nil) // A limit of the server's own configuration.
	if len(b) > maxBody || errors.As(err, &tooLarge) {
		return nil, errTooLarge
	}
	if err != nil {
		return nil, fmt.Errorf("%w: reading the form: %w", errBadForm, err)
	}
	return parseParams(string(b))
}
