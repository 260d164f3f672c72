package caddymodule

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"

	"github.com/caddy-matrix/caddy-matrix-auth/internal/authtest"
)

// validate does what `caddy validate` does.
func validate(caddyfile string) error {
	raw, _, err := caddyconfig.GetAdapter("caddyfile").Adapt([]byte(caddyfile), map[string]any{"filename": "Caddyfile"})
	if err != nil {
		return err
	}
	return validateJSON(raw)
}

func validateJSON(raw []byte) error {
	var cfg caddy.Config
	if err := caddy.StrictUnmarshalJSON(raw, &cfg); err != nil {
		return err
	}
	return caddy.Validate(&cfg)
}

// TestValidateTouchesNothing checks a configuration beside a running one, and one whose directory does not exist.
func TestValidateTouchesNothing(t *testing.T) {
	e := newEdge(t)
	config := e.config("", "")
	if err := validate(config); err != nil {
		t.Fatalf("validate: %v", err)
	}
	if _, err := os.Stat(filepath.Join(e.dir, "data")); !os.IsNotExist(err) {
		t.Errorf("validating has made the data directory: %v", err)
	}
	if calls := e.synapse.Calls(); len(calls) != 0 {
		t.Errorf("validating has called Synapse: %v", calls)
	}
	e.mustLoad(config)
	e.mustAddUser("alice")
	if err := validate(config); err != nil {
		t.Errorf("validate beside the running server: %v", err)
	}
	e.mustLogin("alice", "PHONE")
}

// TestProvisionErrors holds every error to naming its option, and none to holding a secret's value.
func TestProvisionErrors(t *testing.T) {
	e := newEdge(t)
	good := e.config("", "")
	secretLine := "secret_file " + e.dir + "/secret"
	issuerLine := "issuer http://" + e.public
	writeFile(t, filepath.Join(e.dir, "empty"), " \n")
	writeFile(t, filepath.Join(e.dir, "short"), "hunter2\n")
	t.Setenv("MATRIX_TEST_SHORT", "hunter2")
	t.Setenv("MATRIX_TEST_EMPTY", "")

	for _, tc := range []struct{ name, from, to, want string }{
		{"secret missing", secretLine, "secret_file /nowhere", "synapse: secret: "},
		{"secret empty", secretLine, "secret_file " + e.dir + "/empty", "synapse: secret: is empty or shorter than 16 bytes"},
		{"secret short", secretLine, "secret_file " + e.dir + "/short", "synapse: secret: is empty or shorter than 16 bytes"},
		{"secret short in environment", secretLine, "secret {env.MATRIX_TEST_SHORT}", "synapse: secret: is empty or shorter"},
		{"secret unset", secretLine, "secret {env.MATRIX_TEST_EMPTY}", "synapse: secret: "},
		{"secret unknown", secretLine, "secret {no.such.thing}", "{no.such.thing}"},
		{"issuer http", issuerLine, "issuer {env.MATRIX_TEST_ISSUER}", "issuer: must be an https URL"},
		{"encryption key", issuerLine, issuerLine + "\nencryption_key {env.MATRIX_TEST_SHORT}", "encryption_key: must be 64"},
		{"pepper", issuerLine, issuerLine + "\npassword {\npepper {env.MATRIX_TEST_EMPTY}\n}", "password: pepper: "},
		{"internal on every address", "bind 127.0.0.1\n\troute", "route", "the group internal is on"},
		{"internal on a public address", "bind 127.0.0.1\n\troute", "bind 192.0.2.1\n\troute", "the group internal is on"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Setenv("MATRIX_TEST_ISSUER", "http://matrix.example.org")
			config := strings.Replace(good, tc.from, tc.to, 1)
			if config == good {
				t.Fatalf("%q is not in the configuration", tc.from)
			}
			err := validate(config)
			if err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Fatalf("got %v, want an error with %q", err, tc.want)
			}
			if strings.Contains(err.Error(), "hunter2") {
				t.Errorf("the error holds the secret: %v", err)
			}
		})
	}
}

// TestProvisionJSON checks what a Caddyfile cannot say.
func TestProvisionJSON(t *testing.T) {
	app := func(change func(map[string]any)) map[string]any {
		a := map[string]any{
			"server_name": "example.org",
			"issuer":      "https://matrix.example.org",
			"synapse":     map[string]any{"endpoint": "http://127.0.0.1:8008", "secret": authtest.Secret},
		}
		change(a)
		return a
	}
	site := func(handler map[string]any) map[string]any {
		handler["handler"] = "matrix_auth"
		return map[string]any{"servers": map[string]any{"s": map[string]any{
			"listen": []string{"127.0.0.1:0"},
			"routes": []any{map[string]any{"handle": []any{handler}}},
		}}}
	}
	none := func(map[string]any) {}
	set := func(key string, value any) func(map[string]any) { return func(a map[string]any) { a[key] = value } }

	for _, tc := range []struct {
		name string
		apps map[string]any
		want string // "": no error
	}{
		{"good", map[string]any{"matrix_auth": app(none), "http": site(map[string]any{})}, ""},
		{"no app", map[string]any{"http": site(map[string]any{})}, "the handler needs the app matrix_auth"},
		{"unknown group", map[string]any{"matrix_auth": app(none), "http": site(map[string]any{"endpoints": []string{"adminapi"}})}, `unknown group of endpoints "adminapi"`},
		{"unknown field", map[string]any{"matrix_auth": app(set("registration", "open"))}, "registration"},
		{"admin_api", map[string]any{"matrix_auth": app(none), "http": site(map[string]any{"admin_api": []string{"office"}})}, "admin_api: "},
		{"max_body_size", map[string]any{"matrix_auth": app(none), "http": site(map[string]any{"max_body_size": -1})}, "max_body_size: "},
		{"server_name missing", map[string]any{"matrix_auth": app(set("server_name", ""))}, "server_name is missing"},
		{"server_name", map[string]any{"matrix_auth": app(set("server_name", "a b"))}, "server_name: "},
		{"issuer missing", map[string]any{"matrix_auth": app(set("issuer", ""))}, "issuer is missing"},
		{"issuer", map[string]any{"matrix_auth": app(set("issuer", "http://example.org"))}, "issuer: "},
		{"public_baseurl", map[string]any{"matrix_auth": app(set("public_baseurl", "x"))}, "public_baseurl: "},
		{"synapse missing", map[string]any{"matrix_auth": app(set("synapse", map[string]any{}))}, "synapse: endpoint is missing"},
		{"secret missing", map[string]any{"matrix_auth": app(set("synapse", map[string]any{"endpoint": "http://a"}))}, "synapse: secret is missing"},
		{"endpoint", map[string]any{"matrix_auth": app(set("synapse", map[string]any{"endpoint": "a", "secret": authtest.Secret}))}, "synapse: endpoint: "},
		{"timeout", map[string]any{"matrix_auth": app(set("synapse", map[string]any{"endpoint": "http://a", "secret": authtest.Secret, "timeout": -1}))}, "synapse: timeout: "},
		{"compat_ttl", map[string]any{"matrix_auth": app(set("tokens", map[string]any{"compat_ttl": "5s"}))}, "tokens: compat_ttl: "},
		{"refresh_grace", map[string]any{"matrix_auth": app(set("tokens", map[string]any{"refresh_grace": -1}))}, "tokens: refresh_grace: "},
		{"refresh_idle", map[string]any{"matrix_auth": app(set("tokens", map[string]any{"refresh_idle": -1}))}, "tokens: refresh_idle: "},
		{"concurrency", map[string]any{"matrix_auth": app(set("password", map[string]any{"concurrency": -1}))}, "password: concurrency: "},
		{"rate limit", map[string]any{"matrix_auth": app(set("rate_limits", map[string]any{"login": map[string]any{"burst": -1}}))}, "rate_limits: login: "},
		{"support", map[string]any{"matrix_auth": app(set("support", map[string]any{"page": "x"}))}, "support: page: "},
	} {
		t.Run(tc.name, func(t *testing.T) {
			raw, err := json.Marshal(map[string]any{"admin": map[string]any{"disabled": true}, "apps": tc.apps})
			if err != nil {
				t.Fatal(err)
			}
			err = validateJSON(raw)
			if tc.want == "" && err != nil || tc.want != "" && (err == nil || !strings.Contains(err.Error(), tc.want)) {
				t.Errorf("got %v, want %q", err, tc.want)
			}
		})
	}
}

func TestLoopback(t *testing.T) {
	for _, tc := range []struct {
		listen string
		want   bool
	}{
		{"127.0.0.1:8090", true},
		{"127.0.0.2:8090", true},
		{"localhost:8090", true},
		{"[::1]:8090", true},
		{"unix//run/x.sock", true},
		{"tcp4/127.0.0.1:8090", true},
		{":8090", false},
		{"0.0.0.0:8090", false},
		{"[::]:8090", false},
		{"192.168.1.1:8090", false},
		{"synapse.local:8090", false},
	} {
		if got := requireLoopback([]string{tc.listen}) == nil; got != tc.want {
			t.Errorf("requireLoopback(%q): got %v, want %v", tc.listen, got, tc.want)
		}
	}
}

func TestParseEncryptionKey(t *testing.T) {
	for _, tc := range []struct {
		in string
		ok bool
	}{
		{strings.Repeat("0f", 32), true},
		{strings.Repeat("0F", 32) + "\n", true},
		{"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=", true},
		{"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA", true},
		{"____________________________________________", false},
		{strings.Repeat("0f", 16), false},
		{"", false},
	} {
		key, err := parseEncryptionKey(tc.in)
		if (err == nil) != tc.ok || tc.ok && len(key) != 32 {
			t.Errorf("parseEncryptionKey(%q): got %d bytes and %v", tc.in, len(key), err)
		}
	}
}
