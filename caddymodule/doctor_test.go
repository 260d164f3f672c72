package caddymodule

import (
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/caddy-matrix/caddy-matrix-auth/internal/authtest"
	"github.com/caddy-matrix/caddy-matrix-auth/internal/doctor"
)

// doctorConfig is a configuration whose server name is in no DNS (RFC 6761 §6.4), so that nobody else's site is asked.
func (e *edge) doctorConfig() (socket, config string) {
	return e.adminSocket(strings.Replace(e.config("", ""), "matrix_auth example.org", "matrix_auth hs.invalid", 1))
}

// notFound is how it is said that the server name leads nowhere, which depends on who answers for DNS.
var notFound = regexp.MustCompile(`(/\.well-known/matrix/\w+: ).*`)

// TestDoctor examines a whole edge, with and without Synapse's configuration.
func TestDoctor(t *testing.T) {
	e := newEdge(t)
	socket, config := e.doctorConfig()
	e.mustLoad(config)
	yaml := filepath.Join(e.dir, "homeserver.yaml")
	writeFile(t, yaml, `server_name: hs.invalid
public_baseurl: http://`+e.public+`/
matrix_authentication_service: {enabled: true, endpoint: "http://`+e.internal+`", secret_path: "`+e.dir+`/secret"}
`)
	wrong := filepath.Join(e.dir, "wrong.yaml")
	writeFile(t, wrong, `server_name: hs.invalid
public_baseurl: http://`+e.public+`/
delete_stale_devices_after: 1y
experimental_features: {msc3861: {enabled: true, admin_token: `+authtest.Secret+`}}
matrix_authentication_service: {enabled: true, endpoint: "http://`+strings.Replace(e.internal, "127.0.0.1", "localhost", 1)+`", secret: another-secret}
`)

	var script strings.Builder
	for _, args := range [][]string{{}, {"--homeserver-yaml", yaml}, {"--homeserver-yaml", wrong}} {
		r := runCommand("", append(append([]string{"doctor"}, args...), "--address", socket)...)
		script.WriteString("$ caddy matrix-auth doctor " + strings.Join(args, " ") + "\n" + r.out + r.err + "\n")
		if want := map[bool]int{true: 1, false: 0}[len(args) > 0 && args[1] == wrong]; r.status != want {
			t.Errorf("doctor %v: got status %d, want %d", args, r.status, want)
		}
	}
	got := notFound.ReplaceAllString(e.normal(script.String()), "${1}NOT FOUND")
	const file = "testdata/doctor.golden"
	if *update {
		writeFile(t, file, got)
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("what the doctor prints (-want +got):\n%s", diff)
	}
	for _, secret := range []string{authtest.Secret, "another-secret"} {
		if strings.Contains(got, secret) || e.logged(secret) {
			t.Error("a secret was printed or logged")
		}
	}

	// With --json it is one object per line, and fails as well.
	r := runCommand("", "doctor", "--json", "--homeserver-yaml", wrong, "--address", socket)
	if r.status != 1 {
		t.Errorf("doctor --json: got status %d, want 1", r.status)
	}
	for line := range strings.Lines(r.out) {
		var c doctor.Check
		if err := json.Unmarshal([]byte(line), &c); err != nil || c.Name == "" || c.Message == "" {
			t.Errorf("doctor --json: got %q", line)
		}
	}
	if r := runCommand("", "doctor", "--homeserver-yaml", e.dir+"/nowhere", "--address", socket); r.status != 1 || !strings.Contains(r.err, "no such file") {
		t.Errorf("doctor without a file: got %d %q", r.status, r.err)
	}
}

// TestDoctorSeesTheEdge changes the edge itself.
func TestDoctorSeesTheEdge(t *testing.T) {
	e := newEdge(t)
	socket, config := e.doctorConfig()
	for _, tc := range []struct {
		name   string
		config string
		spoil  func()
		want   []string // lines of the output
	}{
		{"another secret on disk", config, func() { writeFile(t, e.dir+"/secret", strings.Repeat("another", 5)) },
			[]string{"FAIL  secret", "caddy reload --force"}},
		{"no secret on disk", config, func() { os.Remove(e.dir + "/secret") }, []string{"FAIL  secret", "the next reload will fail"}},
		{"no internal site", strings.Replace(config, "matrix_auth internal", "respond nothing", 1), nil,
			[]string{"FAIL  sites", "no site serves the group internal", "FAIL  introspection"}},
		{"localhost only", strings.Replace(config, "http://"+e.internal, "http://"+strings.Replace(e.internal, "127.0.0.1", "localhost", 1), 1), nil,
			[]string{"ok    introspection", "endpoint: http://localhost:", "but not at http://127.0.0.1:", "an empty answer 200"}},
		{"login is not ours", strings.Replace(config, "matrix_homeserver", "reverse_proxy "+e.synapse.Synapse.URL(), 1), nil,
			[]string{"FAIL  login", "is answered by Synapse"}},
		{"Synapse is down", config, func() { e.synapse.Fail(authtest.Down) }, []string{"FAIL  synapse", "FAIL  secret_at_synapse", "FAIL  client_api"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			writeFile(t, filepath.Join(e.dir, "secret"), authtest.Secret)
			e.synapse.Heal()
			e.mustLoad(tc.config)
			if tc.spoil != nil {
				tc.spoil()
			}
			r := afterReload(func() ran { return runCommand("", "doctor", "--address", socket) })
			if r.status != 1 && strings.HasPrefix(tc.want[0], "FAIL") {
				t.Errorf("got status %d, want 1", r.status)
			}
			for _, want := range tc.want {
				if !strings.Contains(r.out, want) {
					t.Errorf("got %q, want %q", r.out, want)
				}
			}
			if strings.Contains(r.out, authtest.Secret) {
				t.Error("the secret was printed")
			}
		})
	}
}

// afterReload runs doctor again while Caddy is still closing the listeners of the configuration before: connections that wait in
// their queues are reset.
func afterReload(run func() ran) (r ran) {
	for range 5 {
		if r = run(); !strings.Contains(r.out, "connection reset") && !strings.Contains(r.out, "EOF") {
			break
		}
	}
	return r
}
