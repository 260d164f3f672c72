package caddymodule

import (
	"errors"
	"fmt"
	"math"

	"github.com/caddyserver/caddy/v2/caddyconfig"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"
	"github.com/dustin/go-humanize"
)

// defaultMaxBody is Synapse's own limit of a request's body (`max_upload_size`). Beyond it Synapse resets the connection.
const defaultMaxBody = 50 << 20

// parseHomeserver parses the directive matrix_homeserver, a whole client API host in one line. Syntax:
//
//	matrix_homeserver [<matcher>] [<upstream>...] {
//		max_body_size <size>
//		admin_api     <ranges>...
//	}
//
// It is matrix_auth with its default groups, and a reverse_proxy to Synapse for the paths that clients and other servers need
// and no others (Synapse docs/reverse_proxy.md). Without upstreams it is the address of the global option's synapse.
func parseHomeserver(h httpcaddyfile.Helper) (caddyhttp.MiddlewareHandler, error) {
	h.Next() // the directive's name
	name := h.Token()
	upstreams := h.RemainingArgs()
	site := new(Handler)
	if err := block(h.Dispenser, homeserverDirective, homeserverOptions, site); err != nil {
		return nil, err
	}
	if err := requireApp(h); err != nil {
		return nil, err
	}
	if len(upstreams) == 0 {
		endpoint, err := synapseEndpoint(h)
		if err != nil {
			return nil, err
		}
		if hasPlaceholder(endpoint) {
			return nil, h.Errf("%s: name the upstream, because the address of synapse is a placeholder", homeserverDirective)
		}
		upstreams = []string{endpoint}
	}
	proxy, err := parseProxy(h, name, upstreams)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", homeserverDirective, err)
	}
	site.ProxyRaw = caddyconfig.JSONModuleObject(proxy, "handler", "reverse_proxy", nil)
	return site, nil
}

var homeserverOptions = map[string]option[Handler]{
	"max_body_size": func(d *caddyfile.Dispenser, h *Handler) error { return byteSize(d, &h.MaxBodySize) },
	"admin_api": func(d *caddyfile.Dispenser, h *Handler) error {
		if h.AdminAPI = d.RemainingArgs(); len(h.AdminAPI) == 0 {
			return errors.New("takes the addresses that may use it")
		}
		if _, err := parsePrefixes(h.AdminAPI); err != nil {
			return err
		}
		return noBlock(d)
	},
}

// byteSize parses a size such as 50MiB.
func byteSize(d *caddyfile.Dispenser, to *int64) error {
	var size string
	if err := argument(d, &size, nil); err != nil {
		return err
	}
	n, err := humanize.ParseBytes(size)
	if err != nil || n == 0 || n > math.MaxInt64 {
		return fmt.Errorf("must be a size such as 50MiB, not %q", size)
	}
	*to = int64(n)
	return nil
}

// parseProxy lets reverse_proxy parse the upstreams, so that they may be whatever it takes. The homeserver compresses for clients
// that ask for it, not for us.
func parseProxy(h httpcaddyfile.Helper, at caddyfile.Token, upstreams []string) (*reverseproxy.Handler, error) {
	var tokens []caddyfile.Token
	add := func(line int, words ...string) {
		for _, w := range words {
			tokens = append(tokens, caddyfile.Token{File: at.File, Line: at.Line + line, Text: w})
		}
	}
	add(0, append([]string{"reverse_proxy"}, upstreams...)...)
	add(0, "{")
	add(1, "transport", "http", "{")
	add(2, "compression", "off")
	add(3, "}")
	add(4, "}")
	proxy := new(reverseproxy.Handler)
	if err := proxy.UnmarshalCaddyfile(caddyfile.NewDispenser(tokens)); err != nil {
		return nil, err
	}
	return proxy, proxy.FinalizeUnmarshalCaddyfile(h)
}
