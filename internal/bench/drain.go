package main

import (
	"io"
	"net/http"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

func init() {
	caddy.RegisterModule(drain{})
	httpcaddyfile.RegisterHandlerDirective("bench_drain", func(h httpcaddyfile.Helper) (caddyhttp.MiddlewareHandler, error) {
		h.Next()
		return drain{}, nil
	})
}

// drain is the least that a Caddy handler can do with a request that has a body: read it and answer.
type drain struct{}

// CaddyModule returns the Caddy module information.
func (drain) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "http.handlers.bench_drain", New: func() caddy.Module { return new(drain) }}
}

// ServeHTTP implements caddyhttp.MiddlewareHandler.
func (drain) ServeHTTP(w http.ResponseWriter, r *http.Request, _ caddyhttp.Handler) error {
	if _, err := io.Copy(io.Discard, r.Body); err != nil {
		return err
	}
	w.Header().Set("Content-Type", "application/json")
	_, err := w.Write([]byte("{}"))
	return err
}
