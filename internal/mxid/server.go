package mxid

import (
	"fmt"
	"net/netip"
	"strings"
)

// MaxServerName is the greatest length of a server name in bytes: what a user ID of one character leaves.
const MaxServerName = MaxUserID - len("@a:")

// ServerName names a homeserver: a DNS name, an IPv4 address or a bracketed IPv6 address, with or without a port
// (Matrix appendices §server-name).
type ServerName string

// ParseServerName returns s as a server name, or ErrMalformed. The text is kept as it is.
func ParseServerName(s string) (ServerName, error) {
	host, port, hasPort := splitPort(s)
	if s == "" || len(s) > MaxServerName || !validHost(host) || hasPort && !validPort(port) {
		return "", fmt.Errorf("server name: %w", ErrMalformed)
	}
	return ServerName(s), nil
}

// Equal reports whether both name the same server. Host names do not depend on case.
func (s ServerName) Equal(other ServerName) bool {
	return lowerASCII(string(s)) == lowerASCII(string(other))
}

// splitPort cuts a server name at the colon before its port; a colon within brackets is part of the address.
func splitPort(s string) (host, port string, found bool) {
	if i := strings.LastIndexByte(s, ':'); i > strings.LastIndexByte(s, ']') {
		return s[:i], s[i+1:], true
	}
	return s, "", false
}

func validPort(s string) bool {
	if s == "" || len(s) > 5 {
		return false
	}
	for i := range len(s) {
		if s[i] < '0' || '9' < s[i] {
			return false
		}
	}
	return true
}

func validHost(s string) bool {
	if inner, bracketed := strings.CutPrefix(s, "["); bracketed {
		inner, closed := strings.CutSuffix(inner, "]")
		addr, err := netip.ParseAddr(inner)
		return closed && err == nil && addr.Is6() && addr.Zone() == ""
	}
	for i := range len(s) {
		if !hostByte(s[i]) {
			return false
		}
	}
	return s != ""
}

func hostByte(c byte) bool {
	switch {
	case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', c == '-', c == '.':
		return true
	}
	return false
}
