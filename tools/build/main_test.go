package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/mod/modfile"
)

// TestXcaddyFile holds xcaddy.json to the repository's own go.mod: the same Caddy, and this module from this directory.
func TestXcaddyFile(t *testing.T) {
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	b, err := load(filepath.Join(root, "xcaddy.json"))
	if err != nil {
		t.Fatal(err)
	}
	raw, err := os.ReadFile(filepath.Join(root, "go.mod"))
	if err != nil {
		t.Fatal(err)
	}
	mod, err := modfile.ParseLax("go.mod", raw, nil)
	if err != nil {
		t.Fatal(err)
	}
	var caddy string
	for _, r := range mod.Require {
		if r.Mod.Path == "github.com/caddyserver/caddy/v2" {
			caddy = r.Mod.Version
		}
	}
	if b.CaddyVersion != caddy {
		t.Errorf("got Caddy %q in xcaddy.json, want go.mod's %q", b.CaddyVersion, caddy)
	}
	if len(b.Plugins) != 1 || b.Plugins[0].PackagePath != mod.Module.Mod.Path {
		t.Errorf("got plugins %v, want %s alone", b.Plugins, mod.Module.Mod.Path)
	}
	if len(b.Replacements) != 1 || b.Replacements[0].New.String() != root {
		t.Errorf("got replacements %v, want one by %s", b.Replacements, root)
	}
	if b.BuildFlags != "" {
		t.Errorf("got build flags %q, want none: they would replace xcaddy's own", b.BuildFlags)
	}
}

func TestLoadRefuses(t *testing.T) {
	for _, c := range []struct{ name, file, want string }{
		{"unknown field", `{"caddy_verison": "v2.11.9"}`, "caddy_verison"},
		{"two values", `{} {}`, "more than one"},
		{"not JSON", `caddy_version: v2`, "reading"},
	} {
		t.Run(c.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "xcaddy.json")
			if err := os.WriteFile(path, []byte(c.file), 0o600); err != nil {
				t.Fatal(err)
			}
			if _, err := load(path); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got error %v, want one with %q", err, c.want)
			}
		})
	}
}
