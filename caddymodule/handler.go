package caddymodule

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"go.uber.org/zap"
	"golang.org/x/time/rate"

	"github.com/caddy-matrix/caddy-matrix-auth/internal/gate"
	"github.com/caddy-matrix/caddy-matrix-auth/internal/route"
)

func init() { caddy.RegisterModule(new(Handler)) }

// groups are those that exist, and publicGroups those served when none is named.
var (
	groups       = []route.Group{route.Discovery, route.OAuth, route.Human, route.Assets, route.Compat, route.Internal}
	publicGroups = []route.Group{route.Discovery, route.OAuth, route.Human, route.Assets, route.Compat}
)

// Handler serves the endpoints of the app `matrix_auth` on a site, and judges requests to the homeserver by their access token
// before its proxy or the next handler, usually reverse_proxy, passes them on: under `/_matrix/` and `/_synapse/`, except
// federation.
//
// It sets these placeholders for requests whose access token is one of ours and good:
//
// Placeholder | Description
// ------------|-------------
// `{http.auth.user.id}` | The user ID, such as `@alice:example.com`
// `{http.auth.user.device_id}` | The device ID
// `{http.auth.user.client_id}` | The OAuth client
// `{http.auth.user.session_id}` | The session
//
// and for all requests that it answers `{http.matrix_auth.endpoint}`, the name of the endpoint.
type Handler struct {
	// The groups of endpoints to serve. `discovery`: the documents under `/.well-known/`, and what tells clients how to log
	// in. `oauth`: what OAuth clients talk to, `/authorize` and `/oauth2/`. `human`: the pages, `/login`, `/account/` and
	// others, and `/`; they answer only on the issuer's host. `assets`: what the pages load. `compat`: login, logout and
	// refresh of the Matrix client API. `internal`: what Synapse asks (introspection, metadata) and `/health`; its site must
	// listen on loopback addresses only, and answers nothing else if it is the only group. Default: all but internal.
	Endpoints []string `json:"endpoints,omitempty"`

	// Lets the group `internal` listen on addresses that are not loopback, as containers need it. Whoever can connect can
	// then try to guess the secret shared with Synapse. Default: false.
	AllowPublic bool `json:"allow_public,omitempty"`

	// The client addresses, or ranges of addresses, that may reach Synapse's admin API under `/_synapse/admin`. Default:
	// none, it is answered as if it did not exist.
	AdminAPI []string `json:"admin_api,omitempty"`

	// The handler for what goes to the homeserver, usually reverse_proxy: requests under `/_matrix/` and `/_synapse/client/`,
	// and with admin_api under `/_synapse/admin/`. All others go to the next handler. Default: none, they all do.
	ProxyRaw json.RawMessage `json:"proxy,omitempty" caddy:"namespace=http.handlers inline_key=handler"`

	// The largest request body for the homeserver, in bytes. Synapse resets the connection of a larger one; here it is
	// answered with 413. Default: 52428800 (50 MiB), as Synapse's `max_upload_size`.
	MaxBodySize int64 `json:"max_body_size,omitempty"`

	// Serve nothing but `/.well-known/matrix/`, and leave every other request alone: for the site of the server name, if
	// that is not where clients reach the homeserver. Default: false.
	WellKnownOnly bool `json:"well_known_only,omitempty"`

	// Where the directive stands that this was adapted from, as `file:line`, for errors to say so. Default: nothing is known.
	Source string `json:"source,omitempty"`

	app        *App
	log        *zap.Logger
	logFailure *rate.Sometimes // of the handlers behind this one
	gate       *gate.Gate
	proxy      caddyhttp.MiddlewareHandler // nil: the next handler
	groups     []route.Group
	admins     []netip.Prefix
	logged     bool // the server writes an access log
}

// CaddyModule returns the Caddy module information.
func (*Handler) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "http.handlers." + appName, New: func() caddy.Module { return new(Handler) }}
}

// Provision finds the app and checks what the site may serve.
func (h *Handler) Provision(ctx caddy.Context) error {
	h.log = ctx.Logger()
	app, err := ctx.AppIfConfigured(appName)
	if errors.Is(err, caddy.ErrNotConfigured) {
		return errors.New("the handler needs the app matrix_auth (global option matrix_auth in a Caddyfile)")
	}
	if err != nil {
		return err
	}
	h.app = app.(*App)
	if err := h.provisionProxy(ctx); err != nil {
		return err
	}
	if h.groups, err = parseGroups(h.Endpoints); err != nil {
		return err
	}
	if h.admins, err = parsePrefixes(h.AdminAPI); err != nil {
		return fmt.Errorf("admin_api: %w", err)
	}
	if h.MaxBodySize < 0 {
		return fmt.Errorf("max_body_size: %w", errNegative)
	}
	if err := h.provisionSite(ctx); err != nil {
		return err
	}
	h.gate, h.logFailure = newGate(h), &rate.Sometimes{Interval: failureLogInterval}
	return nil
}

func (h *Handler) provisionProxy(ctx caddy.Context) error {
	if h.ProxyRaw == nil {
		return nil
	}
	module, err := ctx.LoadModule(h, "ProxyRaw")
	if err != nil {
		return fmt.Errorf("proxy: %w", err)
	}
	h.proxy = module.(caddyhttp.MiddlewareHandler)
	return nil
}

// failureLogInterval is how often it is logged at most that requests cannot be passed on.
const failureLogInterval = 10 * time.Second

// provisionSite looks at the server that the handler is part of.
func (h *Handler) provisionSite(ctx caddy.Context) error {
	if h.WellKnownOnly {
		h.groups = nil
	}
	h.app.mounted.add(h.groups)
	server, ok := ctx.Value(caddyhttp.ServerCtxKey).(*caddyhttp.Server)
	if !ok {
		return nil
	}
	h.logged = server.Logs != nil
	server.RegisterConnContext(gate.ConnContext)
	if !slices.Contains(h.groups, route.Internal) {
		return nil
	}
	h.app.mounted.addInternal(server.Listen)
	if h.AllowPublic {
		return nil
	}
	return located(requireLoopback(server.Listen), h.Source)
}

func (h *Handler) maxBody() int64 {
	if h.MaxBodySize > 0 {
		return h.MaxBodySize
	}
	return defaultMaxBody
}

// parseGroups reads the names of groups. None are all the public ones.
func parseGroups(names []string) ([]route.Group, error) {
	if len(names) == 0 {
		return publicGroups, nil
	}
	var list []route.Group
	for _, name := range names {
		if !slices.Contains(groups, route.Group(name)) {
			return nil, fmt.Errorf("unknown group of endpoints %q", name)
		}
		list = append(list, route.Group(name))
	}
	return list, nil
}

// requireLoopback refuses listeners that another machine can reach.
func requireLoopback(listen []string) error {
	for _, l := range listen {
		addr, err := caddy.ParseNetworkAddress(l)
		if err != nil {
			return fmt.Errorf("listener address %q: %w", l, err)
		}
		if addr.IsUnixNetwork() || loopbackListener(addr.Host) {
			continue
		}
		return fmt.Errorf("the group internal is on %q, which other machines can reach: add \"bind 127.0.0.1\" to its site,"+
			" or in a container allow_public to its block (allow_public in JSON)", l)
	}
	return nil
}

// loopbackListener reports whether a socket bound to the host takes connections from this machine only. A name other than
// localhost is whatever it resolves to.
func loopbackListener(host string) bool {
	if host == "localhost" {
		return true
	}
	ip := net.ParseIP(host)
	return ip != nil && ip.IsLoopback()
}

// Interface guards.
var (
	_ caddy.Provisioner           = (*Handler)(nil)
	_ caddyhttp.MiddlewareHandler = (*Handler)(nil)
)
