package oidcprovider

import (
	"errors"
	"slices"
	"strings"

	"github.com/caddy-matrix/caddy-matrix-auth/internal/mxid"
)

// The scopes of OpenID Connect that we know (OIDC Core §5.4). email is granted and not announced: nobody has an address yet.
// offline_access, phone and address are dropped like unknown ones: refresh tokens need no scope here, and there are no such
// claims.
const (
	scopeOpenID  = "openid"
	scopeProfile = "profile"
	scopeEmail   = "email"
)

// The prefixes of a device's scope (Matrix CS §scope, MSC2967).
const (
	scopeDevice         = "urn:matrix:client:device:"
	scopeDeviceUnstable = "urn:matrix:org.matrix.msc2967.client:device:"
)

// errScope: what is asked for cannot be granted. Its text is for the client.
type scopeError string

func (e scopeError) Error() string { return string(e) }

// The reasons.
const (
	errScopeMixed    = scopeError("the scope mixes stable and unstable names")
	errScopeDevices  = scopeError("the scope names more than one device")
	errScopeDevice   = scopeError("the scope names a malformed device")
	errScopeNoDevice = scopeError("the scope has the client API but no device")
	errScopeNoAPI    = scopeError("the scope has a device but not the client API")
	errScopeEmpty    = scopeError("the scope has nothing that can be granted")
)

// splitScope reads a scope parameter with any white space between its tokens (RFC 6749 §3.3 has single spaces), each once.
func splitScope(text string) []string {
	var list []string
	for _, sc := range strings.Fields(text) {
		if !slices.Contains(list, sc) {
			list = append(list, sc)
		}
	}
	return list
}

// parseScope returns what may be granted of a scope parameter, in the form asked for: unknown tokens are dropped (RFC 6749
// §3.3). A scopeError: what Matrix CS §scope forbids, or nothing is left.
func parseScope(text string) ([]string, error) {
	var granted []string
	var seen struct{ api, device, stable, unstable int }
	for _, sc := range splitScope(text) {
		switch {
		case sc == mxid.ScopeAPI:
			seen.api++
			seen.stable++
		case sc == mxid.ScopeAPIUnstable:
			seen.api++
			seen.unstable++
		case strings.HasPrefix(sc, scopeDevice):
			seen.device++
			seen.stable++
		case strings.HasPrefix(sc, scopeDeviceUnstable):
			seen.device++
			seen.unstable++
		case !isOtherScope(sc):
			continue
		}
		granted = append(granted, sc)
	}
	switch {
	case seen.stable > 0 && seen.unstable > 0:
		return nil, errScopeMixed
	case seen.device > 1:
		return nil, errScopeDevices
	case seen.api > 0 && seen.device == 0:
		return nil, errScopeNoDevice
	case seen.device > 0 && seen.api == 0:
		return nil, errScopeNoAPI
	case len(granted) == 0:
		return nil, errScopeEmpty
	}
	if seen.device > 0 && !namesDevice(granted) {
		return nil, errScopeDevice
	}
	return granted, nil
}

// isOtherScope reports whether a scope is known that is not one of the Matrix client API.
func isOtherScope(sc string) bool {
	switch sc {
	case scopeOpenID, scopeProfile, scopeEmail, mxid.ScopeAdmin, mxid.ScopeMASAdmin:
		return true
	}
	return false
}

// namesDevice reports whether a scope names one device whose ID can be written as a scope.
func namesDevice(scope []string) bool {
	d, err := mxid.DeviceOf(scope)
	if err != nil {
		return false
	}
	_, _, ok := d.Scopes()
	return ok
}

// isScopeError reports whether err is a reason for the client.
func isScopeError(err error) (text string, ok bool) {
	var e scopeError
	ok = errors.As(err, &e)
	return string(e), ok
}
