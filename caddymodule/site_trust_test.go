package caddymodule

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
)

// loginFrom tries a wrong password, and says to come from addr.
func (e *edge) loginFrom(addr string) (status int) {
	e.t.Helper()
	body := strings.NewReader(`{"type":"m.login.password","identifier":{"type":"m.id.user","user":"alice"},"password":"wrong"}`)
	req, err := http.NewRequest("POST", "http://"+e.public+"/_matrix/client/v3/login", body)
	if err != nil {
		e.t.Fatal(err)
	}
	req.Header.Set("X-Forwarded-For", addr)
	resp, err := transport.RoundTrip(req)
	if err != nil {
		e.t.Fatal(err)
	}
	resp.Body.Close()
	return resp.StatusCode
}

// TestRAT05_ClientsBehindAProxy: those behind a proxy that Caddy trusts are limited each by itself; what anybody else says of
// its address counts for nothing.
func TestRAT05_ClientsBehindAProxy(t *testing.T) {
	const limit = "rate_limit login 2 1m"
	for name, c := range map[string]struct {
		trusted string
		other   int // what another address gets after the first is limited
	}{
		"trusted":     {"127.0.0.1/32", 403},
		"not trusted": {"192.0.2.0/24", 429},
	} {
		t.Run(name, func(t *testing.T) {
			e := newEdge(t)
			servers := fmt.Sprintf("\tservers {\n\t\ttrusted_proxies static %s\n\t}\n\tmatrix_auth example.org {", c.trusted)
			e.mustLoad(strings.Replace(e.config(limit, ""), "\tmatrix_auth example.org {", servers, 1))
			e.mustAddUser("alice")
			for i, want := range []int{403, 403, 429} {
				if got := e.loginFrom("203.0.113.1"); got != want {
					t.Errorf("attempt %d: got %d, want %d", i+1, got, want)
				}
			}
			if got := e.loginFrom("203.0.113.2"); got != c.other {
				t.Errorf("another address: got %d, want %d", got, c.other)
			}
		})
	}
}

// TestERR07_NoErrorPageOnRefresh: a site's own error page is JSON, which clients would take for a verdict and sign out. Trouble at
// refresh is answered without it, be it the edge's or of what is behind it.
func TestERR07_NoErrorPageOnRefresh(t *testing.T) {
	e := newEdge(t)
	const page = "\thandle_errors {\n\t\theader Content-Type application/json\n\t\trespond `{\"errcode\":\"M_UNKNOWN_TOKEN\"}` 401\n\t}\n"
	config := strings.Replace(e.config("", ""), "\tmatrix_homeserver\n", page+"\tmatrix_homeserver\n", 1)
	empty := func(what, path string) {
		t.Helper()
		a := e.request("POST", path, "", `{"refresh_token":"x"}`)
		if a.status != 503 || a.body != "" || a.header.Get("Retry-After") == "" {
			t.Errorf("%s: got %d %q %v, want 503 without a body", what, a.status, a.body, a.header)
		}
	}
	passedOn := strings.Replace(config, "\tmatrix_homeserver\n", "\tmatrix_auth discovery\n\treverse_proxy "+freeAddr(t)+"\n", 1)
	e.mustLoad(passedOn)
	if a := e.request("GET", "/elsewhere", "", ""); a.status != 401 || a.text("errcode") == "" {
		t.Errorf("another path: got %d %q, want the error page", a.status, a.body)
	}
	empty("a dead upstream", "/_matrix/client/v3/refresh")

	e.mustLoad(config)
	<-e.app().engine.leases.close() // as at the end of Caddy
	empty("an edge that ends", "/_matrix/client/v3/refresh")
	empty("an edge that ends", "/oauth2/token")
}
