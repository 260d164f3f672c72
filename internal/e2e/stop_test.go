//go:build e2e

package e2e

import (
	"fmt"
	"maps"
	"net/http"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/caddy-matrix/caddy-matrix-auth/internal/e2e/rig"
)

// TestStopUnderLogins ends the edge with SIGTERM, as systemd does, while clients sign in. It ends by itself, within
// rig.StopTimeout and with status 0; whoever got tokens has them after the restart, and nobody was told anything but to try again. Synapse keeps no device
// of a login that came to nothing.
func TestStopUnderLogins(t *testing.T) {
	t.Parallel()
	s := newStack(t, nil)
	transport := new(http.Transport)
	s.HTTP = &http.Client{Transport: transport, Timeout: callTimeout}
	const clients, stops = 8, 3
	var people [clients]user
	for i := range people {
		people[i] = s.newUser(t)
	}

	late := 0
	last := map[string]session{}
	for n := range stops {
		stopping := make(chan struct{}) // closed when the signal has been sent, or is just about to be
		var heard [clients]answers
		var group sync.WaitGroup
		for i := range clients {
			group.Go(func() { heard[i] = s.logins(people[i], fmt.Sprintf("STOP%d-%d", n, i), stopping) })
		}
		time.Sleep(time.Second)
		s.restartEdge(t, func() error {
			close(stopping)
			err := s.edge.Stop()
			group.Wait()
			transport.CloseIdleConnections()
			return err
		})
		for _, a := range heard {
			if a.lie != nil {
				t.Errorf("got %s, want tokens, or to be told to try again", *a.lie)
			}
			for _, in := range a.sessions {
				in.alive(t)
				last[in.userID] = in
			}
			late += a.late
		}
	}
	if late == 0 {
		t.Error("no login was answered after a signal: this shows nothing")
	}
	t.Logf("%d logins were answered after a signal", late)
	for _, in := range last {
		eventually(t, "Synapse's devices are those of the live sessions", func() bool {
			return slices.Equal(slices.Sorted(maps.Keys(in.devices(t))), s.liveDevices(t, in.userID))
		})
	}
}

// answers is what one client heard.
type answers struct {
	sessions []session
	late     int        // sessions, after the signal
	lie      *rig.Reply // neither tokens nor a request to come again
}

// logins signs in on one device after the other until there is no answer.
func (s *stack) logins(u user, device string, stopping <-chan struct{}) (a answers) {
	for n := 0; ; n++ {
		ctx, cancel := contextFor(callTimeout)
		name := fmt.Sprintf("%s-%d", device, n)
		r, err := s.Do(ctx, http.MethodPost, loginPath, u.loginBody(name, true))
		cancel()
		switch {
		case err != nil:
			return a
		case r.Status == http.StatusOK && r.Text("device_id") == name:
			a.sessions = append(a.sessions, session{Client: s.With(r.Text("access_token")), userID: u.id, device: name, refresh: r.Text("refresh_token")})
			select {
			case <-stopping:
				a.late++
			default:
			}
		case r.Status == http.StatusServiceUnavailable && r.Header.Get("Retry-After") != "":
		default:
			a.lie = &r
			return a
		}
	}
}
