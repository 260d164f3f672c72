package caddymodule

import (
	"fmt"
	"maps"
	"runtime"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
)

// TestNativeDirective puts the directive wherever a Caddyfile may have it, and beside directives that wrap or style answers.
func TestNativeDirective(t *testing.T) {
	t.Setenv("OTEL_TRACES_EXPORTER", "none")
	e := newEdge(t)
	sites := "(snippet) {\nmatrix_homeserver\n}\n&(named) {\nmatrix_homeserver\n}\n"
	forms := map[string]string{ // by where the directive stands
		"route":       "route {\nmatrix_homeserver\n}",
		"handle":      "handle {\nmatrix_homeserver\n}",
		"handle_path": "handle_path /x/* {\nmatrix_homeserver\n}",
		"snippet":     "import snippet",
		"named route": "invoke named",
		"matcher":     "@matrix path /_matrix/* /_synapse/*\nmatrix_homeserver @matrix",
		"tracing":     "tracing {\nspan matrix\n}\nmatrix_homeserver",
		"encode":      "encode\nmatrix_homeserver",
		"errors":      "handle_errors {\nrespond styled\n}\nmatrix_homeserver\nerror /broken 500",
	}
	at := make(map[string]string)
	for name, form := range forms {
		at[name] = "http://" + freeAddr(t)
		sites += at[name] + " {\nbind 127.0.0.1\n" + form + "\n}\n"
	}
	e.mustLoad(e.config("", sites))
	e.mustAddUser("alice")
	access, _ := e.mustLogin("alice", "PHONE")
	for name, base := range at {
		t.Run(name, func(t *testing.T) {
			if name == "handle_path" {
				base += "/x"
			}
			e.checkSite(t, base, access)
		})
	}
	if a := fetch(t, "GET", at["errors"]+"/broken", "", ""); a.body != "styled" {
		t.Errorf("an error of the site: got %d %q, want the site's own answer", a.status, a.body)
	}
}

// checkSite asks for something of ours, of Synapse's and of nobody's.
func (e *edge) checkSite(t *testing.T, base, access string) {
	t.Helper()
	for _, c := range []struct {
		path, token string
		status      int
		want        string
	}{
		{"/_matrix/client/v3/login", "", 200, "m.login.password"},
		{"/_matrix/client/v3/account/whoami", access, 200, `"username":"alice"`},
		{"/_matrix/client/v3/account/whoami", access[:len(access)-1] + "_", 401, "M_UNKNOWN_TOKEN"},
		{"/_synapse/mas/query_user", "", 404, "M_UNRECOGNIZED"},
	} {
		if a := fetch(t, "GET", base+c.path, c.token, ""); a.status != c.status || !strings.Contains(a.body, c.want) {
			t.Errorf("%s: got %d %s, want %d with %s", c.path, a.status, a.body, c.status, c.want)
		}
	}
}

// TestNativeJSON needs no Caddyfile.
func TestNativeJSON(t *testing.T) {
	e := newEdge(t)
	server := `{"listen": [%q], "automatic_https": {"disable": true}, "routes": [{"handle": [{"handler": "matrix_auth", %s}]}]}`
	config := fmt.Sprintf(`{
		"admin": {"disabled": true},
		"apps": {
			"matrix_auth": {
				"server_name": "example.org", "issuer": "http://%s", "data_dir": %q,
				"synapse": {"endpoint": %q, "secret": "{file.%s/secret}"}
			},
			"http": {"servers": {"public": %s, "internal": %s}}
		}
	}`, e.public, e.dir+"/data", e.synapse.url, e.dir,
		fmt.Sprintf(server, e.public, fmt.Sprintf(`"proxy": {"handler": "reverse_proxy", "upstreams": [{"dial": %q}]}`, strings.TrimPrefix(e.synapse.url, "http://"))),
		fmt.Sprintf(server, e.internal, `"endpoints": ["internal"]`))
	if err := caddy.Load([]byte(config), true); err != nil {
		t.Fatal(err)
	}
	e.mustAddUser("alice")
	access, _ := e.mustLogin("alice", "PHONE")
	e.checkSite(t, "http://"+e.public, access)
}

// TestNothingIsLeft of ours when Caddy has stopped: no goroutine of this module or of its database.
func TestNothingIsLeft(t *testing.T) {
	before := ours() // Badger leaves some behind when it cannot open a directory, as other tests have it.
	left := func() int {
		now := ours()
		maps.DeleteFunc(now, func(name string, _ bool) bool { return before[name] })
		return len(now)
	}
	e := newEdge(t)
	for range 2 {
		e.mustLoad(e.config("", ""))
	}
	e.mustAddUser("alice")
	access, _ := e.mustLogin("alice", "PHONE")
	e.whoami(access)
	if left() == 0 {
		t.Fatal("nothing of ours runs: this shows nothing")
	}
	if err := caddy.Stop(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "every goroutine of ours ends", func() bool { return left() == 0 })
}

// ours is the goroutines that belong to this module, but for those of its tests, by their names in a dump.
func ours() map[string]bool {
	buf := make([]byte, 4<<20)
	found := make(map[string]bool)
	for stack := range strings.SplitSeq(string(buf[:runtime.Stack(buf, true)]), "\n\n") {
		module := strings.Contains(stack, "caddy-matrix-auth/") || strings.Contains(stack, "dgraph-io/")
		if module && !strings.Contains(stack, "_test.go") && !strings.Contains(stack, "internal/authtest") {
			name, _, _ := strings.Cut(stack, " [")
			found[name] = true
		}
	}
	return found
}
