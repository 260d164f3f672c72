package auth_test

import (
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/oklog/ulid/v2"

	"github.com/caddy-matrix/caddy-matrix-auth/internal/auth"
	"github.com/caddy-matrix/caddy-matrix-auth/internal/authtest"
)

// Who let what in, and from where: each decision is told once, however often it is repeated, and the session that was redeemed for
// it names it. The address of a decision is the browser's, that of the session the program's.
func TestAuditTellsWhoDecided(t *testing.T) {
	k := provider(t)
	client := mustRegister(t, k, public("App"))
	mustRegister(t, k, public("App")) // the same one
	p := signIn(t, k, "alice")
	browser := auth.From{Addr: netip.MustParseAddr("198.51.100.7")}

	allowed, denied, failed := p.start(client.ID, onDevice(phone)), p.start(client.ID, onDevice(phone)), p.start(client.ID, onDevice(phone))
	deviceYes, deviceNo := p.device(client.ID, onDevice("TABLET000A")), p.device(client.ID, onDevice("TABLET000A"))
	approve := auth.ApproveParams{ID: allowed.ID, Browser: p.browser, Cookie: p.cookie, Scope: allowed.Scope, From: browser}
	var code auth.Approved
	for range 2 {
		var err error
		code, err = k.ApproveGrant(t.Context(), approve)
		must(t, err)
		must(t, errorOf(k.DenyGrant(t.Context(), auth.DenyParams{ID: denied.ID, Browser: p.browser.Digest(), UserID: "@alice:example.org", From: browser})))
	}
	approve.ID, approve.Scope = failed.ID, []string{"more"}
	mustBe(t, "approving more", errorOf(k.ApproveGrant(t.Context(), approve)), auth.ErrScopeDenied)
	for d, yes := range map[*device]bool{deviceYes: true, deviceNo: false} {
		must(t, errorOf(p.claim(d.UserCode)))
		decide := auth.DecideDeviceParams{ID: d.ID, Browser: p.browser.Digest(), Cookie: p.cookie, Approve: yes, Scope: d.Scope, From: browser}
		must(t, k.DecideDeviceGrant(t.Context(), decide))
		mustBe(t, "deciding again", k.DecideDeviceGrant(t.Context(), decide), auth.ErrDone)
	}
	onPhone, err := k.Redeem(t.Context(), auth.RedeemParams{
		Code: code.Code, ClientID: client.ID, RedirectURI: redirect, Verifier: verifier, From: auth.From{Addr: authtest.Addr},
	})
	must(t, err)
	k.Clock.Advance(6 * time.Second)
	onTablet, err := deviceYes.poll()
	must(t, err)
	for range 2 {
		must(t, k.SignOut(t.Context(), p.cookie, browser))
	}

	decision := func(name, grant string, id ulid.ULID) auth.Event {
		return auth.Event{Name: name, Grant: grant, UserID: "@alice:example.org", GrantID: id, ClientID: client.ID, Addr: browser.Addr}
	}
	started := func(grant string, id ulid.ULID, in auth.Redeemed) auth.Event {
		return auth.Event{
			Name: "session_started", Method: "oauth2", Grant: grant, UserID: in.UserID, DeviceID: in.DeviceID, SessionID: in.SessionID, GrantID: id,
			ClientID: client.ID, Addr: authtest.Addr,
		}
	}
	want := []auth.Event{
		{Name: "client_registered", ClientID: client.ID, Addr: authtest.Addr},
		decision("grant_approved", "authorization_code", allowed.ID),
		decision("grant_denied", "authorization_code", denied.ID),
		decision("grant_approved", "device_code", deviceYes.ID),
		decision("grant_denied", "device_code", deviceNo.ID),
		started("authorization_code", allowed.ID, onPhone),
		started("device_code", deviceYes.ID, onTablet),
		{Name: "signed_out", Method: "browser", UserID: "@alice:example.org", Addr: browser.Addr},
	}
	got := k.Events("client_registered", "grant_approved", "grant_denied", "session_started", "signed_out")
	if len(got) != len(want) {
		t.Errorf("got %d events, want %d", len(got), len(want))
	}
	for _, e := range want {
		if !slices.Contains(got, e) {
			t.Errorf("not told: %+v", e)
		}
	}
}
