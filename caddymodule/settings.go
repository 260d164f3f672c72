package caddymodule

import (
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddy-matrix/caddy-matrix-auth/internal/auth"
	"github.com/caddy-matrix/caddy-matrix-auth/internal/mxid"
	"github.com/caddy-matrix/caddy-matrix-auth/internal/token"
	"github.com/caddy-matrix/caddy-matrix-auth/internal/web"
)

// Defaults of what a configuration leaves out.
const (
	defaultSynapseTimeout = 10 * time.Second
	defaultAccessTTL      = 5 * time.Minute
	defaultCompatTTL      = 5 * time.Minute
	defaultRefreshGrace   = time.Minute
)

// settings is an App's configuration with its placeholders resolved, its defaults filled in, and everything checked.
type settings struct {
	server         mxid.ServerName
	issuer         *url.URL
	publicBase     *url.URL
	dataDir        string
	encryptionKey  []byte // nil: not encrypted
	synapse        string
	secret         token.Secret
	synapseTimeout time.Duration

	accessTTL, compatTTL, refreshGrace, refreshIdle time.Duration

	passwordEnabled bool
	pepper          []byte
	concurrency     int // 0: the number of cores
	limits          limitSettings

	clients map[string]auth.Client // :: ID → client of the configuration
	admins  map[mxid.Localpart]bool
	brand   web.Brand

	literalSecrets []string // options whose secret stands in the configuration itself
}

// resolver resolves values, and remembers which of them were secrets in clear.
type resolver struct {
	repl     *caddy.Replacer
	literals []string
}

// value returns a value with its placeholders replaced. One that is unknown or empty is an error, which also covers a file
// that cannot be read. Caddy's error names the placeholder and holds no value.
func (r *resolver) value(option, raw string) (string, error) {
	v, err := r.repl.ReplaceOrErr(raw, true, true)
	if err != nil && strings.Contains(raw, "{file.") {
		return "", fmt.Errorf("%s: %w; is the file there, readable and not empty?", option, err)
	}
	if err != nil {
		return "", fmt.Errorf("%s: %w", option, err)
	}
	return v, nil
}

// secret is value for what must not stand in a configuration in clear.
func (r *resolver) secret(option, raw string) (string, error) {
	if raw != "" && !hasPlaceholder(raw) {
		r.literals = append(r.literals, option)
	}
	return r.value(option, raw)
}

// resolve makes the settings of a configuration.
func (a *App) resolve(repl *caddy.Replacer) (settings, error) {
	r := &resolver{repl: repl}
	var s settings
	var err error
	for _, step := range []func(*App, *resolver) error{
		s.resolveNames, s.resolveStore, s.resolveSynapse, s.resolveTokens, s.resolvePassword, s.resolveLimits,
		s.resolveOAuth, s.resolveBranding,
	} {
		if err = step(a, r); err != nil {
			return settings{}, err
		}
	}
	if a.Support != nil {
		if err := a.Support.check(); err != nil {
			return settings{}, fmt.Errorf("support: %w", err)
		}
	}
	s.literalSecrets = r.literals
	return s, nil
}

func (s *settings) resolveNames(a *App, r *resolver) error {
	if a.ServerName == "" {
		return errors.New("server_name is missing")
	}
	name, err := r.value("server_name", a.ServerName)
	if err != nil {
		return err
	}
	if s.server, err = mxid.ParseServerName(name); err != nil {
		return fmt.Errorf("server_name: %w", err)
	}
	if a.Issuer == "" {
		return errors.New("issuer is missing")
	}
	issuer, err := r.value("issuer", a.Issuer)
	if err != nil {
		return err
	}
	if s.issuer, err = parseIssuer(issuer); err != nil {
		return fmt.Errorf("issuer: %w", err)
	}
	s.publicBase = s.issuer
	if a.PublicBaseURL == "" {
		return nil
	}
	base, err := r.value("public_baseurl", a.PublicBaseURL)
	if err != nil {
		return err
	}
	if s.publicBase, err = parseOrigin(base); err != nil {
		return fmt.Errorf("public_baseurl: %w", err)
	}
	return nil
}

func (s *settings) resolveStore(a *App, r *resolver) error {
	s.dataDir = defaultDataDir()
	var err error
	if a.DataDir != "" {
		if s.dataDir, err = r.value("data_dir", a.DataDir); err != nil {
			return err
		}
	}
	if s.dataDir, err = filepath.Abs(s.dataDir); err != nil {
		return fmt.Errorf("data_dir: %w", err)
	}
	if a.EncryptionKey == "" {
		return nil
	}
	key, err := r.secret("encryption_key", a.EncryptionKey)
	if err != nil {
		return err
	}
	if s.encryptionKey, err = parseEncryptionKey(key); err != nil {
		return fmt.Errorf("encryption_key: %w", err)
	}
	return nil
}

func (s *settings) resolveSynapse(a *App, r *resolver) error {
	if a.Synapse == nil || a.Synapse.Endpoint == "" {
		return errors.New("synapse: endpoint is missing")
	}
	endpoint, err := r.value("synapse: endpoint", a.Synapse.Endpoint)
	if err != nil {
		return err
	}
	u, err := parseOrigin(endpoint)
	if err != nil {
		return fmt.Errorf("synapse: endpoint: %w", err)
	}
	s.synapse = u.String()
	if a.Synapse.Secret == "" {
		return errors.New("synapse: secret is missing")
	}
	secret, err := r.secret("synapse: secret", a.Synapse.Secret)
	if err != nil {
		return err
	}
	if secret, err = checkSecret(secret); err != nil {
		return fmt.Errorf("synapse: secret: %w", err)
	}
	s.secret = token.NewSecret(secret)
	if a.Synapse.Timeout < 0 {
		return fmt.Errorf("synapse: timeout: %w", errNegative)
	}
	s.synapseTimeout = orDefault(a.Synapse.Timeout, defaultSynapseTimeout)
	return nil
}

func (s *settings) resolveTokens(a *App, _ *resolver) error {
	t := a.Tokens
	if t == nil {
		t = new(Tokens)
	}
	if err := t.check(); err != nil {
		return fmt.Errorf("tokens: %w", err)
	}
	s.accessTTL = orDefault(t.AccessTTL, defaultAccessTTL)
	s.compatTTL = orDefault(t.CompatTTL, defaultCompatTTL)
	s.refreshGrace = orDefault(t.RefreshGrace, defaultRefreshGrace)
	s.refreshIdle = time.Duration(t.RefreshIdle)
	return nil
}

func (s *settings) resolvePassword(a *App, r *resolver) error {
	s.passwordEnabled = true
	if p := a.Password; p != nil {
		s.passwordEnabled = p.Enabled == nil || *p.Enabled
		if p.Concurrency < 0 {
			return fmt.Errorf("password: concurrency: %w", errNegative)
		}
		s.concurrency = p.Concurrency
		pepper, err := r.secret("password: pepper", p.Pepper)
		if err != nil {
			return err
		}
		s.pepper = []byte(pepper)
	}
	return nil
}

func orDefault(d caddy.Duration, def time.Duration) time.Duration {
	if d == 0 {
		return def
	}
	return time.Duration(d)
}

// prepareDir makes the data directory and returns its one name, so that two configurations that mean the same directory share
// an engine.
func prepareDir(dir string) (string, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", err
	}
	return filepath.EvalSymlinks(dir)
}
