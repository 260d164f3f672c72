package caddymodule

import "github.com/caddyserver/caddy/v2"

// Synapse says how the homeserver is reached.
type Synapse struct {
	// The URL of a Synapse listener that serves the `client` resource, without a path, such as `http://127.0.0.1:8008`.
	// Accepts placeholders. Required.
	Endpoint string `json:"endpoint,omitempty"`

	// The secret shared with Synapse (`matrix_authentication_service.secret` there), at least 16 bytes. White space at
	// both ends is ignored, as Synapse does. Accepts placeholders, and should be one: `{file./etc/matrix/shared-secret}`.
	// Required.
	Secret string `json:"secret,omitempty"`

	// How long one call to Synapse may take. Default: 10s.
	Timeout caddy.Duration `json:"timeout,omitempty"`
}

// Tokens says how long tokens are good for.
type Tokens struct {
	// The life of an access token of an OAuth session, at least one minute. Default: 5m.
	AccessTTL caddy.Duration `json:"access_ttl,omitempty"`

	// The life of an access token of a legacy session that can refresh, at least one minute. Legacy sessions that cannot
	// refresh have tokens without an end. Default: 5m.
	CompatTTL caddy.Duration `json:"compat_ttl,omitempty"`

	// How long a used refresh token still yields the same successor after that successor was first used. Default: 60s.
	RefreshGrace caddy.Duration `json:"refresh_grace,omitempty"`

	// Sessions that can refresh end after this long without any use. Default: 0, which is never.
	RefreshIdle caddy.Duration `json:"refresh_idle,omitempty"`
}

// Password configures logins by password.
type Password struct {
	// Whether users can log in by password. Default: true.
	Enabled *bool `json:"enabled,omitempty"`

	// The pepper that imported bcrypt hashes were made with (`password_config.pepper` of Synapse). Accepts placeholders.
	// Default: none.
	Pepper string `json:"pepper,omitempty"`

	// How many passwords are hashed at a time. Default: the number of processor cores.
	Concurrency int `json:"concurrency,omitempty"`
}

// RateLimit is a number of attempts within a window.
type RateLimit struct {
	// How many attempts may be made at once. Default: that of the limit.
	Burst int `json:"burst,omitempty"`

	// The window within which that number is allowed again. Default: that of the limit.
	Window caddy.Duration `json:"window,omitempty"`

	// Whether there is no limit at all. Default: false.
	Off bool `json:"off,omitempty"`
}

// RateLimits holds the limits by what they limit.
type RateLimits struct {
	// Failed passwords per account and client address; six times as many per address, and ten times as many per hour and
	// account over all addresses. Default: 10 in 1m.
	Login *RateLimit `json:"login,omitempty"`

	// Authorization requests per client address, each of which is kept for ten minutes. Default: 30 in 1m.
	Authorize *RateLimit `json:"authorize,omitempty"`

	// Device authorization requests per client address (RFC 8628 §3.1). Default: 20 in 1m.
	DeviceCode *RateLimit `json:"device_code,omitempty"`

	// Registrations of OAuth clients per client address (RFC 7591 §3). Clients register anew at each sign-in. Default: 20
	// in 1m.
	ClientRegistration *RateLimit `json:"client_registration,omitempty"`
}

// Support is what `/.well-known/matrix/support` tells (Matrix CS §getwell-knownmatrixsupport).
type Support struct {
	// Whom to contact. Default: nobody.
	Contacts []SupportContact `json:"contacts,omitempty"`

	// The URL of a page that helps users of this homeserver. Default: none.
	Page string `json:"page,omitempty"`
}

// SupportContact is one way to reach the people who run the homeserver.
type SupportContact struct {
	// What the contact is for: `m.role.admin`, `m.role.security`, or a role of your own in reverse domain form. Required.
	Role string `json:"role,omitempty"`

	// The contact's Matrix user ID. One of this and the e-mail address is required.
	MatrixID string `json:"matrix_id,omitempty"`

	// The contact's e-mail address.
	EmailAddress string `json:"email_address,omitempty"`
}
