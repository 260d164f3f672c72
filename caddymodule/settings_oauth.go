package caddymodule

import (
	"crypto/sha256"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/caddy-matrix/caddy-matrix-auth/internal/auth"
	"github.com/caddy-matrix/caddy-matrix-auth/internal/mxid"
	"github.com/caddy-matrix/caddy-matrix-auth/internal/web"
	"github.com/caddy-matrix/caddy-matrix-auth/store"
)

// The limits of what nobody has authenticated for. An authorization request and a device code are for one sign-in; a client
// registers anew at each. Many people share an address at work and at their telephone company.
var (
	defaultLoginLimit              = auth.Limit{Burst: 10, Window: time.Minute}
	defaultAuthorizeLimit          = auth.Limit{Burst: 30, Window: time.Minute}
	defaultDeviceCodeLimit         = auth.Limit{Burst: 20, Window: time.Minute}
	defaultClientRegistrationLimit = auth.Limit{Burst: 20, Window: time.Minute}
)

// limitSettings are the limits in force. The zero value of one is no limit.
type limitSettings struct{ login, authorize, deviceCode, clientRegistration auth.Limit }

func (s *settings) resolveLimits(a *App, _ *resolver) error {
	l := a.RateLimits
	if l == nil {
		l = new(RateLimits)
	}
	for _, one := range []struct {
		name  string
		said  *RateLimit
		usual auth.Limit
		to    *auth.Limit
	}{
		{"login", l.Login, defaultLoginLimit, &s.limits.login},
		{"authorize", l.Authorize, defaultAuthorizeLimit, &s.limits.authorize},
		{"device_code", l.DeviceCode, defaultDeviceCodeLimit, &s.limits.deviceCode},
		{"client_registration", l.ClientRegistration, defaultClientRegistrationLimit, &s.limits.clientRegistration},
	} {
		var err error
		if *one.to, err = one.said.resolve(one.usual); err != nil {
			return fmt.Errorf("rate_limits: %s: %w", one.name, err)
		}
	}
	return nil
}

// resolve fills in what a limit does not say. Nil says nothing.
func (l *RateLimit) resolve(usual auth.Limit) (auth.Limit, error) {
	if l == nil {
		return usual, nil
	}
	if err := l.check(); err != nil {
		return auth.Limit{}, err
	}
	if l.Off {
		return auth.Limit{}, nil
	}
	if l.Burst > 0 {
		usual.Burst = l.Burst
	}
	usual.Window = orDefault(l.Window, usual.Window)
	return usual, nil
}

// resolveOAuth resolves who may do what: the clients, and the users and the client with the admin right.
func (s *settings) resolveOAuth(a *App, r *resolver) error {
	s.clients = make(map[string]auth.Client, len(a.Clients))
	for i := range a.Clients {
		c, err := a.Clients[i].resolve(r)
		if err != nil {
			return fmt.Errorf("client %s: %w", a.Clients[i].ID, err)
		}
		if _, twice := s.clients[c.ID]; twice {
			return fmt.Errorf("client %s: is given twice", c.ID)
		}
		c.Admin = c.ID == a.AdminClient
		s.clients[c.ID] = c
	}
	if err := a.checkAdminClient(); err != nil {
		return fmt.Errorf("admin_client: %w", err)
	}
	s.admins = make(map[mxid.Localpart]bool, len(a.Admins))
	for _, raw := range a.Admins {
		user, err := r.value("admins", raw)
		if err != nil {
			return err
		}
		l, err := parseAdmin(user, string(s.server))
		if err != nil {
			return fmt.Errorf("admins: %w", err)
		}
		s.admins[l] = true
	}
	return nil
}

// checkAdminClient makes sure that the client with the admin right can use it.
func (a *App) checkAdminClient() error {
	if a.AdminClient == "" {
		return nil
	}
	i := slices.IndexFunc(a.Clients, func(c Client) bool { return c.ID == a.AdminClient })
	if i < 0 {
		return fmt.Errorf("there is no client %q", a.AdminClient)
	}
	if !slices.Contains(a.Clients[i].GrantTypes, auth.GrantTypeClientCredentials) {
		return fmt.Errorf("client %s needs the grant type client_credentials", a.AdminClient)
	}
	return nil
}

// authMethods are the names of the methods in metadata (RFC 7591 §2).
var authMethods = map[string]string{
	authNone: "none", authBasic: "client_secret_basic", authPost: "client_secret_post", authKey: "private_key_jwt",
}

// resolve makes a client of what the configuration says of it.
func (c *Client) resolve(r *resolver) (auth.Client, error) {
	if err := checkClientID(c.ID); err != nil {
		return auth.Client{}, err
	}
	full := c.complete()
	if err := full.check(); err != nil {
		return auth.Client{}, err
	}
	if err := oneOf(full.IDTokenAlg, idTokenAlgs); err != nil {
		return auth.Client{}, fmt.Errorf("id_token_alg: %w", err)
	}
	out := auth.Client{
		Static:     true,
		Introspect: c.Introspect,
		Client: store.Client{
			ID: c.ID, AuthMethod: authMethods[full.Auth], GrantTypes: full.GrantTypes, IDTokenAlg: full.IDTokenAlg,
			ApplicationType: "web",
		},
	}
	if slices.Contains(full.GrantTypes, auth.GrantTypeAuthorizationCode) {
		out.ResponseTypes = []string{"code"}
	}
	for _, step := range []func(*Client, *resolver, *store.Client) error{
		(*Client).resolveNames, (*Client).resolveRedirects, (*Client).resolveProof,
	} {
		if err := step(c, r, &out.Client); err != nil {
			return auth.Client{}, err
		}
	}
	return out, nil
}

func (c *Client) resolveNames(r *resolver, to *store.Client) (err error) {
	to.Name = c.ID
	if c.Name != "" {
		if to.Name, err = r.value("name", c.Name); err != nil {
			return err
		}
		if err := checkName(to.Name); err != nil {
			return fmt.Errorf("name: %w", err)
		}
	}
	if c.URI == "" {
		return nil
	}
	if to.URI, err = r.value("uri", c.URI); err != nil {
		return err
	}
	if err := checkPage(to.URI); err != nil {
		return fmt.Errorf("uri: %w", err)
	}
	return nil
}

func (c *Client) resolveRedirects(r *resolver, to *store.Client) error {
	for _, raw := range c.RedirectURIs {
		uri, err := r.value("redirect_uri", raw)
		if err != nil {
			return err
		}
		if err := checkRedirectURI(uri); err != nil {
			return fmt.Errorf("redirect_uri: %w", err)
		}
		if !strings.HasPrefix(uri, "https:") {
			to.ApplicationType = "native"
		}
		to.RedirectURIs = append(to.RedirectURIs, uri)
	}
	return nil
}

func (c *Client) resolveProof(r *resolver, to *store.Client) error {
	if c.Secret != "" {
		if !hasPlaceholder(c.Secret) {
			r.literals = append(r.literals, "client "+c.ID+": secret")
		}
		secret, err := r.value("secret", c.Secret)
		if err != nil {
			return err
		}
		if secret, err = checkSecret(secret); err != nil {
			return fmt.Errorf("secret: %w", err)
		}
		to.Secret = sha256.Sum256([]byte(secret))
	}
	if c.JWKS == "" {
		return nil
	}
	text := c.JWKS
	if !strings.Contains(text, `"`) { // Not the set itself, whose braces are no placeholders.
		var err error
		if text, err = r.value("jwks", text); err != nil {
			return err
		}
	}
	set, err := parseJWKS(text)
	if err != nil {
		return fmt.Errorf("jwks: %w", err)
	}
	to.JWKS = set
	return nil
}

func (s *settings) resolveBranding(a *App, r *resolver) error {
	b := a.Branding
	if b == nil {
		return nil
	}
	if err := b.check(); err != nil {
		return fmt.Errorf("branding: %w", err)
	}
	s.brand = web.Brand{Name: b.Name, PolicyURI: b.PolicyURI, TOSURI: b.TOSURI, Imprint: b.Imprint, CSS: b.CSS}
	if strings.HasPrefix(b.CSS, "{") { // Not the sheet itself, whose braces are no placeholders.
		var err error
		if s.brand.CSS, err = r.value("css", b.CSS); err != nil {
			return fmt.Errorf("branding: %w", err)
		}
	}
	if len(s.brand.CSS) > maxCSS {
		return fmt.Errorf("branding: css: has %d bytes, more than %d", len(s.brand.CSS), maxCSS)
	}
	return nil
}

// someIntrospect reports whether there is a client that may ask about access tokens.
func (s *settings) someIntrospect() bool {
	for _, c := range s.clients {
		if c.Introspect {
			return true
		}
	}
	return false
}
