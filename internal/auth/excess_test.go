package auth_test

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/oklog/ulid/v2"

	"github.com/caddy-matrix/caddy-matrix-auth/internal/authtest"
	"github.com/caddy-matrix/caddy-matrix-auth/store"
)

// grantIDs are those of the grants and of the device grants that are there, by age.
func grantIDs(t *testing.T, k *authtest.Kit) (grants, devices []ulid.ULID) {
	t.Helper()
	must(t, k.DB.View(func(tx *store.Tx) error {
		for g, err := range tx.Grants(ulid.ULID{}) {
			must(t, err)
			grants = append(grants, g.ID)
		}
		for d, err := range tx.DeviceGrants(ulid.ULID{}) {
			must(t, err)
			devices = append(devices, d.ID)
		}
		return nil
	}))
	return grants, devices
}

// Whoever floods us is held to the bounds at once, not from minute to minute.
func TestAFloodWaitsForNoSweep(t *testing.T) {
	for what, write := range map[string]func(p *person, n int){
		"grants":        func(p *person, _ int) { p.start(staticID, []string{"openid"}) },
		"device grants": func(p *person, _ int) { p.device(staticID, onDevice(phone)) },
		"clients":       func(p *person, n int) { mustRegister(p.T, p.k, public(fmt.Sprint(n))) },
	} {
		synctest.Test(t, func(t *testing.T) {
			k := providerWith(t, authtest.Options{RealClock: true, Idle: true})
			k.SetBounds(2, 2, 10<<10) // a sweep after every three records or less
			k.MustRun(t)
			began := time.Now()
			p := &person{T: t, k: k, browser: newBrowser()}
			for n := range 20 {
				write(p, n)
				synctest.Wait()
			}
			grants, devices := grantIDs(t, k)
			if n := len(grants) + len(devices) + clientCount(t, k); n > 4 || !time.Now().Equal(began) {
				t.Errorf("%s: %d are left after %v", what, n, time.Since(began))
			}
		})
	}
}

// A sweep that has much to remove, some hundreds an Update, leaves as many as the bounds say: the newest.
func TestMuchExcess(t *testing.T) {
	const most, all = 700, 2500
	k := provider(t)
	k.SetBounds(most, most, 1<<30)
	id := func(n int) ulid.ULID { return ulid.ULID{14: byte(n >> 8), 15: byte(n)} }
	must(t, k.DB.Update(t.Context(), func(tx *store.Tx) error {
		for n := 1; n <= all; n++ {
			must(t, tx.InsertGrant(store.Grant{ID: id(n), Status: store.GrantPending, CreatedAt: tx.Now()}))
			must(t, tx.InsertDeviceGrant(store.DeviceGrant{
				ID: id(n), DeviceCode: store.Digest{byte(n >> 8), byte(n)}, UserCode: fmt.Sprint(n), Status: store.GrantPending, CreatedAt: tx.Now(),
			}))
			must(t, tx.InsertClient(store.Client{ID: id(n).String(), AuthMethod: "none", RegisteredAt: tx.Now()}))
		}
		return nil
	}))
	must(t, k.SweepOAuth(t.Context()))
	grants, devices := grantIDs(t, k)
	var clients []ulid.ULID
	must(t, k.DB.View(func(tx *store.Tx) error {
		for c, err := range tx.Clients("") {
			must(t, err)
			clients = append(clients, ulid.MustParse(c.ID))
		}
		return nil
	}))
	for what, got := range map[string][]ulid.ULID{"grants": grants, "device grants": devices, "clients": clients} {
		if len(got) != most || got[0] != id(all-most+1) {
			t.Errorf("%s: got %d, from %v on", what, len(got), got[0])
		}
	}
}
