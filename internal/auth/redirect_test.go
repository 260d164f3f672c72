package auth_test

import (
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/caddy-matrix/caddy-matrix-auth/internal/auth"
	"github.com/caddy-matrix/caddy-matrix-auth/store"
)

// FuzzReturnsTo: what matches is registered byte for byte, or differs from what is registered by a port on loopback.
func FuzzReturnsTo(f *testing.F) {
	for _, seed := range []string{"https://app.example.com/cb", "http://127.0.0.1:1/cb", "http://localhost:65535/", "http://[::1]:1/cb?x=y", "http://127.0.0.1:1@evil.example/cb", "com.example:/cb"} {
		f.Add(seed)
	}
	registered := []string{"https://app.example.com/cb", "http://127.0.0.1/cb", "http://localhost/", "http://[::1]/cb?x=y", "com.example:/cb", "http://localhost"}
	c := auth.Client{Client: store.Client{RedirectURIs: registered}}
	f.Fuzz(func(t *testing.T, uri string) {
		if !c.ReturnsTo(uri) || slices.Contains(registered, uri) {
			return
		}
		u, err := url.Parse(uri)
		if err != nil || u.User != nil || u.Fragment != "" || u.Port() == "" || !slices.Contains([]string{"localhost", "127.0.0.1", "::1"}, u.Hostname()) {
			t.Fatalf("%q matches: %v, %v", uri, u, err)
		}
		if without := strings.Replace(uri, u.Host, strings.TrimSuffix(u.Host, ":"+u.Port()), 1); !slices.Contains(registered, without) {
			t.Fatalf("%q matches, but %q is not registered", uri, without)
		}
	})
}
