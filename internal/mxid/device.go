package mxid

import (
	"fmt"
	"io"
	"strings"
	"unicode"
	"unicode/utf8"
)

// MaxDeviceID is the greatest length of a device ID in characters that Synapse takes (Synapse mas.py).
const MaxDeviceID = 255

// Scopes of the Matrix client-server API (MSC2967, stable since Matrix 1.15) and of Synapse's admin API (Synapse
// mas.py).
const (
	ScopeAPI         = "urn:matrix:client:api:*"
	ScopeAPIUnstable = "urn:matrix:org.matrix.msc2967.client:api:*"
	ScopeAdmin       = "urn:synapse:admin:*"
	ScopeMASAdmin    = "urn:mas:admin"

	scopeDevice         = "urn:matrix:client:device:"
	scopeDeviceUnstable = "urn:matrix:org.matrix.msc2967.client:device:"
)

// IsAdminScope reports whether a scope is a right over the whole server.
func IsAdminScope(sc string) bool { return sc == ScopeAdmin || sc == ScopeMASAdmin }

// DeviceID names a device of a user: 1 to MaxDeviceID characters of valid UTF-8, none of them a control.
type DeviceID string

// ParseDeviceID returns s as a device ID, or ErrMalformed.
func ParseDeviceID(s string) (DeviceID, error) {
	if !utf8.ValidString(s) {
		return "", fmt.Errorf("device ID is not UTF-8: %w", ErrMalformed)
	}
	if n := utf8.RuneCountInString(s); n < 1 || n > MaxDeviceID {
		return "", fmt.Errorf("device ID of %d characters: %w", n, ErrMalformed)
	}
	if strings.IndexFunc(s, unicode.IsControl) >= 0 {
		return "", fmt.Errorf("control character in device ID: %w", ErrMalformed)
	}
	return DeviceID(s), nil
}

// newDeviceIDLen is the length of the device IDs that we make, Synapse's own.
const newDeviceIDLen = 10

// NewDeviceID makes a device ID of ten letters A-Z, each equally likely.
func NewDeviceID(r io.Reader) (DeviceID, error) {
	const unbiased = 256 - 256%26 // bytes from here on would favour the first letters
	var id [newDeviceIDLen]byte
	var random [2 * newDeviceIDLen]byte
	for n := 0; n < len(id); {
		if _, err := io.ReadFull(r, random[:]); err != nil {
			return "", fmt.Errorf("reading randomness: %w", err)
		}
		for _, b := range random {
			if b < unbiased && n < len(id) {
				id[n] = 'A' + b%26
				n++
			}
		}
	}
	return DeviceID(id[:]), nil
}

// Scopes returns the scope tokens that stand for the device in both spellings (MSC2967). ok is false when the device ID
// holds a character that no scope token can hold (RFC 6749 §3.3); such a device is told to Synapse by its ID alone.
func (d DeviceID) Scopes() (stable, unstable string, ok bool) {
	if d == "" {
		return "", "", false
	}
	for i := range len(d) {
		if !scopeByte(d[i]) {
			return "", "", false
		}
	}
	return scopeDevice + string(d), scopeDeviceUnstable + string(d), true
}

// DeviceOf returns the device that a scope names, in either spelling, or none. ErrMalformed: it names two, or one that cannot
// be a device ID.
func DeviceOf(scope []string) (DeviceID, error) {
	var found DeviceID
	for _, sc := range scope {
		id, ok := strings.CutPrefix(sc, scopeDevice)
		if !ok {
			id, ok = strings.CutPrefix(sc, scopeDeviceUnstable)
		}
		if !ok {
			continue
		}
		d, err := ParseDeviceID(id)
		if err != nil {
			return "", err
		}
		if found != "" {
			return "", fmt.Errorf("two devices in a scope: %w", ErrMalformed)
		}
		found = d
	}
	return found, nil
}

// scopeByte is NQCHAR of RFC 6749 §A.
func scopeByte(c byte) bool {
	return 0x21 <= c && c <= 0x7e && c != '"' && c != '\\'
}
