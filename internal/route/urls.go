package route

import "net/url"

// URLs makes the absolute links to what we serve. Their base is the configured issuer and never a header.
type URLs struct{ issuer url.URL }

// NewURLs returns the links below an issuer.
func NewURLs(issuer *url.URL) URLs { return URLs{*issuer} }

// Issuer returns the issuer with the slash at its end (RFC 8414 §2).
func (u URLs) Issuer() string { return u.issuer.JoinPath("/").String() }

// Account returns the page where people manage their account (MSC4191). Synapse appends "?action=…" to it as it is.
func (u URLs) Account() string { return u.issuer.JoinPath("account/").String() }
