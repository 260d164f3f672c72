package auth_test

import (
	"context"
	"errors"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/crypto/bcrypt"

	"github.com/caddy-matrix/caddy-matrix-auth/internal/auth"
	"github.com/caddy-matrix/caddy-matrix-auth/internal/authtest"
	"github.com/caddy-matrix/caddy-matrix-auth/internal/token"
	"github.com/caddy-matrix/caddy-matrix-auth/store"
)

// trouble is a store that cannot be written to: its commits fail, or its disk is full.
type trouble struct{ commits, disk atomic.Bool }

func (f *trouble) options(o *store.Options) {
	o.FailCommit = func() error {
		if f.commits.Load() {
			return errors.New("input/output error")
		}
		return nil
	}
	o.FreeBytes = func(string) (uint64, error) {
		if f.disk.Load() {
			return 100 << 20, nil
		}
		return 1 << 40, nil
	}
}

// A commit of unknown outcome, or a full disk: a login fails with nothing half done, a refresh is held, sessions go on, and a
// logout is no success. Writing comes back by itself, and with it the device that the login left at Synapse goes.
func TestTheStoreInTrouble(t *testing.T) {
	for name, set := range map[string]func(f *trouble, on bool){
		"failed commits": func(f *trouble, on bool) { f.commits.Store(on) },
		"full disk":      func(f *trouble, on bool) { f.disk.Store(on) },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := new(trouble)
				o := authtest.Options{RealClock: true}
				f.options(&o.Store)
				k := authtest.NewService(t, o)
				k.MustAddUser(t, "alice")
				phone, laptop := k.MustLogin(t, "alice", "PHONE"), k.MustLogin(t, "alice", "LAPTOP")

				// Case 1: the trouble comes while the login is at Synapse, so that the device is announced and cannot be kept.
				k.Synapse.FailOp("upsert_device", authtest.Slow)
				login := make(chan error, 1)
				go func() {
					_, err := k.Login(t.Context(), authtest.LoginParams("alice", "NEW"))
					login <- err
				}()
				synctest.Wait()
				set(f, true)
				k.Synapse.Heal()
				if err := <-login; !errors.Is(err, auth.ErrUnavailable) {
					t.Fatalf("login: got %v, want unavailable", err)
				}
				if _, err := k.Login(t.Context(), authtest.LoginParams("alice", "PHONE")); !errors.Is(err, auth.ErrUnavailable) {
					t.Errorf("login on a device that is signed in: got %v, want unavailable", err)
				}

				// Case 2: what is there goes on.
				for _, in := range []auth.Tokens{phone, laptop} {
					if v := k.MustVerdict(t, in.AccessToken); v != auth.Active {
						t.Errorf("got %v, want the session to go on", v)
					}
				}
				if err := k.Logout(t.Context(), laptop.AccessToken.Reveal(), auth.From{}); !errors.Is(err, auth.ErrUnavailable) {
					t.Errorf("logout: got %v, want unavailable", err)
				}
				if v := k.MustVerdict(t, laptop.AccessToken); v != auth.Active {
					t.Errorf("after a logout that failed: got %v, want active", v)
				}

				// Case 3: a refresh waits for the end of the trouble.
				time.AfterFunc(4*time.Second, func() { set(f, false) })
				phone = k.MustRefresh(t, phone.RefreshToken)

				// Case 4: everything is as it was, and works.
				time.Sleep(time.Minute)
				synctest.Wait()
				if v := k.MustVerdict(t, phone.AccessToken); v != auth.Active {
					t.Errorf("after the refresh: got %v, want active", v)
				}
				if got := k.Synapse.Devices("alice"); len(got) != 2 || len(jobs(t, k)) != 0 {
					t.Errorf("got devices %v and jobs %v, want two devices and nothing to do", got, jobs(t, k))
				}
				must(t, k.Logout(t.Context(), laptop.AccessToken.Reveal(), auth.From{}))
				k.MustLogin(t, "alice", "NEW")
				if r, err := k.DB.Verify(t.Context()); err != nil || !r.OK() {
					t.Errorf("verify: got %v and %v", r.Problems, err)
				}
			})
		})
	}
}

// Synapse does not answer: a login ends with its timeout and has changed nothing; a device that is signed in may sign in again.
func TestASlowSynapse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := authtest.NewService(t, authtest.Options{RealClock: true})
		k.MustAddUser(t, "alice")
		old := k.MustLogin(t, "alice", "PHONE")
		k.Synapse.Fail(authtest.Slow)
		began := time.Now()
		if _, err := k.Login(t.Context(), authtest.LoginParams("alice", "NEW")); !errors.Is(err, auth.ErrUnavailable) {
			t.Fatalf("got %v, want unavailable", err)
		}
		if took := time.Since(began); took > 11*time.Second {
			t.Errorf("took %v, want the timeout of one call", took)
		}
		again := k.MustLogin(t, "alice", "PHONE")
		if a, b := k.MustVerdict(t, old.AccessToken), k.MustVerdict(t, again.AccessToken); a != auth.Unknown || b != auth.Active {
			t.Errorf("got %v and %v, want the new session alone", a, b)
		}
		began = time.Now()
		must(t, k.Logout(t.Context(), again.AccessToken.Reveal(), auth.From{}))
		if took := time.Since(began); took > 3*time.Second {
			t.Errorf("a logout took %v, want 2 s at most", took)
		}
		k.Synapse.Heal()
		time.Sleep(10 * time.Minute)
		synctest.Wait()
		if got := k.Synapse.Devices("alice"); len(got) != 0 || len(jobs(t, k)) != 0 {
			t.Errorf("got devices %v and jobs %v, want none", got, jobs(t, k))
		}
	})
}

// A hash of an older kind is replaced by one of ours at the first right password, and by no wrong one.
func TestAnOldHashIsReplacedAtLogin(t *testing.T) {
	k := idle(t)
	info, err := k.User("alice")
	must(t, err)
	old, err := bcrypt.GenerateFromPassword([]byte(authtest.Password), bcrypt.MinCost)
	must(t, err)
	must(t, k.DB.Update(t.Context(), func(tx *store.Tx) error {
		return tx.PutPassword(store.Password{UserID: info.ID, Hash: string(old), ChangedAt: tx.Now()})
	}))
	stored := func() (hash string) {
		must(t, k.DB.View(func(tx *store.Tx) error {
			p, err := tx.Password(info.ID)
			hash = p.Hash
			return err
		}))
		return hash
	}
	wrong := authtest.LoginParams("alice", "")
	wrong.Password = token.NewSecret("wrong")
	if _, err := k.Login(t.Context(), wrong); !errors.Is(err, auth.ErrBadCredentials) || stored() != string(old) {
		t.Fatalf("a wrong password: got %v, and the hash is another one: %v", err, stored() != string(old))
	}
	k.MustLogin(t, "alice", "PHONE")
	if !strings.HasPrefix(stored(), "$argon2id$v=19$m=19456,t=2,p=1$") {
		t.Fatalf("got a hash of %.20s, want argon2id", stored())
	}
	k.MustLogin(t, "alice", "PHONE")
	if _, err := k.Login(t.Context(), wrong); !errors.Is(err, auth.ErrBadCredentials) {
		t.Errorf("a wrong password afterwards: got %v", err)
	}
}

// Activity keeps a session from being ended by refresh_idle, though its client never refreshes; one without refresh tokens is not
// ended at all.
func TestActivityIsNotIdle(t *testing.T) {
	k := authtest.NewService(t, authtest.Options{Idle: true, Settings: func(s *auth.Settings) { s.RefreshIdle, s.CompatTTL = 3*24*time.Hour, 90*24*time.Hour }})
	k.MustAddUser(t, "alice")
	busy := k.MustLogin(t, "alice", "BUSY")
	bot, err := k.Login(t.Context(), authtest.LoginParams("alice", "BOT"))
	must(t, err)
	for range 5 {
		k.Clock.Advance(2 * 24 * time.Hour)
		k.MustVerdict(t, busy.AccessToken)
		must(t, k.Flush(t.Context()))
		k.ForgetLive(false)
		must(t, k.Sweep(t.Context()))
	}
	for _, in := range []auth.Tokens{busy, bot} {
		if v := k.MustVerdict(t, in.AccessToken); v != auth.Active {
			t.Errorf("got %v, want active", v)
		}
	}
}

// No more than 1,024 refreshes are held; one more is told to come again at once.
func TestNotEveryRefreshIsHeld(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := new(trouble)
		o := authtest.Options{RealClock: true, Idle: true}
		f.options(&o.Store)
		k := authtest.NewService(t, o)
		k.MustAddUser(t, "alice")
		in := k.MustLogin(t, "alice", "PHONE")
		f.disk.Store(true)
		const all, held = 1030, 1024
		results := make(chan error, all)
		for range all {
			go func() {
				_, err := refresh(k, t, in.RefreshToken)
				results <- err
			}()
		}
		synctest.Wait()
		if got := k.Status().HeldRefresh; got != held || len(results) != all-held {
			t.Errorf("got %d held and %d answered, want %d and %d", got, len(results), held, all-held)
		}
		for range len(results) {
			if err := <-results; !errors.Is(err, auth.ErrUnavailable) {
				t.Errorf("got %v, want unavailable", err)
			}
		}
		f.disk.Store(false)
		for range held {
			must(t, <-results)
		}
		if got := k.Status().HeldRefresh; got != 0 {
			t.Errorf("got %d held in the end", got)
		}
	})
}

// What takes no sign-in has half of the writer's queue and no more, so that a flood of it keeps nobody from anything else.
func TestStrangersLeaveRoomInTheQueue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := providerWith(t, authtest.Options{RealClock: true, Idle: true})
		p := signIn(t, k, "alice")
		g, d := p.start(staticID, []string{"openid"}), p.device(staticID, onDevice(phone))
		busy := make(chan struct{})
		var waiting sync.WaitGroup
		waiting.Go(func() { must(t, k.DB.Update(t.Context(), func(*store.Tx) error { <-busy; return nil })) })
		synctest.Wait()
		var full atomic.Bool
		for !full.Load() {
			waiting.Go(func() {
				if err := k.DB.UpdateSpare(t.Context(), func(*store.Tx) error { return nil }); err != nil {
					full.Store(true)
				}
			})
			synctest.Wait()
		}
		from := auth.From{Addr: authtest.Addr}
		for what, do := range map[string]func(ctx context.Context) error{
			"a request": func(ctx context.Context) error {
				return errorOf(k.StartGrant(ctx, store.Grant{ClientID: staticID}, from))
			},
			"a no": func(ctx context.Context) error {
				return errorOf(k.DenyGrant(ctx, auth.DenyParams{ID: g.ID, Browser: p.browser.Digest()}))
			},
			"a failed request": func(ctx context.Context) error {
				return errorOf(k.FailGrant(ctx, g.ID, p.browser.Digest(), store.Failure{Error: "login_required"}))
			},
			"a claim": func(ctx context.Context) error {
				return errorOf(k.ClaimDeviceGrant(ctx, d.UserCode, p.browser.Digest(), token.Secret{}, from))
			},
		} {
			began := time.Now()
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			err := do(ctx)
			cancel()
			if !errors.Is(err, auth.ErrUnavailable) || time.Since(began) != 0 {
				t.Errorf("%s: got %v after %v, want it refused at once", what, err, time.Since(began))
			}
		}
		waiting.Go(func() { must(t, k.SignOut(t.Context(), p.cookie, from)) })
		synctest.Wait()
		close(busy)
		waiting.Wait()
		p.mustBeOut("signed out")
	})
}
