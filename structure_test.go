package caddymatrixauth

import (
	"encoding/json"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/caddy-matrix/caddy-matrix-auth"

// The libraries that stand behind one package each.
const (
	caddy   = "github.com/caddyserver/caddy/v2"
	badger  = "github.com/dgraph-io/badger/v4"
	zitadel = "github.com/zitadel/oidc/v3"
)

// imports says which packages of ours each package may import. Imports only go down.
var imports = map[string][]string{
	"internal/mxid":          nil,
	"internal/matrixerr":     nil,
	"internal/route":         {"internal/mxid"},
	"internal/password":      nil,
	"internal/token":         nil,
	"store":                  {"internal/mxid", "internal/token"},
	"internal/auth":          {"store", "internal/mxid", "internal/token", "internal/password"},
	"internal/homeserver":    {"internal/mxid", "internal/token"},
	"internal/compat":        {"internal/auth", "internal/matrixerr", "internal/mxid", "internal/route", "internal/token"},
	"internal/gate":          {"internal/auth", "internal/matrixerr", "internal/mxid", "internal/route", "internal/token"},
	"internal/authzresponse": nil,
	"internal/browser":       {"internal/auth", "internal/token"},
	"internal/web":           {"internal/auth", "internal/authzresponse", "internal/browser", "internal/mxid", "internal/route", "internal/token", "store"},
	"internal/doctor":        {"internal/homeserver", "internal/mxid", "internal/token"},
	"oidcprovider":           {"internal/auth", "internal/authzresponse", "internal/browser", "internal/matrixerr", "internal/mxid", "internal/route", "internal/token", "store"},
}

// free are the packages that may import any other: the top of the program, and what starts, measures and tests it.
var free = []string{
	"", "caddymodule", "cmd/caddy", "internal/authtest", "internal/bench", "internal/demo", "internal/e2e", "internal/e2e/rig",
}

// testOnly is imported by tests and by nothing that is shipped.
const testOnly = "internal/authtest"

// alone says which package alone may import a library directly.
var alone = map[string][]string{
	caddy:   {"caddymodule", "cmd/caddy", "internal/bench"},
	badger:  {"store"},
	zitadel: {"oidcprovider"},
}

type listed struct {
	ImportPath string
	Imports    []string
	Deps       []string
	Standard   bool
}

func ours(t *testing.T) []listed {
	t.Helper()
	out, err := exec.Command("go", "list", "-json=ImportPath,Imports,Deps", "./...").Output()
	if err != nil {
		t.Fatal(err)
	}
	var all []listed
	for dec := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p listed
		if err := dec.Decode(&p); err == io.EOF {
			return all
		} else if err != nil {
			t.Fatal(err)
		}
		all = append(all, p)
	}
}

func short(importPath string) string {
	return strings.TrimPrefix(strings.TrimPrefix(importPath, module), "/")
}

func under(importPath, library string) bool {
	return importPath == library || strings.HasPrefix(importPath, library+"/")
}

func TestImportsGoDown(t *testing.T) {
	for _, p := range ours(t) {
		allowed, ruled := imports[short(p.ImportPath)]
		if !ruled && !slices.Contains(free, short(p.ImportPath)) {
			t.Errorf("%s: nothing says what it may import", short(p.ImportPath))
		}
		if slices.Contains(p.Imports, module+"/"+testOnly) {
			t.Errorf("%s imports %s outside its tests", short(p.ImportPath), testOnly)
		}
		for _, i := range p.Imports {
			if ruled && under(i, module) && !slices.Contains(allowed, short(i)) {
				t.Errorf("%s imports %s", short(p.ImportPath), short(i))
			}
			for library, who := range alone {
				if under(i, library) && !slices.Contains(who, short(p.ImportPath)) {
					t.Errorf("%s imports %s, which is for %v alone", short(p.ImportPath), i, who)
				}
			}
		}
		if short(p.ImportPath) == "internal/auth" && slices.Contains(p.Deps, caddy) {
			t.Error("internal/auth depends on caddy")
		}
		if short(p.ImportPath) == "internal/auth" && slices.Contains(p.Imports, "net/http") {
			t.Error("internal/auth imports net/http")
		}
	}
}

// sources yields every Go file of the product that is not a test.
func sources(t *testing.T, fn func(name string, f *ast.File)) {
	t.Helper()
	fset := token.NewFileSet()
	err := filepath.WalkDir(".", func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && (strings.HasPrefix(d.Name(), ".") && name != "." || d.Name() == "node_modules" || d.Name() == "testdata") {
			return filepath.SkipDir
		}
		if d.IsDir() || path.Ext(name) != ".go" {
			return nil
		}
		f, err := parser.ParseFile(fset, name, nil, parser.ParseComments)
		if err != nil {
			return err
		}
		fn(filepath.ToSlash(name), f)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// TestTimeAndRandomnessAreHandedIn: only the top of the program, and tests, reach for the clock and for randomness.
func TestTimeAndRandomnessAreHandedIn(t *testing.T) {
	owners := []string{"caddymodule/", "cmd/", "tools/", "internal/demo/", "internal/e2e/", "internal/authtest/", "internal/bench/"}
	sources(t, func(name string, f *ast.File) {
		if strings.HasSuffix(name, "_test.go") || slices.ContainsFunc(owners, func(o string) bool { return strings.HasPrefix(name, o) }) {
			return
		}
		for _, i := range f.Imports {
			if p := strings.Trim(i.Path.Value, `"`); p == "crypto/rand" || p == "math/rand" || p == "math/rand/v2" {
				t.Errorf("%s imports %s", name, p)
			}
		}
		ast.Inspect(f, func(n ast.Node) bool {
			sel, ok := n.(*ast.SelectorExpr)
			if !ok {
				return true
			}
			if x, ok := sel.X.(*ast.Ident); ok && x.Name == "time" && (sel.Sel.Name == "Now" || sel.Sel.Name == "Since" || sel.Sel.Name == "Until") {
				t.Errorf("%s reads time.%s", name, sel.Sel.Name)
			}
			return true
		})
	})
}

// TestEveryPackageStatesItsPolicy: a package doc says what the package is for and what it does not do.
func TestEveryPackageStatesItsPolicy(t *testing.T) {
	const least = 60 // characters
	docs := make(map[string]int)
	sources(t, func(name string, f *ast.File) {
		if strings.HasSuffix(name, "_test.go") {
			return
		}
		dir := path.Dir(name)
		docs[dir] = max(docs[dir], len(f.Doc.Text()))
	})
	for dir, n := range docs {
		if n < least {
			t.Errorf("package %s: its doc has %d characters", dir, n)
		}
	}
}

// TestNothingIsSkipped: a skipped test hides that something is missing.
func TestNothingIsSkipped(t *testing.T) {
	sources(t, func(name string, f *ast.File) {
		ast.Inspect(f, func(n ast.Node) bool {
			if sel, ok := n.(*ast.SelectorExpr); ok && (sel.Sel.Name == "Skip" || sel.Sel.Name == "Skipf" || sel.Sel.Name == "SkipNow") {
				if x, ok := sel.X.(*ast.Ident); ok && (x.Name == "t" || x.Name == "b" || x.Name == "f") {
					t.Errorf("%s skips", name)
				}
			}
			return true
		})
	})
}

// TestRauthy009_NoPrivateKeyIsCommitted: keys of tests are made when they run.
func TestRauthy009_NoPrivateKeyIsCommitted(t *testing.T) {
	key := regexp.MustCompile(`(?m)^\s*-----BEGIN ([A-Z]+ )?PRIVATE KEY`)
	err := filepath.WalkDir(".", func(name string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && slices.Contains([]string{".git", ".cache", "bin", "node_modules"}, d.Name()):
			return filepath.SkipDir
		case !d.Type().IsRegular():
			return nil
		}
		text, err := os.ReadFile(name)
		if key.Match(text) {
			t.Errorf("%s holds a private key", name)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}
