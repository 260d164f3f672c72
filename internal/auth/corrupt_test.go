package auth_test

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"iter"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/dgraph-io/badger/v4"
	"github.com/google/go-cmp/cmp"
	"github.com/oklog/ulid/v2"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/caddy-matrix/caddy-matrix-auth/internal/auth"
	"github.com/caddy-matrix/caddy-matrix-auth/internal/authtest"
	"github.com/caddy-matrix/caddy-matrix-auth/internal/mxid"
	"github.com/caddy-matrix/caddy-matrix-auth/internal/token"
	"github.com/caddy-matrix/caddy-matrix-auth/store"
)

// damaged is a kit after the disk has spoiled records: everything under the IDs, of the kinds (store/keys.go), and something there
// if there was nothing.
func damaged(t *testing.T, k *authtest.Kit, o authtest.Options, kinds string, ids ...ulid.ULID) *authtest.Kit {
	t.Helper()
	must(t, k.DB.Close())
	db, err := badger.OpenManaged(badger.DefaultOptions(o.Store.Dir).WithExternalMagic(0x4d41).WithLogger(nil))
	must(t, err)
	revision := db.MaxVersion()
	txn := db.NewTransactionAt(revision, true)
	for _, kind := range kinds {
		for _, id := range ids {
			for _, key := range keysUnder(db, append([]byte{byte(kind), 0}, id[:]...), revision) {
				must(t, txn.Set(key, []byte("spoiled")))
			}
		}
	}
	must(t, txn.CommitAt(revision+1, nil))
	must(t, db.Close())
	return authtest.NewService(t, o)
}

// keysUnder are the keys with a prefix, or if there are none the prefix.
func keysUnder(db *badger.DB, prefix []byte, revision uint64) (keys [][]byte) {
	txn := db.NewTransactionAt(revision, false)
	defer txn.Discard()
	it := txn.NewIterator(badger.IteratorOptions{Prefix: prefix})
	defer it.Close()
	for it.Rewind(); it.Valid(); it.Next() {
		keys = append(keys, it.Item().KeyCopy(nil))
	}
	if keys == nil {
		return [][]byte{prefix}
	}
	return keys
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

// A job says by its key what is to be looked at. One that cannot be read keeps no session from ending, and what it was about is done.
func TestEndingGoesPastJobsThatCannotBeRead(t *testing.T) {
	ways := maps.Clone(endings)
	ways["end a session"] = func(ctx context.Context, k *authtest.Kit, _ auth.SignedIn, own auth.Tokens) error {
		return k.EndSession(ctx, own.SessionID, "ended_by_admin")
	}
	ways["logout"] = func(ctx context.Context, k *authtest.Kit, _ auth.SignedIn, own auth.Tokens) error {
		return k.Logout(ctx, own.AccessToken.Reveal(), auth.From{})
	}
	for name, end := range ways {
		t.Run(name, func(t *testing.T) {
			core, logs := observer.New(zap.ErrorLevel)
			o := authtest.Options{Idle: true, Store: store.Options{Dir: t.TempDir()}, Log: zap.New(core)}
			k, in := withJobs(t, o)
			own := k.MustLogin(t, "alice", "PHONE")
			k = damaged(t, k, o, "j", in.User.ID)
			k.Synapse.AddUser("alice", "FIRST", "SECOND", "PHONE")
			logs.TakeAll()
			must(t, end(t.Context(), k, in, own))
			mustJudge(t, k, "the session", own.AccessToken, auth.Unknown)
			if got := k.Synapse.Devices("alice"); len(got) != 0 || len(jobs(t, k)) != 0 {
				t.Errorf("got devices %v and jobs %v, want none", got, jobs(t, k))
			}
			if lines := logs.TakeAll(); len(lines) != 1 || !strings.Contains(fmt.Sprint(lines[0].ContextMap()), hex.EncodeToString(in.User.ID[:])) {
				t.Errorf("got %v, want one line that names the jobs", lines)
			}
		})
	}
}

// withJobs is a kit with alice, who is signed in at our pages, and jobs about two of her devices.
func withJobs(t *testing.T, o authtest.Options) (*authtest.Kit, auth.SignedIn) {
	t.Helper()
	k := authtest.NewService(t, o)
	alice := k.MustAddUser(t, "alice")
	in, err := k.SignIn(t.Context(), signInParams("alice"))
	must(t, err)
	must(t, k.DB.Update(t.Context(), func(tx *store.Tx) error {
		j := store.Job{UserID: alice.ID, DeviceID: "FIRST", Revision: tx.Revision(), CreatedAt: tx.Now()}
		if err := tx.PutJob(j); err != nil {
			return err
		}
		j.DeviceID = "SECOND"
		return tx.PutJob(j)
	}))
	return k, in
}

// Nor does it keep anybody from logging in, on a new device or on one that was to go.
func TestALoginGoesPastJobsThatCannotBeRead(t *testing.T) {
	o := authtest.Options{Idle: true, Store: store.Options{Dir: t.TempDir()}}
	k, in := withJobs(t, o)
	k = damaged(t, k, o, "j", in.User.ID)
	k.Synapse.AddUser("alice", "FIRST", "SECOND")
	k.MustLogin(t, "alice", "NEW")
	k.MustLogin(t, "alice", "FIRST")
	if diff := cmp.Diff([]string{"upsert_device", "delete_device", "upsert_device"}, ops(k)); diff != "" {
		t.Errorf("calls (-want +got):\n%s", diff)
	}
	k.MustRun(t)
	waitFor(t, "the other device to go", func() bool { return slices.Equal(k.Synapse.Devices("alice"), []mxid.DeviceID{"FIRST", "NEW"}) })
	waitFor(t, "the jobs to be done", func() bool { return k.Status().Jobs == 0 })
	if got := jobs(t, k); len(got) != 0 {
		t.Errorf("got jobs %v, want none", got)
	}
}

// A session that cannot be read may hold its device, which stays for now, and keeps no other device.
func TestReconcilingGoesPastSessionsThatCannotBeRead(t *testing.T) {
	o := authtest.Options{Idle: true, Store: store.Options{Dir: t.TempDir()}}
	k := authtest.NewService(t, o)
	alice := k.MustAddUser(t, "alice")
	bad, other := k.MustLogin(t, "alice", "BAD"), k.MustLogin(t, "alice", "OTHER")
	k = damaged(t, k, o, "s", bad.SessionID)
	k.Synapse.AddUser("alice", "BAD", "OTHER")
	must(t, k.DB.Update(t.Context(), func(tx *store.Tx) error {
		return tx.PutJob(store.Job{UserID: alice.ID, DeviceID: "BAD", Revision: tx.Revision(), CreatedAt: tx.Now()})
	}))
	must(t, k.Logout(t.Context(), other.AccessToken.Reveal(), auth.From{}))
	if got := k.Synapse.Devices("alice"); !slices.Equal(got, []mxid.DeviceID{"BAD"}) {
		t.Errorf("got devices %v, want the one in doubt alone", got)
	}
	if all := jobs(t, k); len(all) != 1 || all[0].DeviceID != "BAD" {
		t.Errorf("got jobs %v, want that of the device in doubt", all)
	}
}

// A password that cannot be read gives way to another one, or to none.
func TestAPasswordThatCannotBeReadCanBeChanged(t *testing.T) {
	const another = "another"
	for name, change := range map[string]func(k *authtest.Kit) error{
		"set": func(k *authtest.Kit) error {
			return k.SetPassword(t.Context(), "alice", token.NewSecret(another), false)
		},
		"take away": func(k *authtest.Kit) error { return k.SetPassword(t.Context(), "alice", token.Secret{}, true) },
		"deactivate and reactivate": func(k *authtest.Kit) error {
			if err := k.Deactivate(t.Context(), "alice", false); err != nil {
				return err
			}
			return k.Reactivate(t.Context(), "alice", token.NewSecret(another))
		},
	} {
		t.Run(name, func(t *testing.T) {
			o := authtest.Options{Idle: true, Store: store.Options{Dir: t.TempDir()}}
			k := authtest.NewService(t, o)
			alice := k.MustAddUser(t, "alice")
			k = damaged(t, k, o, "p", alice.ID)
			k.Synapse.AddUser("alice")
			must(t, change(k))
			p := authtest.LoginParams("alice", "PHONE")
			p.Password = token.NewSecret(another)
			if _, err := k.Login(t.Context(), p); (err == nil) != (name != "take away") {
				t.Errorf("logging in: got %v", err)
			}
		})
	}
}

// A list gives what can be read, and what cannot is in the log: an administrator has to see the rest.
func TestListsGoPastWhatCannotBeRead(t *testing.T) {
	core, logs := observer.New(zap.ErrorLevel)
	o := authtest.Options{Idle: true, Store: store.Options{Dir: t.TempDir()}, Log: zap.New(core)}
	k := authtest.NewService(t, o)
	alice, bob := k.MustAddUser(t, "alice"), k.MustAddUser(t, "bob")
	k.MustAddUser(t, "carol")
	in, err := k.SignIn(t.Context(), signInParams("alice"))
	must(t, err)
	spoiled, err := k.SignIn(t.Context(), signInParams("alice"))
	must(t, err)
	other, err := k.SignIn(t.Context(), signInParams("alice"))
	must(t, err)
	bad, unseen, last := k.MustLogin(t, "alice", "A"), k.MustLogin(t, "alice", "B"), k.MustLogin(t, "carol", "C")
	ofBob := k.MustLogin(t, "bob", "D")
	for _, in := range []auth.Tokens{unseen, last} {
		k.MustVerdict(t, in.AccessToken)
	}
	must(t, k.Flush(t.Context()))
	keys, err := k.Keys(t.Context())
	must(t, err)
	k = damaged(t, k, o, "u", bob.ID)
	k = damaged(t, k, o, "p", alice.ID)
	k = damaged(t, k, o, "s", bad.SessionID)
	k = damaged(t, k, o, "t", unseen.SessionID)
	k = damaged(t, k, o, "b", spoiled.Session.ID)
	k = damaged(t, k, o, "k", ulid.ULID{15: 1})
	sessions := func(all iter.Seq2[auth.SessionInfo, error]) func() (list []string) {
		return func() (list []string) {
			for s, err := range all {
				must(t, err)
				list = append(list, fmt.Sprint(s.ID, " ", s.Owner, " ", !s.LastSeen.At.IsZero()))
			}
			return list
		}
	}
	line := func(in auth.Tokens, owner mxid.UserID, seen bool) string {
		return fmt.Sprint(in.SessionID, " ", owner, " ", seen)
	}
	ofAlice := line(unseen, alice.UserID, false)
	for name, c := range map[string]struct {
		list func() []string
		want []string
		logs []ulid.ULID
	}{
		"users": {
			func() (list []string) {
				for u, err := range k.Users() {
					must(t, err)
					list = append(list, fmt.Sprint(u.Localpart, " ", u.HasPassword))
				}
				return list
			},
			[]string{"alice true", "carol true"}, []ulid.ULID{bob.ID},
		},
		"one user": {
			func() (list []string) {
				u, err := k.User("alice")
				must(t, err)
				return []string{fmt.Sprint(u.Localpart, " ", u.HasPassword)}
			},
			[]string{"alice true"}, nil,
		},
		"all sessions": {
			sessions(k.Sessions("")),
			[]string{ofAlice, line(last, "@carol:example.org", true), line(ofBob, "", false)}, []ulid.ULID{bad.SessionID},
		},
		"a user's sessions": {sessions(k.Sessions("alice")), []string{ofAlice}, []ulid.ULID{bad.SessionID}},
		"a person's own sessions": {
			func() (list []string) {
				all, err := k.OwnSessions(t.Context(), in)
				must(t, err)
				on, err := k.OwnSessionOn(t.Context(), in, "B")
				must(t, err)
				if len(all) != 1 || all[0].ID != on.ID {
					t.Errorf("got %v and %v", all, on)
				}
				return []string{fmt.Sprint(on.ID, " ", on.Owner, " ", !on.LastSeen.At.IsZero())}
			},
			[]string{ofAlice}, []ulid.ULID{bad.SessionID},
		},
		"a person's other sign-ins": {
			func() (list []string) {
				all, err := k.OtherSignIns(t.Context(), in)
				must(t, err)
				for _, bs := range all {
					list = append(list, bs.ID.String())
				}
				return list
			},
			[]string{other.Session.ID.String()}, []ulid.ULID{spoiled.Session.ID},
		},
		"keys": {
			func() (list []string) {
				for key, err := range k.KeyList() {
					must(t, err)
					list = append(list, key.ID)
				}
				return list
			},
			[]string{keys.Signing["RS256"].ID, keys.Signing["ES256"].ID},
			[]ulid.ULID{{15: 1}},
		},
	} {
		t.Run(name, func(t *testing.T) {
			logs.TakeAll()
			got := c.list()
			slices.Sort(got)
			slices.Sort(c.want)
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Errorf("list (-want +got):\n%s", diff)
			}
			lines := logs.TakeAll()
			for _, id := range c.logs {
				if !strings.Contains(fmt.Sprint(lines[0].ContextMap()), hex.EncodeToString(id[:])) {
					t.Errorf("got %v, want a line that names %v", lines, id)
				}
			}
			if len(lines) == 0 {
				t.Error("nothing was logged")
			}
		})
	}
}

// A signing key that cannot be read keeps nobody from signing in: there are others, or one is made.
func TestKeysGoPastOneThatCannotBeRead(t *testing.T) {
	o := authtest.Options{Idle: true, Store: store.Options{Dir: t.TempDir()}}
	k := authtest.NewService(t, o)
	before, err := k.Keys(t.Context())
	must(t, err)
	k = damaged(t, k, o, "k", ulid.ULID{15: 1})
	after, err := k.Keys(t.Context())
	must(t, err)
	if len(after.Signing) != 2 || after.Signing["RS256"].ID != before.Signing["RS256"].ID {
		t.Errorf("got %d keys, or another one, want those that can be read", len(after.Signing))
	}
	must(t, k.RotateKeys(t.Context()))
}
