package oidcprovider

import (
	"errors"
	"net/url"
	"strings"
	"unicode/utf8"
)

// params are a request's parameters (RFC 6749 §3.1, §3.2): one without a value is as if it was not sent, and one that is sent
// twice makes the request invalid, as does one that is no text.
type params struct {
	url.Values
	repeated bool // some were sent twice; they are not among the values
	garbled  bool // some hold NUL or invalid UTF-8
}

// errForm: not application/x-www-form-urlencoded.
var errForm = errors.New("not a form")

// parseParams reads a query or a form.
func parseParams(raw string) (params, error) {
	values, err := url.ParseQuery(raw)
	if err != nil {
		return params{}, errForm
	}
	p := params{Values: make(url.Values, len(values))}
	for name, list := range values {
		value, n := "", 0
		for _, v := range list {
			if v != "" {
				value, n = v, n+1
			}
		}
		p.repeated = p.repeated || n > 1
		p.garbled = p.garbled || garbled(value) || n > 0 && garbled(name)
		if n == 1 {
			p.Values[name] = []string{value}
		}
	}
	return p, nil
}

// garbled reports whether s is no text: NUL, or invalid UTF-8.
func garbled(s string) bool { return strings.Contains(s, "\x00") || !utf8.ValidString(s) }

// fault says what makes the request invalid, or nothing.
func (p *params) fault() string {
	switch {
	case p.repeated:
		return "a parameter is repeated"
	case p.garbled:
		return "a parameter is not valid UTF-8 text"
	}
	return ""
}
