package oidcprovider

import (
	"errors"
	"io"
	"math"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/caddy-matrix/caddy-matrix-auth/internal/auth"
	"github.com/caddy-matrix/caddy-matrix-auth/internal/token"
	"github.com/caddy-matrix/caddy-matrix-auth/store"
)

// clientMetadata is what a client says about itself (RFC 7591 §2, OpenID Connect Registration 1.0 §2), and with the first four
// members the answer to it (RFC 7591 §3.2.1). Members that are not here are ignored.
type clientMetadata struct {
	ID            string `json:"client_id,omitzero"`
	IssuedAt      int64  `json:"client_id_issued_at,omitzero"`
	Secret        string `json:"client_secret,omitzero"`
	SecretExpires *int   `json:"client_secret_expires_at,omitzero"`

	Name            string         `json:"client_name,omitzero"`
	URI             string         `json:"client_uri,omitzero"`
	LogoURI         string         `json:"logo_uri,omitzero"`
	TOSURI          string         `json:"tos_uri,omitzero"`
	PolicyURI       string         `json:"policy_uri,omitzero"`
	RedirectURIs    []string       `json:"redirect_uris,omitzero"`
	ResponseTypes   []string       `json:"response_types,omitempty"`
	GrantTypes      []string       `json:"grant_types,omitzero"`
	AuthMethod      string         `json:"token_endpoint_auth_method,omitzero"`
	ApplicationType string         `json:"application_type,omitzero"`
	IDTokenAlg      string         `json:"id_token_signed_response_alg,omitzero"`
	JWKS            jsontext.Value `json:"jwks,omitzero"`
	Others          jsontext.Value `json:",embed"`
}

// metadataError is why metadata is refused (RFC 7591 §3.2.2). Its text is for the client's developer.
type metadataError struct{ code, text string }

func (e *metadataError) Error() string { return e.text }

func badMetadata(text string) error { return &metadataError{errInvalidClientMetadata, text} }
func badRedirect(text string) error { return &metadataError{errInvalidRedirectURI, text} }

// register answers a client registration request (RFC 7591 §3, MSC2966).
func (o *OAuth) register(w http.ResponseWriter, r *http.Request) {
	a, c := w.(*answer), callOf(r.Context())
	body, _ := io.ReadAll(r.Body) // In memory.
	found, err := parseMetadata(body)
	if bad := new(metadataError); errors.As(err, &bad) {
		a.fail(http.StatusBadRequest, bad.code, bad.text)
		return
	}
	made, secret, err := o.Service.RegisterClient(r.Context(), found, c.from)
	if limited := new(auth.RateLimitError); errors.As(err, &limited) {
		a.fail(http.StatusTooManyRequests, "temporarily_unavailable", "too many registrations")
		a.header.Set("Retry-After", retryAfter(limited.RetryAfter))
		return
	}
	var reply []byte
	if err == nil {
		reply, err = registrationReply(&made.Client, secret)
	}
	if err != nil {
		c.err = err
		a.fail(http.StatusInternalServerError, "", "")
		return
	}
	a.WriteHeader(http.StatusCreated)
	a.body.Write(reply)
}

// retryAfter is a wait in whole seconds, rounded up: some clients do not read dates.
func retryAfter(d time.Duration) string { return strconv.Itoa(int(math.Ceil(d.Seconds()))) }

// registrationReply tells a client what is registered.
func registrationReply(c *store.Client, secret token.Secret) ([]byte, error) {
	m := clientMetadata{
		ID: c.ID, IssuedAt: c.CreatedAt.Unix(), Secret: secret.Reveal(),
		Name: c.Name, URI: c.URI, LogoURI: c.LogoURI, TOSURI: c.TOSURI, PolicyURI: c.PolicyURI,
		RedirectURIs: c.RedirectURIs, ResponseTypes: c.ResponseTypes, GrantTypes: c.GrantTypes,
		AuthMethod: c.AuthMethod, ApplicationType: c.ApplicationType, IDTokenAlg: c.IDTokenAlg, JWKS: c.JWKS,
	}
	if !secret.Empty() {
		m.SecretExpires = new(0) // never
	}
	if len(c.Localized) > 0 {
		others, err := json.Marshal(c.Localized, json.Deterministic(true))
		if err != nil {
			return nil, err
		}
		m.Others = others
	}
	return json.Marshal(m)
}

// parseMetadata reads metadata and brings it into its canonical form: defaults filled in, known members only, lists sorted and
// unique, strings as sent. Clients that say the same are one.
func parseMetadata(body []byte) (store.Client, error) {
	var m clientMetadata
	if err := json.Unmarshal(body, &m); err != nil {
		return store.Client{}, malformed(err)
	}
	m.ID, m.Secret = "", ""
	for _, step := range []func(*clientMetadata) error{
		refuseUnsupported, canonicalAuth, canonicalGrants, canonicalApplication, checkNames, checkURIs, checkRedirects, canonicalKeys,
	} {
		if err := step(&m); err != nil {
			return store.Client{}, err
		}
	}
	return store.Client{
		Name: m.Name, URI: m.URI, LogoURI: m.LogoURI, PolicyURI: m.PolicyURI, TOSURI: m.TOSURI, Localized: localized(&m),
		ApplicationType: m.ApplicationType, RedirectURIs: m.RedirectURIs, GrantTypes: m.GrantTypes, ResponseTypes: m.ResponseTypes,
		AuthMethod: m.AuthMethod, JWKS: m.JWKS, IDTokenAlg: m.IDTokenAlg,
	}, nil
}

// malformed is the refusal of what is not JSON, or has a member of another type.
func malformed(err error) error {
	var wrong *json.SemanticError
	if errors.As(err, &wrong) && strings.HasPrefix(string(wrong.JSONPointer), "/redirect_uris") {
		return badRedirect("redirect_uris has to be an array of strings")
	}
	if errors.As(err, &wrong) {
		return badMetadata("a member has the wrong type")
	}
	return badMetadata("the body is not a JSON object")
}

// refuseUnsupported refuses what would have to be fetched: no address that a client names ever is.
func refuseUnsupported(m *clientMetadata) error {
	others, err := m.members()
	if err != nil {
		return badMetadata("the body is not a JSON object")
	}
	for _, name := range []string{"jwks_uri", "sector_identifier_uri", "request_uris"} {
		switch string(others[name]) {
		case "", "null", `""`, "[]":
		default:
			return badMetadata(name + " is not supported")
		}
	}
	return nil
}

// members are the members that are not known.
func (m *clientMetadata) members() (map[string]jsontext.Value, error) {
	others := make(map[string]jsontext.Value)
	if len(m.Others) == 0 {
		return others, nil
	}
	return others, json.Unmarshal(m.Others, &others)
}

func canonicalAuth(m *clientMetadata) error {
	switch m.AuthMethod {
	case "":
		m.AuthMethod = authSecretBasic
	case authNone, authSecretBasic, authSecretPost, authPrivateKeyJWT:
	default:
		return badMetadata("token_endpoint_auth_method is not supported")
	}
	switch m.IDTokenAlg {
	case "":
		m.IDTokenAlg = algRS256
	case algRS256, algES256:
	default:
		return badMetadata("id_token_signed_response_alg is not supported")
	}
	return nil
}

// canonicalGrants drops what we do not have. Whoever has a session gets refresh tokens, so that is said.
func canonicalGrants(m *clientMetadata) error {
	if len(m.GrantTypes) == 0 {
		m.GrantTypes = []string{auth.GrantTypeAuthorizationCode}
	}
	code := slices.Contains(m.GrantTypes, auth.GrantTypeAuthorizationCode)
	device := slices.Contains(m.GrantTypes, auth.GrantTypeDeviceCode)
	if !code && !device {
		return badMetadata("none of the grant_types is supported")
	}
	m.GrantTypes, m.ResponseTypes = nil, nil
	if code {
		m.GrantTypes, m.ResponseTypes = append(m.GrantTypes, auth.GrantTypeAuthorizationCode), []string{"code"}
	}
	m.GrantTypes = append(m.GrantTypes, auth.GrantTypeRefreshToken)
	if device {
		m.GrantTypes = append(m.GrantTypes, auth.GrantTypeDeviceCode)
	}
	return nil
}

const (
	applicationWeb    = "web"
	applicationNative = "native"
)

func canonicalApplication(m *clientMetadata) error {
	switch m.ApplicationType {
	case "":
		m.ApplicationType = applicationWeb
	case applicationWeb, applicationNative:
	default:
		return badMetadata("application_type has to be web or native")
	}
	return nil
}
