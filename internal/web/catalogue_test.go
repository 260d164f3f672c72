package web

import (
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"text/template/parse"
	"time"

	"github.com/caddy-matrix/caddy-matrix-auth/internal/authtest"
	"github.com/caddy-matrix/caddy-matrix-auth/store"
)

var definition = regexp.MustCompile(`{{define "([^"]+)"}}`)

func defined(t *testing.T, file string) []string {
	t.Helper()
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, m := range definition.FindAllStringSubmatch(string(b), -1) {
		if slices.Contains(names, m[1]) {
			t.Errorf("%s: %s twice", file, m[1])
		}
		names = append(names, m[1])
	}
	slices.Sort(names)
	return names
}

// TestEveryTextInEveryLanguage: the catalogues say the same things, all that the pages say, and no more.
func TestEveryTextInEveryLanguage(t *testing.T) {
	english := defined(t, "catalogue/en.html")
	for _, l := range spoken {
		if got := defined(t, "catalogue/"+l.Code+".html"); !slices.Equal(got, english) {
			for _, name := range slices.Concat(got, english) {
				if slices.Contains(got, name) != slices.Contains(english, name) {
					t.Errorf("%s: %s is in one catalogue only", l.Code, name)
				}
			}
		}
	}
	var code strings.Builder
	sources, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	templates, err := filepath.Glob("templates/*.html")
	if err != nil {
		t.Fatal(err)
	}
	var parts []string
	for _, f := range append(append(sources, templates...), "catalogue/en.html") {
		b, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		if strings.HasSuffix(f, "_test.go") {
			continue
		}
		code.Write(b)
		if strings.HasPrefix(f, "templates/") {
			parts = append(parts, defined(t, f)...)
		}
	}
	for _, name := range english {
		used := strings.Contains(code.String(), `{{template "`+name+`"`) || strings.Count(code.String(), `"`+name+`"`) > 1
		for _, prefix := range []string{"problem.", "account.notice.", "session.kind."} {
			used = used || strings.HasPrefix(name, prefix)
		}
		if !used {
			t.Errorf("nothing says %s", name)
		}
		if slices.Contains(parts, name) {
			t.Errorf("%s is also a part of a page", name)
		}
	}
	for kind := range problems {
		for _, name := range []string{"problem." + kind + ".title", "problem." + kind + ".text"} {
			if !slices.Contains(english, name) {
				t.Errorf("no text %s", name)
			}
		}
	}
}

// TestEveryTemplateThatIsNamedExists, in every language.
func TestEveryTemplateThatIsNamedExists(t *testing.T) {
	all, err := loadLanguages()
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range all {
		for _, tmpl := range l.set.Templates() {
			if tmpl.Tree == nil {
				continue
			}
			walk(tmpl.Tree.Root, func(name string) {
				if l.set.Lookup(name) == nil {
					t.Errorf("%s: %s names %s", l.Code, tmpl.Name(), name)
				}
			})
		}
	}
}

func walk(n parse.Node, fn func(string)) {
	switch n := n.(type) {
	case *parse.ListNode:
		if n != nil {
			for _, c := range n.Nodes {
				walk(c, fn)
			}
		}
	case *parse.TemplateNode:
		fn(n.Name)
	case *parse.IfNode:
		walk(n.List, fn)
		walk(n.ElseList, fn)
	case *parse.WithNode:
		walk(n.List, fn)
		walk(n.ElseList, fn)
	case *parse.RangeNode:
		walk(n.List, fn)
		walk(n.ElseList, fn)
	}
}

// TestPlainWords: nobody has to know what this is made of.
func TestPlainWords(t *testing.T) {
	banned := regexp.MustCompile(`(?i)\b(OAuth|OIDC|client|grant|MXID|token|scope|redirect|authori[sz]e|credentials?|caddy|synapse)\b`)
	markup := regexp.MustCompile(`{{.*?}}|<[^>]*>`)
	for _, l := range spoken {
		b, err := os.ReadFile("catalogue/" + l.Code + ".html")
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(markup.ReplaceAllString(string(b), "")) {
			if found := banned.FindString(line); found != "" {
				t.Errorf("%s says %q: %s", l.Code, found, line)
			}
		}
	}
}

func TestLanguages(t *testing.T) {
	s := newSite(t, authtest.Options{})
	for _, c := range []struct{ locales, accept, want string }{
		{"", "", "en"}, {"", "de", "de"}, {"", "de-AT, en;q=0.5", "de"}, {"", "fr, de;q=0.5", "de"}, {"", "en-GB, de;q=0.9", "en"},
		{"de", "en", "de"}, {"fr de-CH", "en", "de"}, {"fr", "de", "de"}, {"xx-!!", "de", "de"}, {"", "*;q=ü", "en"}, {"en", "de", "en"},
		{"", strings.Repeat("de,", 10_000), "de"},
	} {
		r := httptest.NewRequest(http.MethodGet, issuer+"/login", nil)
		r.Header.Set("Accept-Language", c.accept)
		if got := s.languageFor(c.locales, r).Code; got != c.want {
			t.Errorf("ui_locales %q, Accept-Language %.20q: got %s, want %s", c.locales, c.accept, got, c.want)
		}
	}

	// The request's language holds on its pages; a choice on the page wins and stays.
	s.MustAddUser(t, "alice")
	b := s.surfer(t)
	c := s.client(t, store.Client{Name: "Element", Localized: map[string]string{"client_name#de": "Das Element"}})
	b.get(b.start(c, store.Grant{UILocales: "de"}))
	b.expect(http.StatusOK, "Anmelden", "Das Element")
	if b.head.Get("Content-Language") != "de" {
		t.Errorf("got %q", b.head.Get("Content-Language"))
	}
	b.get(b.link("English"))
	b.expect(http.StatusOK, "Sign in")
	b.signIn("alice", authtest.Password)
	b.expect(http.StatusOK, "Allow Element")
}

func TestMoments(t *testing.T) {
	all, err := loadLanguages()
	if err != nil {
		t.Fatal(err)
	}
	now := time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC)
	for d, want := range map[time.Duration][2]string{
		0: {"just now", "gerade eben"}, time.Minute: {"a minute ago", "vor einer Minute"}, 3 * time.Hour: {"3 hours ago", "vor 3 Stunden"},
		47 * time.Hour: {"a day ago", "vor einem Tag"}, 15 * 24 * time.Hour: {"2 weeks ago", "vor 2 Wochen"}, 70 * 24 * time.Hour: {"2 months ago", "vor 2 Monaten"},
	} {
		for i, l := range all {
			got, err := moment{l, now.Add(-d), now}.Ago()
			if err != nil || string(got) != want[i] {
				t.Errorf("%v ago, %s: got %q, %v, want %q", d, l.Code, got, err, want[i])
			}
		}
	}
	if got, err := (moment{all[1], now, now.AddDate(1, 0, 0)}).Time(); err != nil || got != "4. März 2026, 05:06 UTC" {
		t.Errorf("got %q, %v", got, err)
	}
}
