//go:build e2e

package e2e

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/caddy-matrix/caddy-matrix-auth/internal/e2e/rig"
)

// callTimeout bounds one request or command; a held refresh takes up to 10 s.
const callTimeout = 40 * time.Second

// user is an account made for one test.
type user struct {
	localpart, id, password string
}

var users atomic.Int64

// newUser adds a user as an administrator does.
func (s *stack) newUser(t *testing.T) user {
	t.Helper()
	name, _, _ := strings.Cut(strings.ToLower(strings.TrimPrefix(t.Name(), "Test")), "/")
	u := user{localpart: fmt.Sprintf("%s-%d", name, users.Add(1)), password: "correct horse " + name}
	u.id = "@" + u.localpart + ":" + serverName
	if got := strings.TrimSpace(s.command(t, u.password+"\n", "user", "add", u.localpart)); got != u.id {
		t.Fatalf("user add: got %q, want %q", got, u.id)
	}
	return u
}

// command runs `caddy matrix-auth …` and returns what it printed.
func (s *stack) command(t *testing.T, stdin string, args ...string) string {
	t.Helper()
	out, err := s.edge.Command(t.Context(), stdin, args...)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// session is a signed-in client.
type session struct {
	rig.Client
	userID, device, refresh string
}

// loginBody is a password login; a device of "" lets the edge choose.
func (u user) loginBody(device string, refreshable bool) map[string]any {
	body := map[string]any{
		"type":       "m.login.password",
		"identifier": map[string]string{"type": "m.id.user", "user": u.localpart},
		"password":   u.password,
	}
	if device != "" {
		body["device_id"] = device
	}
	if refreshable {
		body["refresh_token"] = true
	}
	return body
}

// login signs a user in with tokens that can be refreshed.
func (s *stack) login(t *testing.T, u user, device string) session {
	t.Helper()
	r := call(t, s.Client, http.MethodPost, loginPath, u.loginBody(device, true))
	want(t, r, http.StatusOK, "")
	if r.Text("user_id") != u.id || r.Text("access_token") == "" || r.Text("refresh_token") == "" {
		t.Fatalf("login: got %s for %s, want tokens and the user ID", r, r.Text("user_id"))
	}
	if device != "" && r.Text("device_id") != device {
		t.Fatalf("login: got device %q, want %q", r.Text("device_id"), device)
	}
	return session{
		Client: s.With(r.Text("access_token")),
		userID: u.id, device: r.Text("device_id"), refresh: r.Text("refresh_token"),
	}
}

// rotate refreshes a session, and returns the session with its new tokens.
func (s session) rotate(t *testing.T) session {
	t.Helper()
	r := call(t, s.With(""), http.MethodPost, refreshPath, map[string]string{"refresh_token": s.refresh})
	want(t, r, http.StatusOK, "")
	if r.Text("access_token") == "" || r.Text("refresh_token") == "" {
		t.Fatalf("refresh: got %s, want new tokens", r)
	}
	s.Client, s.refresh = s.With(r.Text("access_token")), r.Text("refresh_token")
	return s
}

// alive asserts that a session's access token is served by Synapse, for this user and device.
func (s session) alive(t *testing.T) {
	t.Helper()
	r := call(t, s.Client, http.MethodGet, whoamiPath, nil)
	want(t, r, http.StatusOK, "")
	if r.Text("user_id") != s.userID || r.Text("device_id") != s.device {
		t.Fatalf("whoami: got %s, want %s on %s", r, s.userID, s.device)
	}
}

// dead asserts that a session has ended for good: neither token works, and the client is told to forget its keys.
func (s session) dead(t *testing.T) {
	t.Helper()
	r := call(t, s.Client, http.MethodGet, whoamiPath, nil)
	want(t, r, http.StatusUnauthorized, "M_UNKNOWN_TOKEN")
	if r.Get("soft_logout") == true {
		t.Fatalf("whoami: got %s, want no soft_logout", r)
	}
	r = call(t, s.With(""), http.MethodPost, refreshPath, map[string]string{"refresh_token": s.refresh})
	want(t, r, http.StatusUnauthorized, "M_UNKNOWN_TOKEN")
}

// devices lists the devices that Synapse knows of this user.
func (s session) devices(t *testing.T) map[string]bool {
	t.Helper()
	r := call(t, s.Client, http.MethodGet, "/_matrix/client/v3/devices", nil)
	want(t, r, http.StatusOK, "")
	list, _ := r.Get("devices").([]any)
	found := map[string]bool{}
	for _, d := range list {
		found[fmt.Sprint(d.(map[string]any)["device_id"])] = true
	}
	return found
}

const (
	loginPath   = "/_matrix/client/v3/login"
	logoutPath  = "/_matrix/client/v3/logout"
	refreshPath = "/_matrix/client/v3/refresh"
	whoamiPath  = "/_matrix/client/v3/account/whoami"
	syncPath    = "/_matrix/client/v3/sync?timeout=0"
)

// call makes a request and fails the test when there is no answer.
func call(t *testing.T, c rig.Client, method, path string, body any) rig.Reply {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), callTimeout)
	defer cancel()
	r, err := c.Do(ctx, method, path, body)
	if err != nil {
		t.Fatalf("%s %s: %v", method, path, err)
	}
	return r
}

// contextFor is a context of its own for work in goroutines of a test.
func contextFor(d time.Duration) (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.Background(), d)
}

// want asserts an answer's status and Matrix error code; "" stands for an answer without one.
func want(t *testing.T, r rig.Reply, status int, errcode string) {
	t.Helper()
	if r.Status != status || r.Errcode() != errcode {
		t.Fatalf("got %s, want status %d %s", r, status, errcode)
	}
}

// wantMatrixError asserts that a browser on another origin could read this error of ours.
func wantMatrixError(t *testing.T, r rig.Reply, status int, errcode string) {
	t.Helper()
	want(t, r, status, errcode)
	if r.Text("error") == "" {
		t.Errorf("got %s, want a text in error", r)
	}
	if got := r.Header.Values("Access-Control-Allow-Origin"); len(got) != 1 || got[0] != "*" {
		t.Errorf("got Access-Control-Allow-Origin %q, want * once", got)
	}
	if got := r.Header.Get("Content-Type"); !strings.HasPrefix(got, "application/json") {
		t.Errorf("got Content-Type %q, want application/json", got)
	}
}

// asEdge talks to Synapse itself with the secret that the edge has.
func (s *stack) asEdge(t *testing.T) rig.Client {
	t.Helper()
	secret, err := os.ReadFile(s.edge.SecretFile)
	if err != nil {
		t.Fatal(err)
	}
	return rig.Client{Base: s.synapse.URL(), Token: strings.TrimSpace(string(secret))}
}

// synapseUser asks Synapse what it knows of a user.
func (s *stack) synapseUser(t *testing.T, u user) rig.Reply {
	t.Helper()
	r := call(t, s.asEdge(t), http.MethodGet, "/_synapse/mas/query_user?localpart="+u.localpart, nil)
	want(t, r, http.StatusOK, "")
	return r
}
