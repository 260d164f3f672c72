package oidcprovider

import (
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"github.com/go-json-experiment/json"

	"github.com/caddy-matrix/caddy-matrix-auth/internal/auth"
	"github.com/caddy-matrix/caddy-matrix-auth/internal/matrixerr"
	"github.com/caddy-matrix/caddy-matrix-auth/internal/mxid"
	"github.com/caddy-matrix/caddy-matrix-auth/internal/route"
)

// metadata is the provider's document: RFC 8414 §2, OpenID Connect Discovery 1.0 §3, Matrix CS §server-metadata-discovery. It
// says only what works. What some client rejects: an absent array of the required ones, null, and an array without the values
// of the Matrix specification.
type metadata struct {
	Issuer                string `json:"issuer"`
	AuthorizationEndpoint string `json:"authorization_endpoint"`
	TokenEndpoint         string `json:"token_endpoint"`
	RevocationEndpoint    string `json:"revocation_endpoint"`
	RegistrationEndpoint  string `json:"registration_endpoint"`
	DeviceEndpoint        string `json:"device_authorization_endpoint"`
	UserinfoEndpoint      string `json:"userinfo_endpoint"`
	JWKSURI               string `json:"jwks_uri"`
	IntrospectionEndpoint string `json:"introspection_endpoint,omitempty"`

	ResponseTypes        []string `json:"response_types_supported"`
	ResponseModes        []string `json:"response_modes_supported"`
	GrantTypes           []string `json:"grant_types_supported"`
	CodeChallengeMethods []string `json:"code_challenge_methods_supported"`
	Scopes               []string `json:"scopes_supported"`
	Prompts              []string `json:"prompt_values_supported"`
	LoginHintTypes       []string `json:"login_hint_types_supported"` // MSC4198
	UILocales            []string `json:"ui_locales_supported"`

	TokenAuthMethods         []string `json:"token_endpoint_auth_methods_supported"`
	TokenAuthAlgs            []string `json:"token_endpoint_auth_signing_alg_values_supported"`
	RevocationAuthMethods    []string `json:"revocation_endpoint_auth_methods_supported"`
	IntrospectionAuthMethods []string `json:"introspection_endpoint_auth_methods_supported,omitempty"`
	IntrospectionAuthAlgs    []string `json:"introspection_endpoint_auth_signing_alg_values_supported,omitempty"`

	SubjectTypes []string `json:"subject_types_supported"`
	IDTokenAlgs  []string `json:"id_token_signing_alg_values_supported"`
	ACRValues    []string `json:"acr_values_supported"`
	ClaimTypes   []string `json:"claim_types_supported"`
	Claims       []string `json:"claims_supported"`

	ClaimsParameter     bool `json:"claims_parameter_supported"`
	RequestParameter    bool `json:"request_parameter_supported"`
	RequestURIParameter bool `json:"request_uri_parameter_supported"` // Absent would mean true.
	IssParameter        bool `json:"authorization_response_iss_parameter_supported"`

	AccountManagementURI     string   `json:"account_management_uri"`
	AccountManagementActions []string `json:"account_management_actions_supported"`
}

// accountActions are those that the account page knows (MSC4191), and their names before Matrix 1.18.
var accountActions = []string{
	"org.matrix.devices_list", "org.matrix.device_view", "org.matrix.device_delete",
	"org.matrix.sessions_list", "org.matrix.session_view", "org.matrix.session_end",
	"org.matrix.cross_signing_reset",
}

var (
	idTokenAlgs     = []string{algRS256, algES256}
	confidentialOf  = []string{authSecretBasic, authSecretPost, authPrivateKeyJWT}
	supportedGrants = []string{auth.GrantTypeAuthorizationCode, auth.GrantTypeRefreshToken, auth.GrantTypeDeviceCode, auth.GrantTypeClientCredentials}
)

// makeDocument makes the document. Synapse appends `?action=…` to account_management_uri, so that must not have a query.
func makeDocument(issuer string, introspection bool) ([]byte, error) {
	u, err := url.Parse(issuer)
	if err != nil || u.Host == "" || u.RawQuery != "" || u.ForceQuery || u.Fragment != "" {
		return nil, errors.New("the issuer has to be an absolute URL without query and fragment")
	}
	urls := route.NewURLs(u)
	m := metadata{
		Issuer:                issuer,
		AuthorizationEndpoint: urls.Authorize(),
		TokenEndpoint:         urls.Token(),
		RevocationEndpoint:    urls.Revoke(),
		RegistrationEndpoint:  urls.Registration(),
		DeviceEndpoint:        urls.DeviceAuthorization(),
		UserinfoEndpoint:      urls.UserInfo(),
		JWKSURI:               urls.Keys(),

		ResponseTypes:        []string{"code"},
		ResponseModes:        responseModes,
		GrantTypes:           supportedGrants,
		CodeChallengeMethods: []string{"S256"},
		Scopes:               []string{scopeOpenID, scopeProfile, mxid.ScopeAPI, mxid.ScopeAdmin, mxid.ScopeMASAdmin},
		Prompts:              []string{"none", "login", "consent", "select_account"},
		LoginHintTypes:       []string{"mxid"},
		UILocales:            []string{"en", "de"},

		TokenAuthMethods:      append([]string{authNone}, confidentialOf...),
		TokenAuthAlgs:         assertionAlgs,
		RevocationAuthMethods: []string{authNone},

		SubjectTypes: []string{"public"},
		IDTokenAlgs:  idTokenAlgs,
		ACRValues:    []string{acrPassword},
		ClaimTypes:   []string{"normal"},
		Claims: []string{
			"iss", "sub", "aud", "azp", "iat", "exp", "nonce", "auth_time", "at_hash", "amr", "acr",
			"username", "preferred_username", "name",
		},
		IssParameter: true,

		AccountManagementURI:     urls.Account(),
		AccountManagementActions: accountActions,
	}
	if introspection {
		m.IntrospectionEndpoint = urls.Introspect()
		m.IntrospectionAuthMethods, m.IntrospectionAuthAlgs = confidentialOf, assertionAlgs
	}
	return json.Marshal(m)
}

// published is a public document that changes rarely.
type published struct {
	body []byte
	etag string
}

// publishedCache lets everybody keep it for ten minutes.
const publishedCache = "public, max-age=600"

func publish(body []byte) *published {
	sum := sha256.Sum256(body)
	return &published{body: body, etag: `"` + base64.RawURLEncoding.EncodeToString(sum[:12]) + `"`}
}

// serve answers GET, HEAD and a preflight.
func (p *published) serve(w http.ResponseWriter, r *http.Request) {
	switch r.Method {
	case http.MethodOptions:
		matrixerr.Preflight(w)
	case http.MethodGet, http.MethodHead:
		p.write(w, r)
	default:
		h := w.Header()
		matrixerr.CORS(h)
		methodNotAllowed(w, "GET, HEAD, OPTIONS")
	}
}

func (p *published) write(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	matrixerr.CORS(h)
	h.Set("Cache-Control", publishedCache)
	h.Set("ETag", p.etag)
	if matchesETag(r.Header.Get("If-None-Match"), p.etag) {
		w.WriteHeader(http.StatusNotModified)
		return
	}
	h.Set("Content-Type", "application/json")
	h.Set("Content-Length", strconv.Itoa(len(p.body)))
	w.WriteHeader(http.StatusOK)
	if r.Method != http.MethodHead {
		w.Write(p.body) //nolint:errcheck // The client is gone: nobody is left to tell.
	}
}

// matchesETag compares weakly (RFC 9110 §13.1.2).
func matchesETag(header, etag string) bool {
	for header != "" {
		var one string
		one, header, _ = strings.Cut(header, ",")
		if one = strings.TrimSpace(one); one == "*" || strings.TrimPrefix(one, "W/") == etag {
			return true
		}
	}
	return false
}
