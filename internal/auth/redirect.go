package auth

import (
	"slices"
	"strings"
)

// loopbackHosts are the hosts of a native client's own machine (RFC 8252 §7.3, Matrix CS §redirect-uri-validation). They are
// not interchangeable.
var loopbackHosts = []string{"localhost", "127.0.0.1", "[::1]"}

// ReturnsTo reports whether a redirect URI is one of the client's: byte for byte (RFC 9700 §2.1), except for the port on loopback,
// which a native client learns when it starts.
func (c *Client) ReturnsTo(uri string) bool {
	if slices.Contains(c.RedirectURIs, uri) {
		return true
	}
	host, rest, ok := CutLoopback(uri)
	if !ok {
		return false
	}
	port, rest, ok := cutPort(rest)
	return ok && port != "" && slices.Contains(c.RedirectURIs, "http://"+host+rest)
}

// CutLoopback splits an http URI on loopback after its host.
func CutLoopback(uri string) (host, rest string, ok bool) {
	after, ok := strings.CutPrefix(uri, "http://")
	if !ok {
		return "", "", false
	}
	for _, host := range loopbackHosts {
		if rest, ok := strings.CutPrefix(after, host); ok && (rest == "" || strings.ContainsRune(":/?", rune(rest[0]))) {
			return host, rest, true
		}
	}
	return "", "", false
}

// cutPort takes a port off the front, if there is one. It is not ok for a colon without a port of at most five digits.
func cutPort(s string) (port, rest string, ok bool) {
	after, found := strings.CutPrefix(s, ":")
	if !found {
		return "", s, true
	}
	n := 0
	for n < len(after) && '0' <= after[n] && after[n] <= '9' {
		n++
	}
	rest = after[n:]
	if n < 1 || n > 5 || rest != "" && rest[0] != '/' && rest[0] != '?' {
		return "", "", false
	}
	return after[:n], rest, true
}
