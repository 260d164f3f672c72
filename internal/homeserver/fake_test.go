package homeserver_test

import (
	"errors"
	"net/http"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/caddy-matrix/caddy-matrix-auth/internal/auth"
	"github.com/caddy-matrix/caddy-matrix-auth/internal/authtest"
	"github.com/caddy-matrix/caddy-matrix-auth/internal/homeserver"
	"github.com/caddy-matrix/caddy-matrix-auth/internal/mxid"
	"github.com/caddy-matrix/caddy-matrix-auth/internal/token"
)

var _ auth.Homeserver = (*homeserver.Client)(nil)

// TestLifeOfAUser goes through all calls against a Synapse with state, over a socket.
func TestLifeOfAUser(t *testing.T) {
	s := authtest.NewSynapse(t, "example.org")
	c := s.Client(t, homeserver.Config{URL: s.URL(), Transport: http.DefaultTransport})
	ctx := t.Context()
	ok := func(what string, err error) {
		t.Helper()
		if err != nil {
			t.Errorf("%s: %v", what, err)
		}
	}

	_, _, err := c.QueryUser(ctx, "alice")
	if !mustError(t, err).NotFound() {
		t.Errorf("querying nobody: got %v", err)
	}
	ok("is it available", c.IsLocalpartAvailable(ctx, "alice"))
	ok("provisioning", c.ProvisionUser(ctx, "alice", ""))
	ok("provisioning again", c.ProvisionUser(ctx, "alice", "Alice"))
	if err := c.IsLocalpartAvailable(ctx, "alice"); !mustError(t, err).Conflict() {
		t.Errorf("a name that is taken: got %v", err)
	}
	s.Reserve("bridge")
	for _, l := range []mxid.Localpart{"bridge", "_bridge", "123"} {
		if err := c.ProvisionUser(ctx, l, ""); !mustError(t, err).Conflict() {
			t.Errorf("provisioning %s: got %v", l, err)
		}
	}

	ok("a device", c.UpsertDevice(ctx, "alice", "D1", strings.Repeat("x", 200)))
	ok("the same again", c.UpsertDevice(ctx, "alice", "D1", ""))
	ok("another", c.UpsertDevice(ctx, "alice", "D2", "two"))
	ok("renaming", c.UpdateDeviceDisplayName(ctx, "alice", "D2", "zwei"))
	if err := c.UpdateDeviceDisplayName(ctx, "alice", "D3", "x"); !mustError(t, err).NotFound() {
		t.Errorf("renaming no device: got %v", err)
	}
	want := authtest.SynapseUser{DisplayName: "Alice", Devices: map[mxid.DeviceID]string{"D1": strings.Repeat("x", 100), "D2": "zwei"}}
	got, _ := s.User("alice")
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("alice (-want +got):\n%s", diff)
	}
	ok("deleting a device", c.DeleteDevice(ctx, "alice", "D1"))
	ok("deleting it again", c.DeleteDevice(ctx, "alice", "D1"))
	ok("syncing", c.SyncDevices(ctx, "alice", []mxid.DeviceID{"D2", "D4"}))
	if diff := cmp.Diff([]mxid.DeviceID{"D2", "D4"}, s.Devices("alice")); diff != "" {
		t.Errorf("devices (-want +got):\n%s", diff)
	}

	ok("a name", c.SetDisplayName(ctx, "alice", strings.Repeat("ü", 300)))
	if name, _, err := c.QueryUser(ctx, "alice"); err != nil || name != strings.Repeat("ü", 256) {
		t.Errorf("got %q, %v, want 256 characters", name, err)
	}
	ok("no name", c.UnsetDisplayName(ctx, "alice"))
	ok("a reset", c.AllowCrossSigningReset(ctx, "alice"))
	ok("deactivating", c.DeleteUser(ctx, "alice", true))
	if _, deactivated, err := c.QueryUser(ctx, "alice"); err != nil || !deactivated {
		t.Errorf("got deactivated %v, %v", deactivated, err)
	}
	ok("reactivating", c.ReactivateUser(ctx, "alice"))
	if err := c.DeleteUser(ctx, "nobody", true); !mustError(t, err).NotFound() {
		t.Errorf("deactivating nobody: got %v", err)
	}
	if v, err := c.Version(ctx); err != nil || !v.Supported() {
		t.Errorf("got version %v, %v", v, err)
	}
}

// TestFaults: what each fault of Synapse is to a caller, and whether it had an effect.
func TestFaults(t *testing.T) {
	for _, tc := range []struct {
		name   string
		fault  authtest.Fault
		kind   homeserver.Kind
		effect bool
	}{
		{"down", authtest.Down, homeserver.KindConnection, false},
		{"slow", authtest.Slow, homeserver.KindTimeout, false},
		{"garbage", authtest.Garbage, homeserver.KindGarbage, false},
		{"wrong secret", authtest.WrongSecret, homeserver.KindUnauthorized, false},
		{"broken", authtest.Broken, homeserver.KindBroken, false},
		{"answer lost", authtest.AnswerLost, homeserver.KindConnection, true},
		{"undelegated", authtest.Undelegated, homeserver.KindUndelegated, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := authtest.NewSynapse(t, "example.org")
				c := s.Client(t, homeserver.Config{})
				s.Fail(tc.fault)
				e := mustError(t, c.ProvisionUser(t.Context(), "alice", ""))
				if e.Kind != tc.kind || !e.Unreachable() {
					t.Errorf("got kind %d (%v), want %d", e.Kind, e, tc.kind)
				}
				if _, there := s.User("alice"); there != tc.effect {
					t.Errorf("got alice there %v, want %v", there, tc.effect)
				}
				s.Heal()
				if err := c.ProvisionUser(t.Context(), "alice", ""); err != nil {
					t.Errorf("healed: %v", err)
				}
			})
		})
	}
}

// TestSlowUntilReleased: a slow Synapse that answers in time is no fault to the caller.
func TestSlowUntilReleased(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := authtest.NewSynapse(t, "example.org")
		c := s.Client(t, homeserver.Config{})
		s.FailOp("provision_user", authtest.Slow)
		go func() {
			time.Sleep(9 * time.Second)
			s.Release()
		}()
		if err := c.ProvisionUser(t.Context(), "alice", ""); err != nil {
			t.Errorf("got %v", err)
		}
	})
}

// TestWrongSecret: the text tells the operator what to mend.
func TestWrongSecret(t *testing.T) {
	s := authtest.NewSynapse(t, "example.org")
	c := s.Client(t, homeserver.Config{Secret: token.NewSecret("not-the-secret")})
	e := mustError(t, c.ProvisionUser(t.Context(), "alice", ""))
	if !e.Unauthorized() || !e.Unreachable() || !strings.Contains(e.Reason(), "the shared secrets differ") {
		t.Errorf("got %v", e)
	}
}

// TestDownOverASocket: a real dialer's error is classed as the fake one.
func TestDownOverASocket(t *testing.T) {
	c := newClient(t, homeserver.Config{URL: "http://127.0.0.1:1", Timeout: 5 * time.Second})
	e := mustError(t, c.ProvisionUser(t.Context(), "alice", ""))
	if e.Kind != homeserver.KindConnection || !errors.Is(e, syscall.ECONNREFUSED) {
		t.Errorf("got %v, want a refused connection", e)
	}
}
