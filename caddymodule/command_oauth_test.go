package caddymodule

import (
	"bytes"
	"path/filepath"
	"strings"
	"testing"

	"github.com/spf13/cobra"
)

// run runs a command of `caddy matrix-auth` against the running Caddy.
func (e *edge) run(args ...string) (string, error) {
	e.t.Helper()
	var out bytes.Buffer
	root := &cobra.Command{Use: "matrix-auth"}
	addCommands(root)
	root.SetOut(&out)
	root.SetErr(&out)
	root.SetArgs(append(args, "--address", "unix/"+e.socket()))
	err := root.ExecuteContext(e.t.Context())
	return out.String(), err
}

func (e *edge) socket() string { return filepath.Join(e.dir, "admin.sock") }

// withAdmin is a configuration with an admin endpoint on a socket.
func (e *edge) withAdmin(config string) string {
	return strings.Replace(config, "admin off", "admin unix/"+e.socket(), 1)
}

// TestKeyAndSessionCommands over Caddy's own admin endpoint.
func TestKeyAndSessionCommands(t *testing.T) {
	e := newEdge(t)
	e.mustLoad(e.withAdmin(e.config("", "")))
	e.mustAddUser("alice")
	client := e.mustRegister()
	e.mustSignIn(e.newPerson(), client, "PHONE")

	out, err := e.run("session", "list", "alice")
	if err != nil || !strings.Contains(out, "CLIENT") || !strings.Contains(out, client) || !strings.Contains(out, "oauth2") {
		t.Errorf("session list: got %v and %s", err, out)
	}
	eventually(t, "the first keys are made", func() bool {
		out, err = e.run("key", "list")
		return err == nil && strings.Count(out, "signing") == 2
	})
	if out, err = e.run("key", "rotate", "--json"); err != nil || strings.Count(out, `"state":"published"`) != 2 {
		t.Errorf("key rotate: got %v and %s", err, out)
	}
	if out, err = e.run("session", "end", "--all", "alice"); err != nil || !strings.Contains(out, "sessions ended: 1") {
		t.Errorf("session end: got %v and %s", err, out)
	}
	if out, err = e.run("key", "burn"); err == nil || !strings.Contains(out, "there is no command") {
		t.Errorf("a command that does not exist: got %v and %s", err, out)
	}
}
