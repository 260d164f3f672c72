package caddymodule

import (
	"net/url"
	"strings"
	"testing"
)

// redirects are URIs of clients of the configuration, and whether they are taken.
var redirects = map[string]bool{
	"https://app.example.com/callback?b=2&a=%41&flag": true,
	"https://app.example.com":                         true,
	"https://localhost/callback":                      true,
	"http://localhost/callback":                       true,
	"http://127.0.0.1:8123/callback":                  true,
	"http://[::1]/callback":                           true,
	"com.example.App:/callback":                       true,
	"com.example.app:callback":                        true,

	"http://app.example.com/":            false,
	"http://127.0.0.1.example.com/":      false,
	"http://localhost.example.com/":      false,
	"https://user@app.example.com/":      false,
	"https://app.example.com/#fragment":  false,
	"https://app.example.com/#":          false,
	`https://app.example.com\@evil.com/`: false,
	"https:///callback":                  false,
	"https:callback":                     false,
	"//app.example.com/":                 false,
	"javascript:alert(1)":                false,
	"data:text/html,x":                   false,
	"https://app.example.com/a b":        false,
	"https://app.example.com/\n":         false,
	"":                                   false,
}

func TestCheckRedirectURI(t *testing.T) {
	for uri, want := range redirects {
		if got := checkRedirectURI(uri) == nil; got != want {
			t.Errorf("checkRedirectURI(%q): got %v, want %v", uri, got, want)
		}
	}
}

// FuzzRedirectURI: what is taken leads to the host that it seems to lead to, or to an app.
func FuzzRedirectURI(f *testing.F) {
	for uri := range redirects {
		f.Add(uri)
	}
	f.Fuzz(func(t *testing.T, uri string) {
		if checkRedirectURI(uri) != nil {
			return
		}
		u, err := url.Parse(uri)
		if err != nil || u.User != nil || strings.ContainsAny(uri, "#\\\r\n ") {
			t.Fatalf("taken: %q", uri)
		}
		web := u.Scheme == "http" || u.Scheme == "https"
		if web && u.Host == "" || !web && !strings.Contains(u.Scheme, ".") || u.Scheme == "http" && !loopbackHost(u.Hostname()) {
			t.Errorf("taken: %q", uri)
		}
	})
}

func TestParseAdmin(t *testing.T) {
	for in, want := range map[string]string{
		"alice": "alice", "@alice": "alice", "@Alice:example.org": "alice", "@alice:example.com": "", "a lice": "", "": "", "@": "",
	} {
		if got, err := parseAdmin(in, "example.org"); string(got) != want || (err == nil) != (want != "") {
			t.Errorf("parseAdmin(%q): got %q, %v, want %q", in, got, err, want)
		}
	}
}
