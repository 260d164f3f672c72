package caddymodule

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"

	"github.com/caddy-matrix/caddy-matrix-auth/internal/mxid"
)

func init() {
	httpcaddyfile.RegisterGlobalOption(appName, parseGlobalOption)
}

// parseGlobalOption parses the global option matrix_auth into the app of that name.
func parseGlobalOption(d *caddyfile.Dispenser, existing any) (any, error) {
	if existing != nil {
		d.Next()
		return nil, d.Err("matrix_auth is given twice: one Caddy serves one homeserver")
	}
	app := new(App)
	if err := app.UnmarshalCaddyfile(d); err != nil {
		return nil, err
	}
	d.Reset()
	d.Next()
	app.Source = sourceOf(d)
	return httpcaddyfile.App{Name: appName, Value: caddyconfig.JSON(app, nil)}, nil
}

// UnmarshalCaddyfile sets up the app from the global option. Syntax:
//
//	matrix_auth <server_name> {
//		issuer         <url>
//		public_baseurl <url>
//		data_dir       <path>
//		encryption_key <key>
//		synapse <url> {
//			secret      <secret>
//			secret_file <path>
//			timeout     <duration>
//		}
//		tokens {
//			access_ttl    <duration>
//			compat_ttl    <duration>
//			refresh_grace <duration>
//			refresh_idle  <duration>
//		}
//		password {
//			enabled     true|false
//			pepper      <pepper>
//			concurrency <number>
//		}
//		rate_limit login|authorize|device_code|client_registration <burst> <window>|off
//		client <id> { ... }
//		admins <user>...
//		admin_client <id>
//		branding { ... }
//		support {
//			contact <role> matrix|email <address>
//			page    <url>
//		}
//	}
//
// The issuer and the block synapse with its secret are required.
func (a *App) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // the option's name
	if !d.AllArgs(&a.ServerName) {
		return d.Err("matrix_auth takes one argument, the server name of the homeserver")
	}
	if err := literal(a.ServerName, func(s string) error { _, err := mxid.ParseServerName(s); return err }); err != nil {
		return d.Errf("matrix_auth: server name %q: %v", a.ServerName, err)
	}
	if err := block(d, "matrix_auth", appOptions, a); err != nil {
		return err
	}
	if a.Issuer == "" {
		return d.Err("matrix_auth: issuer is missing")
	}
	if a.Synapse == nil {
		return d.Err("matrix_auth: synapse is missing")
	}
	if err := a.checkAdminClient(); err != nil {
		return d.Errf("matrix_auth: admin_client: %v", err)
	}
	return nil
}

// option parses what follows an option's name. Its errors are completed with the option's full name, file and line.
type option[T any] func(d *caddyfile.Dispenser, t *T) error

var appOptions = map[string]option[App]{
	"issuer": func(d *caddyfile.Dispenser, a *App) error {
		return argument(d, &a.Issuer, func(s string) error { _, err := parseIssuer(s); return err })
	},
	"public_baseurl": func(d *caddyfile.Dispenser, a *App) error {
		return argument(d, &a.PublicBaseURL, func(s string) error { _, err := parseOrigin(s); return err })
	},
	"data_dir": func(d *caddyfile.Dispenser, a *App) error { return argument(d, &a.DataDir, nil) },
	"encryption_key": func(d *caddyfile.Dispenser, a *App) error {
		return argument(d, &a.EncryptionKey, func(s string) error { _, err := parseEncryptionKey(s); return err })
	},
	"synapse": unmarshalSynapse,
	"tokens": func(d *caddyfile.Dispenser, a *App) error {
		a.Tokens = new(Tokens)
		return optionBlock(d, "tokens", tokensOptions, a.Tokens)
	},
	"password": func(d *caddyfile.Dispenser, a *App) error {
		a.Password = new(Password)
		return optionBlock(d, "password", passwordOptions, a.Password)
	},
	"rate_limit": unmarshalRateLimit,
	"client":     unmarshalClient,
	"admins":     unmarshalAdmins,
	"admin_client": func(d *caddyfile.Dispenser, a *App) error {
		return argument(d, &a.AdminClient, checkClientID)
	},
	"branding": unmarshalBranding,
	"support": func(d *caddyfile.Dispenser, a *App) error {
		a.Support = new(Support)
		return optionBlock(d, "support", supportOptions, a.Support)
	},
}

func unmarshalSynapse(d *caddyfile.Dispenser, a *App) error {
	a.Synapse = new(Synapse)
	if err := firstArgument(d, &a.Synapse.Endpoint, func(s string) error { _, err := parseOrigin(s); return err }); err != nil {
		return err
	}
	if err := block(d, "matrix_auth: synapse", synapseOptions, a.Synapse); err != nil {
		return err
	}
	if a.Synapse.Secret == "" {
		return errors.New("secret is missing")
	}
	return nil
}

var synapseOptions = map[string]option[Synapse]{
	"secret": func(d *caddyfile.Dispenser, s *Synapse) error {
		if s.Secret != "" {
			return errTwoSecrets
		}
		return argument(d, &s.Secret, func(s string) error { _, err := checkSecret(s); return err })
	},
	"secret_file": func(d *caddyfile.Dispenser, s *Synapse) error {
		if s.Secret != "" {
			return errTwoSecrets
		}
		var path string
		if err := argument(d, &path, nil); err != nil {
			return err
		}
		if hasPlaceholder(path) {
			return errors.New("must be a path without placeholders")
		}
		s.Secret = "{file." + path + "}"
		return nil
	},
	"timeout": func(d *caddyfile.Dispenser, s *Synapse) error { return duration(d, &s.Timeout, time.Nanosecond) },
}

var tokensOptions = map[string]option[Tokens]{
	"access_ttl":    func(d *caddyfile.Dispenser, t *Tokens) error { return duration(d, &t.AccessTTL, minTokenTTL) },
	"compat_ttl":    func(d *caddyfile.Dispenser, t *Tokens) error { return duration(d, &t.CompatTTL, minTokenTTL) },
	"refresh_grace": func(d *caddyfile.Dispenser, t *Tokens) error { return duration(d, &t.RefreshGrace, time.Nanosecond) },
	"refresh_idle":  func(d *caddyfile.Dispenser, t *Tokens) error { return duration(d, &t.RefreshIdle, 0) },
}

var passwordOptions = map[string]option[Password]{
	"enabled": func(d *caddyfile.Dispenser, p *Password) error {
		var s string
		if err := argument(d, &s, nil); err != nil {
			return err
		}
		if s != "true" && s != "false" {
			return fmt.Errorf("must be true or false, not %q", s)
		}
		enabled := s == "true"
		p.Enabled = &enabled
		return nil
	},
	"pepper": func(d *caddyfile.Dispenser, p *Password) error { return argument(d, &p.Pepper, nil) },
	"concurrency": func(d *caddyfile.Dispenser, p *Password) error {
		var s string
		if err := argument(d, &s, nil); err != nil {
			return err
		}
		return number(s, &p.Concurrency)
	},
}

var supportOptions = map[string]option[Support]{
	"contact": unmarshalContact,
	"page": func(d *caddyfile.Dispenser, s *Support) error {
		return argument(d, &s.Page, checkPage)
	},
}

func unmarshalContact(d *caddyfile.Dispenser, s *Support) error {
	args := d.RemainingArgs()
	if len(args) != 3 {
		return errors.New("takes a role, matrix or email, and an address")
	}
	c := SupportContact{Role: args[0]}
	if args[0] == "admin" || args[0] == "security" {
		c.Role = "m.role." + args[0]
	}
	switch args[1] {
	case "matrix":
		c.MatrixID = args[2]
	case "email":
		c.EmailAddress = args[2]
	default:
		return fmt.Errorf("takes matrix or email, not %q", args[1])
	}
	if err := c.check(); err != nil {
		return err
	}
	s.Contacts = append(s.Contacts, c)
	return noBlock(d)
}

// repeatable are the options that may stand in a block more than once.
var repeatable = []string{"rate_limit", "contact", "client", "redirect_uri"}

// optionBlock is block for an option that takes no arguments.
func optionBlock[T any](d *caddyfile.Dispenser, name string, options map[string]option[T], t *T) error {
	if d.NextArg() {
		return fmt.Errorf("takes no argument, but a block; found %q", d.Val())
	}
	return block(d, "matrix_auth: "+name, options, t)
}

// block parses a block of options: every one known, every one once. Errors that name no place yet get one.
func block[T any](d *caddyfile.Dispenser, name string, options map[string]option[T], t *T) error {
	seen := make(map[string]bool)
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		key := d.Val()
		parse, ok := options[key]
		if !ok {
			return d.WrapErr(&optionError{fmt.Errorf("%s: unknown option %q", name, key)})
		}
		if seen[key] && !slices.Contains(repeatable, key) {
			return d.WrapErr(&optionError{fmt.Errorf("%s: %s is given twice", name, key)})
		}
		seen[key] = true
		err := parse(d, t)
		if _, ok := errors.AsType[*optionError](err); ok {
			return err
		}
		if err != nil {
			return d.WrapErr(&optionError{fmt.Errorf("%s: %s: %w", name, key, err)})
		}
	}
	return nil
}

// optionError is an error that names its option already.
type optionError struct{ err error }

func (e *optionError) Error() string { return e.err.Error() }
func (e *optionError) Unwrap() error { return e.err }

// argument parses an option that is one argument and nothing else.
func argument(d *caddyfile.Dispenser, to *string, check func(string) error) error {
	if err := firstArgument(d, to, check); err != nil {
		return err
	}
	return noBlock(d)
}

// firstArgument parses an option's one argument. A value with a placeholder is checked when it is resolved, any other one here.
func firstArgument(d *caddyfile.Dispenser, to *string, check func(string) error) error {
	args := d.RemainingArgs()
	if len(args) != 1 || args[0] == "" {
		return errors.New("takes one argument")
	}
	*to = args[0]
	if check == nil {
		return nil
	}
	return literal(*to, check)
}

// literal checks a value unless it has a placeholder.
func literal(s string, check func(string) error) error {
	if hasPlaceholder(s) {
		return nil
	}
	return check(s)
}

// hasPlaceholder reports whether a value's meaning is only known when the configuration is provisioned.
func hasPlaceholder(s string) bool { return strings.Contains(s, "{") }

func duration(d *caddyfile.Dispenser, to *caddy.Duration, atLeast time.Duration) error {
	var s string
	if err := argument(d, &s, nil); err != nil {
		return err
	}
	return parseDuration(s, to, atLeast)
}

func parseDuration(s string, to *caddy.Duration, atLeast time.Duration) error {
	parsed, err := caddy.ParseDuration(s)
	if err != nil {
		return fmt.Errorf("%q is not a duration", s)
	}
	if parsed < atLeast {
		return tooShort(atLeast)
	}
	*to = caddy.Duration(parsed)
	return nil
}

// tooShort says which bound a duration missed.
func tooShort(atLeast time.Duration) error {
	switch {
	case atLeast >= minTokenTTL:
		return errShortTTL
	case atLeast > 0:
		return errNotPositive
	default:
		return errNegative
	}
}

func number(s string, to *int) error {
	n, err := strconv.Atoi(s)
	if err != nil || n < 1 {
		return fmt.Errorf("must be a whole number of at least 1, not %q", s)
	}
	*to = n
	return nil
}

// noBlock refuses a block after an option that has none; otherwise its content would be taken for options.
func noBlock(d *caddyfile.Dispenser) error {
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		return errors.New("takes no block")
	}
	return nil
}
