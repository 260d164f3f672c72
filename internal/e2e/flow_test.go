//go:build e2e

package e2e

import (
	"context"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/caddy-matrix/caddy-matrix-auth/internal/e2e/rig"
)

// TestRawHTTP is the life of a session, request by request.
func TestRawHTTP(t *testing.T) {
	s := shared(t)
	life(t, s, s.newUser(t))
}

// life signs in, uses the homeserver, refreshes and signs out.
func life(t *testing.T, s *stack, u user) {
	t.Helper()
	// Case 1: a client that asks finds passwords, and nothing that does not exist yet.
	r := call(t, s.Client, http.MethodGet, loginPath, nil)
	want(t, r, http.StatusOK, "")
	flows, _ := r.Get("flows").([]any)
	if len(flows) != 1 || flows[0].(map[string]any)["type"] != "m.login.password" {
		t.Fatalf("got %s, want the flow m.login.password alone", r)
	}

	// Case 2: wrong passwords and unknown users get one answer.
	wrong := u
	wrong.password = "wrong"
	wantMatrixError(t, call(t, s.Client, http.MethodPost, loginPath, wrong.loginBody("", false)), http.StatusForbidden, "M_FORBIDDEN")
	wrong.localpart = "nobody-of-that-name"
	wantMatrixError(t, call(t, s.Client, http.MethodPost, loginPath, wrong.loginBody("", false)), http.StatusForbidden, "M_FORBIDDEN")

	// Case 3: login, and Synapse knows user and device.
	first := s.login(t, u, "")
	first.alive(t)
	if got := first.devices(t); len(got) != 1 || !got[first.device] {
		t.Fatalf("got devices %v, want %s alone", got, first.device)
	}

	// Case 4: sync, a room, a message that comes back with the next sync.
	sendAndSee(t, first.Client, "before the refresh")

	// Case 5: refresh; the new tokens work, and the previous access token for a while too.
	second := first.rotate(t)
	second.alive(t)
	first.alive(t)
	sendAndSee(t, second.Client, "after the refresh")

	// Case 6: logout; both access tokens are dead at once, and so is the refresh token.
	r = call(t, second.Client, http.MethodPost, logoutPath, nil)
	want(t, r, http.StatusOK, "")
	second.dead(t)
	r = call(t, first.Client, http.MethodGet, whoamiPath, nil)
	want(t, r, http.StatusUnauthorized, "M_UNKNOWN_TOKEN")

	// Case 7: the device is gone from Synapse; another one sees it.
	other := s.login(t, u, "")
	if got := other.devices(t); got[second.device] {
		t.Errorf("got devices %v after logout, want no %s", got, second.device)
	}
	call(t, other.Client, http.MethodPost, logoutPath, nil)
}

// sendAndSee makes a room, sends a message and waits for it in a sync.
func sendAndSee(t *testing.T, c rig.Client, text string) {
	t.Helper()
	r := call(t, c, http.MethodGet, syncPath, nil)
	want(t, r, http.StatusOK, "")
	since := r.Text("next_batch")
	r = call(t, c, http.MethodPost, "/_matrix/client/v3/createRoom", map[string]string{"preset": "private_chat"})
	want(t, r, http.StatusOK, "")
	room := r.Text("room_id")
	r = call(t, c, http.MethodPut, "/_matrix/client/v3/rooms/"+url.PathEscape(room)+"/send/m.room.message/1", map[string]string{"msgtype": "m.text", "body": text})
	want(t, r, http.StatusOK, "")
	event := r.Text("event_id")
	for range 20 {
		r = call(t, c, http.MethodGet, "/_matrix/client/v3/sync?timeout=5000&since="+url.QueryEscape(since), nil)
		want(t, r, http.StatusOK, "")
		events, _ := r.Get("rooms", "join", room, "timeline", "events").([]any)
		for _, e := range events {
			if e := e.(map[string]any); e["event_id"] == event && e["content"].(map[string]any)["body"] == text {
				return
			}
		}
		since = r.Text("next_batch")
	}
	t.Fatalf("the message %q did not come back in a sync", text)
}

// TestMatrixJSSDK lives the same session in matrix-js-sdk, which Element Web is built on.
func TestMatrixJSSDK(t *testing.T) {
	s := shared(t)
	u := s.newUser(t)
	dir, err := environment("E2E_JS")
	if err != nil {
		t.Fatal(err)
	}
	script(t, u, "node", filepath.Join(dir, "flow.mjs"), s.Base, u.id, u.localpart)
}

// TestMatrixNio lives it in matrix-nio, which many bots are built on.
func TestMatrixNio(t *testing.T) {
	s := shared(t)
	u := s.newUser(t)
	python, err := environment("E2E_NIO")
	if err != nil {
		t.Fatal(err)
	}
	script(t, u, python, filepath.Join("nio", "flow.py"), s.Base, u.id)
}

// script runs a client program of another language, with the password in its environment.
func script(t *testing.T, u user, name string, args ...string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), programTimeout)
	defer cancel()
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Env = append(os.Environ(), "PASSWORD="+u.password)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v\n%s", filepath.Base(args[0]), err, out)
	}
	t.Logf("%s", out)
}
