package oidcprovider_test

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/caddy-matrix/caddy-matrix-auth/internal/auth"
	"github.com/caddy-matrix/caddy-matrix-auth/internal/authtest"
	"github.com/caddy-matrix/caddy-matrix-auth/internal/mxid"
	"github.com/caddy-matrix/caddy-matrix-auth/oidcprovider"
)

// service is a provider before a whole service.
func service(t testing.TB) (*authtest.Kit, *oidcprovider.Provider) {
	t.Helper()
	k := authtest.NewService(t, authtest.Options{Idle: true})
	k.MustAddUser(t, "alice")
	return k, newProvider(t, oidcprovider.Config{Introspect: k.Introspect, Now: k.Now})
}

// body introspects and decodes, as strictly as Synapse.
func body(t testing.TB, p *oidcprovider.Provider, text string) answer {
	t.Helper()
	w := serve(p, request(text))
	if w.Code != http.StatusOK {
		t.Fatalf("got %d %s", w.Code, w.Body)
	}
	d := json.NewDecoder(w.Body)
	d.DisallowUnknownFields()
	var a answer
	if err := d.Decode(&a); err != nil {
		t.Fatal(err)
	}
	return a
}

// answer has the members that Synapse reads (mas.py IntrospectionResponse) and those that RFC 7662 adds. retrieved_at_ms must
// not be among them.
type answer struct {
	Active    bool    `json:"active"`
	Scope     string  `json:"scope"`
	Username  string  `json:"username"`
	Sub       string  `json:"sub"`
	DeviceID  *string `json:"device_id"`
	ExpiresIn *int64  `json:"expires_in"`
	ClientID  string  `json:"client_id"`
	TokenType string  `json:"token_type"`
}

// TestINT03_LoginToLogout: what Synapse is told in the life of a session.
func TestINT03_LoginToLogout(t *testing.T) {
	k, p := service(t)
	in := k.MustLogin(t, "alice", "PHONE")
	info, err := k.User("alice")
	if err != nil {
		t.Fatal(err)
	}
	device, left := "PHONE", int64(300+90)
	got := body(t, p, in.AccessToken.Reveal())
	want := answer{
		Active:    true,
		Scope:     got.Scope,
		Username:  "alice",
		Sub:       info.ID.String(),
		DeviceID:  &device,
		ExpiresIn: &left,
		ClientID:  got.ClientID,
		TokenType: "Bearer",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("answer (-want +got):\n%s", diff)
	}
	for _, scope := range []string{mxid.ScopeAPI, mxid.ScopeAPIUnstable, "urn:matrix:client:device:PHONE", "urn:matrix:org.matrix.msc2967.client:device:PHONE"} {
		if !strings.Contains(" "+got.Scope+" ", " "+scope+" ") {
			t.Errorf("got scope %q without %s", got.Scope, scope)
		}
	}
	if strings.Contains(got.Scope, mxid.ScopeAdmin) {
		t.Errorf("got scope %q with administration", got.Scope)
	}

	k.Clock.Advance(5*time.Minute + 89*time.Second)
	if got := body(t, p, in.AccessToken.Reveal()); !got.Active || *got.ExpiresIn != 1 {
		t.Errorf("89 s past its end: got %+v, want active for 1 s", got)
	}
	k.Clock.Advance(time.Second)
	if got := body(t, p, in.AccessToken.Reveal()); got.Active {
		t.Errorf("90 s past its end: got %+v", got)
	}
	again := k.MustRefresh(t, in.RefreshToken)
	if !body(t, p, again.AccessToken.Reveal()).Active {
		t.Error("refreshed: got inactive")
	}
	if err := k.Logout(t.Context(), again.AccessToken.Reveal(), auth.From{}); err != nil {
		t.Fatal(err)
	}
	if got := body(t, p, again.AccessToken.Reveal()); got.Active {
		t.Errorf("logged out: got %+v", got)
	}
}

// TestINT07_NewTokenIsActiveAtOnce: Synapse would keep an early "inactive" for two minutes.
func TestINT07_NewTokenIsActiveAtOnce(t *testing.T) {
	k, p := service(t)
	for range 20 {
		in, err := k.Login(t.Context(), authtest.LoginParams("alice", ""))
		if err != nil {
			t.Fatal(err)
		}
		if got := body(t, p, in.AccessToken.Reveal()); !got.Active || got.ExpiresIn != nil {
			t.Errorf("got %+v, want active for ever", got)
		}
	}
}

// TestINT06_LockedAndUnlocked: locked is not inactive, so the session lives on.
func TestINT06_LockedAndUnlocked(t *testing.T) {
	k, p := service(t)
	in := k.MustLogin(t, "alice", "PHONE")
	if err := k.Lock(t.Context(), "alice"); err != nil {
		t.Fatal(err)
	}
	if w := serve(p, request(in.AccessToken.Reveal())); w.Code != http.StatusServiceUnavailable {
		t.Errorf("locked: got %d %s, want 503", w.Code, w.Body)
	}
	if err := k.Unlock(t.Context(), "alice"); err != nil {
		t.Fatal(err)
	}
	if !body(t, p, in.AccessToken.Reveal()).Active {
		t.Error("unlocked: got inactive")
	}
	if err := k.Deactivate(t.Context(), "alice", false); err != nil {
		t.Fatal(err)
	}
	if body(t, p, in.AccessToken.Reveal()).Active {
		t.Error("deactivated: got active")
	}
}

// TestE31_NotATokenOfOurs: our own shared secret, an application service's token, another server's, and junk are inactive.
func TestE31_NotATokenOfOurs(t *testing.T) {
	k, p := service(t)
	in := k.MustLogin(t, "alice", "PHONE")
	access := in.AccessToken.Reveal()
	for _, text := range []string{
		authtest.Secret,
		"as_token_of_a_bridge_0123456789abcdef",
		"syt_YWxpY2U_abcdefghijklmnopqrst_0AbCdE",
		"MDAxOGxvY2F0aW9uIGV4YW1wbGUub3JnCg",
		in.RefreshToken.Reveal(),
		access[:len(access)-1],
		access + "x",
		access[:len(access)-1] + "!",
		" " + access,
		"mat_" + access[4:],
		"mat_\x00",
		"\xff\xfe",
		strings.Repeat("m", 10_000),
	} {
		w := serve(p, request(text))
		if w.Code != http.StatusOK || w.Body.String() != `{"active":false}` {
			t.Errorf("%.40q: got %d %s, want inactive", text, w.Code, w.Body)
		}
	}
	if !body(t, p, access).Active {
		t.Error("got inactive for the token itself")
	}
}

// TestINT04_LoginOnAnOddDevice: a device that no scope can name keeps its session.
func TestINT04_LoginOnAnOddDevice(t *testing.T) {
	k, p := service(t)
	const device = "Mein Gerät"
	in := k.MustLogin(t, "alice", device)
	got := body(t, p, in.AccessToken.Reveal())
	if !got.Active || got.DeviceID == nil || *got.DeviceID != device || strings.Contains(got.Scope, "device:") {
		t.Errorf("got %+v, want the device in device_id alone", got)
	}
}
