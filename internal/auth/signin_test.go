package auth_test

import (
	"errors"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/caddy-matrix/caddy-matrix-auth/internal/auth"
	"github.com/caddy-matrix/caddy-matrix-auth/internal/authtest"
	"github.com/caddy-matrix/caddy-matrix-auth/internal/mxid"
	"github.com/caddy-matrix/caddy-matrix-auth/internal/token"
	"github.com/caddy-matrix/caddy-matrix-auth/store"
)

func jobs(t *testing.T, k *authtest.Kit) (all []store.Job) {
	t.Helper()
	must(t, k.DB.View(func(tx *store.Tx) error {
		for j, err := range tx.Jobs() {
			if err != nil {
				return err
			}
			all = append(all, j)
		}
		return nil
	}))
	return all
}

func ops(k *authtest.Kit) (names []string) {
	for _, c := range k.Synapse.Calls() {
		names = append(names, c.Op)
	}
	return names
}

// The device is known to Synapse before the login is answered, and nothing is left to do (E8, TOK-10).
func TestE8_SynapseFirstCommitLast(t *testing.T) {
	k := idle(t)
	k.Synapse.ForgetCalls()
	in := k.MustLogin(t, "alice", "PHONE")
	if diff := cmp.Diff([]string{"upsert_device"}, ops(k)); diff != "" {
		t.Errorf("calls (-want +got):\n%s", diff)
	}
	if got := jobs(t, k); len(got) != 0 {
		t.Errorf("jobs after a login: got %v", got)
	}
	if got := k.Synapse.Devices("alice"); !slices.Equal(got, []mxid.DeviceID{in.DeviceID}) {
		t.Errorf("devices: got %v", got)
	}
}

// A login that cannot be finished has changed nothing, and the worker takes back a device that Synapse may have made.
func TestALoginThatFailsChangesNothing(t *testing.T) {
	t.Parallel()
	for _, fault := range []authtest.Fault{authtest.Down, authtest.Garbage, authtest.WrongSecret, authtest.Broken, authtest.AnswerLost, authtest.Undelegated} {
		k := idle(t)
		k.Synapse.Fail(fault)
		if _, err := k.Login(t.Context(), authtest.LoginParams("alice", "PHONE")); !errors.Is(err, auth.ErrUnavailable) {
			t.Fatalf("fault %v: got %v, want unavailable", fault, err)
		}
		for s, err := range k.Sessions("alice") {
			t.Fatalf("fault %v: there is a session: %v %v", fault, s, err)
		}
		k.Synapse.Heal()
		waitFor(t, "the job to be done", func() bool { return len(jobs(t, k)) == 0 })
		if got := k.Synapse.Devices("alice"); len(got) != 0 {
			t.Errorf("fault %v: devices left at synapse: %v", fault, got)
		}
	}
}

// waitFor waits for the worker, which runs by itself.
func waitFor(t *testing.T, what string, ok func() bool) {
	t.Helper()
	deadline := time.After(20 * time.Second)
	for !ok() {
		select {
		case <-deadline:
			t.Fatalf("waited in vain for %s", what)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// Login on a device that is signed in already works while Synapse restarts; the session that was there ends.
func TestLoginOnASignedInDeviceWorksWithoutSynapse(t *testing.T) {
	k := idle(t)
	old := k.MustLogin(t, "alice", "PHONE")
	k.Synapse.Fail(authtest.Down)
	in := k.MustLogin(t, "alice", "PHONE")
	if v := k.MustVerdict(t, old.AccessToken); v != auth.Unknown {
		t.Errorf("the session before: got %v", v)
	}
	if v := k.MustVerdict(t, in.AccessToken); v != auth.Active {
		t.Errorf("the new session: got %v", v)
	}
}

// The same device twice: one session, the device and its name stay (LGN-14, LGN-15, TOK-11).
func TestLGN14_SameDeviceTwice(t *testing.T) {
	k := idle(t)
	p := authtest.LoginParams("alice", "PHONE")
	p.DisplayName = "My phone"
	first, err := k.Login(t.Context(), p)
	must(t, err)
	k.Synapse.ForgetCalls()
	p.DisplayName = "Another name"
	second, err := k.Login(t.Context(), p)
	must(t, err)
	if slices.Contains(ops(k), "delete_device") {
		t.Error("the device was deleted, with its keys")
	}
	u, _ := k.Synapse.User("alice")
	if got := u.Devices["PHONE"]; got != "My phone" {
		t.Errorf("display name: got %q", got)
	}
	if a, b := k.MustVerdict(t, first.AccessToken), k.MustVerdict(t, second.AccessToken); a != auth.Unknown || b != auth.Active {
		t.Errorf("got %v and %v", a, b)
	}
}

// Login and logout race on one device: a late deletion never takes the device of a newer session (E9).
func TestE9_ALateDeletionNeverTakesANewDevice(t *testing.T) {
	t.Parallel()
	k := idle(t)
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 5 {
				in, err := k.Login(t.Context(), authtest.LoginParams("alice", "PHONE"))
				if err != nil {
					t.Error(err)
					return
				}
				if err := k.Logout(t.Context(), in.AccessToken.Reveal(), auth.From{}); err != nil && !errors.Is(err, auth.ErrTokenUnknown) {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	last := k.MustLogin(t, "alice", "PHONE")
	waitFor(t, "all jobs", func() bool { return len(jobs(t, k)) == 0 })
	if got := k.Synapse.Devices("alice"); !slices.Equal(got, []mxid.DeviceID{"PHONE"}) {
		t.Errorf("devices: got %v", got)
	}
	if v := k.MustVerdict(t, last.AccessToken); v != auth.Active {
		t.Errorf("got %v", v)
	}
}

// A user whom Synapse has forgotten is provisioned before the device is announced.
func TestAForgottenUserIsProvisionedAtLogin(t *testing.T) {
	k := idle(t)
	k.Synapse.RemoveUser("alice")
	k.MustLogin(t, "alice", "PHONE")
	if _, ok := k.Synapse.User("alice"); !ok {
		t.Fatal("the user is not there")
	}
}

// Unknown user, no password, wrong password, deactivated: one error (LGN-09, LGN-19).
func TestLGN09_OneAnswerForAllBadCredentials(t *testing.T) {
	k := idle(t)
	_, err := k.AddUser(t.Context(), auth.AddUserParams{Localpart: "nopassword"})
	must(t, err)
	k.MustAddUser(t, "gone")
	must(t, k.Deactivate(t.Context(), "gone", false))
	wrong := authtest.LoginParams("alice", "")
	wrong.Password = token.NewSecret("wrong")
	for name, p := range map[string]auth.LoginParams{
		"unknown":     authtest.LoginParams("bob", ""),
		"no password": authtest.LoginParams("nopassword", ""),
		"deactivated": authtest.LoginParams("gone", ""),
		"wrong":       wrong,
		"not a name":  {Name: "@x:elsewhere", Password: token.NewSecret("x")},
	} {
		if _, err := k.Login(t.Context(), p); !errors.Is(err, auth.ErrBadCredentials) {
			t.Errorf("%s: got %v", name, err)
		}
	}
}

// The audit log names a user who failed to log in, in whatever state the account is, and nobody who is not a user: what was
// typed may be the password, in the wrong field. Answers do not tell the two apart.
func TestAuditNamesNobodyWhoIsNotAUser(t *testing.T) {
	k := idle(t)
	_, err := k.AddUser(t.Context(), auth.AddUserParams{Localpart: "nopassword"})
	must(t, err)
	k.MustAddUser(t, "gone")
	must(t, k.Deactivate(t.Context(), "gone", false))
	for _, who := range []mxid.Localpart{"alice", "gone", "nopassword", "correct-horse-battery", ""} {
		p := authtest.LoginParams(who, "")
		p.Password = token.NewSecret("wrong")
		_, login := k.Login(t.Context(), p)
		_, signIn := k.SignIn(t.Context(), auth.SignInParams{Name: p.Name, Localpart: p.Localpart, Password: p.Password})
		if !errors.Is(login, auth.ErrBadCredentials) || !errors.Is(signIn, auth.ErrBadCredentials) {
			t.Errorf("%q: got %v and %v", who, login, signIn)
		}
	}
	var got []mxid.UserID
	for _, e := range k.Events("login_failed") {
		got = append(got, e.UserID)
	}
	want := []mxid.UserID{
		"@alice:example.org", "@alice:example.org", "@gone:example.org", "@gone:example.org", "@nopassword:example.org", "@nopassword:example.org",
		"", "", "", "",
	}
	if !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

// Locked is told only to who knows the password (LGN-19).
func TestLGN19_LockedIsToldAfterThePassword(t *testing.T) {
	k := idle(t)
	must(t, k.Lock(t.Context(), "alice"))
	wrong := authtest.LoginParams("alice", "")
	wrong.Password = token.NewSecret("wrong")
	if _, err := k.Login(t.Context(), wrong); !errors.Is(err, auth.ErrBadCredentials) {
		t.Errorf("wrong password: got %v", err)
	}
	if _, err := k.Login(t.Context(), authtest.LoginParams("alice", "")); !errors.Is(err, auth.ErrUserLocked) {
		t.Errorf("right password: got %v", err)
	}
}

// A password that changes, or a lock that comes, while the login talks to Synapse: the login fails in its Update.
func TestALoginIsCheckedAgainInItsUpdate(t *testing.T) {
	t.Parallel()
	for name, meanwhile := range map[string]func(k *authtest.Kit) error{
		"password": func(k *authtest.Kit) error {
			return k.SetPassword(t.Context(), "alice", token.NewSecret("another"), false)
		},
		"lock":       func(k *authtest.Kit) error { return k.Lock(t.Context(), "alice") },
		"deactivate": func(k *authtest.Kit) error { return k.Deactivate(t.Context(), "alice", false) },
	} {
		k := idle(t)
		k.Synapse.FailOp("upsert_device", authtest.Slow)
		result := make(chan error, 1)
		go func() {
			_, err := k.Login(t.Context(), authtest.LoginParams("alice", "PHONE"))
			result <- err
		}()
		waitFor(t, "the call", func() bool { return slices.Contains(ops(k), "upsert_device") })
		must(t, meanwhile(k))
		k.Synapse.Heal()
		if err := <-result; !errors.Is(err, auth.ErrBadCredentials) && !errors.Is(err, auth.ErrUserLocked) {
			t.Errorf("%s: got %v", name, err)
		}
		waitFor(t, "the job to be done", func() bool { return len(jobs(t, k)) == 0 })
		if got := k.Synapse.Devices("alice"); len(got) != 0 {
			t.Errorf("%s: devices left: %v", name, got)
		}
	}
}

// Synapse is down at logout: the token is dead at once, and the device goes when Synapse is back.
func TestLogoutWhileSynapseIsDown(t *testing.T) {
	t.Parallel()
	k := idle(t)
	in := k.MustLogin(t, "alice", "PHONE")
	k.Synapse.Fail(authtest.Down)
	must(t, k.Logout(t.Context(), in.AccessToken.Reveal(), auth.From{}))
	if v := k.MustVerdict(t, in.AccessToken); v != auth.Unknown {
		t.Errorf("got %v", v)
	}
	if st := k.Status(); st.Jobs != 1 {
		t.Errorf("status: got %+v", st)
	}
	k.Synapse.Heal()
	waitFor(t, "the job to be done", func() bool { return len(k.Synapse.Devices("alice")) == 0 && k.Status().Jobs == 0 })
}

// Jobs that a crash left are found at the start.
func TestJobsAreReadAtTheStart(t *testing.T) {
	t.Parallel()
	k := authtest.NewService(t, authtest.Options{Idle: true})
	info := k.MustAddUser(t, "alice")
	k.Synapse.AddUser("alice", "LEFT")
	must(t, k.DB.Update(t.Context(), func(tx *store.Tx) error {
		return tx.PutJob(store.Job{UserID: info.ID, DeviceID: "LEFT", Revision: tx.Revision(), CreatedAt: tx.Now()})
	}))
	k.MustRun(t)
	waitFor(t, "the device to go", func() bool { return len(k.Synapse.Devices("alice")) == 0 && len(jobs(t, k)) == 0 })
}

// Logout takes any access token of the session, however old (LGO-06), once (LGO-08).
func TestLGO06_LogoutWithAnOldToken(t *testing.T) {
	k := idle(t)
	in := k.MustLogin(t, "alice", "PHONE")
	other := k.MustLogin(t, "alice", "TABLET")
	last := in
	for range 12 {
		k.Clock.Advance(10 * time.Minute)
		last = k.MustRefresh(t, last.RefreshToken)
	}
	must(t, k.Logout(t.Context(), in.AccessToken.Reveal(), auth.From{}))
	mustBeUnknown(t, "a second logout", k.Logout(t.Context(), in.AccessToken.Reveal(), auth.From{}))
	if v := k.MustVerdict(t, last.AccessToken); v != auth.Unknown {
		t.Errorf("got %v", v)
	}
	if v := k.MustVerdict(t, k.MustRefresh(t, other.RefreshToken).AccessToken); v != auth.Active {
		t.Errorf("LGO-01: the other session: got %v", v)
	}
	if got := k.Synapse.Devices("alice"); !slices.Equal(got, []mxid.DeviceID{"TABLET"}) {
		t.Errorf("LGO-02: devices: got %v", got)
	}
}

// Logout all ends every session of the user and nobody else's (LGO-05).
func TestLGO05_LogoutAll(t *testing.T) {
	k := idle(t)
	k.MustAddUser(t, "bob")
	a, b, bob := k.MustLogin(t, "alice", ""), k.MustLogin(t, "alice", ""), k.MustLogin(t, "bob", "")
	must(t, k.LogoutAll(t.Context(), a.AccessToken.Reveal(), auth.From{}))
	for _, in := range []auth.Tokens{a, b} {
		if v := k.MustVerdict(t, in.AccessToken); v != auth.Unknown {
			t.Errorf("got %v", v)
		}
	}
	if v := k.MustVerdict(t, bob.AccessToken); v != auth.Active {
		t.Errorf("somebody else's session: got %v", v)
	}
	if got := k.Synapse.Devices("alice"); len(got) != 0 {
		t.Errorf("devices: got %v", got)
	}
}
