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

// TestOAuthClients lets real clients live against a real Synapse: the versions of matrix-js-sdk that people have, and two
// strict standard clients. What each step proves stands in its name.
func TestOAuthClients(t *testing.T) {
	t.Parallel()
	s, agentKey := newOAuthStack(t)
	t.Run("programs", func(t *testing.T) {
		for _, c := range []struct{ name, script, version string }{
			{"matrix-js-sdk 43", "native.mjs", "js43"},
			{"matrix-js-sdk 42", "native.mjs", "js42"},
			{"matrix-js-sdk 41", "native.mjs", "js41"},
			{"device grant", "device.mjs", ""},
			{"the moment of expiry", "expiry.mjs", ""},
		} {
			t.Run(c.name, func(t *testing.T) {
				t.Parallel()
				u := s.newUser(t)
				args := []string{s.Base, u.id, u.localpart}
				if c.version != "" {
					args = append([]string{c.version}, args...)
				}
				s.program(t, c.script, u, nil, args...)
			})
		}
		for _, script := range []string{"oauth4webapi.mjs", "openid-client.mjs"} {
			t.Run(script, func(t *testing.T) {
				t.Parallel()
				u := s.newUser(t)
				s.program(t, script, u, []string{"MONITOR_SECRET=" + monitorSecret, "AGENT_KEY=" + agentKey}, s.Base+"/", u.localpart)
			})
		}
	})
}

// programTimeout bounds a client program. One waits for a token's end, and all share few cores.
const programTimeout = 4 * time.Minute

// program runs a client program of internal/e2e/oauthjs and logs its steps.
func (s *stack) program(t *testing.T, script string, u user, env []string, args ...string) {
	t.Helper()
	dir, err := environment("E2E_OAUTHJS")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), programTimeout)
	defer cancel()
	cmd := exec.CommandContext(ctx, "node", append([]string{filepath.Join(dir, script)}, args...)...)
	cmd.Env = append(os.Environ(), "PASSWORD="+u.password, "NODE_EXTRA_CA_CERTS="+s.edge.RootCertificate())
	cmd.Env = append(cmd.Env, env...)
	cmd.WaitDelay = 5 * time.Second
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v\n%s", script, err, out)
	}
	t.Logf("%s", out)
}
