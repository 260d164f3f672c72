package store

import (
	"crypto/sha256"
	"time"

	"github.com/oklog/ulid/v2"
)

// Digest is a SHA-256 of something that is not kept: a cookie, a code, a device code, a client's metadata.
type Digest [sha256.Size]byte

// BrowserSession is a person's sign-in at our pages, held by a cookie. Its end is its removal.
type BrowserSession struct {
	ID              ulid.ULID `cbor:"1,keyasint"`
	UserID          ulid.ULID `cbor:"2,keyasint"`
	Cookie          Digest    `cbor:"3,keyasint"` // of the cookie's present value
	CreatedAt       time.Time `cbor:"4,keyasint"`
	AuthenticatedAt time.Time `cbor:"5,keyasint"` // the password was last entered then (OIDC auth_time)
	UsedAt          time.Time `cbor:"6,keyasint"`
	Addr            string    `cbor:"7,keyasint,omitempty"`
	UserAgent       string    `cbor:"8,keyasint,omitempty"`
}

// GrantState is how far an authorization grant has come (RFC 6749 §1.3).
type GrantState uint8

// The states. A grant only goes forward; expiry is decided by time, not by state.
const (
	GrantPending   GrantState = iota + 1
	GrantFulfilled            // approved: its code may be redeemed
	GrantExchanged            // its code has been redeemed
	GrantDenied
	GrantFailed // its client was told why there is nothing to decide
)

// Lifetimes of a grant.
const (
	GrantPendingFor  = 10 * time.Minute
	CodeFor          = 60 * time.Second // from the approval, judged when the request arrives
	CodeReplayLeeway = 20 * time.Second // a replay that soon after the exchange is only refused
	GrantKeptFor     = 24 * time.Hour   // an exchanged grant or device grant, to know a replay
)

// Grant is an authorization request and what became of it. Only a hash of its code is kept.
type Grant struct {
	ID               ulid.ULID  `cbor:"1,keyasint"`
	ClientID         string     `cbor:"2,keyasint"`
	RedirectURI      string     `cbor:"3,keyasint"` // as sent, byte for byte
	ResponseMode     string     `cbor:"4,keyasint,omitempty"`
	Scope            []string   `cbor:"5,keyasint,omitempty"` // what may be granted, in the form asked for
	State            string     `cbor:"6,keyasint,omitempty"`
	HasState         bool       `cbor:"7,keyasint,omitempty"`
	Nonce            string     `cbor:"8,keyasint,omitempty"`
	Challenge        string     `cbor:"9,keyasint"` // PKCE S256 (RFC 7636 §4.2)
	Prompt           []string   `cbor:"10,keyasint,omitempty"`
	LoginHint        string     `cbor:"11,keyasint,omitempty"` // the localpart of who is expected
	Subject          ulid.ULID  `cbor:"12,keyasint,omitzero"`  // the person that id_token_hint named
	UILocales        string     `cbor:"13,keyasint,omitempty"`
	ACR              bool       `cbor:"14,keyasint,omitempty"` // acr_values was sent
	MinAuthTime      time.Time  `cbor:"15,keyasint,omitzero"`  // prompt=login, max_age
	Browser          Digest     `cbor:"16,keyasint"`           // of the browser cookie
	CreatedAt        time.Time  `cbor:"17,keyasint"`
	Status           GrantState `cbor:"18,keyasint"`
	UserID           ulid.ULID  `cbor:"19,keyasint,omitzero"` // who approved
	BrowserSessionID ulid.ULID  `cbor:"20,keyasint,omitzero"`
	AuthTime         time.Time  `cbor:"21,keyasint,omitzero"`
	Code             Digest     `cbor:"22,keyasint,omitzero"` // zero: none was made
	FulfilledAt      time.Time  `cbor:"23,keyasint,omitzero"`
	ExchangedAt      time.Time  `cbor:"24,keyasint,omitzero"`
	SessionID        ulid.ULID  `cbor:"25,keyasint,omitzero"` // what the code was redeemed for
	Failure          Failure    `cbor:"26,keyasint,omitzero"` // of a failed one
}

// Failure is an error that the client of a grant was told (OIDC Core §3.1.2.6).
type Failure struct {
	Error       string `cbor:"1,keyasint"`
	Description string `cbor:"2,keyasint,omitempty"` // for developers
}

// Pending reports whether a person may still decide.
func (g *Grant) Pending(now time.Time) bool {
	return g.Status == GrantPending && now.Sub(g.CreatedAt) < GrantPendingFor
}

// Redeemable reports whether the code is good for a request that arrives at now.
func (g *Grant) Redeemable(now time.Time) bool {
	return g.Status == GrantFulfilled && now.Sub(g.FulfilledAt) < CodeFor
}

// Over reports whether nothing depends on the grant any more.
func (g *Grant) Over(now time.Time) bool {
	switch g.Status {
	case GrantExchanged:
		return now.Sub(g.ExchangedAt) > GrantKeptFor
	case GrantFulfilled:
		return now.Sub(g.FulfilledAt) > GrantPendingFor
	}
	return now.Sub(g.CreatedAt) > 2*GrantPendingFor
}

// Lifetimes of a device grant (RFC 8628 §3.2).
const (
	DeviceGrantFor      = 20 * time.Minute
	DevicePollInterval  = 5 * time.Second
	DeviceCodeAlphabet  = "BCDFGHJKLMNPQRSTVWXZ" // no vowels, nothing that reads like another (RFC 8628 §6.1)
	DeviceUserCodeChars = 8
)

// DeviceGrant is a device authorization request (RFC 8628) and what became of it.
type DeviceGrant struct {
	ID               ulid.ULID  `cbor:"1,keyasint"` // names its page; never in a code
	DeviceCode       Digest     `cbor:"2,keyasint"`
	UserCode         string     `cbor:"3,keyasint"` // upper case, without the dash
	ClientID         string     `cbor:"4,keyasint"`
	Scope            []string   `cbor:"5,keyasint,omitempty"`
	CreatedAt        time.Time  `cbor:"6,keyasint"`
	Addr             string     `cbor:"7,keyasint,omitempty"` // of the asking device
	UserAgent        string     `cbor:"8,keyasint,omitempty"`
	Browser          Digest     `cbor:"9,keyasint,omitzero"` // of the browser that entered the user code
	Status           GrantState `cbor:"10,keyasint"`
	UserID           ulid.ULID  `cbor:"11,keyasint,omitzero"`
	BrowserSessionID ulid.ULID  `cbor:"12,keyasint,omitzero"`
	AuthTime         time.Time  `cbor:"13,keyasint,omitzero"`
	DecidedAt        time.Time  `cbor:"14,keyasint,omitzero"`
	ExchangedAt      time.Time  `cbor:"15,keyasint,omitzero"`
	SessionID        ulid.ULID  `cbor:"16,keyasint,omitzero"`
}

// ExpiresAt is when the device grant can no longer be decided or redeemed.
func (d *DeviceGrant) ExpiresAt() time.Time { return d.CreatedAt.Add(DeviceGrantFor) }

// Over reports whether nothing depends on the device grant any more. One that bought nothing is kept a while, so that the device
// learns that it has expired.
func (d *DeviceGrant) Over(now time.Time) bool {
	if d.Status == GrantExchanged {
		return now.Sub(d.ExchangedAt) > GrantKeptFor
	}
	return now.Sub(d.CreatedAt) > 2*DeviceGrantFor
}

// Client is a dynamically registered OAuth client (RFC 7591 §2). Clients of the configuration are not in the store.
type Client struct {
	ID              string            `cbor:"1,keyasint"`
	Digest          Digest            `cbor:"2,keyasint,omitzero"` // of the canonical metadata; zero: it has a secret and merges with none
	Name            string            `cbor:"3,keyasint,omitempty"`
	URI             string            `cbor:"4,keyasint,omitempty"`
	LogoURI         string            `cbor:"5,keyasint,omitempty"`
	PolicyURI       string            `cbor:"6,keyasint,omitempty"`
	TOSURI          string            `cbor:"7,keyasint,omitempty"`
	Localized       map[string]string `cbor:"8,keyasint,omitempty"` // name#lang → value
	ApplicationType string            `cbor:"9,keyasint,omitempty"` // web, native
	RedirectURIs    []string          `cbor:"10,keyasint,omitempty"`
	GrantTypes      []string          `cbor:"11,keyasint,omitempty"`
	ResponseTypes   []string          `cbor:"12,keyasint,omitempty"`
	AuthMethod      string            `cbor:"13,keyasint"`           // token_endpoint_auth_method
	Secret          Digest            `cbor:"14,keyasint,omitzero"`  // SHA-256 of the client secret
	JWKS            []byte            `cbor:"15,keyasint,omitempty"` // JSON, public keys only
	IDTokenAlg      string            `cbor:"16,keyasint,omitempty"` // RS256, ES256
	CreatedAt       time.Time         `cbor:"17,keyasint"`
	UsedAt          time.Time         `cbor:"18,keyasint,omitzero"` // last grant; zero: never
	RegisteredAt    time.Time         `cbor:"19,keyasint"`          // last registration that gave this client
}

// Consent is a remembered yes: only for scopes without a Matrix device, API or admin scope.
type Consent struct {
	UserID    ulid.ULID `cbor:"1,keyasint"`
	ClientID  string    `cbor:"2,keyasint"`
	Scope     Digest    `cbor:"3,keyasint"` // of the sorted scope
	GrantedAt time.Time `cbor:"4,keyasint"`
	Redirects Digest    `cbor:"5,keyasint"` // of the client's redirect URIs then: others forget the consent
}

// Assertion is a client assertion that has been used (RFC 7523 §3): its jti, until its end.
type Assertion struct {
	Key       Digest    `cbor:"1,keyasint"` // SHA-256(client ‖ 0 ‖ jti)
	ExpiresAt time.Time `cbor:"2,keyasint"`
}

// SigningKey signs id tokens. A retired one keeps only its public half, for hints and old id tokens.
type SigningKey struct {
	ID        string    `cbor:"1,keyasint"`           // kid: RFC 7638 thumbprint
	Algorithm string    `cbor:"2,keyasint"`           // RS256, ES256
	Private   []byte    `cbor:"3,keyasint,omitempty"` // PKCS #8 DER; empty once retired
	Public    []byte    `cbor:"4,keyasint"`           // PKIX DER
	CreatedAt time.Time `cbor:"5,keyasint"`
	RetiredAt time.Time `cbor:"6,keyasint,omitzero"` // zero: it signs
}

// How long a retired key is used.
const (
	KeyPublishedFor = 24 * time.Hour      // in the published key set: id tokens live an hour
	KeyHintFor      = 90 * 24 * time.Hour // to recognise an id_token_hint
)

// MetadataDigest is the SHA-256 of what a client says about itself, as CBOR: its identity where it has no secret.
func (c Client) MetadataDigest() (Digest, error) {
	c.ID, c.Digest, c.Secret, c.CreatedAt, c.UsedAt, c.RegisteredAt = "", Digest{}, Digest{}, time.Time{}, time.Time{}, time.Time{}
	value, err := encode(&c)
	if err != nil {
		return Digest{}, err
	}
	return sha256.Sum256(value), nil
}
