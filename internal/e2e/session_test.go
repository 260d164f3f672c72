//go:build e2e

package e2e

import (
	"net/http"
	"testing"
	"time"

	"github.com/caddy-matrix/caddy-matrix-auth/internal/e2e/rig"
)

func TestTwoDevices(t *testing.T) {
	s := shared(t)
	u := s.newUser(t)
	phone, laptop := s.login(t, u, "PHONE"), s.login(t, u, "LAPTOP")
	if got := phone.devices(t); len(got) != 2 || !got["PHONE"] || !got["LAPTOP"] {
		t.Fatalf("got devices %v, want PHONE and LAPTOP", got)
	}
	want(t, call(t, phone.Client, http.MethodPost, logoutPath, nil), http.StatusOK, "")
	phone.dead(t)
	laptop.alive(t)
	if got := laptop.devices(t); len(got) != 1 {
		t.Fatalf("got devices %v after one logout, want LAPTOP alone", got)
	}
	laptop.rotate(t).alive(t)
}

func TestSameDeviceTwice(t *testing.T) {
	s := shared(t)
	u := s.newUser(t)
	first := s.login(t, u, "TABLET")
	first.alive(t)
	second := s.login(t, u, "TABLET")
	first.dead(t)
	second.alive(t)
	if got := second.devices(t); len(got) != 1 || !got["TABLET"] {
		t.Fatalf("got devices %v, want TABLET alone", got)
	}
	// A late logout of the first session must not take the device from the second.
	want(t, call(t, first.Client, http.MethodPost, logoutPath, nil), http.StatusUnauthorized, "M_UNKNOWN_TOKEN")
	second.alive(t)
}

func TestLogoutAll(t *testing.T) {
	s := shared(t)
	u := s.newUser(t)
	one, two, three := s.login(t, u, ""), s.login(t, u, ""), s.login(t, u, "")
	one.alive(t)
	want(t, call(t, two.Client, http.MethodPost, logoutPath+"/all", nil), http.StatusOK, "")
	for _, ended := range []session{one, two, three} {
		ended.dead(t)
	}
	again := s.login(t, u, "")
	if got := again.devices(t); len(got) != 1 {
		t.Errorf("got devices %v after logout of all and one login, want one", got)
	}
}

// endlessPoll lasts longer than any test waits: what is answered has been cut.
const endlessPoll = "/_matrix/client/v3/sync?timeout=600000&since="

// TestLock suspends an account in the middle of a long poll and lets it go on: no session ends.
func TestLock(t *testing.T) {
	s := shared(t)
	u := s.newUser(t)
	phone := s.login(t, u, "")
	next := call(t, phone.Client, http.MethodGet, syncPath, nil).Text("next_batch")
	poll := background(t, phone.Client, endlessPoll+next)
	waitForPoll()

	s.command(t, "", "user", "lock", u.localpart)
	r := <-poll
	wantMatrixError(t, r, http.StatusUnauthorized, "M_USER_LOCKED")
	if r.Get("soft_logout") != true {
		t.Errorf("got %s, want soft_logout true", r)
	}
	r = call(t, phone.Client, http.MethodGet, whoamiPath, nil)
	wantMatrixError(t, r, http.StatusUnauthorized, "M_USER_LOCKED")
	if r.Get("soft_logout") != true {
		t.Errorf("got %s, want soft_logout true", r)
	}
	r = call(t, s.Client, http.MethodPost, loginPath, u.loginBody("", false))
	wantMatrixError(t, r, http.StatusUnauthorized, "M_USER_LOCKED")
	wrong := u
	wrong.password = "wrong"
	want(t, call(t, s.Client, http.MethodPost, loginPath, wrong.loginBody("", false)), http.StatusForbidden, "M_FORBIDDEN")
	fresh := phone.rotate(t) // Refresh succeeds: the gate is what answers for the lock.
	want(t, call(t, fresh.Client, http.MethodGet, whoamiPath, nil), http.StatusUnauthorized, "M_USER_LOCKED")

	s.command(t, "", "user", "unlock", u.localpart)
	fresh.alive(t)
	phone.alive(t)

	// A locked user may sign out.
	s.command(t, "", "user", "lock", u.localpart)
	want(t, call(t, fresh.Client, http.MethodPost, logoutPath, nil), http.StatusOK, "")
	s.command(t, "", "user", "unlock", u.localpart)
	fresh.dead(t)
}

func TestDeactivate(t *testing.T) {
	s := shared(t)
	u := s.newUser(t)
	phone, laptop := s.login(t, u, ""), s.login(t, u, "")
	phone.alive(t)
	s.command(t, "", "user", "deactivate", u.localpart)
	phone.dead(t)
	laptop.dead(t)
	wantMatrixError(t, call(t, s.Client, http.MethodPost, loginPath, u.loginBody("", false)), http.StatusForbidden, "M_FORBIDDEN")
	if got := s.synapseUser(t, u); got.Get("is_deactivated") != true {
		t.Errorf("got %s from Synapse, want is_deactivated", got)
	}
}

// TestLogoutCutsLongPoll ends a session whose other connection waits for messages.
func TestLogoutCutsLongPoll(t *testing.T) {
	s := shared(t)
	phone := s.login(t, s.newUser(t), "")
	next := call(t, phone.Client, http.MethodGet, syncPath, nil).Text("next_batch")
	poll := background(t, phone.Client, endlessPoll+next)
	waitForPoll()
	want(t, call(t, phone.Client, http.MethodPost, logoutPath, nil), http.StatusOK, "")
	wantMatrixError(t, <-poll, http.StatusUnauthorized, "M_UNKNOWN_TOKEN")
}

// TestSleptPhone comes back after its access token's end: it refreshes and goes on, and so does a client that never refreshes.
func TestSleptPhone(t *testing.T) {
	s := shared(t)
	u := s.newUser(t)
	phone := s.login(t, u, "")
	phone.alive(t)
	r := call(t, s.Client, http.MethodPost, loginPath, u.loginBody("", false))
	want(t, r, http.StatusOK, "")
	if r.Text("refresh_token") != "" || r.Get("expires_in_ms") != nil {
		t.Errorf("got %v, want no refresh token and no end for a client that did not ask", r.Get("expires_in_ms"))
	}
	bot := s.With(r.Text("access_token"))

	time.Sleep(61 * time.Second) // The shortest life that tokens may have: there is no way around waiting.

	r = call(t, phone.Client, http.MethodGet, whoamiPath, nil)
	wantMatrixError(t, r, http.StatusUnauthorized, "M_UNKNOWN_TOKEN")
	if r.Get("soft_logout") != true {
		t.Errorf("got %s, want soft_logout true", r)
	}
	fresh := phone.rotate(t)
	fresh.alive(t)
	r = call(t, phone.Client, http.MethodGet, whoamiPath, nil)
	want(t, r, http.StatusUnauthorized, "M_UNKNOWN_TOKEN")
	if r.Get("soft_logout") != true {
		t.Errorf("got %s for the token from before the sleep, want soft_logout true", r)
	}
	want(t, call(t, bot, http.MethodGet, whoamiPath, nil), http.StatusOK, "")
}

// TestLostRefresh presents a refresh token again whose answer never arrived.
func TestLostRefresh(t *testing.T) {
	s := shared(t)
	phone := s.login(t, s.newUser(t), "")
	lost := phone.rotate(t)
	again := phone.rotate(t)
	if again.refresh != lost.refresh {
		t.Error("got another refresh token for the same old one, want the same pair")
	}
	again.alive(t)
	again.rotate(t).alive(t)
}

// background makes a GET that takes long, and hands over its answer.
func background(t *testing.T, c rig.Client, path string) <-chan rig.Reply {
	answer := make(chan rig.Reply, 1)
	go func() {
		ctx, cancel := contextFor(callTimeout)
		defer cancel()
		r, err := c.Do(ctx, http.MethodGet, path, nil)
		if err != nil {
			r = rig.Reply{Body: []byte(err.Error())}
		}
		answer <- r
	}()
	return answer
}

// waitForPoll gives a long poll the time to reach Synapse; if it has not, the test still holds, it only tests less.
func waitForPoll() { time.Sleep(500 * time.Millisecond) }
