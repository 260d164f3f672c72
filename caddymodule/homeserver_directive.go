package caddymodule

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"
	"github.com/dustin/go-humanize"
)

// defaultMaxBody is Synapse's own limit of a request's body (`max_upload_size`). Beyond it Synapse resets the connection.
const defaultMaxBody = 50 << 20

// homeserverSite is what the directive matrix_homeserver says.
type homeserverSite struct {
	Handler
	upstreams []string
}

// parseHomeserver parses the directive matrix_homeserver, a whole client API host in one line. Syntax:
//
//	matrix_homeserver [<matcher>] [<upstream>...] {
//		max_body_size <size>
//		admin_api     <ranges>...
//	}
//
// It expands to matrix_auth with its default groups, and a reverse_proxy to Synapse for the paths that clients and other
// servers need and no others (Synapse docs/reverse_proxy.md). Without upstreams it is the address of the global option's synapse.
func parseHomeserver(h httpcaddyfile.Helper) ([]httpcaddyfile.ConfigValue, error) {
	if !h.Next() {
		return nil, h.ArgErr()
	}
	matcher, err := h.ExtractMatcherSet()
	if err != nil {
		return nil, err
	}
	h.Next() // the directive's name
	first := h.Token()
	site := homeserverSite{upstreams: h.RemainingArgs()}
	if err := block(h.Dispenser, homeserverDirective, homeserverOptions, &site); err != nil {
		return nil, err
	}
	if err := requireApp(h); err != nil {
		return nil, err
	}
	if len(site.upstreams) == 0 {
		endpoint, err := synapseEndpoint(h)
		if err != nil {
			return nil, err
		}
		if hasPlaceholder(endpoint) {
			return nil, h.Errf("%s: name the upstream, because the address of synapse is a placeholder", homeserverDirective)
		}
		site.upstreams = []string{endpoint}
	}
	proxy, err := site.proxy(h, first)
	if err != nil {
		return nil, err
	}
	return site.routes(matcher, proxy), nil
}

var homeserverOptions = map[string]option[homeserverSite]{
	"max_body_size": func(d *caddyfile.Dispenser, s *homeserverSite) error { return byteSize(d, &s.MaxBodySize) },
	"admin_api": func(d *caddyfile.Dispenser, s *homeserverSite) error {
		if s.AdminAPI = d.RemainingArgs(); len(s.AdminAPI) == 0 {
			return errors.New("takes the addresses that may use it")
		}
		if _, err := parsePrefixes(s.AdminAPI); err != nil {
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

// proxy lets reverse_proxy parse the upstreams, so that they may be whatever it takes.
func (s *homeserverSite) proxy(h httpcaddyfile.Helper, at caddyfile.Token) (*reverseproxy.Handler, error) {
	tokens := []caddyfile.Token{{File: at.File, Line: at.Line, Text: "reverse_proxy"}}
	for _, upstream := range s.upstreams {
		tokens = append(tokens, caddyfile.Token{File: at.File, Line: at.Line, Text: upstream})
	}
	d := caddyfile.NewDispenser(tokens)
	proxy := new(reverseproxy.Handler)
	if err := proxy.UnmarshalCaddyfile(d); err != nil {
		return nil, fmt.Errorf("%s: %w", homeserverDirective, err)
	}
	if err := proxy.FinalizeUnmarshalCaddyfile(h); err != nil {
		return nil, fmt.Errorf("%s: %w", homeserverDirective, err)
	}
	return proxy, nil
}

// routes puts the handlers in their order. What is not proxied goes on to the other directives of the site.
func (s *homeserverSite) routes(matcher caddy.ModuleMap, proxy *reverseproxy.Handler) []httpcaddyfile.ConfigValue {
	proxied := caddyhttp.MatchPath{"/_matrix/*", "/_synapse/client/*"}
	if s.AdminAPI != nil {
		proxied = append(proxied, "/_synapse/admin/*")
	}
	subroute := caddyhttp.Subroute{Routes: caddyhttp.RouteList{
		{HandlersRaw: []json.RawMessage{caddyconfig.JSONModuleObject(&s.Handler, "handler", appName, nil)}},
		{
			MatcherSetsRaw: caddyhttp.RawMatcherSets{{"path": caddyconfig.JSON(proxied, nil)}},
			HandlersRaw:    []json.RawMessage{caddyconfig.JSONModuleObject(proxy, "handler", "reverse_proxy", nil)},
		},
	}}
	if matcher == nil {
		return []httpcaddyfile.ConfigValue{{Class: "route", Value: subroute}}
	}
	return []httpcaddyfile.ConfigValue{{Class: "route", Value: caddyhttp.Route{
		MatcherSetsRaw: caddyhttp.RawMatcherSets{matcher},
		HandlersRaw:    []json.RawMessage{caddyconfig.JSONModuleObject(&subroute, "handler", "subroute", nil)},
	}}}
}
