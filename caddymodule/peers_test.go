package caddymodule

import (
	"context"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
)

// TestCaddySecurity274_NoOtherSiteAtTheAdminEndpoint: what an operator can do, no page in the operator's browser can.
func TestCaddySecurity274_NoOtherSiteAtTheAdminEndpoint(t *testing.T) {
	e := newEdge(t)
	_, config := e.adminSocket(e.config("", ""))
	e.mustLoad(config)
	e.mustAddUser("alice")
	client := http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", filepath.Join(e.dir, "admin.sock"))
	}}
	post := func(h http.Header) int {
		t.Helper()
		req, err := http.NewRequest(http.MethodPost, "http://127.0.0.1/matrix_auth/users/alice/lock", http.NoBody)
		if err != nil {
			t.Fatal(err)
		}
		req.Header = h
		resp, err := client.RoundTrip(req)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		return resp.StatusCode
	}
	for _, h := range []http.Header{
		{"Origin": {"https://evil.example"}, "Sec-Fetch-Mode": {"no-cors"}},
		{"Origin": {"https://evil.example"}, "Content-Type": {"application/x-www-form-urlencoded"}},
		{"Origin": {"null"}},
		{"Sec-Fetch-Mode": {"navigate"}},
		{"Sec-Fetch-Mode": {"no-cors"}, "Referer": {"https://evil.example/"}},
	} {
		if got := post(h); got/100 != 4 {
			t.Errorf("%v: got %d, want a refusal", h, got)
		}
	}
	if info, err := e.app().engine.service.User("alice"); err != nil || info.Locked() {
		t.Errorf("alice is locked: %v", err)
	}
	if got := post(http.Header{}); got != http.StatusOK {
		t.Errorf("the command line: got %d", got)
	}
}

// TestCaddySecurity275_EmptyPaths: a path that is empty is an error that names its option.
func TestCaddySecurity275_EmptyPaths(t *testing.T) {
	e := newEdge(t)
	good := e.config("", "")
	t.Setenv("MATRIX_TEST_EMPTY", "")
	issuer := "issuer http://" + e.public
	for _, tc := range []struct{ from, to, want string }{
		{"secret_file " + e.dir + "/secret", `secret_file ""`, "secret"},
		{"secret_file " + e.dir + "/secret", `secret_file`, "secret"},
		{"secret_file " + e.dir + "/secret", `secret {file.}`, "secret"},
		{"data_dir " + e.dir + "/data", `data_dir ""`, "data_dir"},
		{"data_dir " + e.dir + "/data", `data_dir {env.MATRIX_TEST_EMPTY}`, "data_dir"},
		{issuer, issuer + "\nclient wiki {\nredirect_uri https://a.example.org\njwks \"\"\n}", "jwks"},
		{issuer, issuer + "\nclient wiki {\nredirect_uri https://a.example.org\njwks\n}", "jwks"},
		{issuer, issuer + "\nencryption_key {file.}", "encryption_key"},
		{issuer, issuer + "\npassword {\npepper {file.}\n}", "pepper"},
	} {
		config := strings.Replace(good, tc.from, tc.to, 1)
		if config == good {
			t.Fatalf("%q is not in the configuration", tc.from)
		}
		if err := validate(config); err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%q: got %v, want an error with %q", tc.to, err, tc.want)
		}
	}
}

// TestGHSAf59hq822g45g_UnderscoresInHeaders: a header that some servers take for another one does not reach the homeserver.
func TestGHSAf59hq822g45g_UnderscoresInHeaders(t *testing.T) {
	e := newEdge(t)
	e.mustLoad(e.config("", ""))
	e.mustAddUser("alice")
	access, _ := e.mustLogin("alice", "PHONE")
	req, err := http.NewRequest(http.MethodGet, "http://"+e.public+"/_matrix/client/v3/account/whoami", http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	req.Header = http.Header{"Authorization": {"Bearer " + access}, "X_Forwarded_For": {"203.0.113.9"}, "X_forwarded-For": {"203.0.113.9"}}
	resp, err := transport.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	seen := e.synapse.last(t).Header
	for name, values := range seen {
		if strings.Contains(name, "_") {
			t.Errorf("%s: %v has reached the homeserver", name, values)
		}
	}
	if got := seen.Values("X-Forwarded-For"); resp.StatusCode != http.StatusOK || len(got) != 1 || got[0] != "127.0.0.1" {
		t.Errorf("got %d, X-Forwarded-For %v", resp.StatusCode, got)
	}
}
