//go:build e2e

package e2e

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/caddy-matrix/caddy-matrix-auth/internal/e2e/rig"
)

// The clients that the operator of an OAuth stack has configured.
const monitorSecret = "the monitor's own secret, long enough"

// shortTokens is the shortest life that access tokens may have, in seconds.
const shortTokens = 60

// newOAuthStack starts a stack for OAuth clients: over TLS with Caddy's own authority, as the cookies want it, without limits,
// with clients of the configuration, and with a Synapse that has a rendezvous for QR codes. agentKey is the private key of one
// of the clients.
func newOAuthStack(t *testing.T) (s *stack, agentKey string) {
	t.Helper()
	turn.Lock()
	t.Cleanup(turn.Unlock)
	agentKey, public := newAgentKey(t)
	s, err := layout(strings.ToLower(strings.TrimPrefix(t.Name(), "Test")), func(s *stack) {
		s.edge.TLS = true
		s.edge.Options = unlimited + fmt.Sprintf(`
tokens {
	access_ttl %ds
}
client monitor {
	secret %q
	grant_types client_credentials
	introspect
}
client agent {
	jwks %q
	grant_types client_credentials
}`, shortTokens, monitorSecret, public)
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.stop(); err != nil {
			t.Errorf("stopping: %v", err)
		}
	})
	s.logs(t)
	if err := errors.Join(s.offerRendezvous(), s.start()); err != nil {
		t.Fatal(err)
	}
	s.HTTP = s.trusting(t)
	return s, agentKey
}

const unlimited = `rate_limit login off
rate_limit authorize off
rate_limit device_code off
rate_limit client_registration off`

// offerRendezvous makes Synapse serve what devices meet at that sign in by QR code (MSC4108), if it can beside delegated
// authentication: older ones cannot.
func (s *stack) offerRendezvous() error {
	file := filepath.Join(s.synapse.Dir, "homeserver.yaml")
	without, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	if err := os.WriteFile(file, append(without, "experimental_features: {msc4108_enabled: true}\n"...), 0o600); err != nil {
		return err
	}
	if exec.Command(s.synapse.Python, "-m", "synapse.config", "read", "server_name", "-c", file).Run() == nil {
		return nil
	}
	return os.WriteFile(file, without, 0o600)
}

// newAgentKey makes a key pair: the private JWK, and a file with the public set.
func newAgentKey(t *testing.T) (private, publicFile string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	b64 := base64.RawURLEncoding.EncodeToString
	point, err := key.PublicKey.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	d, err := key.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	jwk := map[string]string{"kty": "EC", "crv": "P-256", "kid": "agent", "alg": "ES256", "use": "sig", "x": b64(point[1:33]), "y": b64(point[33:])}
	set, err := json.Marshal(map[string]any{"keys": []any{jwk}})
	if err != nil {
		t.Fatal(err)
	}
	publicFile = filepath.Join(t.TempDir(), "agent.jwks")
	if err := os.WriteFile(publicFile, set, 0o600); err != nil {
		t.Fatal(err)
	}
	jwk["d"] = b64(d)
	text, err := json.Marshal(jwk)
	if err != nil {
		t.Fatal(err)
	}
	return string(text), publicFile
}

// trusting is an HTTP client that believes the edge's own authority.
func (s *stack) trusting(t *testing.T) *http.Client {
	t.Helper()
	pem, err := os.ReadFile(s.edge.RootCertificate())
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(pem)
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}, MaxIdleConnsPerHost: 32, ForceAttemptHTTP2: true}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport, Timeout: callTimeout, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
}

// The verifier that these clients use, and its challenge (RFC 7636 appendix B).
const (
	verifier  = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"
	challenge = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"
)

// app is an OAuth client that has registered itself.
type app struct {
	*stack
	id, redirect string
}

// matrixScope is what a Matrix client asks for, in the stable form.
func matrixScope(device string) string {
	return "urn:matrix:client:api:* urn:matrix:client:device:" + device
}

// register registers a client without a secret; the redirect says which type it is.
func (s *stack) register(t *testing.T, redirect string) app {
	t.Helper()
	kind := "native"
	if strings.HasPrefix(redirect, "https:") {
		kind = "web"
	}
	r := call(t, s.Client, http.MethodPost, "/oauth2/registration", map[string]any{
		"client_name": "Element", "client_uri": "https://app.example.com/", "application_type": kind, "redirect_uris": []string{redirect},
		"token_endpoint_auth_method": "none", "response_types": []string{"code"},
		"grant_types": []string{"authorization_code", "refresh_token", "urn:ietf:params:oauth:grant-type:device_code"},
	})
	if r.Status != http.StatusCreated || r.Text("client_id") == "" {
		t.Fatalf("registration: got %s, want 201 with a client_id", r)
	}
	return app{stack: s, id: r.Text("client_id"), redirect: redirect}
}

// authorizeURL is where the app sends a person who is to sign in on a device. more replaces parameters; "" drops one.
func (a app) authorizeURL(device string, more url.Values) string {
	q := url.Values{
		"response_type": {"code"}, "client_id": {a.id}, "redirect_uri": {a.redirect}, "state": {"a state"}, "scope": {matrixScope(device)},
		"code_challenge": {challenge}, "code_challenge_method": {"S256"},
	}
	for name, list := range more {
		q[name] = list
	}
	return a.Base + "/authorize?" + q.Encode()
}

// codeOf reads the code from where a person was sent to.
func (a app) codeOf(t *testing.T, location string) string {
	t.Helper()
	u, err := url.Parse(location)
	if err != nil || !strings.HasPrefix(location, a.redirect) || u.Query().Get("code") == "" || u.Query().Get("iss") != a.Base+"/" {
		t.Fatalf("sent to %q (%v), want %s with code and iss", location, err, a.redirect)
	}
	return u.Query().Get("code")
}

// tokenForm posts to the token endpoint.
func (s *stack) tokenForm(t *testing.T, form url.Values) rig.Reply {
	t.Helper()
	return s.form(t, "/oauth2/token", form)
}

// form posts a form.
func (s *stack) form(t *testing.T, path string, form url.Values) rig.Reply {
	t.Helper()
	r, err := s.tryForm(t.Context(), path, form)
	if err != nil {
		t.Fatalf("POST %s: %v", path, err)
	}
	return r
}

func (s *stack) tryForm(ctx context.Context, path string, form url.Values) (rig.Reply, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, s.Base+path, strings.NewReader(form.Encode()))
	if err != nil {
		return rig.Reply{}, err
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	return s.Send(req)
}

func (a app) redeemForm(code string) url.Values {
	return url.Values{
		"grant_type": {"authorization_code"}, "client_id": {a.id}, "code": {code}, "redirect_uri": {a.redirect}, "code_verifier": {verifier},
	}
}

// oauthSession is a session of an app.
type oauthSession struct {
	session
	app app
}

// tokensOf makes a session of what the token endpoint answered.
func (a app) tokensOf(t *testing.T, r rig.Reply, u user, device string) oauthSession {
	t.Helper()
	if r.Status != http.StatusOK || r.Text("access_token") == "" || r.Text("refresh_token") == "" || r.Text("token_type") != "Bearer" {
		t.Fatalf("token endpoint: got %s, want tokens", r)
	}
	return oauthSession{session{Client: a.With(r.Text("access_token")), userID: u.id, device: device, refresh: r.Text("refresh_token")}, a}
}

// signIn is a whole sign-in of the app's on a device.
func (a app) signIn(t *testing.T, p *person, device string) oauthSession {
	t.Helper()
	code := a.codeOf(t, p.authorize(a.authorizeURL(device, nil)))
	return a.tokensOf(t, a.tokenForm(t, a.redeemForm(code)), p.user, device)
}

func (s oauthSession) refreshForm() url.Values {
	return url.Values{"grant_type": {"refresh_token"}, "client_id": {s.app.id}, "refresh_token": {s.refresh}}
}

// rotate refreshes the session, and returns it with its new tokens.
func (s oauthSession) rotate(t *testing.T) oauthSession {
	t.Helper()
	return s.app.tokensOf(t, s.app.tokenForm(t, s.refreshForm()), user{id: s.userID}, s.device)
}

// over asserts that the session has ended for good, at both APIs.
func (s oauthSession) over(t *testing.T) {
	t.Helper()
	s.dead(t)
	r := s.app.tokenForm(t, s.refreshForm())
	if r.Status != http.StatusBadRequest || r.Text("error") != "invalid_grant" {
		t.Fatalf("refresh: got %s, want 400 invalid_grant", r)
	}
}
