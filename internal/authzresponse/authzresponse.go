// Package authzresponse makes authorization responses: what goes back to a client through a person's browser (RFC 6749
// §4.1.2, RFC 9207).
//
// Policy. A redirect URI is a string that was registered, and stays that string byte for byte: nothing is parsed, decoded or
// encoded again; the parameters are appended to it. Every response has iss, and a fragment, perhaps an empty one: where a
// redirect has none, browsers put the one of the link that began it all (Fetch Standard, "location URL"), which anybody can have
// written. state is returned as it was sent, and is absent if it was not. Texts about errors are ASCII.
//
// The package does not decide whether a redirect URI is registered or a response mode is allowed, writes no answers and knows
// no HTML.
package authzresponse

import (
	"net/url"
	"strings"
	"unicode"
	"unicode/utf8"
)

// The response modes (OAuth 2.0 Multiple Response Types §2.1, OAuth 2.0 Form Post Response Mode). The empty one is Query.
const (
	Query    = "query"
	Fragment = "fragment"
	FormPost = "form_post"
)

// Response is an answer to an authorization request: a code, or else an error.
type Response struct {
	RedirectURI string // as registered and sent; without a fragment
	Mode        string // Query, Fragment or FormPost; empty: Query
	Issuer      string
	State       string
	HasState    bool
	Code        string
	Error       string // RFC 6749 §4.1.2.1, OIDC Core §3.1.2.6; empty: a code
	Description string // of the error, for developers
}

// Field is a parameter of a response.
type Field struct{ Name, Value string }

// Fields are the parameters of the response, in the order in which they are sent.
func (r Response) Fields() []Field {
	var fields []Field
	if r.Error == "" {
		fields = append(fields, Field{"code", r.Code})
	} else {
		fields = append(fields, Field{"error", visible(r.Error)})
		if r.Description != "" {
			fields = append(fields, Field{"error_description", visible(r.Description)})
		}
	}
	if r.HasState {
		fields = append(fields, Field{"state", r.State})
	}
	return append(fields, Field{"iss", r.Issuer})
}

// Location is where the browser is sent. ok is false for FormPost: the browser has to post Fields to RedirectURI.
func (r Response) Location() (location string, ok bool) {
	if r.Mode == FormPost {
		return "", false
	}
	var b strings.Builder
	b.WriteString(r.RedirectURI)
	b.WriteString(r.separator())
	for i, f := range r.Fields() {
		if i > 0 {
			b.WriteByte('&')
		}
		b.WriteString(f.Name)
		b.WriteByte('=')
		b.WriteString(escape(f.Value))
	}
	if r.Mode != Fragment {
		b.WriteByte('#')
	}
	return b.String(), true
}

// separator stands between the redirect URI and the parameters (RFC 6749 §3.1.2: a query that is there stays).
func (r Response) separator() string {
	switch {
	case r.Mode == Fragment:
		return "#"
	case !strings.Contains(r.RedirectURI, "?"):
		return "?"
	case strings.HasSuffix(r.RedirectURI, "?"), strings.HasSuffix(r.RedirectURI, "&"):
		return ""
	}
	return "&"
}

// escape encodes a value for application/x-www-form-urlencoded, with %20 for the space: not every app that reads its URL knows
// the plus sign.
func escape(s string) string { return strings.ReplaceAll(url.QueryEscape(s), "+", "%20") }

// visible keeps what an error text may hold (RFC 6749 §4.1.2.1: %x20-21, %x23-5B, %x5D-7E).
func visible(s string) string {
	return strings.Map(func(r rune) rune {
		if r < 0x20 || r > 0x7e || r == '"' || r == '\\' {
			return '?'
		}
		return r
	}, s)
}

// Postable reports whether a form in HTML carries a state unchanged: it is valid UTF-8 without controls.
func Postable(state string) bool {
	return utf8.ValidString(state) && !strings.ContainsFunc(state, unicode.IsControl)
}
