package gate

import (
	"context"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/caddy-matrix/caddy-matrix-auth/internal/auth"
	"github.com/caddy-matrix/caddy-matrix-auth/internal/authtest"
	"github.com/caddy-matrix/caddy-matrix-auth/internal/mxid"
)

// realBench is a bench whose tokens a real service judges, with alice signed in.
func realBench(t *testing.T) (*bench, *authtest.Kit, auth.Tokens) {
	t.Helper()
	b, k := newBench(t), authtest.NewService(t, authtest.Options{})
	b.gate.Judge = k.Service
	k.MustAddUser(t, "alice")
	return b, k, k.MustLogin(t, "alice", "PHONE")
}

func (b *bench) whoami(t *testing.T, tokens auth.Tokens) reply {
	t.Helper()
	return b.do(t, b.request(t, "GET", whoami, "", bearerHeader(tokens.AccessToken.Reveal())))
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// ERR-06: a session that has ended is dead in the same instant, and stays so.
func TestGate_LogoutIsAtOnce(t *testing.T) {
	b, k, alice := realBench(t)
	if got := b.whoami(t, alice); got.Status != 200 {
		t.Fatalf("got %d, want 200", got.Status)
	}
	must(t, k.Logout(t.Context(), alice.AccessToken.Reveal(), auth.From{}))
	for range 3 {
		wantError(t, b.whoami(t, alice), 401, "M_UNKNOWN_TOKEN", false)
	}
}

// ERR-02, ERR-03: a token past its end is a soft logout, however old, and its refresh token still works.
func TestGate_ExpiredIsSoftLogout(t *testing.T) {
	b, k, alice := realBench(t)
	k.Clock.Advance(365 * 24 * time.Hour)
	for range 3 {
		wantError(t, b.whoami(t, alice), 401, "M_UNKNOWN_TOKEN", true)
	}
	if got := b.whoami(t, k.MustRefresh(t, alice.RefreshToken)); got.Status != 200 {
		t.Errorf("got %d after the refresh, want 200", got.Status)
	}
}

// ERR-04: a locked user is told so, and the session lives on.
func TestGate_LockedKeepsTheSession(t *testing.T) {
	b, k, alice := realBench(t)
	must(t, k.Lock(t.Context(), "alice"))
	wantError(t, b.whoami(t, alice), 401, "M_USER_LOCKED", true)
	must(t, k.Unlock(t.Context(), "alice"))
	if got := b.whoami(t, alice); got.Status != 200 {
		t.Errorf("got %d after unlocking, want 200", got.Status)
	}
}

func TestGate_DeactivatedIsUnknown(t *testing.T) {
	b, k, alice := realBench(t)
	must(t, k.Deactivate(t.Context(), "alice", false))
	wantError(t, b.whoami(t, alice), 401, "M_UNKNOWN_TOKEN", false)
}

// A token that we made for a refresh, or never made, is unknown.
func TestGate_OtherTokensAreUnknown(t *testing.T) {
	b, _, alice := realBench(t)
	for _, text := range []string{alice.RefreshToken.Reveal(), b.live, b.dead} {
		wantError(t, b.do(t, b.request(t, "GET", whoami, "", bearerHeader(text))), 401, "M_UNKNOWN_TOKEN", false)
	}
	b.synapse.none(t)
}

func TestGate_AdminAPI(t *testing.T) {
	b, k, alice := realBench(t)
	must(t, k.SetAdmin(t.Context(), "alice", true))
	admin, err := k.IssueToken(t.Context(), auth.IssueTokenParams{Localpart: "alice", Scope: []string{mxid.ScopeAdmin}})
	must(t, err)
	get := func(tokens auth.Tokens) reply {
		return b.do(t, b.request(t, "GET", "/_synapse/admin/v2/users", "", bearerHeader(tokens.AccessToken.Reveal())))
	}
	if got := get(admin); got.Status != 200 {
		t.Errorf("got %d with the scope and the right, want 200", got.Status)
	}
	wantError(t, get(alice), 403, "M_FORBIDDEN", nil)
	must(t, k.SetAdmin(t.Context(), "alice", false))
	wantError(t, get(admin), 403, "M_FORBIDDEN", nil)
}

// sync starts a long poll that the homeserver holds until let go, and returns when it is there.
func (b *bench) sync(t *testing.T, method string, tokens auth.Tokens) (letGo func(), answer <-chan reply) {
	t.Helper()
	arrived, release := make(chan struct{}), make(chan struct{})
	b.synapse.handle = func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		close(arrived)
		select {
		case <-release:
		case <-r.Context().Done():
		}
		_, _ = io.WriteString(w, "{}")
	}
	got := make(chan reply, 1)
	r := b.request(t, method, "/_matrix/client/v3/sync", "", bearerHeader(tokens.AccessToken.Reveal()))
	go func() {
		defer close(got) // do may end this goroutine.
		got <- b.do(t, r)
	}()
	<-arrived
	return func() { close(release) }, got
}

// A long poll under way is answered as the next request would be, when its session ends or its user is locked.
func TestGate_LongPollEndsWithItsSession(t *testing.T) {
	for name, c := range map[string]struct {
		act  func(context.Context, *authtest.Kit, auth.Tokens) error
		code string
		soft bool
	}{
		"logout": {func(ctx context.Context, k *authtest.Kit, a auth.Tokens) error {
			return k.Logout(ctx, a.AccessToken.Reveal(), auth.From{})
		}, "M_UNKNOWN_TOKEN", false},
		"ended by an administrator": {func(ctx context.Context, k *authtest.Kit, a auth.Tokens) error {
			return k.EndSession(ctx, a.SessionID, "test")
		}, "M_UNKNOWN_TOKEN", false},
		"locked": {func(ctx context.Context, k *authtest.Kit, _ auth.Tokens) error {
			return k.Lock(ctx, "alice")
		}, "M_USER_LOCKED", true},
		"deactivated": {func(ctx context.Context, k *authtest.Kit, _ auth.Tokens) error {
			return k.Deactivate(ctx, "alice", false)
		}, "M_UNKNOWN_TOKEN", false},
	} {
		t.Run(name, func(t *testing.T) {
			b, k, alice := realBench(t)
			_, answer := b.sync(t, "GET", alice)
			must(t, c.act(t.Context(), k, alice))
			wantError(t, <-answer, 401, c.code, c.soft)
		})
	}
}

// Unlocking gives the session a new channel: the next long poll stays, and ends with the next lock.
func TestGate_LongPollAfterUnlock(t *testing.T) {
	b, k, alice := realBench(t)
	must(t, k.Lock(t.Context(), "alice"))
	must(t, k.Unlock(t.Context(), "alice"))
	letGo, answer := b.sync(t, "GET", alice)
	letGo()
	if got := <-answer; got.Status != 200 {
		t.Fatalf("got %d, want 200", got.Status)
	}
	_, answer = b.sync(t, "GET", alice)
	must(t, k.Lock(t.Context(), "alice"))
	wantError(t, <-answer, 401, "M_USER_LOCKED", true)
}

// Writes under way are not cut: the homeserver is acting on them.
func TestGate_WriteOutlivesItsSession(t *testing.T) {
	for _, method := range []string{"POST", "PUT", "DELETE"} {
		b, k, alice := realBench(t)
		letGo, answer := b.sync(t, method, alice)
		must(t, k.Logout(t.Context(), alice.AccessToken.Reveal(), auth.From{}))
		letGo()
		if got := <-answer; got.Status != 200 {
			t.Errorf("%s: got %d, want 200", method, got.Status)
		}
	}
}

// Expiry and rotation cut nothing.
func TestGate_LongPollOutlivesItsToken(t *testing.T) {
	b, k, alice := realBench(t)
	letGo, answer := b.sync(t, "GET", alice)
	k.MustRefresh(t, alice.RefreshToken)
	k.Clock.Advance(24 * time.Hour)
	wantError(t, b.whoami(t, alice), 401, "M_UNKNOWN_TOKEN", true)
	letGo()
	if got := <-answer; got.Status != 200 {
		t.Errorf("got %d, want 200", got.Status)
	}
}

// Another session of the same user goes on.
func TestGate_LongPollOfAnotherSessionStays(t *testing.T) {
	b, k, alice := realBench(t)
	laptop := k.MustLogin(t, "alice", "LAPTOP")
	letGo, answer := b.sync(t, "GET", laptop)
	must(t, k.Logout(t.Context(), alice.AccessToken.Reveal(), auth.From{}))
	letGo()
	if got := <-answer; got.Status != 200 {
		t.Errorf("got %d, want 200", got.Status)
	}
}

func TestGate_QueryTokenOfARealSession(t *testing.T) {
	b, _, alice := realBench(t)
	text := alice.AccessToken.Reveal()
	got := b.do(t, b.request(t, "GET", whoami+"?%61ccess_token="+strings.Replace(text, "_", "%5F", 1), ""))
	if got.Status != 200 || b.synapse.last(t).Token != text {
		t.Errorf("got %d, want 200 with the token in the header", got.Status)
	}
}
