package auth_test

import (
	"errors"
	"testing"

	"github.com/caddy-matrix/caddy-matrix-auth/internal/auth"
	"github.com/caddy-matrix/caddy-matrix-auth/internal/authtest"
)

func TestOwnSessionOn(t *testing.T) {
	k := authtest.NewService(t, authtest.Options{})
	alice, bob := k.MustAddUser(t, "alice"), k.MustAddUser(t, "bob")
	want := k.MustLogin(t, "alice", "PHONE")
	in := auth.SignedIn{User: alice.User, UserID: alice.UserID}
	if got, err := k.OwnSessionOn(t.Context(), in, "PHONE"); err != nil || got.ID != want.SessionID || got.Owner != alice.UserID {
		t.Errorf("got %v of %s, %v, want %v", got.ID, got.Owner, err, want.SessionID)
	}
	for name, in := range map[string]auth.SignedIn{"somebody else's": {User: bob.User}, "a device that does not exist": in} {
		device := want.DeviceID
		if in.User.ID == alice.ID {
			device = "TABLET"
		}
		if _, err := k.OwnSessionOn(t.Context(), in, device); !errors.Is(err, auth.ErrNotFound) {
			t.Errorf("%s: got %v, want ErrNotFound", name, err)
		}
	}
	if err := k.EndOwnSession(t.Context(), in, want.SessionID, auth.From{}); err != nil {
		t.Fatal(err)
	}
	if _, err := k.OwnSessionOn(t.Context(), in, "PHONE"); !errors.Is(err, auth.ErrNotFound) {
		t.Errorf("after its end: got %v, want ErrNotFound", err)
	}
}
