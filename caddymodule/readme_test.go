package caddymodule

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
	"github.com/google/go-cmp/cmp"
	"github.com/oklog/ulid/v2"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/caddy-matrix/caddy-matrix-auth/internal/auth"
	"github.com/caddy-matrix/caddy-matrix-auth/internal/authtest"
)

// The README's tables name what there is, all of it and nothing else.

func readme(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile("../README.md")
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// section is what stands below a heading of the README, up to the next one.
func section(t *testing.T, heading string) string {
	t.Helper()
	_, text, ok := strings.Cut(readme(t), "\n"+heading+"\n")
	if !ok {
		t.Fatalf("the README has no heading %q", heading)
	}
	return regexp.MustCompile(`(?m)^##+ `).Split(text, 2)[0]
}

var (
	rowPattern  = regexp.MustCompile(`(?m)^\| (.*?[^\\]) \|`)
	codePattern = regexp.MustCompile("`([^`]+)`")
	flagPattern = regexp.MustCompile(`--([a-z-]+)`)
)

// rows are the first cells of a section's tables; each is the code in it.
func rows(t *testing.T, heading string) (all [][]string) {
	t.Helper()
	for _, row := range rowPattern.FindAllStringSubmatch(section(t, heading), -1) {
		if cell := code(row[1]); len(cell) > 0 {
			if strings.HasPrefix(row[1], "…") {
				cell = append([]string{"…"}, cell...)
			}
			all = append(all, cell)
		}
	}
	return all
}

// code is all that stands in backquotes.
func code(text string) (all []string) {
	for _, m := range codePattern.FindAllStringSubmatch(text, -1) {
		all = append(all, m[1])
	}
	return all
}

func word(text string) string { return strings.Fields(text)[0] }

func same(t *testing.T, what string, inCode, inReadme []string) {
	t.Helper()
	sorted := func(s []string) []string { return slices.Compact(slices.Sorted(slices.Values(s))) }
	if diff := cmp.Diff(sorted(inCode), sorted(inReadme)); diff != "" {
		t.Errorf("%s (-code +README):\n%s", what, diff)
	}
}

func TestREADME_Options(t *testing.T) {
	inCode := slices.Collect(maps.Keys(appOptions))
	for i := range reflect.TypeFor[RateLimits]().NumField() {
		name, _, _ := strings.Cut(reflect.TypeFor[RateLimits]().Field(i).Tag.Get("json"), ",")
		inCode = append(inCode, "rate_limit "+name)
	}
	nested := func(block string, names ...string) {
		for _, name := range names {
			inCode = append(inCode, block+" … "+name)
		}
	}
	nested("synapse", slices.Collect(maps.Keys(synapseOptions))...)
	nested("tokens", slices.Collect(maps.Keys(tokensOptions))...)
	nested("password", slices.Collect(maps.Keys(passwordOptions))...)
	nested("client", slices.Collect(maps.Keys(clientOptions))...)
	nested("branding", slices.Collect(maps.Keys(brandingOptions))...)
	nested("support", slices.Collect(maps.Keys(supportOptions))...)

	var inReadme []string
	block := ""
	for _, row := range rows(t, "## Options") {
		if row[0] == "…" {
			for _, option := range row[1:] {
				inReadme = append(inReadme, block+" … "+word(option))
			}
			continue
		}
		block = word(row[0])
		inReadme = append(inReadme, block)
		if block == "rate_limit" {
			inReadme = append(inReadme, "rate_limit "+strings.Fields(row[0])[1])
		}
	}
	same(t, "options", inCode, inReadme)
}

// TestREADME_Defaults: a configuration that says the defaults as the table has them is the same as one that says nothing.
func TestREADME_Defaults(t *testing.T) {
	said := map[string][]string{} // :: block → its options; "": those outside of any
	block := ""
	literal := regexp.MustCompile("^`([^`]+)`(?: \\(.*\\))? $") // What is said in words is not looked at.
	for _, row := range regexp.MustCompile("(?m)^\\| (… )?`(.*?)`.*? \\| ([^|]*)\\|").FindAllStringSubmatch(section(t, "## Options"), -1) {
		nested, option := row[1] != "", row[2]
		if !nested {
			block = word(option)
		}
		cell := literal.FindStringSubmatch(row[3])
		if cell == nil {
			continue
		}
		value := cell[1]
		switch {
		case nested:
			said[block] = append(said[block], word(option)+" "+value)
		case block == "rate_limit":
			said[""] = append(said[""], strings.Join(append(strings.Fields(option)[:2], value), " "))
		default:
			t.Errorf("the default of %s is not looked at", option)
		}
	}
	got := map[string]int{}
	for block, options := range said {
		got[block] = len(options)
	}
	if diff := cmp.Diff(map[string]int{"": 4, "synapse": 1, "tokens": 4, "password": 1, "client": 2}, got); diff != "" {
		t.Errorf("defaults in the README (-want +got):\n%s", diff)
	}
	resolved := func(said map[string][]string) settings {
		t.Helper()
		lines := func(block string) string { return strings.Join(said[block], "\n") }
		text := fmt.Sprintf("{\nmatrix_auth example.org {\nissuer https://example.org/\n%s\nsynapse http://127.0.0.1:8008 {\nsecret %s\n%s\n}\n"+
			"tokens {\n%s\n}\npassword {\n%s\n}\nclient x {\nredirect_uri https://x.example.org/\n%s\n}\n}\n}",
			lines(""), authtest.Secret, lines("synapse"), lines("tokens"), lines("password"), lines("client"))
		config, _, err := caddyconfig.GetAdapter("caddyfile").Adapt([]byte(text), map[string]any{"filename": "README"})
		if err != nil {
			t.Fatalf("%v in\n%s", err, text)
		}
		var c struct {
			Apps struct {
				App App `json:"matrix_auth"`
			}
		}
		if err := json.Unmarshal(config, &c); err != nil {
			t.Fatal(err)
		}
		s, err := c.Apps.App.resolve(caddy.NewReplacer())
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	if want, got := resolved(nil), resolved(said); !reflect.DeepEqual(got, want) {
		t.Errorf("with the README's defaults:\ngot  %+v\nwant %+v", got, want)
	}
}

func TestREADME_Directives(t *testing.T) {
	inCode := map[string][]string{
		appName:             slices.Collect(maps.Keys(handlerOptions)),
		homeserverDirective: slices.Collect(maps.Keys(homeserverOptions)),
		wellKnownDirective:  nil,
	}
	for _, row := range rows(t, "### Directives") {
		name := word(row[0])
		var inReadme []string
		if _, block, ok := strings.Cut(strings.TrimSuffix(row[0], " }"), " { "); ok {
			for option := range strings.SplitSeq(block, ";") {
				inReadme = append(inReadme, word(option))
			}
		}
		same(t, "options of "+name, inCode[name], inReadme)
		delete(inCode, name)
	}
	if len(inCode) > 0 {
		t.Errorf("not in the README: %v", inCode)
	}
	for _, group := range groups {
		if !slices.Contains(code(section(t, "### Directives")), string(group)) {
			t.Errorf("the README does not name the group %s", group)
		}
	}
}

func TestREADME_Commands(t *testing.T) {
	root := &cobra.Command{Use: "matrix-auth"}
	addCommands(root)
	var inCode []string
	var walk func(path string, cmd *cobra.Command)
	walk = func(path string, cmd *cobra.Command) {
		for _, sub := range cmd.Commands() {
			walk(strings.TrimSpace(path+" "+sub.Name()), sub)
		}
		if cmd.HasSubCommands() {
			return
		}
		inCode = append(inCode, path)
		cmd.LocalNonPersistentFlags().VisitAll(func(f *pflag.Flag) { inCode = append(inCode, path+" --"+f.Name) })
	}
	walk("", root)

	var inReadme []string
	for _, row := range rows(t, "## Command line") {
		for _, usage := range row {
			path := strings.TrimSpace(regexp.MustCompile(`^[a-z -]*[a-z]\b`).FindString(strings.Split(usage, "--")[0]))
			inReadme = append(inReadme, path)
			for _, flag := range flagPattern.FindAllString(usage, -1) {
				inReadme = append(inReadme, path+" "+flag)
			}
		}
	}
	same(t, "commands", inCode, inReadme)
	root.PersistentFlags().VisitAll(func(f *pflag.Flag) {
		if !slices.Contains(flagPattern.FindAllString(section(t, "## Command line"), -1), "--"+f.Name) {
			t.Errorf("the README does not name the flag --%s", f.Name)
		}
	})
}

// described collects what is registered.
type described struct {
	prometheus.Registerer
	all []string
}

// Register implements prometheus.Registerer.
func (d *described) Register(c prometheus.Collector) error {
	ch := make(chan *prometheus.Desc, 100)
	c.Describe(ch)
	close(ch)
	for desc := range ch {
		m := regexp.MustCompile(`fqName: "caddy_matrix_auth_(\w+)".*variableLabels: (\{.*?\})`).FindStringSubmatch(desc.String())
		d.all = append(d.all, m[1]+strings.TrimSuffix(m[2], "{}"))
	}
	return nil
}

func TestREADME_Metrics(t *testing.T) {
	var d described
	if err := registerMetrics(&d); err != nil {
		t.Fatal(err)
	}
	same(t, "metrics", d.all, slices.Concat(rows(t, "### Metrics")[1:]...))
}

func TestREADME_Events(t *testing.T) {
	var inCode []string
	files, err := filepath.Glob("../internal/auth/*.go")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		if strings.HasSuffix(file, "_test.go") {
			continue
		}
		source, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range regexp.MustCompile(`(?:Event\{\s*Name: |e\.Name, e\.Reason = )"(\w+)"`).FindAllSubmatch(source, -1) {
			inCode = append(inCode, string(m[1]))
		}
	}
	eachMember(&auth.Event{
		Method: "x", Grant: "x", Reason: "x", UserID: "x", DeviceID: "x", SessionID: ulid.ULID{1}, GrantID: ulid.ULID{1}, ClientID: "x", Addr: authtest.Addr,
	}, func(key, _ string) { inCode = append(inCode, key) })
	same(t, "events and their data", inCode, code(section(t, "### Events")))
}

// TestREADME_Caddyfiles: what the README shows can be copied.
func TestREADME_Caddyfiles(t *testing.T) {
	blocks := regexp.MustCompile("(?ms)^ *```caddyfile\n(.*?)^ *```").FindAllStringSubmatch(readme(t), -1)
	if len(blocks) < 2 {
		t.Fatalf("got %d Caddyfiles in the README", len(blocks))
	}
	for _, block := range blocks {
		if _, _, err := caddyconfig.GetAdapter("caddyfile").Adapt([]byte(block[1]), map[string]any{"filename": "README"}); err != nil {
			t.Error(fmt.Errorf("%w\n%s", err, block[1]))
		}
	}
}
