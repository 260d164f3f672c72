package caddymodule

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
)

// unmarshalClient parses an OAuth client. Syntax:
//
//	client <id> {
//		name         <text>
//		uri          <url>
//		secret       <secret>
//		auth         none|basic|post|private_key_jwt
//		jwks         <file>
//		redirect_uri <uri>...
//		grant_types  <type>...
//		id_token_alg RS256|ES256
//		introspect
//	}
func unmarshalClient(d *caddyfile.Dispenser, a *App) error {
	var c Client
	if err := firstArgument(d, &c.ID, checkClientID); err != nil {
		return err
	}
	if slices.ContainsFunc(a.Clients, func(other Client) bool { return other.ID == c.ID }) {
		return fmt.Errorf("%s is given twice", c.ID)
	}
	if err := block(d, "matrix_auth: client "+c.ID, clientOptions, &c); err != nil {
		return err
	}
	if err := c.complete().check(); err != nil {
		return d.WrapErr(&optionError{fmt.Errorf("matrix_auth: client %s: %w", c.ID, err)})
	}
	a.Clients = append(a.Clients, c)
	return nil
}

var clientOptions = map[string]option[Client]{
	"name": func(d *caddyfile.Dispenser, c *Client) error { return argument(d, &c.Name, checkName) },
	"uri":  func(d *caddyfile.Dispenser, c *Client) error { return argument(d, &c.URI, checkPage) },
	"secret": func(d *caddyfile.Dispenser, c *Client) error {
		return argument(d, &c.Secret, func(s string) error { _, err := checkSecret(s); return err })
	},
	"auth": func(d *caddyfile.Dispenser, c *Client) error {
		return argument(d, &c.Auth, func(s string) error { return oneOf(s, clientAuthMethods) })
	},
	"jwks":         func(d *caddyfile.Dispenser, c *Client) error { return fileArgument(d, &c.JWKS) },
	"redirect_uri": unmarshalRedirectURIs,
	"grant_types":  unmarshalGrantTypes,
	"id_token_alg": func(d *caddyfile.Dispenser, c *Client) error {
		return argument(d, &c.IDTokenAlg, func(s string) error { return oneOf(s, idTokenAlgs) })
	},
	"introspect": func(d *caddyfile.Dispenser, c *Client) error {
		if d.NextArg() {
			return fmt.Errorf("takes no argument, found %q", d.Val())
		}
		c.Introspect = true
		return noBlock(d)
	},
}

// fileArgument makes a placeholder of a file, which is read when the configuration is provisioned.
func fileArgument(d *caddyfile.Dispenser, to *string) error {
	var path string
	if err := argument(d, &path, nil); err != nil {
		return err
	}
	if hasPlaceholder(path) {
		return errors.New("must be a path without placeholders")
	}
	*to = "{file." + path + "}"
	return nil
}

func unmarshalRedirectURIs(d *caddyfile.Dispenser, c *Client) error {
	args := d.RemainingArgs()
	if len(args) == 0 {
		return errors.New("takes one URI or more")
	}
	for _, uri := range args {
		if err := literal(uri, checkRedirectURI); err != nil {
			return fmt.Errorf("%q: %w", uri, err)
		}
		if slices.Contains(c.RedirectURIs, uri) {
			return fmt.Errorf("%q is given twice", uri)
		}
		c.RedirectURIs = append(c.RedirectURIs, uri)
	}
	return noBlock(d)
}

func unmarshalGrantTypes(d *caddyfile.Dispenser, c *Client) error {
	if c.GrantTypes = d.RemainingArgs(); len(c.GrantTypes) == 0 {
		return errors.New("takes one grant type or more")
	}
	return noBlock(d)
}

// unmarshalAdmins parses the users who may obtain admin scopes. Syntax:
//
//	admins <user>...
func unmarshalAdmins(d *caddyfile.Dispenser, a *App) error {
	args := d.RemainingArgs()
	if len(args) == 0 {
		return errors.New("takes one user or more")
	}
	for _, user := range args {
		if !hasPlaceholder(user) && !hasPlaceholder(a.ServerName) {
			if _, err := parseAdmin(user, a.ServerName); err != nil {
				return err
			}
		}
	}
	a.Admins = args
	return noBlock(d)
}

// unmarshalBranding parses how our pages look. Syntax:
//
//	branding {
//		name       <text>
//		policy_uri <url>
//		tos_uri    <url>
//		imprint    <url>
//		css        <file>
//	}
func unmarshalBranding(d *caddyfile.Dispenser, a *App) error {
	a.Branding = new(Branding)
	return optionBlock(d, "branding", brandingOptions, a.Branding)
}

var brandingOptions = map[string]option[Branding]{
	"name":       func(d *caddyfile.Dispenser, b *Branding) error { return argument(d, &b.Name, checkName) },
	"policy_uri": func(d *caddyfile.Dispenser, b *Branding) error { return argument(d, &b.PolicyURI, checkPage) },
	"tos_uri":    func(d *caddyfile.Dispenser, b *Branding) error { return argument(d, &b.TOSURI, checkPage) },
	"imprint":    func(d *caddyfile.Dispenser, b *Branding) error { return argument(d, &b.Imprint, checkPage) },
	"css":        func(d *caddyfile.Dispenser, b *Branding) error { return fileArgument(d, &b.CSS) },
}

// limitOf returns the place of a limit by its name in the Caddyfile, nil if there is none of that name.
func (l *RateLimits) limitOf(what string) **RateLimit {
	switch what {
	case "login":
		return &l.Login
	case "authorize":
		return &l.Authorize
	case "device_code":
		return &l.DeviceCode
	case "client_registration":
		return &l.ClientRegistration
	}
	return nil
}

func unmarshalRateLimit(d *caddyfile.Dispenser, a *App) error {
	args := d.RemainingArgs()
	if len(args) < 2 || len(args) > 3 {
		return errors.New("takes what is limited, and then a burst and a window, or off")
	}
	if a.RateLimits == nil {
		a.RateLimits = new(RateLimits)
	}
	place := a.RateLimits.limitOf(args[0])
	switch {
	case place == nil:
		return fmt.Errorf("unknown limit %q", args[0])
	case *place != nil:
		return fmt.Errorf("%s is given twice", args[0])
	}
	*place = new(RateLimit)
	if err := (*place).unmarshal(args[1:]); err != nil {
		return fmt.Errorf("%s: %w", args[0], err)
	}
	return noBlock(d)
}

func (l *RateLimit) unmarshal(args []string) error {
	if len(args) == 1 {
		if args[0] != "off" {
			return errors.New("takes a burst and a window, or off")
		}
		l.Off = true
		return nil
	}
	if err := number(args[0], &l.Burst); err != nil {
		return fmt.Errorf("burst: %w", err)
	}
	if err := parseDuration(args[1], &l.Window, time.Nanosecond); err != nil {
		return fmt.Errorf("window: %w", err)
	}
	return nil
}
