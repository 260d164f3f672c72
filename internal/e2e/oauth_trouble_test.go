//go:build e2e

package e2e

import (
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"testing"
)

// TestOAuthTrouble looks with Debian's Chromium at what people see when they cannot go on, and at how they do afterwards: they are
// locked, nothing can be written, Synapse is gone, they have tried too often.
func TestOAuthTrouble(t *testing.T) {
	t.Parallel()
	s := newStack(t, func(s *stack) {
		s.edge.TLS = true
		s.edge.Options = "rate_limit login 3 10m\nrate_limit authorize 4 10m"
	})
	screenshots, err := filepath.Abs(filepath.Join("..", "..", ".cache", "screenshots"))
	if err != nil {
		t.Fatal(err)
	}
	look := func(what string, u user, more ...string) {
		t.Helper()
		s.program(t, "trouble.mjs", u, nil, append([]string{what, s.Base, u.localpart, screenshots}, more...)...)
	}
	u, locked := s.newUser(t), s.newUser(t)
	s.command(t, "", "user", "lock", locked.localpart)
	look("locked", locked)
	look("full", u, s.edge.DataDir()) // A directory that is not there has no space either.
	if err := s.synapse.Stop(); err != nil {
		t.Fatal(err)
	}
	start := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if err := s.synapse.Start(r.Context()); err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
		}
	}))
	defer start.Close()
	look("down", u, start.URL)
	look("limited", u)
}
