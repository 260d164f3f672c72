package caddymodule

import (
	"strings"
	"testing"
)

// TestIssuerWarning: the pages have to be where the issuer's host leads.
func TestIssuerWarning(t *testing.T) {
	const warning = "no site for the issuer's host serves the group human"
	e := newEdge(t)
	elsewhere := "http://pages.localhost:" + port(freeAddr(t)) + " {\nbind 127.0.0.1\nmatrix_auth human assets\n}"

	e.mustLoad(e.config("", elsewhere))
	if e.logged(warning) {
		t.Fatal("a warning about a site that serves everything")
	}
	partly := strings.Replace(e.config("", elsewhere), "\tmatrix_homeserver\n", "\tmatrix_auth discovery oauth compat\n", 1)
	e.mustLoad(partly)
	e.mustLog(`"level":"warn"`, warning, "127.0.0.1", `"source":"`+standsAt(partly, "issuer ")+`"`)
}

func TestHostCovers(t *testing.T) {
	for _, tc := range []struct {
		name string
		want bool
	}{
		{"auth.example.org", true},
		{"AUTH.example.org", true},
		{"*.example.org", true},
		{"{env.HOST}", true},
		{"example.org", false},
		{"*.example.com", false},
		{"*.org", false},
		{"*", false},
	} {
		if got := hostCovers(tc.name, "auth.example.org"); got != tc.want {
			t.Errorf("hostCovers(%q): got %v, want %v", tc.name, got, tc.want)
		}
	}
}

func port(addr string) string { return addr[strings.LastIndex(addr, ":")+1:] }
