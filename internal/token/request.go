package token

import (
	"errors"
	"net/http"
	"strings"
)

// Source says where a request carries its access token.
type Source uint8

// The places of an access token.
const (
	None   Source = iota // nowhere, or in an Authorization header that Synapse refuses
	Header               // Authorization: Bearer
	Query                // access_token in the query
)

// ErrTwice: two Authorization headers, header and query together, or access_token twice with one of ours among them.
var ErrTwice = errors.New("access token given twice")

const queryKey = "access_token"

// FromRequest is the one reader of access tokens. It finds what Synapse would find (Synapse api/auth/base.py,
// get_access_token_from_request; Twisted http.py, parse_qs), so that no token reaches Synapse that was not judged:
//
//   - one Authorization header, "Bearer" in just this case, one space, and no further space;
//   - without that header, the first access_token of the query: keys and values percent-decoded, '+' a space, arguments
//     parted by '&' and by ';'. An argument without '=' is none. An empty value is a token of no characters: Query, and
//     an empty text.
//
// An Authorization header of another form is no token, and Synapse answers M_MISSING_TOKEN wherever one is needed; it
// is not passed over in favour of the query, and together with the query it is ErrTwice. Of two access_token arguments
// Synapse takes the first; if one of them is ours, that is ErrTwice here.
//
// It allocates only to decode an access_token that is percent-encoded.
func FromRequest(h http.Header, rawQuery string) (text string, from Source, err error) {
	query, found, err := fromQuery(rawQuery)
	if err != nil {
		return "", None, err
	}
	switch headers := h["Authorization"]; {
	case len(headers) == 0 && found:
		return query, Query, nil
	case len(headers) == 0:
		return "", None, nil
	case len(headers) > 1 || found:
		return "", None, ErrTwice
	default:
		text, found = bearer(headers[0])
	}
	if !found {
		return "", None, nil
	}
	return text, Header, nil
}

// bearer returns the token of an Authorization header. Space around the value is no part of it (RFC 9110 §5.5); over
// HTTP/2 it gets here, and Twisted strips it.
func bearer(value string) (string, bool) {
	text, found := strings.CutPrefix(strings.Trim(value, " \t"), "Bearer ")
	if !found || strings.Contains(text, " ") {
		return "", false
	}
	return text, true
}

// fromQuery returns the first access_token of a query.
func fromQuery(rawQuery string) (text string, found bool, err error) {
	var ours, twice bool
	for rest, separator := rawQuery, "&"; separator != ""; {
		var item string
		item, separator, rest = cutItem(rest)
		key, value, isArgument := strings.Cut(item, "=")
		if !isArgument || !isQueryKey(key) {
			continue
		}
		value = unquote(value)
		ours = ours || kindOf(value) != 0
		if found {
			twice = true
			continue
		}
		text, found = value, true
	}
	if twice && ours {
		return "", false, ErrTwice
	}
	return text, found, nil
}

// StripQuery returns the query without its access_token arguments, also those without '=', each with one separator; all
// else stays byte for byte.
func StripQuery(rawQuery string) string {
	if !hasQueryKey(rawQuery) {
		return rawQuery
	}
	var b strings.Builder
	b.Grow(len(rawQuery))
	kept := "" // the separator after the last argument that stays
	for rest, separator := rawQuery, "&"; separator != ""; {
		var item string
		item, separator, rest = cutItem(rest)
		if key, _, _ := strings.Cut(item, "="); !isQueryKey(key) {
			b.WriteString(kept)
			b.WriteString(item)
			kept = separator
		}
	}
	return b.String()
}

func hasQueryKey(rawQuery string) bool {
	for rest, separator := rawQuery, "&"; separator != ""; {
		var item string
		item, separator, rest = cutItem(rest)
		if key, _, _ := strings.Cut(item, "="); isQueryKey(key) {
			return true
		}
	}
	return false
}

// cutItem returns the text before the first '&' or ';', that separator, and the text after it. No separator: the item
// is the last.
func cutItem(query string) (item, separator, rest string) {
	for i := range len(query) {
		if query[i] == '&' || query[i] == ';' {
			return query[:i], query[i : i+1], query[i+1:]
		}
	}
	return query, "", ""
}

// isQueryKey reports whether key is "access_token" once decoded. It decodes once, as Twisted does.
func isQueryKey(key string) bool {
	n := 0
	for i := 0; i < len(key); n++ {
		c, size := unquoteByte(key[i:])
		if n == len(queryKey) || c != queryKey[n] {
			return false
		}
		i += size
	}
	return n == len(queryKey)
}

// unquote is Python's urllib.parse.unquote_to_bytes after Twisted has made each '+' a space: an escape that is none
// stays as it is.
func unquote(s string) string {
	if !strings.ContainsAny(s, "%+") {
		return s
	}
	b := make([]byte, 0, len(s))
	for i := 0; i < len(s); {
		c, size := unquoteByte(s[i:])
		b = append(b, c)
		i += size
	}
	return string(b)
}

// unquoteByte decodes the first character of s and returns how long it was.
func unquoteByte(s string) (c byte, size int) {
	switch {
	case s[0] == '+':
		return ' ', 1
	case s[0] == '%' && len(s) >= 3 && isHex(s[1]) && isHex(s[2]):
		return unhex(s[1])<<4 | unhex(s[2]), 3
	}
	return s[0], 1
}

func isHex(c byte) bool {
	return '0' <= c && c <= '9' || 'a' <= c && c <= 'f' || 'A' <= c && c <= 'F'
}

func unhex(c byte) byte {
	if c <= '9' {
		return c - '0'
	}
	return c&^0x20 - 'A' + 10
}
