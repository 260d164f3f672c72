package caddymodule

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2/caddyconfig"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "write the golden files")

// goldenMark separates a Caddyfile from what it adapts to, as in Caddy's own tests.
const goldenMark = "----------\n"

// TestAdapt adapts testdata/*.caddyfiletest, one for each option and each mistake.
func TestAdapt(t *testing.T) {
	files, err := filepath.Glob("testdata/*.caddyfiletest")
	if err != nil || len(files) == 0 {
		t.Fatalf("no golden files: %v", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".caddyfiletest"), func(t *testing.T) {
			data, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			input, want, _ := strings.Cut(string(data), goldenMark)
			got := adapted(input)
			if strings.HasPrefix(got, "error: ") && !strings.Contains(got, ", at Caddyfile:") {
				t.Errorf("the error does not say where: %s", got)
			}
			if *update {
				writeFile(t, file, input+goldenMark+got)
				return
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("adapted (-want +got):\n%s", diff)
			}
		})
	}
}

// adapted is what a Caddyfile adapts to: the app and the servers, or the error.
func adapted(input string) string {
	cfg, _, err := caddyconfig.GetAdapter("caddyfile").Adapt([]byte(input), map[string]any{"filename": "Caddyfile"})
	if err != nil {
		return "error: " + err.Error() + "\n"
	}
	var b bytes.Buffer
	if err := json.Indent(&b, cfg, "", "\t"); err != nil {
		return "error: " + err.Error() + "\n"
	}
	b.WriteByte('\n')
	return b.String()
}

// TestExample holds Caddyfile.example to what it promises: it adapts, without a warning, and is formatted.
func TestExample(t *testing.T) {
	example, err := os.ReadFile("../Caddyfile.example")
	if err != nil {
		t.Fatal(err)
	}
	_, warnings, err := caddyconfig.GetAdapter("caddyfile").Adapt(example, map[string]any{"filename": "Caddyfile.example"})
	if err != nil || len(warnings) != 0 {
		t.Errorf("adapting: got %v and %v, want no error and no warning", err, warnings)
	}
	if got := caddyfile.Format(example); !bytes.Equal(got, example) {
		t.Errorf("not formatted (-want +got):\n%s", cmp.Diff(string(got), string(example)))
	}
}

// FuzzGlobalOption feeds the parser of the global option. What it takes can be provisioned as far as it has no placeholders.
func FuzzGlobalOption(f *testing.F) {
	for _, seed := range fuzzSeeds(f, "\tmatrix_auth ") {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, input string) {
		d := caddyfile.NewTestDispenser(input)
		app := new(App)
		if app.UnmarshalCaddyfile(d) != nil {
			return
		}
		if app.Issuer == "" || app.Synapse == nil || app.Synapse.Secret == "" {
			t.Errorf("taken without issuer, synapse or secret: %q", input)
		}
		if b, err := json.Marshal(app); err != nil || len(b) == 0 {
			t.Errorf("cannot be encoded: %v", err)
		}
	})
}

// FuzzDirective feeds the parser of the directive matrix_auth.
func FuzzDirective(f *testing.F) {
	for _, seed := range []string{
		"matrix_auth", "matrix_auth compat discovery", "matrix_auth internal {\n\tallow_public\n}",
		"matrix_auth {\n\tmax_body_size 1MiB\n}", "matrix_auth oauth", "matrix_auth {", "matrix_auth internal internal",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, input string) {
		h := new(Handler)
		if h.UnmarshalCaddyfile(caddyfile.NewTestDispenser(input)) != nil {
			return
		}
		if _, err := parseGroups(h.Endpoints); err != nil {
			t.Errorf("taken, but unknown: %v", err)
		}
		if h.MaxBodySize < 0 {
			t.Errorf("max_body_size %d from %q", h.MaxBodySize, input)
		}
	})
}

// fuzzSeeds are the blocks in the golden files that begin with the prefix.
func fuzzSeeds(f *testing.F, prefix string) []string {
	files, err := filepath.Glob("testdata/*.caddyfiletest")
	if err != nil {
		f.Fatal(err)
	}
	var seeds []string
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		_, rest, ok := strings.Cut(string(data), prefix)
		if block, _, found := strings.Cut(rest, "\n\t}\n"); ok && found {
			seeds = append(seeds, strings.TrimSpace(prefix)+" "+block+"\n}\n")
		}
	}
	return seeds
}
