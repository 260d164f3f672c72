//go:build e2e

package e2e

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"testing"
	"time"

	"github.com/caddy-matrix/caddy-matrix-auth/internal/e2e/rig"
)

// TestOutages takes Synapse and the edge away in the middle of sessions and brings them back: nobody has to sign in again, and
// nothing is half done.
func TestOutages(t *testing.T) {
	t.Parallel()
	s := newStack(t, nil)
	u := s.newUser(t)
	phone := s.login(t, u, "PHONE")
	phone.alive(t)
	r := call(t, phone.Client, http.MethodPost, "/_matrix/client/v3/createRoom", map[string]string{"preset": "private_chat"})
	want(t, r, http.StatusOK, "")
	room := r.Text("room_id")
	laptop, tablet := s.login(t, u, "LAPTOP"), s.login(t, u, "TABLET")
	tablet.alive(t)

	// Case 1: Synapse is gone. What needs it says so in a form that clients understand; refresh and logout need it not.
	if err := s.synapse.Stop(); err != nil {
		t.Fatal(err)
	}
	r = call(t, phone.Client, http.MethodGet, whoamiPath, nil)
	if r.Status != http.StatusBadGateway && r.Status != http.StatusServiceUnavailable {
		t.Errorf("got %s without Synapse, want 502 or 503", r)
	}
	wantMatrixError(t, r, r.Status, "M_UNKNOWN")
	phone = phone.rotate(t)
	wantMatrixError(t, call(t, s.Client, http.MethodPost, loginPath, u.loginBody("NEW", true)), http.StatusServiceUnavailable, "M_UNKNOWN")
	second := s.login(t, u, "LAPTOP") // This device is there already.
	want(t, call(t, tablet.Client, http.MethodPost, logoutPath, nil), http.StatusOK, "")
	tablet.dead(t)
	laptop.dead(t)

	// Case 2: Synapse is back. Sessions and rooms are as they were, and the jobs of the outage are done.
	s.startSynapse(t)
	phone.alive(t)
	second.alive(t)
	want(t, call(t, phone.Client, http.MethodGet, "/_matrix/client/v3/rooms/"+url.PathEscape(room)+"/state", nil), http.StatusOK, "")
	eventually(t, "the device that signed out in the outage leaves Synapse", func() bool { return !phone.devices(t)["TABLET"] })
	if got := phone.devices(t); len(got) != 2 || !got["PHONE"] || !got["LAPTOP"] {
		t.Errorf("got devices %v, want PHONE and LAPTOP", got)
	}

	// Case 3: the edge restarts, as an operator does it and as a power cut does it.
	s.restartEdge(t, s.edge.Stop)
	phone.alive(t)
	phone = phone.rotate(t)
	s.restartEdge(t, func() error { s.edge.Process().Kill(); return nil })
	phone.alive(t)
	second.alive(t)
	tablet.dead(t)

	// Case 4: the edge stops while a client waits for messages: its poll ends, and the next one goes on.
	next := call(t, phone.Client, http.MethodGet, syncPath, nil).Text("next_batch")
	var poll <-chan rig.Reply
	admin := rig.Client{Base: fmt.Sprintf("http://127.0.0.1:%d", s.edge.AdminPort)}
	underWay := regexp.MustCompile(`"num_requests":[1-9]`)
	eventually(t, "a poll reaches Synapse", func() bool {
		if poll == nil || len(poll) > 0 { // none yet, or it was over before it was seen
			poll = background(t, phone.Client, "/_matrix/client/v3/sync?timeout=3000&since="+next)
		}
		return underWay.Match(call(t, admin, http.MethodGet, "/reverse_proxy/upstreams", nil).Body)
	})
	s.restartEdge(t, s.edge.Stop)
	if r := <-poll; r.Status != http.StatusOK {
		t.Errorf("got %s for a poll of 3 s over a stop with a grace period of 4 s, want 200", r)
	}
	want(t, call(t, phone.Client, http.MethodGet, "/_matrix/client/v3/sync?timeout=0&since="+next, nil), http.StatusOK, "")

	// Case 5: a login of a new device works again, and Synapse knows no device that a failed login left behind.
	third := s.login(t, u, "NEW")
	third.alive(t)
	if got := third.devices(t); len(got) != 3 {
		t.Errorf("got devices %v, want three", got)
	}
}

func (s *stack) startSynapse(t *testing.T) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), startTimeout)
	defer cancel()
	if err := s.synapse.Start(ctx); err != nil {
		t.Fatal(err)
	}
}

// restartEdge ends the edge in the given way and starts it again on the same state.
func (s *stack) restartEdge(t *testing.T, end func() error) {
	t.Helper()
	if err := end(); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), startTimeout)
	defer cancel()
	if err := s.edge.Start(ctx); err != nil {
		t.Fatal(err)
	}
}

// reload makes the edge load what its options say now. The old configuration's server closes connections that nobody uses: over
// HTTP/1.1 a client may notice only once its next request is lost, and does not send a POST again.
func (s *stack) reload(t *testing.T) {
	t.Helper()
	if err := errors.Join(s.edge.Configure(), s.edge.Reload(t.Context())); err != nil {
		t.Fatal(err)
	}
	http.DefaultClient.CloseIdleConnections()
}

// eventually waits for what the edge does in the background.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	end := time.After(time.Minute)
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-end:
			t.Fatalf("not within a minute: %s", what)
		case <-tick.C:
		}
	}
}
