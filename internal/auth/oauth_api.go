package auth

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"time"

	"github.com/oklog/ulid/v2"

	"github.com/caddy-matrix/caddy-matrix-auth/internal/mxid"
	"github.com/caddy-matrix/caddy-matrix-auth/internal/token"
	"github.com/caddy-matrix/caddy-matrix-auth/store"
)

// The errors of the OAuth use cases and of our pages.
var (
	// ErrClientUnknown: no such client, or it did not prove who it is.
	ErrClientUnknown = errors.New("client unknown")
	// ErrRedirectUnknown: the client does not return to the redirect URI of the request, or not any more.
	ErrRedirectUnknown = errors.New("redirect URI unknown")
	// ErrClientNotAllowed: the client may not use this grant.
	ErrClientNotAllowed = errors.New("client not allowed")
	// ErrClientRemoved: the client of the session has been taken out of the configuration, perhaps by mistake: no verdict.
	ErrClientRemoved = fmt.Errorf("%w: the client has been taken out of the configuration", ErrUnavailable)
	// ErrGrantInvalid: a code, device code or refresh token that is absent, too old, used, another client's, or presented with
	// the wrong redirect URI or verifier. Nothing has changed.
	ErrGrantInvalid = errors.New("grant invalid")
	// ErrGrantReplayed: a code was presented again, late: the session that it was redeemed for has ended.
	ErrGrantReplayed = errors.New("grant replayed")
	// ErrScopeDenied: a scope that cannot be granted.
	ErrScopeDenied = errors.New("scope denied")
	// ErrPending: the person has not decided yet. Poll again (RFC 8628 §3.5).
	ErrPending = errors.New("authorization pending")
	// ErrSlowDown: polled too early; the interval has grown by 5 s (RFC 8628 §3.5).
	ErrSlowDown = errors.New("slow down")
	// ErrExpired: the request is too old to be decided or redeemed.
	ErrExpired = errors.New("expired")
	// ErrDenied: the person said no.
	ErrDenied = errors.New("denied")
	// ErrOtherBrowser: the request was started in another browser.
	ErrOtherBrowser = errors.New("other browser")
	// ErrSignInNeeded: no sign-in at our pages, or not one that is recent enough.
	ErrSignInNeeded = errors.New("sign-in needed")
	// ErrDone: the request has been decided already, and its answer given.
	ErrDone = errors.New("already done")
)

// Client is an OAuth client: self-registered, or from the configuration.
type Client struct {
	store.Client
	Static     bool // from the configuration: an operator vouches for it
	Introspect bool // may ask about access tokens
	Admin      bool // may obtain urn:mas:admin by client credentials
}

// May reports whether the client may use a grant type (RFC 7591 §2). Every client with a code or device grant gets refresh
// tokens, whatever it listed: Matrix clients do not list them reliably.
func (c *Client) May(grantType string) bool {
	for _, g := range c.GrantTypes {
		if g == grantType || grantType == GrantTypeRefreshToken && (g == GrantTypeAuthorizationCode || g == GrantTypeDeviceCode) {
			return true
		}
	}
	return false
}

// The grant types (RFC 6749, RFC 8628).
const (
	GrantTypeAuthorizationCode = "authorization_code"
	GrantTypeRefreshToken      = "refresh_token"
	GrantTypeDeviceCode        = "urn:ietf:params:oauth:grant-type:device_code"
	GrantTypeClientCredentials = "client_credentials"
)

// Assertion is a client's proof that may be used once (RFC 7523 §3): it is consumed in the Update that grants what it buys. Each
// request has its own.
type Assertion struct {
	ID        string // jti
	ExpiresAt time.Time

	consumed bool // by this request: what it tries again is no replay
}

// Browser is the value of the cookie that says which browser this is, never who. Grants are bound to it, and codes derived
// from it.
type Browser struct{ Secret [32]byte }

// Digest is what a grant keeps of it.
func (b Browser) Digest() store.Digest { return sha256.Sum256(b.Secret[:]) }

// SignInParams is a password entered at our pages.
type SignInParams struct {
	Name      string         // as submitted
	Localpart mxid.Localpart // whom it means; empty: it cannot be a user of this server
	Password  token.Secret
	Cookie    token.Secret // of the present sign-in, if there is one: the same person keeps the record, with a new value
	From      From
}

// SignedIn is a sign-in at our pages, and whose it is.
type SignedIn struct {
	Session store.BrowserSession
	User    store.User
	UserID  mxid.UserID
	Admin   bool         // may obtain admin scopes
	Cookie  token.Secret // the cookie's value; only after SignIn
}

// ApproveParams is a person's yes to a grant.
type ApproveParams struct {
	ID      ulid.ULID
	Browser Browser
	Cookie  token.Secret // of the sign-in
	Scope   []string     // what is granted: a part of what was asked for, in the form asked for
	From    From
}

// DenyParams is a no to a grant. It takes no sign-in.
type DenyParams struct {
	ID      ulid.ULID
	Browser store.Digest
	UserID  mxid.UserID // who is signed in, for the audit log; empty: nobody
	From    From
}

// StartDeviceParams asks for a device to be signed in (RFC 8628 §3.1). The client has been authenticated, the scope checked.
type StartDeviceParams struct {
	ClientID  string
	Scope     []string
	Assertion *Assertion
	From      From
}

// DecideDeviceParams is a person's yes or no to a device grant.
type DecideDeviceParams struct {
	ID      ulid.ULID
	Browser store.Digest
	Cookie  token.Secret // of the sign-in
	Approve bool
	Scope   []string // of a yes: what was shown, a part of what was asked for
	From    From
}

// Approved is a fulfilled grant and its code.
type Approved struct {
	Grant store.Grant
	Code  token.Secret
}

// RedeemParams presents a code (RFC 6749 §4.1.3, RFC 7636 §4.5). The client has been authenticated.
type RedeemParams struct {
	Code        token.Secret
	ClientID    string
	RedirectURI string
	Verifier    string
	Assertion   *Assertion
	Arrived     time.Time // when the request arrived: the code's end is judged then; zero: now
	From        From
}

// RedeemDeviceParams polls with a device code (RFC 8628 §3.4). The client has been authenticated.
type RedeemDeviceParams struct {
	DeviceCode token.Secret
	ClientID   string
	Assertion  *Assertion
	From       From
}

// Redeemed is what a code or device code was redeemed for.
type Redeemed struct {
	Tokens
	Subject  ulid.ULID // sub
	Nonce    string    // of the authorization request
	AuthTime time.Time
	ACR      bool // acr_values was sent
}

// RefreshParams presents a refresh token at the token endpoint (RFC 6749 §6). The client has been authenticated.
type RefreshParams struct {
	Text      string
	ClientID  string
	Scope     []string // nil: as before; else a part of it that keeps the device
	Assertion *Assertion
	From      From
}

// ClientCredentialsParams asks for a token of the client's own (RFC 6749 §4.4). The client has been authenticated.
type ClientCredentialsParams struct {
	Client    Client
	Scope     []string
	Assertion *Assertion
	From      From
}

// Claims are what userinfo tells (OIDC Core §5.1).
type Claims struct {
	Subject     ulid.ULID
	Localpart   mxid.Localpart
	DisplayName string
	Scope       []string
}
