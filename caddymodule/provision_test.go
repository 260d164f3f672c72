package caddymodule

import (
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/google/go-cmp/cmp"

	"github.com/caddy-matrix/caddy-matrix-auth/internal/auth"
	"github.com/caddy-matrix/caddy-matrix-auth/internal/authtest"
	"github.com/caddy-matrix/caddy-matrix-auth/store"
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

// TestProvisionErrors holds every error that only shows without the Caddyfile to naming its option and where that stands, and
// none to holding a secret's value. Those that show in it have golden files.
func TestProvisionErrors(t *testing.T) {
	e := newEdge(t)
	good := e.config("", "")
	secretLine := "secret_file " + e.dir + "/secret"
	issuerLine := "issuer http://" + e.public
	writeFile(t, filepath.Join(e.dir, "empty"), " \n")
	writeFile(t, filepath.Join(e.dir, "short"), "hunter2\n")
	t.Setenv("MATRIX_TEST_SHORT", "hunter2")
	t.Setenv("MATRIX_TEST_EMPTY", "")
	t.Setenv("MATRIX_TEST_HTTP", "http://matrix.example.org/")
	more := func(lines string) string { return issuerLine + "\n" + lines }
	client := func(lines string) string { return more("client wiki {\n" + lines + "\n}") }

	for _, tc := range []struct{ name, from, to, want, at string }{
		{"secret missing", secretLine, "secret_file /nowhere", "synapse: secret: ", "secret_file"},
		{"secret empty", secretLine, "secret_file " + e.dir + "/empty", "synapse: secret: is empty or shorter than 16 bytes", "secret_file"},
		{"secret short", secretLine, "secret_file " + e.dir + "/short", "synapse: secret: is empty or shorter than 16 bytes", "secret_file"},
		{"secret short in environment", secretLine, "secret {env.MATRIX_TEST_SHORT}", "synapse: secret: is empty or shorter", "secret {"},
		{"secret unset", secretLine, "secret {env.MATRIX_TEST_EMPTY}", "synapse: secret: ", "secret {"},
		{"secret unknown", secretLine, "secret {no.such.thing}", "{no.such.thing}", "secret {"},
		{"server name", "matrix_auth example.org", "matrix_auth {env.MATRIX_TEST_HTTP}", "server_name: ", "matrix_auth {env"},
		{"issuer http", issuerLine, "issuer {env.MATRIX_TEST_HTTP}", "issuer: must be an https URL", "issuer"},
		{"public_baseurl", issuerLine, more("public_baseurl {env.MATRIX_TEST_SHORT}"), "public_baseurl: must be", "public_baseurl"},
		{"data_dir", "data_dir " + e.dir + "/data", "data_dir {env.MATRIX_TEST_EMPTY}", "data_dir: ", "data_dir"},
		{"encryption key", issuerLine, more("encryption_key {env.MATRIX_TEST_SHORT}"), "encryption_key: must be 64", "encryption_key"},
		{"pepper", issuerLine, more("password {\npepper {env.MATRIX_TEST_EMPTY}\n}"), "password: pepper: ", "pepper"},
		{"support page", issuerLine, more("support {\npage {env.MATRIX_TEST_EMPTY}\n}"), "support: page: ", "page {"},
		{"branding", issuerLine, more("branding {\ntos_uri {env.MATRIX_TEST_EMPTY}\n}"), "branding: tos_uri: ", "tos_uri"},
		{"admins", issuerLine, more("admins alice {env.MATRIX_TEST_EMPTY}"), "admins: ", "admins"},
		{"client's secret", issuerLine, client("redirect_uri https://a.example.org\nsecret {env.MATRIX_TEST_SHORT}"), "client wiki: secret: is empty", "secret {env"},
		{"client's keys", issuerLine, client("redirect_uri https://a.example.org\njwks " + e.dir + "/short"), "client wiki: jwks: must be", "jwks"},
		{"client's address", issuerLine, client("redirect_uri {env.MATRIX_TEST_HTTP}"), "client wiki: redirect_uri: must begin", "redirect_uri"},
		{"client's name", issuerLine, client("redirect_uri https://a.example.org\nname {env.MATRIX_TEST_EMPTY}"), "client wiki: name: ", "name {"},
		{"internal on every address", "bind 127.0.0.1\n\troute", "route", "the group internal is on", "matrix_auth internal"},
		{"internal on a public address", "bind 127.0.0.1\n\troute", "bind 192.0.2.1\n\troute", "the group internal is on", "matrix_auth internal"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			config := strings.Replace(good, tc.from, tc.to, 1)
			if config == good {
				t.Fatalf("%q is not in the configuration", tc.from)
			}
			err := validate(config)
			if where := standsAt(config, tc.at); err == nil || !strings.Contains(err.Error(), tc.want) || !strings.HasSuffix(err.Error(), ", at "+where) {
				t.Fatalf("got %v, want an error with %q at %s", err, tc.want, where)
			}
			if strings.Contains(err.Error(), "hunter2") {
				t.Errorf("the error holds the secret: %v", err)
			}
		})
	}
}

// standsAt is the file and line of a text in a Caddyfile.
func standsAt(caddyfile, text string) string {
	before, _, _ := strings.Cut(caddyfile, text)
	return fmt.Sprintf("Caddyfile:%d", 1+strings.Count(before, "\n"))
}

// TestSource finds options where they stand; those that are left out, where they should.
func TestSource(t *testing.T) {
	d := caddyfile.NewTestDispenser(`matrix_auth example.org {
		issuer https://example.org
		synapse http://127.0.0.1:8008 {
			secret_file /run/secret
		}
		rate_limit login off
		rate_limit authorize off
		client a {
			redirect_uri https://a.example.org https://b.example.org
			redirect_uri https://c.example.org
		}
		client b {
			introspect
		}
	}`)
	d.Next()
	s := sourceOf(d)
	for text, line := range map[string]string{
		"server_name: is wrong":                 "1",
		"issuer: is wrong":                      "2",
		"synapse: endpoint: is wrong":           "3",
		"synapse: secret: is wrong":             "4",
		"synapse: secret":                       "4",
		"synapse: timeout: is wrong":            "3",
		"rate_limit authorize: burst: is wrong": "7",
		"client a: name is missing":             "8",
		"client a: redirect_uri: is wrong":      "9 or Testfile:10",
		"client b: introspect: is wrong":        "13",
		"client c: is wrong":                    "1",
		"issuer is missing":                     "1",
	} {
		if got := s.place(text); got != "Testfile:"+line {
			t.Errorf("%s: got %s, want line %s", text, got, line)
		}
	}
	if err := Source(nil).locate(errNotURL); err != errNotURL {
		t.Errorf("without a source: got %v", err)
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

	clients := func(list ...map[string]any) []map[string]any { return list }
	with := func(c map[string]any, key string, value any) map[string]any {
		c = maps.Clone(c)
		c[key] = value
		return c
	}
	signer := map[string]any{"id": "signer", "jwks": publicJWKS, "redirect_uris": []string{"https://signer.example.org/"}}
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
		{"access_ttl", map[string]any{"matrix_auth": app(set("tokens", map[string]any{"access_ttl": "59s"}))}, "tokens: access_ttl: "},
		{"rate limit of codes", map[string]any{"matrix_auth": app(set("rate_limits", map[string]any{"device_code": map[string]any{"window": -1}}))}, "rate_limits: device_code: "},
		{"client", map[string]any{"matrix_auth": app(set("clients", clients(map[string]any{"id": "a", "redirect_uris": []string{"https://a.example.org/"}})))}, ""},
		{"client without ID", map[string]any{"matrix_auth": app(set("clients", clients(map[string]any{})))}, "client : an ID has"},
		{"client twice", map[string]any{"matrix_auth": app(set("clients", clients(signer, signer)))}, "client signer: is given twice"},
		{"client with keys in place", map[string]any{"matrix_auth": app(set("clients", clients(signer)))}, ""},
		{"client with a private key", map[string]any{"matrix_auth": app(set("clients", clients(with(signer, "jwks", privateJWKS))))}, "client signer: jwks: must be"},
		{"client without redirect", map[string]any{"matrix_auth": app(set("clients", clients(map[string]any{"id": "a"})))}, "client a: redirect_uri is missing"},
		{"client algorithm", map[string]any{"matrix_auth": app(set("clients", clients(with(signer, "id_token_alg", "none"))))}, "client signer: id_token_alg: "},
		{"client redirect", map[string]any{"matrix_auth": app(set("clients", clients(with(signer, "redirect_uris", []string{"http://a.example.org/"}))))}, "client signer: redirect_uri: must begin with https"},
		{"admins", map[string]any{"matrix_auth": app(set("admins", []string{"@alice:elsewhere.org"}))}, "admins: "},
		{"admin_client", map[string]any{"matrix_auth": app(set("admin_client", "robot"))}, `admin_client: there is no client "robot"`},
		{"branding", map[string]any{"matrix_auth": app(set("branding", map[string]any{"policy_uri": "x"}))}, "branding: policy_uri: "},
		{"branding css", map[string]any{"matrix_auth": app(set("branding", map[string]any{"css": ":root { --accent: #7a1fa2 }"}))}, ""},
		{"branding name", map[string]any{"matrix_auth": app(set("branding", map[string]any{"name": "a\u202eb"}))}, "branding: name: "},
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

// The example key of RFC 7517 appendix A.1 and A.2.
const (
	publicJWKS  = `{"keys":[{"kty":"EC","crv":"P-256","x":"MKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6KPAqv7D4","y":"4Etl6SRW2YiLUrN5vfvVHuhp7x8PxltmWWlbbM4IFyM","kid":"1"}]}`
	privateJWKS = `{"keys":[{"kty":"EC","crv":"P-256","x":"MKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6KPAqv7D4","y":"4Etl6SRW2YiLUrN5vfvVHuhp7x8PxltmWWlbbM4IFyM","d":"870MB6gfuTJ4HtUnUvYMyJpr5eUZNP4Bk43bVdj3eAE","kid":"1"}]}`
)

// TestClients resolves what clients of the configuration say, and what they leave out.
func TestClients(t *testing.T) {
	keys, secret := filepath.Join(t.TempDir(), "keys"), filepath.Join(t.TempDir(), "secret")
	writeFile(t, keys, publicJWKS+"\n")
	writeFile(t, secret, "0123456789abcdef\n")
	t.Setenv("MATRIX_TEST_SITE", "https://wiki.example.org")
	resolve := func(c Client) (auth.Client, *resolver, error) {
		r := &resolver{repl: caddy.NewReplacer()}
		out, err := c.resolve(r)
		return out, r, err
	}

	// Case 1: nothing but where to go.
	got, _, err := resolve(Client{ID: "phone", RedirectURIs: []string{"org.example.phone:/"}})
	want := auth.Client{Static: true, Client: store.Client{
		ID: "phone", Name: "phone", AuthMethod: "none", IDTokenAlg: "RS256", ApplicationType: "native", ResponseTypes: []string{"code"},
		RedirectURIs: []string{"org.example.phone:/"}, GrantTypes: []string{"authorization_code", "refresh_token"},
	}}
	if diff := cmp.Diff(want, got); err != nil || diff != "" {
		t.Errorf("minimal: %v (-want +got):\n%s", err, diff)
	}

	// Case 2: placeholders, and a secret, of which only a hash is kept.
	got, r, err := resolve(Client{ID: "wiki", Name: "Wiki", URI: "{env.MATRIX_TEST_SITE}", Secret: "{file." + secret + "}",
		RedirectURIs: []string{"{env.MATRIX_TEST_SITE}/oidc?b=2&a=%41"}})
	if err != nil || got.AuthMethod != "client_secret_basic" || got.Secret != sha256.Sum256([]byte("0123456789abcdef")) ||
		got.RedirectURIs[0] != "https://wiki.example.org/oidc?b=2&a=%41" || got.URI != "https://wiki.example.org" || len(r.literals) != 0 {
		t.Errorf("placeholders: got %+v, %v, %v", got, r.literals, err)
	}

	// Case 3: keys from a file.
	got, _, err = resolve(Client{ID: "signer", JWKS: "{file." + keys + "}", RedirectURIs: []string{"https://a.example.org/"}})
	if err != nil || got.AuthMethod != "private_key_jwt" || !strings.Contains(string(got.JWKS), `"kid":"1"`) {
		t.Errorf("keys: got %+v, %v", got, err)
	}

	// Case 4: a resource server, with a secret in clear.
	got, r, err = resolve(Client{ID: "media", Secret: "0123456789abcdef", Introspect: true})
	if err != nil || !got.Introspect || len(got.GrantTypes) != 0 || len(r.literals) != 1 || r.literals[0] != "client media: secret" {
		t.Errorf("resource server: got %+v, %v, %v", got, r.literals, err)
	}

	// Case 5: what only shows when placeholders are replaced.
	t.Setenv("MATRIX_TEST_SITE", "http://wiki.example.org")
	for name, c := range map[string]Client{
		"redirect_uri: must begin with https": {ID: "a", RedirectURIs: []string{"{env.MATRIX_TEST_SITE}/"}},
		"secret: ":                            {ID: "a", Secret: "{file./nowhere}", RedirectURIs: []string{"https://a.example.org/"}},
		"jwks: must be a JSON Web Key Set":    {ID: "a", JWKS: "{file." + secret + "}", RedirectURIs: []string{"https://a.example.org/"}},
	} {
		if _, _, err := resolve(c); err == nil || !strings.HasPrefix(err.Error(), name) {
			t.Errorf("got %v, want %s…", err, name)
		}
	}
}

// TestLimits fills in what the configuration leaves out.
func TestLimits(t *testing.T) {
	var s settings
	app := &App{RateLimits: &RateLimits{Authorize: &RateLimit{Burst: 5}, DeviceCode: &RateLimit{Off: true}}}
	if err := s.resolveLimits(app, nil); err != nil {
		t.Fatal(err)
	}
	want := limitSettings{
		login: auth.Limit{Burst: 10, Window: time.Minute}, authorize: auth.Limit{Burst: 5, Window: time.Minute},
		clientRegistration: auth.Limit{Burst: 20, Window: time.Minute},
	}
	if s.limits != want {
		t.Errorf("got %+v, want %+v", s.limits, want)
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
