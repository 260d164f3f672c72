package route

import "net/url"

// URLs makes the absolute links to what we serve. Their base is the configured issuer and never a header.
type URLs struct{ issuer url.URL }

// NewURLs returns the links below an issuer.
func NewURLs(issuer *url.URL) URLs { return URLs{*issuer} }

// Issuer returns the issuer with the slash at its end (RFC 8414 §2).
func (u URLs) Issuer() string { return u.issuer.JoinPath("/").String() }

// Account returns the page where people manage their account (MSC4191). Synapse appends "?action=…" to it as it is.
func (u URLs) Account() string { return u.at(pathAccount) }

// Authorize returns the authorization endpoint (RFC 6749 §3.1).
func (u URLs) Authorize() string { return u.at(pathAuthorize) }

// Token returns the token endpoint (RFC 6749 §3.2).
func (u URLs) Token() string { return u.at(pathToken) }

// Revoke returns the revocation endpoint (RFC 7009 §2).
func (u URLs) Revoke() string { return u.at(pathRevoke) }

// UserInfo returns the userinfo endpoint (OIDC Core §5.3).
func (u URLs) UserInfo() string { return u.at(pathUserInfo) }

// DeviceAuthorization returns the device authorization endpoint (RFC 8628 §3.1).
func (u URLs) DeviceAuthorization() string { return u.at(pathDevice) }

// Registration returns the client registration endpoint (RFC 7591 §3).
func (u URLs) Registration() string { return u.at(pathRegistration) }

// Keys returns the key set (RFC 7517 §5).
func (u URLs) Keys() string { return u.at(pathKeys) }

// Introspect returns the introspection endpoint (RFC 7662 §2).
func (u URLs) Introspect() string { return u.at(pathIntrospect) }

// Link returns the page on which a person enters a user code (RFC 8628 §3.3).
func (u URLs) Link() string { return u.at(pathLink) }

// Consent returns the page on which a person decides about an authorization request.
func (u URLs) Consent(id string) string { return u.at(pathConsent + id) }

func (u URLs) at(path string) string { return u.issuer.JoinPath(path).String() }
