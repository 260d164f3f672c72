package doctor

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/go-json-experiment/json"
	"github.com/google/go-cmp/cmp"

	"github.com/caddy-matrix/caddy-matrix-auth/internal/authtest"
)

const goodYAML = `
server_name: example.org
public_baseurl: https://matrix.example.org/
matrix_authentication_service:
  enabled: true
  endpoint: http://127.0.0.1:8090/
  secret: ` + authtest.Secret + "\n"

func goodDelegation() *Delegation {
	return &Delegation{
		ServerName: "example.org", PublicBaseURL: "https://matrix.example.org/", Section: true, Enabled: true,
		Endpoint: "http://127.0.0.1:8090/", SecretHash: hash(authtest.Secret),
	}
}

// readText reads the text of one file. SECRET in it is the directory of secret files.
func readText(t *testing.T, text string) *Delegation {
	t.Helper()
	dir := t.TempDir()
	write(t, dir, "good", "  "+authtest.Secret+"\r\n\n")
	write(t, dir, "empty", " \n")
	write(t, dir, "homeserver.yaml", strings.ReplaceAll(text, "SECRETS", dir))
	d, err := Read(filepath.Join(dir, "homeserver.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func write(t *testing.T, dir, name, text string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestRead(t *testing.T) {
	if diff := cmp.Diff(goodDelegation(), readText(t, goodYAML)); diff != "" {
		t.Errorf("the usual file (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(&Delegation{}, readText(t, "")); diff != "" {
		t.Errorf("an empty file (-want +got):\n%s", diff)
	}

	// A top-level option of a later file takes the place of an earlier one.
	dir := t.TempDir()
	write(t, dir, "a.yaml", goodYAML+"enable_registration: true\n")
	write(t, dir, "b.yaml", "matrix_authentication_service: {enabled: no}\nenable_registration: false\n")
	d, err := Read(filepath.Join(dir, "a.yaml"), filepath.Join(dir, "b.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	if d.Enabled || d.SecretHash != "" || len(d.Forbidden) > 0 || d.ServerName != "example.org" {
		t.Errorf("two files: got %+v", d)
	}

	for text, want := range map[string]string{"a: [": errNotYAML.Error(), "- " + authtest.Secret: errNotYAML.Error()} {
		write(t, dir, "c.yaml", text)
		if _, err := Read(filepath.Join(dir, "c.yaml")); err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), authtest.Secret) {
			t.Errorf("%q: got %v, want %q", text, err, want)
		}
	}
	if _, err := Read(filepath.Join(dir, "nowhere.yaml")); !os.IsNotExist(err) {
		t.Errorf("no file: got %v", err)
	}
}

// TestHomeserverYAML compares files with a service, in which all else is well.
func TestHomeserverYAML(t *testing.T) {
	section := func(lines string) string {
		return "server_name: example.org\npublic_baseurl: https://matrix.example.org\nmatrix_authentication_service:\n  enabled: true\n" +
			"  endpoint: http://127.0.0.1:8090\n" + lines
	}
	good := "  secret_path: SECRETS/good\n"
	for _, tc := range []struct {
		name, yaml string
		spoil      func(*world)
		check      string
		ok         bool
		want       string
	}{
		{"secret in a file", section(good), nil, "homeserver_yaml_secret", true, "is the one configured here"},
		{"secret in the file itself", goodYAML, nil, "homeserver_yaml_secret", true, "is the one configured here"},
		{"another secret", section("  secret: another\n"), nil, "homeserver_yaml_secret", false, "is not the one configured here"},
		{"another secret, endpoint", section("  secret: another\n"), nil, "introspection", true, "reaches us"},
		{"empty secret file", section("  secret_path: SECRETS/empty\n"), nil, "homeserver_yaml", false, "is empty"},
		{"no secret file", section("  secret_path: SECRETS/none\n"), nil, "homeserver_yaml", false, "there is no such file"},
		{"a directory", section("  secret_path: SECRETS\n"), nil, "homeserver_yaml", false, "cannot be read"},
		{"relative secret file", section("  secret_path: doctor.go\n"), nil, "homeserver_yaml", false, "is relative"},
		{"two secrets", section(good + "  secret: x\n"), nil, "homeserver_yaml", false, "exclude each other"},
		{"no secret", section(""), nil, "homeserver_yaml", false, "secret or secret_path is missing"},
		{"a number", section("  secret: 1234567890123456\n"), nil, "homeserver_yaml", false, "put it in quotes"},
		{"no section", "server_name: example.org\n", nil, "homeserver_yaml", false,
			"needs these lines:\nmatrix_authentication_service:\n  enabled: true\n  endpoint: http://127.0.0.1:8090/\n  secret_path:"},
		{"not enabled", strings.Replace(section(good), "enabled: true", "enabled: off", 1), nil, "homeserver_yaml", false, "enabled is not true"},
		{"yes is true", strings.Replace(section(good), "enabled: true", "enabled: yes", 1), nil, "homeserver_yaml", true, "is enabled"},
		{"quoted", strings.Replace(section(good), "enabled: true", `enabled: "true"`, 1), nil, "homeserver_yaml", false, "without quotes"},
		{"endpoint that is none", strings.Replace(section(good), "http://", "", 1), nil, "homeserver_yaml", false, "endpoint is not a URL"},
		{"endpoint on a socket", strings.Replace(section(good), "http://127.0.0.1:8090", "unix://host/x", 1), nil, "homeserver_yaml", false, "must begin with http"},
		{"endpoint with a query", strings.Replace(section(good), ":8090", ":8090/?a", 1), nil, "homeserver_yaml", false, "query"},
		{"endpoint with a password", strings.Replace(section(good), "127", "u:p@127", 1), nil, "homeserver_yaml", false, "user name or password"},
		{"endpoint with a path", strings.Replace(section(good), ":8090", ":8090/auth", 1),
			func(w *world) { w.synapse.Version = "1.142.0" }, "homeserver_yaml", false, "ignores the path"},
		{"endpoint by another name", strings.Replace(section(good), "127.0.0.1", "localhost", 1), nil, "introspection", false,
			"add http://localhost:8090 to the addresses of the site with matrix_auth internal (127.0.0.1 and localhost are two hosts); http://127.0.0.1:8090/ works"},
		{"endpoint left out", strings.Replace(section(good), "  endpoint: http://127.0.0.1:8090\n", "", 1), nil, "introspection", false, "http://localhost:8080/: connection refused"},
		{"another server name", strings.Replace(section(good), "example.org", "example.net", 1), nil, "server_name", false, "example.net"},
		{"another public_baseurl", strings.Replace(section(good), "https://matrix", "https://www", 1), nil, "public_baseurl", false, "https://www.example.org"},
		{"no public_baseurl", strings.Replace(section(good), "public_baseurl", "web_client_location", 1), nil, "public_baseurl", true, warning},
		{"old section", "experimental_features:\n  msc3861:\n    enabled: true\n    admin_token: " + authtest.Secret + "\n", nil, "msc3861", false,
			"its admin_token, which is the secret configured here, becomes the secret:\nmatrix_authentication_service:\n"},
		{"old section, another secret", "experimental_features:\n  msc3861: {enabled: true, admin_token: x}\n", nil, "msc3861", false, "its admin_token becomes the secret"},
		{"old section, secret in a file", "experimental_features:\n  msc3861:\n    admin_token_path: SECRETS/good\n", nil, "msc3861", false, "configured here"},
		{"old section, empty", "experimental_features:\n  msc3861: null\n", nil, "msc3861", true, "there is no"},
		{"stale devices", section(good) + "delete_stale_devices_after: 1y\n", nil, "stale_devices", true, warning + "delete_stale_devices_after"},
		{"options", section(good) + "enable_registration: true\npassword_config: {enabled: only_for_reauth}\ncas_config: {enabled: false}\n" +
			"oidc_providers: [{idp_id: x}]\npassword_providers: []\nsession_lifetime: 24h\nsaml2_config: {sp_config: x}\nuser_consent: {version: 1}\n" +
			"enable_3pid_changes: false\n", nil, "synapse_options", false,
			"enable_registration, user_consent, oidc_providers, session_lifetime, password_config.enabled, saml2_config"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			w := newWorld(t)
			w.Delegation = readText(t, tc.yaml)
			if tc.spoil != nil {
				tc.spoil(w)
			}
			all := Run(t.Context(), w.Config)
			c := find(t, all, tc.check)
			if c.OK != tc.ok || !strings.Contains(c.Message, tc.want) {
				t.Errorf("got %v, %s, want %v with %q", c.OK, c.Message, tc.ok, tc.want)
			}
			noSecrets(t, all)
			same := w.Delegation.hasSecret(w.Secret)
			for _, b := range w.bearers {
				if host, _, _ := strings.Cut(b, " "); host != synapseHost && !same && w.Delegation.Endpoint != "" && strings.Contains(b, authtest.Secret) {
					t.Errorf("our secret went to an endpoint of a file that does not have it: %s", host)
				}
			}
		})
	}
}

// TestDelegationHasNoSecrets: what is sent to the service has hashes only.
func TestDelegationHasNoSecrets(t *testing.T) {
	d := readText(t, goodYAML+"experimental_features: {msc3861: {admin_token: old-secret}}\nregistration_shared_secret: other-secret\n")
	b, err := json.Marshal(d)
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range []string{authtest.Secret, "old-secret", "other-secret"} {
		if strings.Contains(string(b), s) {
			t.Errorf("%s holds %s", b, s)
		}
	}
	var back Delegation
	if err := json.Unmarshal(b, &back); err != nil || !cmp.Equal(&back, d) {
		t.Errorf("read back: got %+v, %v, want %+v", back, err, d)
	}
}

// FuzzHomeserverYAML reads files that hold anything.
func FuzzHomeserverYAML(f *testing.F) {
	for _, seed := range []string{
		goodYAML, "", "a: &a [*a]", "matrix_authentication_service: 7", "experimental_features: {msc3861: yes}", "password_config: *x",
		"matrix_authentication_service: &x {enabled: true, <<: {secret: s}}\nsaml2_config: *x", "? [a]\n: b", "oidc_config: {enabled: [1]}",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		d, err := parse([]byte(text))
		if err != nil {
			return
		}
		if strings.Contains(text, "_path") {
			return // a file of the fuzzer's choice
		}
		if r := d.delegation(); r.Section && r.Endpoint == "" && len(r.Problems) == 0 {
			t.Errorf("no endpoint, and no problem: %+v", r)
		}
	})
}
