package authzresponse

import (
	"net/url"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const issuer = "https://auth.example.org/"

func TestE13_AUZ05_AUZ07_AUZ25_Location(t *testing.T) {
	const iss = "iss=https%3A%2F%2Fauth.example.org%2F"
	for _, c := range []struct {
		name string
		r    Response
		want string
	}{
		{"default", Response{RedirectURI: "https://app.example.com/cb", Code: "c"}, "https://app.example.com/cb?code=c&" + iss + "#"},
		{"query", Response{RedirectURI: "https://app.example.com/cb", Mode: Query, Code: "c"}, "https://app.example.com/cb?code=c&" + iss + "#"},
		{"fragment", Response{RedirectURI: "https://app.example.com/cb", Mode: Fragment, Code: "c"}, "https://app.example.com/cb#code=c&" + iss},
		{"fragment after a query", Response{RedirectURI: "https://app.example.com/?a", Mode: Fragment, Code: "c"}, "https://app.example.com/?a#code=c&" + iss},
		{"no path", Response{RedirectURI: "https://app.example.com", Code: "c"}, "https://app.example.com?code=c&" + iss + "#"},
		{"app", Response{RedirectURI: "com.example.app:/", Code: "c"}, "com.example.app:/?code=c&" + iss + "#"},
		{"app, upper case", Response{RedirectURI: "com.Example.App:/x", Code: "c"}, "com.Example.App:/x?code=c&" + iss + "#"},
		{"app with two slashes", Response{RedirectURI: "com.example.app://", Code: "c"}, "com.example.app://?code=c&" + iss + "#"},
		{"desktop", Response{RedirectURI: "io.element.desktop:/vector/webapp/", Code: "c"}, "io.element.desktop:/vector/webapp/?code=c&" + iss + "#"},
		{"a query that stays", Response{RedirectURI: "https://app.example.com/?no_universal_links=true", Code: "c"}, "https://app.example.com/?no_universal_links=true&code=c&" + iss + "#"},
		{"order, escapes and flags stay", Response{RedirectURI: "https://app.example.com/?b=2&a=x%20y&flag&p=%2B+", Code: "c"}, "https://app.example.com/?b=2&a=x%20y&flag&p=%2B+&code=c&" + iss + "#"},
		{"a code of its own", Response{RedirectURI: "https://app.example.com/?code=old", Code: "c"}, "https://app.example.com/?code=old&code=c&" + iss + "#"},
		{"an empty query", Response{RedirectURI: "https://app.example.com/?", Code: "c"}, "https://app.example.com/?code=c&" + iss + "#"},
		{"a query that ends", Response{RedirectURI: "https://app.example.com/?a&", Code: "c"}, "https://app.example.com/?a&code=c&" + iss + "#"},
		{"IPv6", Response{RedirectURI: "http://[::1]:8080/cb", Code: "c"}, "http://[::1]:8080/cb?code=c&" + iss + "#"},
		{"loopback", Response{RedirectURI: "http://127.0.0.1:1/", Code: "c"}, "http://127.0.0.1:1/?code=c&" + iss + "#"},
		{"encoded dots", Response{RedirectURI: "https://app.example.com/%2e%2E/x", Code: "c"}, "https://app.example.com/%2e%2E/x?code=c&" + iss + "#"},
		{"state", Response{RedirectURI: "a:/", Code: "c", HasState: true, State: "a b+c&=#%ü"}, "a:/?code=c&state=a%20b%2Bc%26%3D%23%25%C3%BC&" + iss + "#"},
		{"empty state", Response{RedirectURI: "a:/", Code: "c", HasState: true}, "a:/?code=c&state=&" + iss + "#"},
		{"state that was not sent", Response{RedirectURI: "a:/", Code: "c", State: "x"}, "a:/?code=c&" + iss + "#"},
		{"error", Response{RedirectURI: "a:/", Mode: Fragment, Error: "access_denied", Description: "no \"ü\"\\\n", HasState: true, State: "s", Code: "c"},
			"a:/#error=access_denied&error_description=no%20%3F%3F%3F%3F%3F&state=s&" + iss},
	} {
		c.r.Issuer = issuer
		if got, ok := c.r.Location(); !ok || got != c.want {
			t.Errorf("%s: got %s, %v, want %s", c.name, got, ok, c.want)
		}
	}
}

// A fragment that somebody put on the link to us ends at the response: browsers carry one over redirects that have none, and
// the client's page would take it for an answer of ours.
func TestMAS6a99e56c8_EveryResponseHasAFragment(t *testing.T) {
	for _, uri := range []string{"https://app.example.com/cb", "https://app.example.com/?a=b", "com.example.app:/cb", "http://127.0.0.1:1/"} {
		for _, mode := range []string{"", Query, Fragment} {
			for _, r := range []Response{{Code: "c"}, {Error: "access_denied", HasState: true, State: "#"}} {
				r.RedirectURI, r.Mode, r.Issuer = uri, mode, issuer
				location, _ := r.Location()
				_, fragment, found := strings.Cut(location, "#")
				if !found || strings.Contains(fragment, "#") || (fragment != "") != (mode == Fragment) {
					t.Errorf("mode %q: got %s", mode, location)
				}
			}
		}
	}
}

func TestFormPost(t *testing.T) {
	r := Response{RedirectURI: "https://app.example.com/cb", Mode: FormPost, Issuer: issuer, Code: "c", HasState: true, State: `"<`}
	if got, ok := r.Location(); ok {
		t.Errorf("got %s", got)
	}
	if diff := cmp.Diff([]Field{{"code", "c"}, {"state", `"<`}, {"iss", issuer}}, r.Fields()); diff != "" {
		t.Error(diff)
	}
}

func TestPostable(t *testing.T) {
	for state, want := range map[string]bool{
		"": true, "a b": true, `"'<&>`: true, "ü🎉": true, "a\nb": false, "a\rb": false, "\x00": false, "\x7f": false, "\u0085": false, "\xff": false, "\t": false,
	} {
		if got := Postable(state); got != want {
			t.Errorf("%q: got %v, want %v", state, got, want)
		}
	}
}

// FuzzLocation: what was registered stays, and a client reads what was sent.
func FuzzLocation(f *testing.F) {
	for _, uri := range []string{"com.example.app:/", "https://a.example/?b=2&a=x%20y&flag", "http://[::1]:1/", "https://a.example?"} {
		for _, mode := range []string{Query, Fragment, "", FormPost} {
			f.Add(uri, mode, "st te+&#", "code", "", "")
			f.Add(uri, mode, "\xff\x00", "", "access_denied", "no\n")
		}
	}
	f.Fuzz(func(t *testing.T, uri, mode, state, code, errorCode, description string) {
		r := Response{RedirectURI: uri, Mode: mode, Issuer: issuer, State: state, HasState: true, Code: code, Error: errorCode, Description: description}
		got, ok := r.Location()
		if ok == (mode == FormPost) {
			t.Fatalf("ok is %v", ok)
		}
		if !ok {
			return
		}
		rest, found := strings.CutPrefix(got, uri)
		if !found {
			t.Fatalf("%q does not begin with %q", got, uri)
		}
		for i := range len(rest) {
			if rest[i] <= ' ' || rest[i] > '~' {
				t.Fatalf("%q is appended", rest)
			}
		}
		q, err := url.ParseQuery(strings.Trim(rest, "?&#"))
		if err != nil {
			t.Fatal(err)
		}
		if q.Get("state") != state || q.Get("iss") != issuer || q.Has("code") == (errorCode != "") || errorCode == "" && q.Get("code") != code {
			t.Fatalf("got %v", q)
		}
	})
}
