package caddymodule

// Client is an OAuth client of the configuration (RFC 6749 §2).
type Client struct {
	// The client's ID: printable ASCII without spaces, quotes and backslashes. Required.
	ID string `json:"id,omitempty"`

	// What the client is called on our pages. Accepts placeholders. Default: its ID.
	Name string `json:"name,omitempty"`

	// The URL of the client's home page. Accepts placeholders. Default: none.
	URI string `json:"uri,omitempty"`

	// The client's secret, at least 16 bytes; white space at both ends is ignored. Accepts placeholders, and should be
	// one. Default: none.
	Secret string `json:"secret,omitempty"`

	// How the client proves who it is: `none`, `basic` or `post` (RFC 6749 §2.3.1), or `private_key_jwt` (RFC 7523).
	// Default: `basic` with a secret, `private_key_jwt` with keys, else `none`.
	Auth string `json:"auth,omitempty"`

	// The client's public keys, for `private_key_jwt`: a JSON Web Key Set (RFC 7517 §5) of at most ten. Accepts
	// placeholders, usually `{file./path}`. Default: none.
	JWKS string `json:"jwks,omitempty"`

	// Where people are sent back, compared byte for byte (RFC 9700 §4.1.3). Plain http is for loopback hosts, where any
	// port is taken if none is given. Accept placeholders. Required if the client may use `authorization_code`.
	RedirectURIs []string `json:"redirect_uris,omitempty"`

	// What the client may use: `authorization_code`, `refresh_token`, `client_credentials`,
	// `urn:ietf:params:oauth:grant-type:device_code`. Default: authorization_code and refresh_token; nothing for a client
	// that may introspect and has no redirect URI.
	GrantTypes []string `json:"grant_types,omitempty"`

	// What the client's ID tokens are signed with, `RS256` or `ES256`. Default: RS256.
	IDTokenAlg string `json:"id_token_alg,omitempty"`

	// Whether the client may ask about access tokens (RFC 7662). Default: false.
	Introspect bool `json:"introspect,omitempty"`
}

// Branding says how our pages look.
type Branding struct {
	// What this service is called on the pages. Default: the server name.
	Name string `json:"name,omitempty"`

	// The URL of the privacy policy, linked from the pages. Default: none.
	PolicyURI string `json:"policy_uri,omitempty"`

	// The URL of the terms of service, linked from the pages. Default: none.
	TOSURI string `json:"tos_uri,omitempty"`

	// The URL of the legal notice, linked from the pages. Default: none.
	Imprint string `json:"imprint,omitempty"`

	// A style sheet that the pages load after their own, at most 64 KiB, or a placeholder for one, usually `{file./path}`.
	// Default: none.
	CSS string `json:"css,omitempty"`
}
