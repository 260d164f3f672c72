package web

import (
	"errors"
	"fmt"
	"io"
	"maps"
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

// pageParams are the parameters that our pages read from a URL.
var pageParams = map[string]bool{
	"kind": true, "id": true, otherParam: true, arrivedParam: true, localesParam: true, "code": true,
	"action": true, "device_id": true, "notice": true, "from": true,
}

// parseQuery reads the parameters of a URL. What is in others than ours is nobody's business (MSC4191 has some to come).
func parseQuery(raw string) (params, error) {
	values, _ := url.ParseQuery(raw) // An error is about a parameter that nobody can read.
	maps.DeleteFunc(values, func(name string, _ []string) bool { return !pageParams[name] })
	return once(values)
}

// parseForm reads the fields of a form.
func parseForm(body string) (params, error) {
	values, err := url.ParseQuery(body)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errBadForm, err)
	}
	return once(values)
}

// once takes parameters strictly: none twice, all of them text.
func once(values url.Values) (params, error) {
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
	return parseForm(string(b))
}
