package auth_test

import (
	"testing"
	"time"

	"github.com/caddy-matrix/caddy-matrix-auth/internal/auth"
	"github.com/caddy-matrix/caddy-matrix-auth/internal/authtest"
)

// TestKeyListFollowsAKeyToItsEnd: it signs, is published for a day, recognises hints for a while, and is gone.
func TestKeyListFollowsAKeyToItsEnd(t *testing.T) {
	k := authtest.NewService(t, authtest.Options{Idle: true})
	list := func() (keys []auth.KeyInfo) {
		t.Helper()
		for key, err := range k.KeyList() {
			if err != nil {
				t.Fatal(err)
			}
			keys = append(keys, key)
		}
		return keys
	}
	if got := list(); len(got) != 0 {
		t.Fatalf("before the first: got %+v", got)
	}
	if _, err := k.Keys(t.Context()); err != nil {
		t.Fatal(err)
	}
	old := list()
	if len(old) != 2 || !old[0].RetiredAt.IsZero() || !old[0].Published {
		t.Fatalf("got %+v, want two that sign", old)
	}
	k.Clock.Advance(time.Minute)
	if err := k.RotateKeys(t.Context()); err != nil {
		t.Fatal(err)
	}
	got := list()
	if len(got) != 4 || !got[0].RetiredAt.IsZero() || got[3].RetiredAt.IsZero() || !got[3].Published {
		t.Fatalf("rotated: got %+v, want the new ones first, and the old ones published", got)
	}
	k.Clock.Advance(25 * time.Hour)
	if got = list(); len(got) != 4 || got[3].Published {
		t.Errorf("a day later: got %+v, want the old ones unpublished", got)
	}
	k.Clock.Advance(90 * 24 * time.Hour)
	if got = list(); len(got) != 2 {
		t.Errorf("90 days later: got %+v, want the new ones alone", got)
	}
}
