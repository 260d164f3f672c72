package auth_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/oklog/ulid/v2"

	"github.com/caddy-matrix/caddy-matrix-auth/internal/auth"
	"github.com/caddy-matrix/caddy-matrix-auth/internal/authtest"
	"github.com/caddy-matrix/caddy-matrix-auth/internal/mxid"
	"github.com/caddy-matrix/caddy-matrix-auth/internal/token"
	"github.com/caddy-matrix/caddy-matrix-auth/store"
)

// commits counts the commits of a store, and lets a test act at one of them.
type commits struct {
	n  int
	at func(n int) error // its error makes the commit one of unknown outcome
}

func (c *commits) made() error {
	c.n++
	if c.at == nil {
		return nil
	}
	return c.at(c.n)
}

// watched is an idle kit in a bubble, with the user alice, whose commits are counted.
func watched(t *testing.T) (*authtest.Kit, *commits) {
	t.Helper()
	c := new(commits)
	k := authtest.NewService(t, authtest.Options{RealClock: true, Idle: true, Store: store.Options{FailCommit: c.made}})
	k.MustAddUser(t, "alice")
	return k, c
}

// count calls act at each commit from now on, with its number.
func (c *commits) count(act func(n int) error) { c.n, c.at = 0, act }

// insertSessions gives alice n sessions, each on a device of its own, and returns their access tokens.
func insertSessions(t *testing.T, k *authtest.Kit, n int) (tokens []token.Secret) {
	t.Helper()
	return insertSessionsOn(t, k, n, func(i int) mxid.DeviceID { return mxid.DeviceID(fmt.Sprintf("BOT%07d", i)) })
}

func insertSessionsOn(t *testing.T, k *authtest.Kit, n int, device func(i int) mxid.DeviceID) (tokens []token.Secret) {
	t.Helper()
	alice, err := k.User("alice")
	must(t, err)
	mint := token.NewMint(k.DB.TokenKey(), authtest.NewRand(1))
	var all []store.Session
	for i := range n {
		h, err := mint.Handle()
		must(t, err)
		access, err := mint.New(token.CompatAccess, h)
		must(t, err)
		tokens = append(tokens, access.Secret())
		all = append(all, store.Session{
			ID: ulid.ULID{0: 1, 14: byte(i >> 8), 15: byte(i)}, Kind: store.SessionCompat, UserID: alice.ID,
			DeviceID: device(i), AccessHandle: h, CreatedAt: k.Now(), Access: []store.AccessToken{{Hash: access.Hash()}},
		})
	}
	for some := range slices.Chunk(all, 500) {
		must(t, k.DB.Update(t.Context(), func(tx *store.Tx) error {
			for _, sess := range some {
				if err := tx.InsertSession(sess); err != nil {
					return err
				}
			}
			return nil
		}))
	}
	return tokens
}

// failAt makes one commit fail.
func failAt(n int) func(int) error {
	return func(made int) error {
		if made == n {
			return errors.New("input/output error")
		}
		return nil
	}
}

func sessionsNow(t *testing.T, k *authtest.Kit) (ended, live int) {
	t.Helper()
	must(t, k.DB.View(func(tx *store.Tx) error {
		for sess, err := range tx.Sessions(ulid.ULID{}) {
			if err != nil {
				return err
			}
			if sess.Ended() {
				ended++
			} else {
				live++
			}
		}
		return nil
	}))
	return ended, live
}

// devicesListed counts the devices that are to be looked at.
func devicesListed(t *testing.T, k *authtest.Kit) (n int) {
	t.Helper()
	for _, j := range jobs(t, k) {
		if j.DeviceID != "" {
			n++
		}
	}
	return n
}

// mustAllHaveEnded checks that all of alice's n sessions have ended, are in the audit log and have their devices listed.
func mustAllHaveEnded(t *testing.T, k *authtest.Kit, n int) {
	t.Helper()
	if ended, live := sessionsNow(t, k); ended != n || live != 0 {
		t.Errorf("got %d ended and %d live sessions, want %d and none", ended, live, n)
	}
	if got := len(k.Events("session_ended")); got != n {
		t.Errorf("audit: got %d ends, want %d", got, n)
	}
	if got := devicesListed(t, k); got != n {
		t.Errorf("got %d devices listed, want %d", got, n)
	}
}

// endings are the ways to end what alice is signed in with.
var endings = map[string]func(ctx context.Context, k *authtest.Kit, in auth.SignedIn, own auth.Tokens) error{
	"logout all": func(ctx context.Context, k *authtest.Kit, _ auth.SignedIn, own auth.Tokens) error {
		return k.LogoutAll(ctx, own.AccessToken.Reveal(), auth.From{})
	},
	"end sessions": func(ctx context.Context, k *authtest.Kit, _ auth.SignedIn, _ auth.Tokens) error {
		_, err := k.EndSessions(ctx, "alice", "ended_by_admin")
		return err
	},
	"end other sessions": func(ctx context.Context, k *authtest.Kit, in auth.SignedIn, _ auth.Tokens) error {
		_, err := k.EndOtherSessions(ctx, in, auth.From{})
		return err
	},
	"set password": func(ctx context.Context, k *authtest.Kit, _ auth.SignedIn, _ auth.Tokens) error {
		return k.SetPassword(ctx, "alice", token.NewSecret(authtest.Password), true)
	},
	"deactivate": func(ctx context.Context, k *authtest.Kit, _ auth.SignedIn, _ auth.Tokens) error {
		return k.Deactivate(ctx, "alice", false)
	},
}

// A thousand sessions end in one Update.
func TestAThousandSessionsEndTogether(t *testing.T) {
	for name, end := range endings {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				k, c := watched(t)
				in, err := k.SignIn(t.Context(), signInParams("alice"))
				must(t, err)
				own := k.MustLogin(t, "alice", "OWN")
				insertSessions(t, k, 999)
				k.Synapse.Fail(authtest.Down) // so that nothing is taken off the list
				c.count(nil)
				must(t, end(t.Context(), k, in, own))
				if c.n != 1 {
					t.Errorf("got %d commits, want one", c.n)
				}
				mustAllHaveEnded(t, k, 1000)
			})
		})
	}
}

// However many sessions there are, and though the second commit fails: what has ended is in the audit log and listed, and
// whoever asks again gets to the end of it. Until then the session that asks lives.
func TestEndingManySessionsCanBeAskedForAgain(t *testing.T) {
	for name, end := range endings {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				k, c := watched(t)
				in, err := k.SignIn(t.Context(), signInParams("alice"))
				must(t, err)
				own := k.MustLogin(t, "alice", "OWN")
				insertSessions(t, k, 3999)
				k.Synapse.Fail(authtest.Down)
				c.count(failAt(2))
				mustBe(t, "the first time", end(t.Context(), k, in, own), auth.ErrUnavailable)
				ended, live := sessionsNow(t, k)
				if ended < 1000 || live == 0 || ended+live != 4000 {
					t.Fatalf("after the first commit: got %d ended and %d live", ended, live)
				}
				if n := len(k.Events("session_ended")); n != ended {
					t.Errorf("audit: got %d ends, want %d", n, ended)
				}
				if n := devicesListed(t, k); n != ended {
					t.Errorf("got %d devices listed, want %d", n, ended)
				}
				if name == "logout all" {
					mustJudge(t, k, "the session that asks", own.AccessToken, auth.Active)
				}
				synctest.Wait() // the store is writable again
				must(t, end(t.Context(), k, in, own))
				mustAllHaveEnded(t, k, 4000)
			})
		})
	}
}

// Nor is there a bound on what waits for Synapse: more devices than any one record could name are listed while it is down, and all go
// once it is back.
func TestAnyNumberOfSessionsEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k, _ := watched(t)
		const many = 5000
		name := func(i int) mxid.DeviceID { return mxid.DeviceID(fmt.Sprintf("%0255d", i)) } // as long as one may be
		var devices []mxid.DeviceID
		for i := range many {
			devices = append(devices, name(i))
		}
		insertSessionsOn(t, k, many, name)
		k.Synapse.AddUser("alice", devices...)
		k.Synapse.Fail(authtest.Down)
		_, err := k.EndSessions(t.Context(), "alice", "ended_by_admin")
		must(t, err)
		mustAllHaveEnded(t, k, many)
		k.Synapse.Heal()
		time.Sleep(10 * time.Minute)
		synctest.Wait()
		if left, n := k.Synapse.Devices("alice"), len(k.Synapse.Calls("delete_device")); len(left) != 0 || len(jobs(t, k)) != 0 || n < many {
			t.Errorf("got %d devices left after %d deletions, want none", len(left), n)
		}
	})
}

// The account that could not be closed in one go stays closed, and opened again it is nobody's but the new password's.
func TestReactivateEndsWhatDeactivateLeft(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k, c := watched(t)
		tokens := insertSessions(t, k, 4000)
		a, err := k.Judge(t.Context(), tokens[3999].Reveal(), auth.From{})
		must(t, err)
		defer a.Release()
		told := watch(a)
		c.count(failAt(2))
		mustBe(t, "deactivating", k.Deactivate(t.Context(), "alice", false), auth.ErrUnavailable)
		if *told != 1 || *watch(a) != -1 {
			t.Errorf("a request under a session that has not ended was told %d times", *told)
		}
		synctest.Wait()
		mustJudge(t, k, "a session that has not ended", tokens[3999], auth.Unknown)
		c.count(failAt(2))
		mustBe(t, "reactivating", k.Reactivate(t.Context(), "alice", token.NewSecret(authtest.Password)), auth.ErrUnavailable)
		synctest.Wait()
		if info, err := k.User("alice"); err != nil || !info.Deactivated() {
			t.Fatalf("got %v, %v, want alice deactivated while there are sessions", info.DeactivatedAt, err)
		}
		must(t, k.Reactivate(t.Context(), "alice", token.NewSecret(authtest.Password)))
		for _, access := range tokens {
			mustJudge(t, k, "a session from before", access, auth.Unknown)
		}
		if _, live := sessionsNow(t, k); live != 0 {
			t.Errorf("got %d sessions", live)
		}
		if n := len(k.Events("session_ended")); n != 4000 {
			t.Errorf("audit: got %d ends", n)
		}
		k.MustLogin(t, "alice", "")
	})
}

// A login that is made between two Updates is none of those that were to end.
func TestALoginMadeMeanwhileStays(t *testing.T) {
	for name, end := range endings {
		if name == "deactivate" {
			continue // there is none
		}
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				k, c := watched(t)
				in, err := k.SignIn(t.Context(), signInParams("alice"))
				must(t, err)
				own := k.MustLogin(t, "alice", "OWN")
				insertSessions(t, k, 3000)
				fresh := make(chan auth.Tokens, 1)
				c.count(func(n int) error {
					if n == 1 {
						go func() {
							made, _ := k.IssueToken(t.Context(), auth.IssueTokenParams{Localpart: "alice"})
							fresh <- made
						}()
						synctest.Wait() // until it waits for the writer
					}
					return nil
				})
				must(t, end(t.Context(), k, in, own))
				mustJudge(t, k, "the login", (<-fresh).AccessToken, auth.Active)
				if _, live := sessionsNow(t, k); live != 1 {
					t.Errorf("got %d sessions, want the new one alone", live)
				}
			})
		})
	}
}

// Who goes away while sessions are being ended does not stop it.
func TestEndingGoesOnWithoutItsCaller(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k, c := watched(t)
		own := k.MustLogin(t, "alice", "OWN")
		insertSessions(t, k, 3000)
		ctx, leave := context.WithCancel(t.Context())
		c.count(func(int) error { leave(); return nil })
		must(t, k.LogoutAll(ctx, own.AccessToken.Reveal(), auth.From{}))
		if _, live := sessionsNow(t, k); live != 0 {
			t.Errorf("got %d sessions", live)
		}
	})
}
