package auth_test

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/dgraph-io/badger/v4"
	"github.com/oklog/ulid/v2"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/caddy-matrix/caddy-matrix-auth/internal/auth"
	"github.com/caddy-matrix/caddy-matrix-auth/internal/authtest"
	"github.com/caddy-matrix/caddy-matrix-auth/internal/token"
	"github.com/caddy-matrix/caddy-matrix-auth/store"
)

// damaged is a kit after the disk has spoiled records: everything under the IDs, of the kinds (store/keys.go).
func damaged(t *testing.T, k *authtest.Kit, o authtest.Options, kinds string, ids ...ulid.ULID) *authtest.Kit {
	t.Helper()
	must(t, k.DB.Close())
	db, err := badger.OpenManaged(badger.DefaultOptions(o.Store.Dir).WithExternalMagic(0x4d41).WithLogger(nil))
	must(t, err)
	revision := db.MaxVersion()
	txn := db.NewTransactionAt(revision, true)
	for _, kind := range kinds {
		for _, id := range ids {
			must(t, txn.Set(append([]byte{byte(kind), 0}, id[:]...), []byte("spoiled")))
		}
	}
	must(t, txn.CommitAt(revision+1, nil))
	must(t, db.Close())
	return authtest.NewService(t, o)
}

// A session that cannot be read does not keep the sweep from the others, and is named.
func TestASweepGoesPastWhatCannotBeRead(t *testing.T) {
	for name, kind := range map[string]string{"the session": "s", "its activity": "t"} {
		t.Run(name, func(t *testing.T) {
			o := authtest.Options{Idle: true, Store: store.Options{Dir: t.TempDir()}, Settings: func(s *auth.Settings) { s.RefreshIdle = 24 * time.Hour }}
			k := authtest.NewService(t, o)
			k.MustAddUser(t, "alice")
			before, bad, after := k.MustLogin(t, "alice", "A"), k.MustLogin(t, "alice", "B"), k.MustLogin(t, "alice", "C")
			k = damaged(t, k, o, kind, bad.SessionID)
			k.Clock.Advance(25 * time.Hour)
			err := k.Sweep(t.Context())
			key := hex.EncodeToString(bad.SessionID[:])
			if err == nil || !strings.Contains(err.Error(), bad.SessionID.String()) && !strings.Contains(err.Error(), key) {
				t.Errorf("got %v, want an error that names session %v", err, bad.SessionID)
			}
			for _, in := range []auth.Tokens{before, after} {
				if v := k.MustVerdict(t, in.AccessToken); v != auth.Unknown {
					t.Errorf("a session that is idle: got %v, want it ended", v)
				}
			}
			if k.Status().Sessions["compat"] == 0 {
				t.Error("the sweep did not come to its end")
			}
		})
	}
}

// Activity that cannot be written does not keep back that of others, and is not tried for ever.
func TestActivityGoesPastWhatCannotBeWritten(t *testing.T) {
	o := authtest.Options{Idle: true, Store: store.Options{Dir: t.TempDir()}}
	k := authtest.NewService(t, o)
	k.MustAddUser(t, "alice")
	var all []auth.Tokens
	var bad []ulid.ULID
	for i := range 20 {
		all = append(all, k.MustLogin(t, "alice", ""))
		if i%7 == 3 {
			bad = append(bad, all[i].SessionID)
		}
	}
	k = damaged(t, k, o, "t", bad...)
	for _, in := range all {
		k.MustVerdict(t, in.AccessToken)
	}
	err := k.Flush(t.Context())
	for _, id := range bad {
		if err == nil || !strings.Contains(err.Error(), id.String()) {
			t.Errorf("got %v, want an error that names session %v", err, id)
		}
	}
	must(t, k.DB.View(func(tx *store.Tx) error {
		for _, in := range all {
			if _, err := tx.LastSeen(in.SessionID); (err != nil) != slices.Contains(bad, in.SessionID) {
				t.Errorf("activity of session %v: got %v", in.SessionID, err)
			}
		}
		return nil
	}))
	must(t, k.Flush(t.Context()))
}

// What cannot be read is trouble and no verdict (ERR-07): nobody is told that a session is over, and nothing has ended.
func TestERR07_ASessionThatCannotBeReadIsNotOver(t *testing.T) {
	o := authtest.Options{Idle: true, Store: store.Options{Dir: t.TempDir()}}
	k := authtest.NewService(t, o)
	k.MustAddUser(t, "alice")
	in, other := k.MustLogin(t, "alice", "A"), k.MustLogin(t, "alice", "B")
	k = damaged(t, k, o, "s", in.SessionID)
	mustBe(t, "logout", k.Logout(t.Context(), in.AccessToken.Reveal(), auth.From{}), auth.ErrUnavailable)
	mustBe(t, "logout of all", k.LogoutAll(t.Context(), in.AccessToken.Reveal(), auth.From{}), auth.ErrUnavailable)
	mustJudge(t, k, "the other session", other.AccessToken, auth.Active)
}

// One session that cannot be read keeps none of the others alive and no account open, and nobody is told that all is done.
func TestEndingGoesPastWhatCannotBeRead(t *testing.T) {
	for name, end := range endings {
		t.Run(name, func(t *testing.T) {
			o := authtest.Options{Idle: true, Store: store.Options{Dir: t.TempDir()}}
			k := authtest.NewService(t, o)
			k.MustAddUser(t, "alice")
			in, err := k.SignIn(t.Context(), signInParams("alice"))
			must(t, err)
			before, bad, own := k.MustLogin(t, "alice", "A"), k.MustLogin(t, "alice", "B"), k.MustLogin(t, "alice", "C")
			k = damaged(t, k, o, "s", bad.SessionID)
			mustBe(t, "ending", end(t.Context(), k, in, own), auth.ErrUnavailable)
			for _, in := range []auth.Tokens{before, own} {
				mustJudge(t, k, "a session that can be read", in.AccessToken, auth.Unknown)
			}
			info, err := k.User("alice")
			must(t, err)
			if info.Deactivated() != (name == "deactivate") {
				t.Errorf("got deactivated %v", info.Deactivated())
			}
		})
	}
}

// A new password that ends no session has nothing to do with one that cannot be read.
func TestANewPasswordAloneLooksAtNoSession(t *testing.T) {
	o := authtest.Options{Idle: true, Store: store.Options{Dir: t.TempDir()}}
	k := authtest.NewService(t, o)
	k.MustAddUser(t, "alice")
	bad, own := k.MustLogin(t, "alice", "A"), k.MustLogin(t, "alice", "B")
	k = damaged(t, k, o, "s", bad.SessionID)
	must(t, k.SetPassword(t.Context(), "alice", token.NewSecret("another"), false))
	mustJudge(t, k, "the other session", own.AccessToken, auth.Active)
}

// Nor does a sign-in that cannot be read, which nobody can use; and a decision that cannot be read is none that could spare
// anybody a question.
func TestEndingGoesPastSignInsAndDecisionsThatCannotBeRead(t *testing.T) {
	ways := maps.Clone(endings)
	ways["end a session"] = func(ctx context.Context, k *authtest.Kit, _ auth.SignedIn, own auth.Tokens) error {
		return k.EndSession(ctx, own.SessionID, "ended_by_admin")
	}
	for name, end := range ways {
		for kind, want := range map[string]error{"b": auth.ErrUnavailable, "o": nil} {
			t.Run(name+" "+kind, func(t *testing.T) {
				o := authtest.Options{Idle: true, Store: store.Options{Dir: t.TempDir()}}
				k := authtest.NewService(t, o)
				k.MustAddUser(t, "alice")
				in, err := k.SignIn(t.Context(), signInParams("alice"))
				must(t, err)
				other, err := k.SignIn(t.Context(), signInParams("alice"))
				must(t, err)
				own := k.MustLogin(t, "alice", "PHONE")
				if name == "end a session" {
					want = nil
				}
				k = damaged(t, k, o, kind, map[string]ulid.ULID{"b": other.Session.ID, "o": in.User.ID}[kind])
				mustBe(t, "ending", end(t.Context(), k, in, own), want)
				mustJudge(t, k, "the session", own.AccessToken, auth.Unknown)
			})
		}
	}
}

// What strangers can leave behind stays bounded whatever one record is: a sweep removes what is over beside those that cannot be
// read, and names them.
func TestASweepOfTheProviderGoesPastWhatCannotBeRead(t *testing.T) {
	o := authtest.Options{Idle: true, Store: store.Options{Dir: t.TempDir()}, Settings: oauthSettings}
	k := providerWith(t, o)
	p := signIn(t, k, "alice")
	g, d := p.start(staticID, []string{"openid"}), p.device(staticID, onDevice(phone))
	client := mustRegister(t, k, public("App"))
	p.code(client.ID, []string{"openid"})
	alice := p.signedIn().User.ID
	low := ulid.ULID{15: 1} // before all others
	k = damaged(t, k, o, "gdbco", low)
	k.Clock.Advance(31 * 24 * time.Hour)
	err := k.SweepOAuth(t.Context())
	if key := hex.EncodeToString(low[:]); err == nil || strings.Count(err.Error(), key) != 5 {
		t.Errorf("got %v, want an error that names the five records", err)
	}
	must(t, k.DB.View(func(tx *store.Tx) error {
		_, noGrant := tx.Grant(g.ID)
		_, noDevice := tx.DeviceGrant(d.ID)
		_, noSignIn := tx.BrowserSessionByCookie(sha256.Sum256([]byte(p.cookie.Reveal())))
		_, noClient := tx.Client(client.ID)
		for what, err := range map[string]error{"grant": noGrant, "device grant": noDevice, "sign-in": noSignIn, "client": noClient} {
			mustBe(t, what, err, store.ErrNotFound)
		}
		for c, err := range tx.ConsentsOf(alice) {
			t.Errorf("a decision for a client that is gone: got %+v, %v", c, err)
		}
		return nil
	}))
}

// A job that cannot be read keeps back none of the others, nor anything else that runs beside them.
func TestJobsGoPastWhatCannotBeRead(t *testing.T) {
	core, logs := observer.New(zap.ErrorLevel)
	o := authtest.Options{Idle: true, Store: store.Options{Dir: t.TempDir()}, Log: zap.New(core)}
	k := authtest.NewService(t, o)
	k.MustAddUser(t, "alice")
	in := k.MustLogin(t, "alice", "PHONE")
	k.Synapse.Fail(authtest.Down)
	must(t, k.Logout(t.Context(), in.AccessToken.Reveal(), auth.From{}))
	low := ulid.ULID{15: 1} // before all others
	k = damaged(t, k, o, "j", low)
	k.Synapse.AddUser("alice")
	logs.TakeAll()
	k.MustRun(t)
	waitFor(t, "the other job to be done", func() bool { return len(k.Synapse.Calls("delete_device")) > 0 })
	if lines := logs.TakeAll(); len(lines) != 1 || !strings.Contains(fmt.Sprint(lines[0].ContextMap()), hex.EncodeToString(low[:])) {
		t.Errorf("got %v, want one line that names the job", lines)
	}
}
