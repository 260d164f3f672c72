package auth_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/caddy-matrix/caddy-matrix-auth/internal/auth"
	"github.com/caddy-matrix/caddy-matrix-auth/internal/authtest"
	"github.com/caddy-matrix/caddy-matrix-auth/internal/mxid"
	"github.com/caddy-matrix/caddy-matrix-auth/internal/token"
	"github.com/caddy-matrix/caddy-matrix-auth/store"
)

func add(k *authtest.Kit, t *testing.T, l mxid.Localpart, adopt bool) error {
	t.Helper()
	_, err := k.AddUser(t.Context(), auth.AddUserParams{Localpart: l, Password: token.NewSecret(authtest.Password), Adopt: adopt})
	return err
}

// A user just added can log in at once.
func TestAUserJustAddedCanLogIn(t *testing.T) {
	k := idle(t)
	if _, ok := k.Synapse.User("alice"); !ok {
		t.Fatal("synapse does not know the user")
	}
	k.MustLogin(t, "alice", "")
	info, err := k.User("alice")
	must(t, err)
	if info.ProvisionedAt.IsZero() || !info.HasPassword || info.UserID != "@alice:example.org" {
		t.Errorf("got %+v", info)
	}
}

// closed makes an account that is closed at Synapse, and its person forgotten.
func closed(t *testing.T, k *authtest.Kit, l mxid.Localpart) {
	t.Helper()
	k.Synapse.AddUser(l)
	must(t, k.Homeserver.DeleteUser(t.Context(), l, true))
}

// A name that is taken, here or at Synapse, is refused and nothing has changed; --adopt takes a user over, but never opens
// an account that is closed.
func TestAddUserConflicts(t *testing.T) {
	k := idle(t)
	if err := add(k, t, "alice", false); !errors.Is(err, auth.ErrConflict) {
		t.Errorf("twice: got %v", err)
	}
	k.Synapse.AddUser("old", "PHONE")
	if err := add(k, t, "old", false); !errors.Is(err, auth.ErrConflict) || !strings.Contains(err.Error(), "--adopt") {
		t.Errorf("at synapse: got %v", err)
	}
	must(t, add(k, t, "old", true))
	if got := k.Synapse.Devices("old"); !slices.Equal(got, []mxid.DeviceID{"PHONE"}) {
		t.Errorf("devices of an adopted user: got %v", got)
	}
	if err := add(k, t, "nobody", true); !errors.Is(err, auth.ErrConflict) {
		t.Errorf("adopting nobody: got %v", err)
	}
	closed(t, k, "gone")
	if err := add(k, t, "gone", true); !errors.Is(err, auth.ErrConflict) || !strings.Contains(err.Error(), "deactivated") {
		t.Errorf("adopting a closed account: got %v", err)
	}
	if u, _ := k.Synapse.User("gone"); !u.Deactivated || !u.Erased {
		t.Errorf("the closed account came back: %+v", u)
	}
	if _, err := k.User("gone"); !errors.Is(err, auth.ErrNotFound) {
		t.Errorf("the closed account: got %v", err)
	}
	k.Synapse.Reserve("bridge")
	if err := add(k, t, "bridge", false); !errors.Is(err, auth.ErrConflict) {
		t.Errorf("reserved: got %v", err)
	}
	if _, err := k.User("bridge"); !errors.Is(err, auth.ErrNotFound) {
		t.Errorf("reserved: got %v", err)
	}
}

// Synapse is down: nobody is added.
func TestAddUserWithoutSynapseChangesNothing(t *testing.T) {
	k := idle(t)
	k.Synapse.Fail(authtest.Down)
	if err := add(k, t, "bob", false); !errors.Is(err, auth.ErrUnavailable) {
		t.Errorf("got %v", err)
	}
	if _, err := k.User("bob"); !errors.Is(err, auth.ErrNotFound) {
		t.Errorf("got %v", err)
	}
}

// Synapse is down between the question and the provisioning: the job does it later, and before that a login does.
func TestProvisioningIsMadeUpFor(t *testing.T) {
	t.Parallel()
	k := idle(t)
	k.Synapse.FailOp("provision_user", authtest.Down)
	must(t, add(k, t, "bob", false))
	if _, err := k.Login(t.Context(), authtest.LoginParams("bob", "")); !errors.Is(err, auth.ErrUnavailable) {
		t.Errorf("login: got %v", err)
	}
	k.Synapse.Heal()
	k.MustLogin(t, "bob", "")
	waitFor(t, "the job to be done", func() bool { return len(jobs(t, k)) == 0 })
}

// Provisioning is refused after our commit: the user is removed again, with the reason in the audit log.
func TestARefusedUserIsRemovedAgain(t *testing.T) {
	t.Parallel()
	k := idle(t)
	k.Synapse.FailOp("is_localpart_available", authtest.Healthy)
	k.Synapse.FailOp("provision_user", authtest.Down)
	must(t, add(k, t, "bob", false))
	in, err := k.SignIn(t.Context(), auth.SignInParams{Name: "bob", Localpart: "bob", Password: token.NewSecret(authtest.Password)})
	must(t, err)
	personal, err := k.IssueToken(t.Context(), auth.IssueTokenParams{Localpart: "bob"})
	must(t, err)
	k.Synapse.Reserve("bob")
	k.Synapse.Heal()
	waitFor(t, "the user to go", func() bool {
		_, err := k.User("bob")
		return errors.Is(err, auth.ErrNotFound) && len(k.Events("user_removed")) > 0
	})
	if got := k.Events("user_removed"); len(got) != 1 || got[0].Reason == "" {
		t.Errorf("audit: got %+v", got)
	}
	if got := jobs(t, k); len(got) != 0 {
		t.Errorf("jobs: got %v", got)
	}
	if v := k.MustVerdict(t, personal.AccessToken); v != auth.Unknown {
		t.Errorf("the user's token: got %v, want unknown", v)
	}
	if n := len(k.Events("session_ended")); n != 1 {
		t.Errorf("audit: got %d ends, want 1", n)
	}
	must(t, k.DB.View(func(tx *store.Tx) error {
		if _, err := tx.BrowserSession(in.Session.ID); !errors.Is(err, store.ErrNotFound) {
			t.Errorf("the user's sign-in: got %v, want it gone", err)
		}
		return nil
	}))
}

// Deactivation ends sessions, deletes the password, and closes the account at Synapse, also later; reactivation opens it.
func TestDeactivateAndReactivate(t *testing.T) {
	t.Parallel()
	k := idle(t)
	in := k.MustLogin(t, "alice", "PHONE")
	k.Synapse.Fail(authtest.Down)
	must(t, k.Deactivate(t.Context(), "alice", true))
	if v := k.MustVerdict(t, in.AccessToken); v != auth.Unknown {
		t.Errorf("got %v", v)
	}
	k.Synapse.Heal()
	waitFor(t, "synapse", func() bool { u, _ := k.Synapse.User("alice"); return u.Deactivated && u.Erased && len(u.Devices) == 0 })
	if err := k.Reactivate(t.Context(), "alice", token.Secret{}); !errors.Is(err, auth.ErrInvalid) {
		t.Errorf("reactivating without a password: got %v", err)
	}
	must(t, k.Reactivate(t.Context(), "alice", token.NewSecret(authtest.Password)))
	if u, _ := k.Synapse.User("alice"); u.Deactivated {
		t.Error("still deactivated at synapse")
	}
	k.MustLogin(t, "alice", "PHONE")
}

// A lock keeps the session, answers who waits, and an unlock lets everything go on (ERR-04).
func TestERR04_LockAndUnlock(t *testing.T) {
	k := idle(t)
	in := k.MustLogin(t, "alice", "")
	a, err := k.Judge(t.Context(), in.AccessToken.Reveal(), auth.From{})
	must(t, err)
	defer a.Release()
	told := watch(a)
	must(t, k.Lock(t.Context(), "alice"))
	if *told != 1 {
		t.Error("a request under way was not told of the lock")
	}
	if v := k.MustVerdict(t, in.AccessToken); v != auth.Locked {
		t.Errorf("got %v", v)
	}
	if _, err := k.Introspect(t.Context(), in.AccessToken.Reveal()); !errors.Is(err, auth.ErrUserLocked) {
		t.Errorf("introspection: got %v", err)
	}
	must(t, k.Unlock(t.Context(), "alice"))
	if v := k.MustVerdict(t, in.AccessToken); v != auth.Active {
		t.Errorf("after unlock: got %v", v)
	}
	if again := watch(a); *again != 0 || *told != 1 {
		t.Error("a request after the unlock was told of an end")
	}
}

func TestSetPassword(t *testing.T) {
	k := idle(t)
	in := k.MustLogin(t, "alice", "")
	must(t, k.SetPassword(t.Context(), "alice", token.NewSecret("another one"), false))
	if _, err := k.Login(t.Context(), authtest.LoginParams("alice", "")); !errors.Is(err, auth.ErrBadCredentials) {
		t.Errorf("the old password: got %v", err)
	}
	if v := k.MustVerdict(t, in.AccessToken); v != auth.Active {
		t.Errorf("the session: got %v", v)
	}
	must(t, k.SetPassword(t.Context(), "alice", token.NewSecret(authtest.Password), true))
	if v := k.MustVerdict(t, in.AccessToken); v != auth.Unknown {
		t.Errorf("with end-sessions: got %v", v)
	}
	must(t, k.SetPassword(t.Context(), "alice", token.Secret{}, false))
	if info, _ := k.User("alice"); info.HasPassword {
		t.Error("an empty password was stored")
	}
	if err := k.SetPassword(t.Context(), "nobody", token.NewSecret("x"), false); !errors.Is(err, auth.ErrNotFound) {
		t.Errorf("nobody: got %v", err)
	}
}

// Tokens that an administrator issues: personal with and without a device, legacy, with the admin scope only for admins.
func TestIssueToken(t *testing.T) {
	k := idle(t)
	p, err := k.IssueToken(t.Context(), auth.IssueTokenParams{Localpart: "alice"})
	must(t, err)
	got, err := k.Introspect(t.Context(), p.AccessToken.Reveal())
	must(t, err)
	if got.DeviceID != "" || !got.ExpiresAt.IsZero() || got.Scope != mxid.ScopeAPI+" "+mxid.ScopeAPIUnstable {
		t.Errorf("personal: got %+v", got)
	}
	admin := auth.IssueTokenParams{Localpart: "alice", Scope: []string{mxid.ScopeAdmin}}
	if _, err := k.IssueToken(t.Context(), admin); !errors.Is(err, auth.ErrConflict) {
		t.Errorf("the admin scope without the right: got %v", err)
	}
	must(t, k.SetAdmin(t.Context(), "alice", true))
	p, err = k.IssueToken(t.Context(), admin)
	must(t, err)
	if got, _ := k.Introspect(t.Context(), p.AccessToken.Reveal()); !slices.Contains(strings.Fields(got.Scope), mxid.ScopeAdmin) {
		t.Errorf("SCP-09: got %v", got.Scope)
	}
	must(t, k.SetAdmin(t.Context(), "alice", false))
	if got, _ := k.Introspect(t.Context(), p.AccessToken.Reveal()); slices.Contains(strings.Fields(got.Scope), mxid.ScopeAdmin) {
		t.Errorf("the right was taken away: got %v", got.Scope)
	}
	in := k.MustLogin(t, "alice", "PHONE")
	p, err = k.IssueToken(t.Context(), auth.IssueTokenParams{Localpart: "alice", DeviceID: "PHONE", Legacy: true, ExpiresIn: time.Hour})
	must(t, err)
	if !strings.HasPrefix(p.AccessToken.Reveal(), "mct_") || !p.RefreshToken.Empty() || !p.ExpiresAt.Equal(k.Now().Add(time.Hour)) {
		t.Errorf("legacy: got %+v", p)
	}
	if v := k.MustVerdict(t, in.AccessToken); v != auth.Unknown {
		t.Errorf("the session on that device: got %v", v)
	}
	if _, err := k.IssueToken(t.Context(), auth.IssueTokenParams{Localpart: "alice", Scope: []string{"urn:x"}}); !errors.Is(err, auth.ErrInvalid) {
		t.Errorf("an invented scope: got %v", err)
	}
}

// Lists read page by page and show activity that is not on disk yet.
func TestLists(t *testing.T) {
	k := idle(t)
	must(t, k.DB.Update(t.Context(), func(tx *store.Tx) error {
		for i := range 300 {
			u := store.User{Localpart: mxid.Localpart(fmt.Sprintf("u%d", i)), CreatedAt: tx.Now()}
			u.ID[0], u.ID[14], u.ID[15] = 1, byte(i>>8), byte(i)
			if err := tx.InsertUser(u); err != nil {
				return err
			}
		}
		return nil
	}))
	n := 0
	for _, err := range k.Users() {
		must(t, err)
		n++
	}
	if n != 301 {
		t.Errorf("users: got %d", n)
	}
	in := k.MustLogin(t, "alice", "PHONE")
	k.Clock.Advance(time.Minute)
	_, err := k.Judge(t.Context(), in.AccessToken.Reveal(), auth.From{Addr: authtest.Addr, UserAgent: "Element"})
	must(t, err)
	for s, err := range k.Sessions("alice") {
		must(t, err)
		if !s.LastSeen.At.Equal(k.Now()) || s.LastSeen.Addr != "192.0.2.1" || s.LastSeen.UserAgent != "Element" || s.Owner != "@alice:example.org" {
			t.Errorf("got %+v", s)
		}
	}
	for _, err := range k.Sessions("nobody") {
		if !errors.Is(err, auth.ErrNotFound) {
			t.Errorf("got %v", err)
		}
	}
}

// A bot may have more sessions than fit into one Update: all of them end.
func TestManySessionsEnd(t *testing.T) {
	t.Parallel()
	k := idle(t)
	var last auth.Tokens
	for range 450 {
		p, err := k.IssueToken(t.Context(), auth.IssueTokenParams{Localpart: "alice"})
		must(t, err)
		last = p
	}
	must(t, k.LogoutAll(t.Context(), last.AccessToken.Reveal(), auth.From{}))
	for s, err := range k.Sessions("alice") {
		t.Fatalf("got %v, %v, want no session", s.ID, err)
	}
	if n := len(k.Events("session_ended")); n != 450 {
		t.Errorf("got %d ends in the audit", n)
	}
}
