//go:build e2e

package e2e

import (
	"path/filepath"
	"testing"
)

// TestOAuthTrouble looks with Debian's Chromium at what people see when they cannot go on: they are locked, Synapse is gone, they have
// tried too often.
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
	look := func(what string, u user) {
		t.Helper()
		s.program(t, "trouble.mjs", u, nil, what, s.Base, u.localpart, screenshots)
	}
	u, locked := s.newUser(t), s.newUser(t)
	s.command(t, "", "user", "lock", locked.localpart)
	look("locked", locked)
	if err := s.synapse.Stop(); err != nil {
		t.Fatal(err)
	}
	look("down", u)
	look("limited", u)
}
