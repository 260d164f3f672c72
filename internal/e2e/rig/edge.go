package rig

import (
	"bytes"
	"context"
	"crypto/tls"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// Edge is a Caddy with this repository's modules, configured as the README does it, on loopback.
type Edge struct {
	Binary       string
	Dir          string // absolute; everything it writes
	ServerName   string
	Port         int  // of the public site
	InternalPort int  // of the site that Synapse talks to
	AdminPort    int  // of Caddy's admin endpoint
	HTTP2        bool // the internal site speaks HTTP/2 without TLS
	TLS          bool // the public site has a certificate of Caddy's internal authority
	Synapse      string
	SecretFile   string
	Options      string // further lines of the matrix_auth block
	Sites        string // further sites

	process *Process
}

// URL is where clients reach the edge.
func (e *Edge) URL() string {
	if e.TLS {
		return fmt.Sprintf("https://localhost:%d", e.Port)
	}
	return fmt.Sprintf("http://localhost:%d", e.Port)
}

// InternalURL is where Synapse reaches the edge: the endpoint of homeserver.yaml.
func (e *Edge) InternalURL() string { return fmt.Sprintf("http://127.0.0.1:%d/", e.InternalPort) }

// LogFile holds what Caddy wrote.
func (e *Edge) LogFile() string { return filepath.Join(e.Dir, "caddy.log") }

// Caddyfile is the path of the edge's configuration.
func (e *Edge) Caddyfile() string { return filepath.Join(e.Dir, "Caddyfile") }

// DataDir is the directory of the edge's own store.
func (e *Edge) DataDir() string { return filepath.Join(e.Dir, "matrix_auth") }

// RootCertificate is the authority that signed the public site's certificate, once Caddy has started with TLS.
func (e *Edge) RootCertificate() string {
	return filepath.Join(e.Dir, "caddy", "pki", "authorities", "local", "root.crt")
}

// Configure writes the Caddyfile.
func (e *Edge) Configure() error {
	if err := os.MkdirAll(e.Dir, 0o700); err != nil {
		return err
	}
	return os.WriteFile(e.Caddyfile(), []byte(e.config()), 0o600)
}

func (e *Edge) config() string {
	var b strings.Builder
	p := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	p("{\n\tadmin 127.0.0.1:%d\n\tgrace_period 4s\n\tskip_install_trust\n\tstorage file_system %q\n", e.AdminPort, filepath.Join(e.Dir, "caddy"))
	if e.HTTP2 {
		p("\tservers 127.0.0.1:%d {\n\t\tprotocols h1 h2c\n\t}", e.InternalPort)
	}
	if e.TLS {
		p("\tauto_https disable_redirects\n\tlocal_certs\n")
	}
	p("\tmatrix_auth %s {\n\t\tissuer %s/\n\t\tdata_dir %q", e.ServerName, e.URL(), e.DataDir())
	p("\t\tsynapse %s {\n\t\t\tsecret_file %q\n\t\t}", e.Synapse, e.SecretFile)
	for line := range strings.Lines(e.Options) {
		p("\t\t%s", strings.TrimRight(line, "\n"))
	}
	p("\t}\n}\n")
	site := fmt.Sprintf("http://localhost:%d, http://127.0.0.1:%d", e.Port, e.Port)
	if e.TLS {
		site = e.URL()
	}
	p("%s {\n\tbind 127.0.0.1\n\tmatrix_homeserver\n}\n", site)
	p("http://127.0.0.1:%d, http://localhost:%d {\n\tbind 127.0.0.1\n\tmatrix_auth internal\n}\n%s", e.InternalPort, e.InternalPort, e.Sites)
	return b.String()
}

// Start runs Caddy and returns when its public site answers. A stopped or killed edge can be started again.
func (e *Edge) Start(ctx context.Context) error {
	p, err := start("Caddy", e.LogFile(), e.caddy(context.Background(), "run", "--config", e.Caddyfile()))
	if err != nil {
		return err
	}
	e.process = p
	return p.waitUntil(ctx, func(ctx context.Context) bool {
		r, err := Client{Base: fmt.Sprintf("http://127.0.0.1:%d", e.InternalPort)}.Do(ctx, http.MethodGet, "/health", nil)
		return err == nil && r.Status == http.StatusOK && len(r.Body) > 0 && e.hasCertificate(ctx)
	})
}

// hasCertificate reports whether the public site can be talked to: Caddy makes certificates after it has started.
func (e *Edge) hasCertificate(ctx context.Context) bool {
	if !e.TLS {
		return true
	}
	dialer := tls.Dialer{Config: &tls.Config{ServerName: "localhost", InsecureSkipVerify: true}} // Clients look at whose it is.
	c, err := dialer.DialContext(ctx, "tcp", fmt.Sprintf("127.0.0.1:%d", e.Port))
	return err == nil && c.Close() == nil
}

// Stop ends the edge as an operator would, if it runs.
func (e *Edge) Stop() error {
	if e.process == nil {
		return nil
	}
	return e.process.Stop()
}

// Process is the running Caddy; nil before the first start.
func (e *Edge) Process() *Process { return e.process }

// Reload makes the running Caddy load its Caddyfile anew, changed or not.
func (e *Edge) Reload(ctx context.Context) error {
	_, err := e.output(e.caddy(ctx, "reload", "--force", "--config", e.Caddyfile()), "")
	return err
}

// Command runs `caddy matrix-auth ARGS…` against the edge with the given standard input, and returns what it printed.
func (e *Edge) Command(ctx context.Context, stdin string, args ...string) (string, error) {
	return e.output(e.caddy(ctx, append(append([]string{"matrix-auth"}, args...), "--config", e.Caddyfile())...), stdin)
}

func (e *Edge) output(cmd *exec.Cmd, stdin string) (string, error) {
	var out, errs bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(stdin), &out, &errs
	if err := cmd.Run(); err != nil {
		return out.String(), fmt.Errorf("caddy %s: %w: %s", strings.Join(cmd.Args[1:], " "), err, strings.TrimSpace(errs.String()))
	}
	return out.String(), nil
}

// caddy is a Caddy command that leaves the user's own directories alone.
func (e *Edge) caddy(ctx context.Context, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, e.Binary, args...)
	cmd.Dir = e.Dir
	cmd.Env = append(os.Environ(), "HOME="+e.Dir, "XDG_DATA_HOME="+filepath.Join(e.Dir, "data"), "XDG_CONFIG_HOME="+filepath.Join(e.Dir, "config"))
	cmd.WaitDelay = 5 * time.Second
	return cmd
}
