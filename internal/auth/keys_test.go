package auth_test

import (
	"testing"
	"time"

	"github.com/caddy-matrix/caddy-matrix-auth/internal/auth"
	"github.com/caddy-matrix/caddy-matrix-auth/internal/authtest"
)

// TestKeysAreKeptAndFollowRotation: what is in memory is never older than the last rotation, and the published ones shrink in time.
func TestKeysAreKeptAndFollowRotation(t *testing.T) {
	k := authtest.NewService(t, authtest.Options{Idle: true})
	keys := func() auth.Keys {
		t.Helper()
		got, err := k.Keys(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return got
	}
	first := keys()
	if got := keys(); got.Signing["RS256"].ID != first.Signing["RS256"].ID || len(got.Public) != 2 {
		t.Fatalf("got %+v, then %+v", first, got)
	}
	if err := k.RotateKeys(t.Context()); err != nil {
		t.Fatal(err)
	}
	second := keys()
	if second.Signing["RS256"].ID == first.Signing["RS256"].ID || second.Signing["ES256"].ID == first.Signing["ES256"].ID {
		t.Error("an old key signs after the rotation")
	}
	if len(second.Public) != 4 || len(second.Hints) != 4 {
		t.Errorf("got %d published, %d for hints, want 4 of both", len(second.Public), len(second.Hints))
	}
	k.Clock.Advance(24*time.Hour + time.Second)
	if got := keys(); len(got.Public) != 2 || len(got.Hints) != 4 {
		t.Errorf("a day later: got %d published, %d for hints, want 2 and 4", len(got.Public), len(got.Hints))
	}
}
