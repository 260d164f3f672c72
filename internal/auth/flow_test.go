package auth_test

import (
	"errors"
	"testing"
	"time"

	"github.com/caddy-matrix/caddy-matrix-auth/internal/auth"
	"github.com/caddy-matrix/caddy-matrix-auth/internal/authtest"
	"github.com/caddy-matrix/caddy-matrix-auth/internal/token"
)

func TestLoginRefreshLogout(t *testing.T) {
	k := authtest.NewService(t, authtest.Options{})
	k.MustAddUser(t, "alice")
	in := k.MustLogin(t, "alice", "")

	a, err := k.Judge(t.Context(), in.AccessToken.Reveal(), auth.From{})
	if err != nil || a.Verdict != auth.Active || a.UserID() != "@alice:example.org" {
		t.Fatalf("judging a fresh token: got %v %v %q", a.Verdict, err, a.UserID())
	}
	told := watch(a)
	defer a.Release()

	first, err := k.Refresh(t.Context(), in.RefreshToken.Reveal(), token.CompatRefresh, auth.From{})
	if err != nil {
		t.Fatal(err)
	}
	again, err := k.Refresh(t.Context(), in.RefreshToken.Reveal(), token.CompatRefresh, auth.From{})
	if err != nil || again.RefreshToken.Reveal() != first.RefreshToken.Reveal() || again.AccessToken.Reveal() != first.AccessToken.Reveal() {
		t.Fatalf("a refresh whose answer was lost: got another pair, or %v", err)
	}
	k.Clock.Advance(6 * time.Minute)
	if a, _ := k.Judge(t.Context(), in.AccessToken.Reveal(), auth.From{}); a.Verdict != auth.Expired {
		t.Fatalf("the token before: got %v, want expired", a.Verdict)
	}
	if err := k.Logout(t.Context(), first.AccessToken.Reveal(), auth.From{}); err != nil {
		t.Fatal(err)
	}
	if *told != 1 {
		t.Fatal("a request under way was not told of the end")
	}
	if a, _ := k.Judge(t.Context(), first.AccessToken.Reveal(), auth.From{}); a.Verdict != auth.Unknown {
		t.Fatalf("after logout: got %v, want unknown", a.Verdict)
	}
	if _, err := k.Refresh(t.Context(), first.RefreshToken.Reveal(), token.CompatRefresh, auth.From{}); !errors.Is(err, auth.ErrTokenUnknown) {
		t.Fatalf("refresh after logout: got %v", err)
	}
}
