//go:build e2e

package e2e

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"
)

// TestOAuth lets real clients, Debian's Chromium and plain requests live against one real Synapse: the versions of
// matrix-js-sdk that people have, two strict standard clients, every page on a phone and on a desktop. What a step proves
// stands in its name.
func TestOAuth(t *testing.T) {
	t.Parallel()
	s, agentKey := newOAuthStack(t)
	screenshots, err := filepath.Abs(filepath.Join("..", "..", ".cache", "screenshots"))
	if err != nil {
		t.Fatal(err)
	}
	secrets := []string{"MONITOR_SECRET=" + monitorSecret, "AGENT_KEY=" + agentKey}
	for _, c := range []struct {
		name, script, before, after string
	}{
		{"pages in Chromium", "pages.mjs", "", screenshots},
		{"the moment of expiry", "expiry.mjs", "", ""},
		{"redirects in Chromium", "redirects.mjs", "", ""},
		{"fragments in Chromium", "fragment.mjs", "", ""},
		{"matrix-js-sdk 43 in Chromium", "crossorigin.mjs", "", ""},
		{"matrix-js-sdk 43", "native.mjs", "js43", ""},
		{"matrix-js-sdk 42", "native.mjs", "js42", ""},
		{"matrix-js-sdk 41", "native.mjs", "js41", ""},
		{"device grant", "device.mjs", "", ""},
		{"oauth4webapi", "oauth4webapi.mjs", "", ""},
		{"openid-client", "openid-client.mjs", "", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			u := s.newUser(t)
			var args []string
			for _, arg := range []string{c.before, s.Base, u.id, u.localpart, c.after} {
				if arg != "" {
					args = append(args, arg)
				}
			}
			s.program(t, c.script, u, secrets, args...)
		})
	}
	for name, run := range wireTests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			run(t, s)
		})
	}
}

// programTimeout bounds a client program. One waits for a token's end, and all share few cores.
const programTimeout = 5 * time.Minute

// program runs a client program of internal/e2e/oauthjs and logs its steps.
func (s *stack) program(t *testing.T, script string, u user, env []string, args ...string) {
	t.Helper()
	dir, err := environment("E2E_OAUTHJS")
	if err != nil {
		t.Fatal(err)
	}
	chromium, err := environment("E2E_CHROMIUM")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), programTimeout)
	defer cancel()
	cmd := exec.CommandContext(ctx, "node", append([]string{filepath.Join(dir, script)}, args...)...)
	cmd.Env = append(os.Environ(), "PASSWORD="+u.password, "CHROMIUM="+chromium, "NODE_EXTRA_CA_CERTS="+s.edge.RootCertificate())
	cmd.Env = append(cmd.Env, env...)
	cmd.WaitDelay = 5 * time.Second
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v\n%s", script, err, out)
	}
	t.Logf("%s", out)
}
