package auth_test

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/oklog/ulid/v2"

	"github.com/caddy-matrix/caddy-matrix-auth/internal/auth"
	"github.com/caddy-matrix/caddy-matrix-auth/internal/authtest"
	"github.com/caddy-matrix/caddy-matrix-auth/internal/mxid"
	"github.com/caddy-matrix/caddy-matrix-auth/internal/token"
	"github.com/caddy-matrix/caddy-matrix-auth/store"
)

func signIns(t *testing.T, k *authtest.Kit) (all []store.BrowserSession) {
	t.Helper()
	must(t, k.DB.View(func(tx *store.Tx) error {
		for b, err := range tx.BrowserSessions(ulid.ULID{}) {
			if err != nil {
				return err
			}
			all = append(all, b)
		}
		return nil
	}))
	return all
}

func (p *person) mustBeOut(what string) {
	p.Helper()
	_, err := p.k.BrowserSession(p.Context(), p.cookie)
	mustBe(p.T, what, err, auth.ErrSignInNeeded)
}

// Each sign-in is a record of its own, known by the digest of its cookie; the same person keeps the record, with a new cookie;
// another one takes its place.
func TestASVS_EverySignInIsItsOwnRecord(t *testing.T) {
	k := provider(t)
	k.MustAddUser(t, "bob")
	first, second := signIn(t, k, "alice"), signIn(t, k, "alice")
	if a, b := first.signedIn(), second.signedIn(); a.Session.ID == b.Session.ID || first.cookie.Reveal() == second.cookie.Reveal() || len(first.cookie.Reveal()) < 43 {
		t.Fatal("two sign-ins are one, or the cookie is weak")
	}
	before := first.signedIn()
	if before.UserID != "@alice:example.org" || before.Session.Addr != authtest.Addr.String() || before.Session.UserAgent != "Browser/1" || before.Admin {
		t.Errorf("got %+v", before)
	}
	k.Clock.Advance(time.Minute)
	again := signInParams("alice")
	again.Cookie = first.cookie
	in, err := k.SignIn(t.Context(), again)
	must(t, err)
	if in.Session.ID != before.Session.ID || !in.Session.CreatedAt.Equal(before.Session.CreatedAt) || !in.Session.AuthenticatedAt.Equal(k.Now()) {
		t.Errorf("the same person: got %+v, want the record kept", in.Session)
	}
	first.mustBeOut("the cookie before")
	first.cookie = in.Cookie
	other := signInParams("bob")
	other.Cookie = first.cookie
	in, err = k.SignIn(t.Context(), other)
	must(t, err)
	if in.Session.ID == before.Session.ID || in.UserID != "@bob:example.org" {
		t.Errorf("another person: got %+v", in)
	}
	first.mustBeOut("the sign-in before another person's")
	if got := signIns(t, k); len(got) != 2 {
		t.Errorf("got %d records, want alice's second and bob's", len(got))
	}
}

// A wrong password, and every other failure, leaves the present sign-in as it is. Each is told and counted as a login is.
func TestAFailedSignInChangesNothing(t *testing.T) {
	k := provider(t, func(set *auth.Settings) { set.LoginLimit = auth.Limit{Burst: 3, Window: time.Minute} })
	k.MustAddUser(t, "locked")
	must(t, k.Lock(t.Context(), "locked"))
	p := signIn(t, k, "alice")
	try := func(user mxid.Localpart, pw string) error {
		params := signInParams(user)
		params.Password, params.Cookie = token.NewSecret(pw), p.cookie
		_, err := k.SignIn(t.Context(), params)
		return err
	}
	mustBe(t, "a wrong password", try("alice", "wrong"), auth.ErrBadCredentials)
	mustBe(t, "an unknown user", try("nobody", authtest.Password), auth.ErrBadCredentials)
	mustBe(t, "locked, wrong", try("locked", "wrong"), auth.ErrBadCredentials)
	mustBe(t, "locked, right", try("locked", authtest.Password), auth.ErrUserLocked)
	for range 2 {
		mustBe(t, "wrong again", try("alice", "wrong"), auth.ErrBadCredentials)
	}
	mustBe(t, "the fourth", try("alice", authtest.Password), auth.ErrRateLimited)
	if got := p.signedIn(); got.UserID != "@alice:example.org" {
		t.Errorf("got %+v", got)
	}
	reload(k, func(set *auth.Settings) { set.PasswordEnabled = false })
	mustBe(t, "passwords are off", try("alice", authtest.Password), auth.ErrPasswordsDisabled)
	if got := k.Events("login_failed"); len(got) != 8 || got[0].Method != "browser" || got[3].Reason != "locked" {
		t.Errorf("audit: got %+v", got)
	}
}

// What ends a sign-in, and what only suspends it.
func TestWhatEndsASignIn(t *testing.T) {
	for name, end := range map[string]func(k *authtest.Kit, p *person) error{
		"sign-out": func(k *authtest.Kit, p *person) error { return k.SignOut(p.Context(), p.cookie, auth.From{}) },
		"password": func(k *authtest.Kit, p *person) error {
			return k.SetPassword(p.Context(), "alice", token.NewSecret("other"), false)
		},
		"deactivation": func(k *authtest.Kit, p *person) error { return k.Deactivate(p.Context(), "alice", false) },
		"end all": func(k *authtest.Kit, p *person) error {
			_, err := k.EndSessions(p.Context(), "alice", "test")
			return err
		},
		"logout all": func(k *authtest.Kit, p *person) error {
			return k.LogoutAll(p.Context(), k.MustLogin(p.T, "alice", "").AccessToken.Reveal(), auth.From{})
		},
	} {
		k := provider(t)
		k.MustAddUser(t, "bob")
		p, other, bob := signIn(t, k, "alice"), signIn(t, k, "alice"), signIn(t, k, "bob")
		must(t, end(k, p))
		p.mustBeOut(name)
		must(t, k.SignOut(t.Context(), p.cookie, auth.From{})) // no error, and nobody else's
		if name == "sign-out" {
			other.signedIn()
		} else {
			other.mustBeOut(name + ": another browser")
		}
		bob.signedIn()
	}
	k := provider(t)
	p := signIn(t, k, "alice")
	must(t, k.Lock(t.Context(), "alice"))
	p.mustBeOut("locked")
	must(t, k.Unlock(t.Context(), "alice"))
	p.signedIn()
	for _, cookie := range []string{"", "nobody's", p.cookie.Reveal() + "A"} {
		_, err := k.BrowserSession(t.Context(), token.NewSecret(cookie))
		mustBe(t, "another cookie", err, auth.ErrSignInNeeded)
	}
}

// A sign-in that is used lives on; thirty days without use end it, and then the same cookie begins a new one.
func TestASignInEndsAfterThirtyDaysIdle(t *testing.T) {
	k := provider(t)
	p := signIn(t, k, "alice")
	first := p.signedIn().Session.ID
	for range 4 {
		k.Clock.Advance(20 * 24 * time.Hour)
		must(t, k.SweepOAuth(t.Context()))
		p.signedIn()
	}
	k.Clock.Advance(30*24*time.Hour + time.Second)
	p.mustBeOut("after thirty days")
	again := signInParams("alice")
	again.Cookie = p.cookie
	in, err := k.SignIn(t.Context(), again)
	must(t, err)
	if in.Session.ID == first {
		t.Error("a sign-in that was over was taken up again")
	}
	must(t, k.SweepOAuth(t.Context()))
	if got := signIns(t, k); len(got) != 1 || got[0].ID != in.Session.ID {
		t.Errorf("got %+v, want the new one", got)
	}
}

// The clock at a start may be months ahead: nobody is signed out for that, until it has had an hour to be put right.
func TestSignInsOutliveAWrongClockAtTheStart(t *testing.T) {
	k := provider(t)
	signIn(t, k, "alice")
	must(t, k.DB.Update(t.Context(), func(tx *store.Tx) error {
		b := signIns(t, k)[0]
		b.UsedAt = tx.Now().AddDate(-1, 0, 0)
		return tx.UpdateBrowserSession(b)
	}))
	k.Clock.Advance(time.Hour)
	must(t, k.SweepOAuth(t.Context()))
	if got := signIns(t, k); len(got) != 1 {
		t.Errorf("within an hour: got %d records, want 1", len(got))
	}
	k.Clock.Advance(time.Second)
	must(t, k.SweepOAuth(t.Context()))
	if got := signIns(t, k); len(got) != 0 {
		t.Errorf("after an hour: got %d records, want none", len(got))
	}
}

// The account page: the sessions of its owner, and of nobody else, with what was seen of them.
func TestCVE202527507_OwnSessionsAlone(t *testing.T) {
	k := provider(t)
	k.MustAddUser(t, "bob")
	client := mustRegister(t, k, public("App"))
	p, bob := signIn(t, k, "alice"), signIn(t, k, "bob")
	mine, his := p.session(client.ID, onDevice(phone)), bob.session(client.ID, onDevice(phone))
	k.Clock.Advance(time.Millisecond)
	legacy := k.MustLogin(t, "alice", "LEGACY")
	k.Clock.Advance(time.Minute)
	mustJudge(t, k, "mine", mine.AccessToken, auth.Active)
	all, err := k.OwnSessions(t.Context(), p.signedIn())
	must(t, err)
	if len(all) != 2 || all[0].ID != mine.SessionID || all[1].ID != legacy.SessionID || !all[0].LastSeen.At.Equal(k.Now()) || all[0].Approver != p.signedIn().Session.ID {
		t.Errorf("got %+v", all)
	}
	if got := k.ClientName(t.Context(), all[0].ClientID); got != "App" {
		t.Errorf("name: got %q", got)
	}
	if got := k.ClientName(t.Context(), "") + k.ClientName(t.Context(), "gone"); got != "" {
		t.Errorf("no name: got %q", got)
	}
	mustBe(t, "somebody else's", k.EndOwnSession(t.Context(), p.signedIn(), his.SessionID, auth.From{}), auth.ErrNotFound)
	mustBe(t, "none", k.EndOwnSession(t.Context(), p.signedIn(), ulid.ULID{1}, auth.From{}), auth.ErrNotFound)
	mustJudge(t, k, "his", his.AccessToken, auth.Active)
	for range 2 {
		must(t, k.EndOwnSession(t.Context(), p.signedIn(), mine.SessionID, auth.From{Addr: authtest.Addr}))
	}
	mustJudge(t, k, "mine, ended", mine.AccessToken, auth.Unknown)
	if got := k.Events("session_ended"); len(got) != 1 || got[0].Reason != "ended_by_user" || got[0].Addr != authtest.Addr {
		t.Errorf("audit: got %+v", got)
	}
	p.signedIn()
}

// "End all others" keeps what this browser approved and this sign-in, and ends everything else of every kind, however much.
func TestEndAllOthersKeepsThisBrowsers(t *testing.T) {
	k := provider(t)
	k.MustAddUser(t, "bob")
	p, other, bob := signIn(t, k, "alice"), signIn(t, k, "alice"), signIn(t, k, "bob")
	mine, theirs, his := p.session(staticID, onDevice(phone)), other.session(staticID, onDevice("OTHER0000A")), bob.session(staticID, onDevice(phone))
	legacy := k.MustLogin(t, "alice", "LEGACY")
	personal, err := k.IssueToken(t.Context(), auth.IssueTokenParams{Localpart: "alice"})
	must(t, err)
	const many = 450 // more than two Updates' worth
	must(t, k.DB.Update(t.Context(), func(tx *store.Tx) error {
		for i := range many {
			s := store.Session{ID: ulid.ULID{9, byte(i >> 8), byte(i)}, Kind: store.SessionPersonal, UserID: p.signedInTx(tx), CreatedAt: tx.Now()}
			copy(s.AccessHandle[:], []byte{'m', 'a', 'n', 'y', byte('A' + i/100), byte('A' + i/10%10), byte('A' + i%10), 'x'})
			if err := tx.InsertSession(s); err != nil {
				return err
			}
		}
		return nil
	}))
	others, err := k.OtherSignIns(t.Context(), p.signedIn())
	must(t, err)
	if len(others) != 1 || others[0].ID != other.signedIn().Session.ID {
		t.Errorf("other sign-ins: got %+v", others)
	}
	n, err := k.EndOtherSessions(t.Context(), p.signedIn(), auth.From{Addr: authtest.Addr})
	must(t, err)
	if n != many+3 || len(k.Events("session_ended")) != n {
		t.Errorf("got %d ends and %d events, want %d", n, len(k.Events("session_ended")), many+3)
	}
	for what, in := range map[string]auth.Tokens{"another browser's": theirs.Tokens, "legacy": legacy, "personal": personal} {
		mustJudge(t, k, what, in.AccessToken, auth.Unknown)
	}
	mustJudge(t, k, "this browser's", mine.AccessToken, auth.Active)
	mustJudge(t, k, "somebody else's", his.AccessToken, auth.Active)
	p.signedIn()
	bob.signedIn()
	other.mustBeOut("another browser")
	if n, err := k.EndOtherSessions(t.Context(), p.signedIn(), auth.From{}); n != 0 || err != nil {
		t.Errorf("once more: got %d, %v", n, err)
	}
}

// signedInTx is the person's ID, inside a transaction.
func (p *person) signedInTx(tx *store.Tx) ulid.ULID {
	u, err := tx.UserByLocalpart("alice")
	must(p.T, err)
	return u.ID
}

// The cross-signing reset needs the password again (ACC-08, F2 "verify-result misread").
func TestACC08_CVE202562425_CrossSigningResetNeedsThePassword(t *testing.T) {
	k := provider(t)
	p := signIn(t, k, "alice")
	reset := func(pw string) error {
		return k.AllowCrossSigningReset(t.Context(), p.signedIn(), token.NewSecret(pw), auth.From{Addr: authtest.Addr})
	}
	allowed := func() bool { u, _ := k.Synapse.User("alice"); return u.CrossSigningReset }
	for _, pw := range []string{"", "wrong", authtest.Password + " "} {
		mustBe(t, "a wrong password", reset(pw), auth.ErrBadCredentials)
	}
	if allowed() {
		t.Fatal("allowed with a wrong password")
	}
	k.Synapse.Fail(authtest.Down)
	mustBe(t, "synapse is down", reset(authtest.Password), auth.ErrUnavailable)
	k.Synapse.Heal()
	must(t, reset(authtest.Password))
	if !allowed() || len(k.Events("cross_signing_reset_allowed")) != 1 {
		t.Error("not allowed, or not told")
	}
	in := p.signedIn()
	must(t, k.Lock(t.Context(), "alice"))
	mustBe(t, "locked", k.AllowCrossSigningReset(t.Context(), in, token.NewSecret(authtest.Password), auth.From{}), auth.ErrUserLocked)
}

// Who has no password proves nothing with one: an account without it is not open to everybody.
func TestTuwunelC564d9e23_WithoutAPasswordNoneIsRight(t *testing.T) {
	k := provider(t)
	p := signIn(t, k, "alice")
	in := p.signedIn()
	must(t, k.SetPassword(t.Context(), "alice", token.Secret{}, false))
	for _, pw := range []string{"", authtest.Password, "x"} {
		params := signInParams("alice")
		params.Password = token.NewSecret(pw)
		_, err := k.SignIn(t.Context(), params)
		mustBe(t, "signing in", err, auth.ErrBadCredentials)
		mustBe(t, "the cross-signing reset", k.AllowCrossSigningReset(t.Context(), in, token.NewSecret(pw), auth.From{Addr: authtest.Addr}), auth.ErrBadCredentials)
	}
}

// The store is in trouble: that is no sign-out.
func TestTroubleIsNoSignOut(t *testing.T) {
	k := provider(t)
	p := signIn(t, k, "alice")
	k.Clock.Advance(2 * time.Hour) // its use is noted again
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := k.BrowserSession(ctx, p.cookie); errors.Is(err, auth.ErrSignInNeeded) {
		t.Errorf("got %v", err)
	}
	if got := p.signedIn(); !slices.Equal([]ulid.ULID{got.Session.ID}, []ulid.ULID{signIns(t, k)[0].ID}) {
		t.Errorf("got %+v", got)
	}
}
