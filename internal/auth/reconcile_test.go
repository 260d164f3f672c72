package auth_test

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/caddy-matrix/caddy-matrix-auth/internal/auth"
	"github.com/caddy-matrix/caddy-matrix-auth/internal/authtest"
	"github.com/caddy-matrix/caddy-matrix-auth/internal/mxid"
	"github.com/caddy-matrix/caddy-matrix-auth/internal/token"
	"github.com/caddy-matrix/caddy-matrix-auth/store"
)

// inBubble runs a test with an idle kit, the user alice, and time that passes by itself.
func inBubble(t *testing.T, o authtest.Options, test func(t *testing.T, k *authtest.Kit)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		o.RealClock, o.Idle = true, true
		k := authtest.NewService(t, o)
		k.MustAddUser(t, "alice")
		test(t, k)
	})
}

// Synapse refuses to close the account, perhaps for ever: the devices are deleted all the same. While it cannot be reached nothing
// more is asked of it.
func TestARefusedAccountKeepsNoDevice(t *testing.T) {
	for name, c := range map[string]struct {
		fault authtest.Fault
		left  []mxid.DeviceID
	}{
		"refused":     {authtest.Refused, nil},
		"unreachable": {authtest.Broken, []mxid.DeviceID{"LAPTOP", "PHONE"}},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, authtest.Options{}, func(t *testing.T, k *authtest.Kit) {
				k.MustLogin(t, "alice", "PHONE")
				k.MustLogin(t, "alice", "LAPTOP")
				k.Synapse.FailOp("delete_user", c.fault)
				must(t, k.Deactivate(t.Context(), "alice", false))
				if diff := cmp.Diff(c.left, k.Synapse.Devices("alice")); diff != "" {
					t.Errorf("devices (-want +got):\n%s", diff)
				}
				var listed []mxid.DeviceID
				for _, j := range jobs(t, k) {
					listed = append(listed, j.DeviceID)
				}
				if diff := cmp.Diff(append([]mxid.DeviceID{""}, c.left...), listed); diff != "" {
					t.Errorf("jobs, the account's and those of the devices that are left (-want +got):\n%s", diff)
				}
				if n := len(k.Synapse.Calls("delete_device")); n != 2-len(c.left) {
					t.Errorf("got %d deletions of devices", n)
				}
			})
		})
	}
}

// What is listed again while it is acted on stays on the list: an account that is opened while Synapse closes it is open in the end.
func TestAnAccountListedAgainMeanwhileStaysListed(t *testing.T) {
	inBubble(t, authtest.Options{}, func(t *testing.T, k *authtest.Kit) {
		k.Synapse.FailOp("delete_user", authtest.Slow)
		must(t, k.Deactivate(t.Context(), "alice", false)) // Synapse is still at it
		must(t, k.Reactivate(t.Context(), "alice", token.NewSecret(authtest.Password)))
		k.Synapse.Heal()
		time.Sleep(10 * time.Second)
		if u, _ := k.Synapse.User("alice"); u.Deactivated || len(jobs(t, k)) != 0 {
			t.Errorf("got deactivated %v and jobs %v, want the account open and nothing to do", u.Deactivated, jobs(t, k))
		}
	})
}

// The same of a device, each by itself.
func TestADeviceListedAgainMeanwhileStaysListed(t *testing.T) {
	inBubble(t, authtest.Options{}, func(t *testing.T, k *authtest.Kit) {
		k.MustLogin(t, "alice", "LAPTOP")
		k.MustLogin(t, "alice", "PHONE")
		k.Synapse.FailOp("delete_device", authtest.Slow)
		_, err := k.EndSessions(t.Context(), "alice", "ended_by_admin")
		must(t, err)
		phone := jobs(t, k)[1]
		must(t, k.DB.Update(t.Context(), func(tx *store.Tx) error {
			phone.Revision = tx.Revision()
			return tx.PutJob(phone)
		}))
		k.Synapse.Heal()
		time.Sleep(10 * time.Second)
		deletions := make(map[mxid.DeviceID]int)
		for _, c := range k.Synapse.Calls("delete_device") {
			deletions[c.DeviceID]++
		}
		if diff := cmp.Diff(map[mxid.DeviceID]int{"LAPTOP": 1, "PHONE": 2}, deletions); diff != "" || len(jobs(t, k)) != 0 {
			t.Errorf("got jobs %v, deletions (-want +got):\n%s", jobs(t, k), diff)
		}
	})
}

// What is listed of a user who is gone goes, too.
func TestJobsOfNobodyGo(t *testing.T) {
	inBubble(t, authtest.Options{}, func(t *testing.T, k *authtest.Kit) {
		k.MustLogin(t, "alice", "PHONE")
		k.Synapse.FailOp("delete_device", authtest.Slow)
		_, err := k.EndSessions(t.Context(), "alice", "ended_by_admin")
		must(t, err)
		must(t, k.DB.Update(t.Context(), func(tx *store.Tx) error {
			alice, err := tx.UserByLocalpart("alice")
			if err != nil {
				return err
			}
			return tx.RemoveUser(alice.ID)
		}))
		if len(jobs(t, k)) == 0 {
			t.Fatal("nothing was listed")
		}
		time.Sleep(time.Minute)
		if got := jobs(t, k); len(got) != 0 {
			t.Errorf("got jobs %v", got)
		}
	})
}

// A login on a device that Synapse was to delete, and has not yet, gets a new one: not the keys of the session that has ended.
func TestALoginFirstDeletesTheDeviceThatWasToGo(t *testing.T) {
	inBubble(t, authtest.Options{}, func(t *testing.T, k *authtest.Kit) {
		p := authtest.LoginParams("alice", "PHONE")
		p.DisplayName = "The old one"
		old, err := k.Login(t.Context(), p)
		must(t, err)
		k.Synapse.FailOp("delete_device", authtest.Down)
		must(t, k.Logout(t.Context(), old.AccessToken.Reveal(), auth.From{}))
		p.DisplayName = "The new one"
		if _, err := k.Login(t.Context(), p); !errors.Is(err, auth.ErrUnavailable) {
			t.Fatalf("while the device cannot be deleted: got %v", err)
		}
		k.Synapse.Heal()
		k.Synapse.ForgetCalls()
		in, err := k.Login(t.Context(), p)
		must(t, err)
		if diff := cmp.Diff([]string{"delete_device", "upsert_device"}, ops(k)); diff != "" {
			t.Errorf("calls (-want +got):\n%s", diff)
		}
		if u, _ := k.Synapse.User("alice"); u.Devices["PHONE"] != "The new one" {
			t.Errorf("got device %q", u.Devices["PHONE"])
		}
		time.Sleep(10 * time.Minute)
		mustJudge(t, k, "the new session", in.AccessToken, auth.Active)
		if got := k.Synapse.Devices("alice"); len(got) != 1 || len(jobs(t, k)) != 0 {
			t.Errorf("got devices %v and jobs %v", got, jobs(t, k))
		}
	})
}

// A job is tried again after 1 s, 2 s, 4 s … 5 min, each a quarter more or less, for ever.
func TestReconcilingBacksOff(t *testing.T) {
	var runs []time.Time
	o := authtest.Options{Settings: func(s *auth.Settings) {
		record := s.Emit
		s.Emit = func(e auth.Event) {
			if e.Name == "reconciled" {
				runs = append(runs, time.Now())
			}
			record(e)
		}
	}}
	inBubble(t, o, func(t *testing.T, k *authtest.Kit) {
		in := k.MustLogin(t, "alice", "PHONE")
		k.Synapse.Fail(authtest.Garbage)
		runs = nil
		must(t, k.Logout(t.Context(), in.AccessToken.Reveal(), auth.From{}))
		time.Sleep(24 * time.Hour)
		synctest.Wait()
		if len(runs) < 200 {
			t.Fatalf("got %d runs in a day", len(runs))
		}
		var jitter []float64
		want := time.Second
		for i := range len(runs) - 1 {
			pause := float64(runs[i+1].Sub(runs[i])) / float64(want)
			if pause < 0.749 || pause > 1.251 {
				t.Errorf("pause %d: got %v, want %v, a quarter more or less", i+1, runs[i+1].Sub(runs[i]), want)
			}
			jitter = append(jitter, pause)
			want = min(2*want, 5*time.Minute)
		}
		if slices.Min(jitter) > 0.8 || slices.Max(jitter) < 1.2 {
			t.Errorf("got pauses between %.2f and %.2f of the backoff, want them spread", slices.Min(jitter), slices.Max(jitter))
		}
		k.Synapse.Heal()
		time.Sleep(7 * time.Minute)
		if got := k.Synapse.Devices("alice"); len(got) != 0 || len(jobs(t, k)) != 0 {
			t.Errorf("got devices %v and jobs %v, want nothing left", got, jobs(t, k))
		}
	})
}

// Somebody logs in while Synapse is still deleting the devices of many sessions: the deletions give way.
func TestALoginDoesNotWaitForManyDeletions(t *testing.T) {
	inBubble(t, authtest.Options{}, func(t *testing.T, k *authtest.Kit) {
		const many = 50
		for i := range many {
			k.MustLogin(t, "alice", mxid.DeviceID(fmt.Sprintf("PHONE%02d", i)))
		}
		k.Synapse.FailOp("delete_device", authtest.Slow)
		_, err := k.EndSessions(t.Context(), "alice", "ended_by_admin")
		must(t, err)
		left := make(chan int)
		go func() {
			k.MustLogin(t, "alice", "NEW")
			left <- len(k.Synapse.Devices("alice")) - 1
		}()
		for range many {
			synctest.Wait()
			k.Synapse.Release()
		}
		if n := <-left; n == 0 {
			t.Error("the login came after the last deletion")
		}
		k.Synapse.Heal()
		waitFor(t, "the devices to go", func() bool { return slices.Equal(k.Synapse.Devices("alice"), []mxid.DeviceID{"NEW"}) })
	})
}

// A device that we did not make, such as a dehydrated one, is nobody's to delete: not when its neighbours end, not all of them.
func TestElementMeta2784_OnlyDevicesOfOursAreDeleted(t *testing.T) {
	k := idle(t)
	in := k.MustLogin(t, "alice", "PHONE")
	k.MustLogin(t, "alice", "TABLET")
	k.Synapse.AddUser("alice", "DEHYDRATED", "PHONE", "TABLET")
	must(t, k.LogoutAll(t.Context(), in.AccessToken.Reveal(), auth.From{}))
	if got := k.Synapse.Devices("alice"); !slices.Equal(got, []mxid.DeviceID{"DEHYDRATED"}) {
		t.Errorf("got devices %v, want the dehydrated one alone", got)
	}
	if calls := k.Synapse.Calls("sync_devices"); len(calls) != 0 {
		t.Errorf("got %v", calls)
	}
}
