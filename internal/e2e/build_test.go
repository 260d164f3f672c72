//go:build e2e

package e2e

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// TestModules holds the binary of xcaddy.json to the modules that it must have, and to what a user's own xcaddy makes.
func TestModules(t *testing.T) {
	t.Parallel()
	ours, err := environment("E2E_CADDY")
	if err != nil {
		t.Fatal(err)
	}
	xcaddy, err := environment("E2E_XCADDY")
	if err != nil {
		t.Fatal(err)
	}
	modules := matrixModules(t, ours)
	for _, id := range []string{"matrix_auth", "http.handlers.matrix_auth", "admin.api.matrix_auth"} {
		if !slices.Contains(modules, id) {
			t.Errorf("got modules %q, want %s among them", modules, id)
		}
	}

	raw, err := os.ReadFile("../../xcaddy.json")
	if err != nil {
		t.Fatal(err)
	}
	var file struct {
		CaddyVersion string `json:"caddy_version"`
	}
	if err := json.Unmarshal(raw, &file); err != nil {
		t.Fatal(err)
	}
	theirs := filepath.Join(t.TempDir(), "caddy")
	cmd := exec.CommandContext(t.Context(), xcaddy, "build", file.CaddyVersion,
		"--with", "github.com/caddy-matrix/caddy-matrix-auth@v0.0.0=.", "--output", theirs)
	cmd.Dir = "../.."
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("xcaddy build: %v\n%s", err, out)
	}
	if got := matrixModules(t, theirs); !slices.Equal(got, modules) {
		t.Errorf("got modules %q from xcaddy build --with, want %q as from xcaddy.json", got, modules)
	}
}

// matrixModules lists a Caddy's modules that are not Caddy's own.
func matrixModules(t *testing.T, binary string) []string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), binary, "list-modules", "--skip-standard").Output()
	if err != nil {
		t.Fatal(err)
	}
	var ids []string
	for line := range strings.Lines(string(out)) {
		if id := strings.TrimSpace(line); strings.Contains(id, "matrix_auth") {
			ids = append(ids, id)
		}
	}
	return ids
}
