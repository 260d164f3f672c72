package caddymodule

import (
	"errors"
	"fmt"
	"path/filepath"
	"sync/atomic"

	"github.com/caddyserver/caddy/v2"
	"go.uber.org/zap"

	"github.com/caddy-matrix/caddy-matrix-auth/internal/auth"
	"github.com/caddy-matrix/caddy-matrix-auth/internal/homeserver"
	"github.com/caddy-matrix/caddy-matrix-auth/store"
)

// appName is the app's module ID, its global option, and the directive of its handler.
const appName = "matrix_auth"

func init() { caddy.RegisterModule(new(App)) }

// App is the authentication service of one Matrix homeserver (Synapse), which delegates to it: users, passwords, sessions and
// their tokens. It has everything that exists once per homeserver; the handler `http.handlers.matrix_auth` serves it on the
// sites that need it.
//
// It emits the events `login_succeeded`, `login_failed`, `grant_approved`, `session_started`, `session_ended`, `user_registered`,
// `user_locked`, `password_changed`, `synapse_unreachable` and others like them, and logs all of them under `matrix_auth.audit`.
//
// It keeps its data in a directory of its own, which one process can use at a time.
type App struct {
	// The server name of the homeserver: what stands behind the colon in a user ID (`server_name` of Synapse). It cannot be
	// changed later. Required.
	ServerName string `json:"server_name,omitempty"`

	// The public https URL of this service, without a path: the issuer of its tokens (RFC 8414 §2), and the base of every
	// link. Plain http is taken for loopback hosts. Accepts placeholders. Required.
	Issuer string `json:"issuer,omitempty"`

	// The public URL where clients reach the homeserver (`public_baseurl` of Synapse), announced in
	// `/.well-known/matrix/client` and `/.well-known/matrix/server`. Accepts placeholders. Default: the issuer.
	PublicBaseURL string `json:"public_baseurl,omitempty"`

	// The directory of the database, on a local disk. Accepts placeholders. Default: `matrix_auth` in Caddy's data
	// directory.
	DataDir string `json:"data_dir,omitempty"`

	// Encrypts the database at rest: 64 hexadecimal digits, or 32 bytes in base64. It can only be set before the first
	// start. Accepts placeholders. Default: not encrypted.
	EncryptionKey string `json:"encryption_key,omitempty"`

	// How Synapse is reached. Required.
	Synapse *Synapse `json:"synapse,omitempty"`

	// How long tokens are good for.
	Tokens *Tokens `json:"tokens,omitempty"`

	// How users log in by password.
	Password *Password `json:"password,omitempty"`

	// How often things may be tried.
	RateLimits *RateLimits `json:"rate_limits,omitempty"`

	// Whom users of the homeserver can turn to.
	Support *Support `json:"support,omitempty"`

	// OAuth clients that the operator vouches for. They win over self-registered ones. Default: none, clients register
	// themselves.
	Clients []Client `json:"clients,omitempty"`

	// The users who may obtain `urn:synapse:admin:*` and `urn:mas:admin`, by localpart or full user ID, besides those with
	// the right given by `user set-admin`. Default: none.
	Admins []string `json:"admins,omitempty"`

	// The ID of the client that may obtain `urn:mas:admin` for itself, by client credentials. Default: none.
	AdminClient string `json:"admin_client,omitempty"`

	// How our pages look.
	Branding *Branding `json:"branding,omitempty"`

	// Where the options stand that this was adapted from, as `file:line`, for errors and warnings to say so. Default:
	// nothing is known.
	Source Source `json:"source,omitempty"`

	ctx        caddy.Context
	log        *zap.Logger
	bounded    *zap.Logger // log, for what anybody can make happen without end
	audit      *zap.Logger
	events     eventsApp
	pending    chan auth.Event // for events' handlers
	conf       settings
	homeserver *homeserver.Client
	mounted    mounts        // what the handlers of this configuration serve
	ready      chan struct{} // closed when Start has succeeded: everything below is set
	warned     atomic.Bool   // about a token in a query

	held    bool    // this instance counts in the pool; only Start and Cleanup look at it
	engine  *engine // set by Start
	release func()  // gives the engine's settings back; set by Start
	gone    bool    // it has been stopped; guarded by the engine's mutex
	serve   serving // set by Start
}

// CaddyModule returns the Caddy module information.
func (*App) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: appName, New: func() caddy.Module { return new(App) }}
}

// Provision resolves and checks the configuration. It opens and contacts nothing.
func (a *App) Provision(ctx caddy.Context) error {
	a.ctx, a.log, a.ready = ctx, ctx.Logger(), make(chan struct{})
	a.bounded, a.audit, a.pending = boundedLog(a.log), a.log.Named("audit"), make(chan auth.Event, eventQueue)
	var err error
	if a.events, err = getEvents(ctx); err != nil {
		return fmt.Errorf("getting the events app: %w", err)
	}
	if a.conf, err = a.resolve(caddy.NewReplacer()); err != nil {
		return a.Source.locate(err)
	}
	if err := registerMetricsFor(ctx); err != nil {
		return fmt.Errorf("registering metrics: %w", err)
	}
	a.homeserver, err = homeserver.New(homeserver.Config{
		URL:     a.conf.synapse,
		Secret:  a.conf.secret,
		Timeout: a.conf.synapseTimeout,
		Log:     a.log.Named("synapse"),
		Observe: countSynapseRequest,
	})
	if err != nil {
		return a.Source.locate(fmt.Errorf("synapse: %w", err))
	}
	return nil
}

// Start opens the engine, or joins the one that the previous configuration uses, and makes this app's settings its own.
func (a *App) Start() error { return a.Source.locate(a.start()) }

func (a *App) start() error {
	a.warnAboutConfig()
	dir, err := prepareDir(a.conf.dataDir)
	if err != nil {
		return fmt.Errorf("data_dir: %w", err)
	}
	a.engine, err = acquireEngine(a.ctx, dir, a)
	if errors.Is(err, store.ErrEncryptionKey) {
		return fmt.Errorf("encryption_key: %w", err)
	}
	if err != nil {
		return fmt.Errorf("data_dir: %w", err)
	}
	a.held = true
	if err := a.engine.matches(&a.conf); err != nil {
		return err
	}
	if a.serve, err = newServing(a); err != nil {
		return err
	}
	go a.dispatchEvents()
	a.release = a.engine.claim(a)
	close(a.ready)
	return nil
}

// Stop gives the engine's settings back to the configuration before this one if that goes on: a reload has failed after our
// Start. On any other occasion it changes nothing, and requests under way go on.
func (a *App) Stop() error {
	if a.release != nil {
		a.release()
		a.release = nil // It holds on to the configuration before this one.
	}
	return nil
}

// Cleanup lets go of the engine, which the last one to do so closes. An app that was never started holds nothing.
func (a *App) Cleanup() error {
	var err error
	if a.held {
		a.held = false
		err = releaseEngine(a.engine)
	}
	if a.homeserver != nil {
		a.homeserver.Close()
	}
	return err
}

// defaultDataDir is the database's place if none is configured.
func defaultDataDir() string { return filepath.Join(caddy.AppDataDir(), appName) }

// Interface guards.
var (
	_ caddy.App          = (*App)(nil)
	_ caddy.Provisioner  = (*App)(nil)
	_ caddy.CleanerUpper = (*App)(nil)
)
