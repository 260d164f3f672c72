package caddymodule

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/caddy-matrix/caddy-matrix-auth/internal/route"
)

// The directives besides the one that has the app's name.
const (
	homeserverDirective = "matrix_homeserver"
	wellKnownDirective  = "matrix_wellknown"
)

func init() {
	httpcaddyfile.RegisterHandlerDirective(appName, parseMatrixAuth)
	httpcaddyfile.RegisterHandlerDirective(homeserverDirective, parseHomeserver)
	httpcaddyfile.RegisterHandlerDirective(wellKnownDirective, parseWellKnown)
	for _, name := range []string{appName, homeserverDirective, wellKnownDirective} {
		httpcaddyfile.RegisterDirectiveOrder(name, httpcaddyfile.After, "encode")
	}
}

// parseMatrixAuth parses the directive matrix_auth into its handler.
func parseMatrixAuth(h httpcaddyfile.Helper) (caddyhttp.MiddlewareHandler, error) {
	handler := new(Handler)
	if err := handler.UnmarshalCaddyfile(h.Dispenser); err != nil {
		return nil, err
	}
	return handler, requireApp(h)
}

// UnmarshalCaddyfile sets up the handler from the directive. Syntax:
//
//	matrix_auth [<matcher>] [<group>...] {
//		allow_public
//		max_body_size <size>
//	}
//
// The groups are discovery, oauth, human, assets, compat and internal. Without any, all but internal are served. allow_public lets the group
// internal listen on an address that is not loopback. Larger bodies than max_body_size are not passed on.
func (h *Handler) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // the directive's name
	place := placeOf(d)
	for _, group := range d.RemainingArgs() {
		if !slices.Contains(groups, route.Group(group)) {
			return d.Errf("matrix_auth: unknown group %q", group)
		}
		if slices.Contains(h.Endpoints, group) {
			return d.Errf("matrix_auth: group %s is given twice", group)
		}
		h.Endpoints = append(h.Endpoints, group)
		if group == string(route.Internal) {
			h.Source = place // The address of its listener is not known yet.
		}
	}
	return block(d, appName, handlerOptions, h)
}

var handlerOptions = map[string]option[Handler]{
	"allow_public":  unmarshalAllowPublic,
	"max_body_size": func(d *caddyfile.Dispenser, h *Handler) error { return byteSize(d, &h.MaxBodySize) },
}

func unmarshalAllowPublic(d *caddyfile.Dispenser, h *Handler) error {
	if d.NextArg() {
		return fmt.Errorf("takes no argument, found %q", d.Val())
	}
	if !slices.Contains(h.Endpoints, string(route.Internal)) {
		return fmt.Errorf("is for the group %s", route.Internal)
	}
	h.AllowPublic = true
	return noBlock(d)
}

// parseWellKnown parses the directive matrix_wellknown, for the site of the server name itself. Syntax:
//
//	matrix_wellknown [<matcher>]
func parseWellKnown(h httpcaddyfile.Helper) (caddyhttp.MiddlewareHandler, error) {
	h.Next() // the directive's name
	if h.NextArg() {
		return nil, h.Errf("%s takes no argument, found %q", wellKnownDirective, h.Val())
	}
	if err := noBlock(h.Dispenser); err != nil {
		return nil, h.Errf("%s: %v", wellKnownDirective, err)
	}
	return &Handler{WellKnownOnly: true}, requireApp(h)
}

// requireApp refuses a directive without the global option: nothing could be served.
func requireApp(h httpcaddyfile.Helper) error {
	if _, ok := h.Option(appName).(httpcaddyfile.App); ok {
		return nil
	}
	return h.Errf("the directive needs the global option matrix_auth: { matrix_auth <server_name> { ... } } at the top of the Caddyfile")
}

// synapseEndpoint returns where the app reaches Synapse, as written in the global option.
func synapseEndpoint(h httpcaddyfile.Helper) (string, error) {
	option, _ := h.Option(appName).(httpcaddyfile.App)
	var app App
	if err := json.Unmarshal(option.Value, &app); err != nil {
		return "", fmt.Errorf("reading the global option matrix_auth: %w", err)
	}
	return strings.TrimSuffix(app.Synapse.Endpoint, "/"), nil
}

// Interface guards.
var (
	_ caddyfile.Unmarshaler = (*App)(nil)
	_ caddyfile.Unmarshaler = (*Handler)(nil)
)
