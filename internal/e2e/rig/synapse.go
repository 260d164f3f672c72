package rig

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// Synapse is a homeserver on loopback with an SQLite database of its own that asks an edge about every token.
type Synapse struct {
	Python        string // interpreter of a virtual environment with matrix-synapse
	Dir           string // absolute; everything it writes
	ServerName    string
	Port          int
	PublicBaseURL string // where clients reach the edge
	Endpoint      string // the edge's internal site
	AppService    string // registration of an application service, in YAML; empty: none
	HTTP2         bool   // speak HTTP/2 with the edge, which not every version knows
	Unlimited     bool   // no rate limits of Synapse's own, and no presence: for tests

	process *Process
}

// SecretFile is the file with the secret that Synapse and the edge share.
func (s *Synapse) SecretFile() string { return filepath.Join(s.Dir, "secret") }

// LogFile holds what Synapse wrote.
func (s *Synapse) LogFile() string { return filepath.Join(s.Dir, "synapse.log") }

// URL is the address of Synapse itself, past the edge.
func (s *Synapse) URL() string { return fmt.Sprintf("http://127.0.0.1:%d", s.Port) }

// Configure writes Synapse's configuration, its signing key and the shared secret.
func (s *Synapse) Configure() error {
	if err := os.MkdirAll(s.Dir, 0o700); err != nil {
		return err
	}
	key, err := signingKey()
	if err != nil {
		return err
	}
	secret := make([]byte, 32)
	if _, err := rand.Read(secret); err != nil {
		return err
	}
	files := map[string]string{
		"homeserver.yaml": s.homeserverYAML(),
		"log.yaml":        logYAML,
		"signing.key":     key,
		"secret":          hex.EncodeToString(secret) + "\n",
	}
	if s.AppService != "" {
		files["appservice.yaml"] = s.AppService
	}
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(s.Dir, name), []byte(text), 0o600); err != nil {
			return err
		}
	}
	return nil
}

// signingKey makes a key in the form that Synapse keeps it in: algorithm, name, seed.
func signingKey() (string, error) {
	_, private, err := ed25519.GenerateKey(nil)
	if err != nil {
		return "", err
	}
	return "ed25519 a_rig0 " + base64.RawStdEncoding.EncodeToString(private.Seed()) + "\n", nil
}

const logYAML = `version: 1
formatters: {plain: {format: "%(asctime)s %(name)s %(levelname)s %(message)s"}}
handlers: {console: {class: logging.StreamHandler, formatter: plain}}
root: {level: WARNING, handlers: [console]}
disable_existing_loggers: false
`

// homeserverYAML is the smallest configuration that works; what tests add is at its end.
func (s *Synapse) homeserverYAML() string {
	in := func(name string) string { return filepath.Join(s.Dir, name) }
	var b strings.Builder
	fmt.Fprintf(&b, "server_name: %q\npublic_baseurl: %q\n", s.ServerName, s.PublicBaseURL)
	fmt.Fprintf(&b, "listeners: [{port: %d, bind_addresses: [127.0.0.1], type: http, x_forwarded: true, resources: [{names: [client, federation]}]}]\n", s.Port)
	fmt.Fprintf(&b, "database: {name: sqlite3, args: {database: %q}}\n", in("homeserver.db"))
	fmt.Fprintf(&b, "log_config: %q\nmedia_store_path: %q\nsigning_key_path: %q\n", in("log.yaml"), in("media"), in("signing.key"))
	b.WriteString("macaroon_secret_key: loopback\nreport_stats: false\ntrusted_key_servers: []\n")
	fmt.Fprintf(&b, "matrix_authentication_service:\n  enabled: true\n  endpoint: %q\n  secret_path: %q\n", s.Endpoint, s.SecretFile())
	if s.HTTP2 {
		b.WriteString("  force_http2: true\n")
	}
	if s.AppService != "" {
		fmt.Fprintf(&b, "app_service_config_files: [%q]\n", in("appservice.yaml"))
	}
	if s.Unlimited {
		b.WriteString(unlimitedYAML)
	}
	return b.String()
}

const unlimitedYAML = `presence: {enabled: false}
rc_message: &none {per_second: 9999, burst_count: 9999}
rc_joins: {local: *none, remote: *none}
rc_joins_per_room: *none
rc_room_creation: *none
rc_invites: {per_room: *none, per_user: *none, per_issuer: *none}
`

// KnowsHTTP2 reports whether this version of Synapse can be told to speak HTTP/2 with the edge.
func (s *Synapse) KnowsHTTP2(ctx context.Context) (bool, error) {
	const look = "from synapse.config import mas; print('force_http2' in open(mas.__file__).read())"
	out, err := exec.CommandContext(ctx, s.Python, "-c", look).Output()
	return strings.TrimSpace(string(out)) == "True", err
}

// Start runs Synapse and returns when it answers. A stopped Synapse can be started again on the same state.
func (s *Synapse) Start(ctx context.Context) error {
	cmd := exec.Command(s.Python, "-m", "synapse.app.homeserver", "-c", filepath.Join(s.Dir, "homeserver.yaml"))
	cmd.Dir = s.Dir
	p, err := start("Synapse", s.LogFile(), cmd)
	if err != nil {
		return err
	}
	s.process = p
	return p.waitUntil(ctx, func(ctx context.Context) bool {
		r, err := Client{Base: s.URL()}.Do(ctx, http.MethodGet, "/health", nil)
		return err == nil && r.Status == http.StatusOK
	})
}

// Stop ends Synapse if it runs.
func (s *Synapse) Stop() error {
	if s.process == nil {
		return nil
	}
	return s.process.Stop()
}

// Process is the running Synapse; nil before the first start.
func (s *Synapse) Process() *Process { return s.process }
