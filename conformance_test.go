package caddymatrixauth

import (
	"bufio"
	"bytes"
	"flag"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

var updateDocs = flag.Bool("update", false, "write the golden files anew")

const (
	requirementsFile = "testdata/conformance.txt"
	conformanceFile  = "docs/conformance.md"
)

// numbered says how many requirements each group has: none may get lost.
var numbered = map[string]int{
	"DSC": 22, "REG": 23, "AUZ": 26, "TOK": 16, "REF": 15, "REV": 12, "DEV": 15, "SCP": 10, "ACC": 8, "LGN": 26, "SSO": 9,
	"LRF": 6, "LGO": 8, "ERR": 9, "RAT": 6, "COR": 9, "UIA": 7, "INT": 10, "E": 32,
}

// requirement is a line of the requirements file.
type requirement struct {
	id, level, words string
	verdict          string // "next: why" or "not ours: why"; empty: a test has to prove it
}

type requirements []struct {
	title string
	rows  []requirement
}

var requirementLine = regexp.MustCompile(`^([A-Z]{3}-[0-9]{2}|E[0-9]{1,2}) ([MSC]) (.+?)(?: => ((?:next|not ours): .+))?$`)

func readRequirements(t *testing.T) (all requirements) {
	t.Helper()
	text, err := os.ReadFile(requirementsFile)
	if err != nil {
		t.Fatal(err)
	}
	found := map[string]bool{}
	for lines := bufio.NewScanner(bytes.NewReader(text)); lines.Scan(); {
		line := lines.Text()
		if title, is := strings.CutPrefix(line, "## "); is {
			all = append(all, struct {
				title string
				rows  []requirement
			}{title: title})
			continue
		}
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		m := requirementLine.FindStringSubmatch(line)
		if m == nil || found[m[1]] {
			t.Fatalf("%s: malformed or repeated: %s", requirementsFile, line)
		}
		found[m[1]] = true
		last := &all[len(all)-1]
		last.rows = append(last.rows, requirement{m[1], m[2], m[3], m[4]})
	}
	for _, id := range allIDs() {
		if !found[id] {
			t.Errorf("%s: %s is missing", requirementsFile, id)
		}
		delete(found, id)
	}
	for id := range found {
		t.Errorf("%s: %s is no requirement", requirementsFile, id)
	}
	return all
}

func allIDs() (ids []string) {
	for group, n := range numbered {
		format := group + "-%02d"
		if group == "E" {
			format = "E%d"
		}
		for i := range n {
			ids = append(ids, fmt.Sprintf(format, i+1))
		}
	}
	return ids
}

// TestConformance holds docs/conformance.md to the requirements and to the tests that carry their IDs in their names. A
// requirement without a test has to say why.
func TestConformance(t *testing.T) {
	all, tests := readRequirements(t), namedTests(t)
	for _, section := range all {
		for _, r := range section.rows {
			if r.verdict == "" && len(tests[r.id]) == 0 {
				t.Errorf("%s: no test has it in its name (%s)", r.id, r.words)
			}
			if strings.HasPrefix(r.verdict, "not ours") && len(tests[r.id]) > 0 {
				t.Errorf("%s is said to be none of ours, but %s has it in its name", r.id, tests[r.id][0])
			}
		}
	}
	got := renderConformance(all, tests)
	if *updateDocs {
		if err := os.MkdirAll(path.Dir(conformanceFile), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(conformanceFile, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(conformanceFile)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("%s is not what the tests say: make golden writes it anew", conformanceFile)
	}
}

// shownTests bounds how many tests of one requirement are listed; the rest is counted.
const shownTests = 4

func renderConformance(all requirements, tests map[string][]string) []byte {
	var b bytes.Buffer
	b.WriteString("# What is expected of us, and which test proves it\n\n" +
		"Made by `conformance_test.go` from `" + requirementsFile + "` and from the names of the tests; `make golden` writes it anew.\n" +
		"Level: **M** a specification says MUST, **S** it says SHOULD, **C** a client that people use, or Synapse, breaks without it.\n" +
		"Status: **done** has a test with the ID in its name, **next** comes with a later release, **not ours** says why.\n")
	for _, section := range all {
		fmt.Fprintf(&b, "\n## %s\n\n| ID | Level | Requirement | Status | Tests |\n| --- | --- | --- | --- | --- |\n", section.title)
		for _, r := range section.rows {
			status := r.verdict
			if status == "" && len(tests[r.id]) > 0 {
				status = "done"
			}
			fmt.Fprintf(&b, "| %s | %s | %s | %s | %s |\n", r.id, r.level, cell(r.words), cell(status), listTests(tests[r.id]))
		}
	}
	return b.Bytes()
}

func cell(s string) string {
	s = strings.ReplaceAll(s, "|", `\|`)
	return strings.NewReplacer("*", `\*`, "<", "&lt;", "_", `\_`).Replace(s)
}

func listTests(names []string) string {
	var b strings.Builder
	for i, name := range names {
		if i == shownTests {
			fmt.Fprintf(&b, " and %d more", len(names)-i)
			break
		}
		if i > 0 {
			b.WriteString(", ")
		}
		b.WriteString("`" + name + "`")
	}
	return b.String()
}

// namedTests returns, for each ID, the tests that have it in their names, as "directory: TestName/subtest" or "file: step".
func namedTests(t *testing.T) map[string][]string {
	t.Helper()
	found := map[string]map[string]bool{}
	add := func(where, text string, ids []string) {
		for _, id := range ids {
			if found[id] == nil {
				found[id] = map[string]bool{}
			}
			found[id][where+": "+strings.ReplaceAll(text, "`", "'")] = true
		}
	}
	err := filepath.WalkDir(".", func(name string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && (strings.HasPrefix(d.Name(), ".") && name != "." || d.Name() == "node_modules" || d.Name() == "testdata"):
			return filepath.SkipDir
		case d.IsDir():
		case strings.HasSuffix(name, "_test.go"):
			return namedInGo(name, add)
		case path.Ext(name) == ".mjs" || path.Ext(name) == ".py":
			return namedInScript(name, add)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	lists := map[string][]string{}
	for id, names := range found {
		lists[id] = slices.Sorted(maps.Keys(names))
	}
	return lists
}

var (
	idInName = regexp.MustCompile(`(?:^|[^A-Za-z0-9])(?:((?:DSC|REG|AUZ|TOK|REF|REV|DEV|SCP|ACC|LGN|SSO|LRF|LGO|ERR|RAT|COR|UIA|INT)-[0-9]{2})|(E[1-9][0-9]?))(?:[ ,;:)]|$)`)
	idInFunc = regexp.MustCompile(`(?:Test|Fuzz|_)([A-Z]{3}[0-9]{2}|E[1-9][0-9]?)(?:[^0-9]|$)`)
)

// idsIn finds IDs in the name of a subtest or step. Those in the name of a function are written without the hyphen, one after
// the other: TestTOK05_E25_ExpiresIn.
func idsIn(name string) (ids []string) {
	for rest := name; ; {
		m := idInName.FindStringSubmatchIndex(rest)
		if m == nil {
			return ids
		}
		from, to := m[2], m[3]
		if from < 0 {
			from, to = m[4], m[5]
		}
		ids = append(ids, rest[from:to])
		rest = rest[to:]
	}
}

func idsInFunc(name string) (ids []string) {
	for rest := name; ; {
		m := idInFunc.FindStringSubmatchIndex(rest)
		if m == nil {
			return ids
		}
		id := rest[m[2]:m[3]]
		if _, lettered := numbered[id[:min(3, len(id))]]; lettered {
			id = id[:3] + "-" + id[3:]
		}
		ids = append(ids, id)
		rest = rest[m[3]:]
	}
}

// namedInGo finds IDs in the names of tests: of the functions, and in texts of functions and of tables beside them, where the
// names of subtests stand.
func namedInGo(file string, add func(where, text string, ids []string)) error {
	f, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.SkipObjectResolution)
	if err != nil {
		return err
	}
	dir := path.Dir(filepath.ToSlash(file))
	for _, decl := range f.Decls {
		in := path.Base(file)
		if fn, ok := decl.(*ast.FuncDecl); ok {
			if in = fn.Name.Name; strings.HasPrefix(in, "Test") || strings.HasPrefix(in, "Fuzz") {
				add(dir, in, idsInFunc(in))
			}
		}
		ast.Inspect(decl, func(n ast.Node) bool {
			if l, ok := n.(*ast.BasicLit); ok && l.Kind == token.STRING {
				text, err := strconv.Unquote(l.Value)
				name := in + "/" + text
				if strings.Contains(text, ": got %") { // What the test says when it fails.
					name = in
				}
				if err == nil && !strings.Contains(text, "\n") {
					add(dir, name, idsIn(text))
				}
			}
			return true
		})
	}
	return nil
}

var scriptText = regexp.MustCompile("\"(?:[^\"\\\\\n]|\\\\.)*\"|`[^`\n]*`|'[^'\n]*'")

// namedInScript finds IDs in the texts of a client program, where the names of its steps stand.
func namedInScript(file string, add func(where, text string, ids []string)) error {
	b, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	for _, text := range scriptText.FindAllString(string(b), -1) {
		text = text[1 : len(text)-1]
		add(filepath.ToSlash(file), text, idsIn(text))
	}
	return nil
}
