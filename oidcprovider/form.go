package oidcprovider

import (
	"io"
	"net/http"
	"net/url"
	"strings"
)

// readToken reads the request's one parameter that matters. The problem, if there is one, is a text for the caller.
// token_type_hint is ignored: a token's kind can be seen from its form (RFC 7662 §2.1 makes it an optimisation).
func (s *scratch) readToken(r *http.Request) (text, problem string) {
	if r.ContentLength > maxBody {
		return "", "the body is too long"
	}
	var err error
	if s.in, err = appendBody(s.in[:0], r.Body); err != nil {
		return "", "the body could not be read"
	}
	if len(s.in) > maxBody {
		return "", "the body is too long"
	}
	text, n, ok := formValue(string(s.in), "token")
	switch {
	case !ok:
		return "", "the body is not a form"
	case n > 1:
		return "", "token is given twice"
	case text == "":
		return "", "token is missing"
	}
	return text, ""
}

// appendBody appends body to b, but not much more than maxBody bytes of it.
func appendBody(b []byte, body io.Reader) ([]byte, error) {
	for len(b) <= maxBody {
		if len(b) == cap(b) {
			b = append(b, 0)[:len(b)]
		}
		n, err := body.Read(b[len(b):cap(b)])
		b = b[:len(b)+n]
		if err == io.EOF {
			return b, nil
		}
		if err != nil {
			return b, err
		}
	}
	return b, nil
}

// formValue returns the first value of a parameter in a form and how often it is there, as url.ParseQuery would, but without
// a map. It is not ok where that returns an error.
func formValue(form, name string) (value string, n int, ok bool) {
	for form != "" {
		var pair string
		pair, form, _ = strings.Cut(form, "&")
		if pair == "" {
			continue
		}
		if strings.Contains(pair, ";") {
			return "", 0, false
		}
		k, v, _ := strings.Cut(pair, "=")
		k, err := url.QueryUnescape(k) // Without an escape in it, the same string.
		if err != nil {
			return "", 0, false
		}
		if v, err = url.QueryUnescape(v); err != nil {
			return "", 0, false
		}
		if k != name {
			continue
		}
		if n++; n == 1 {
			value = v
		}
	}
	return value, n, true
}
