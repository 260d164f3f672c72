package oidcprovider_test

import (
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/caddy-matrix/caddy-matrix-auth/internal/auth"
	"github.com/caddy-matrix/caddy-matrix-auth/internal/authtest"
	"github.com/caddy-matrix/caddy-matrix-auth/internal/mxid"
	"github.com/caddy-matrix/caddy-matrix-auth/store"
)

func (e *edge) device(t testing.TB, client, scope string) reply {
	t.Helper()
	return e.form(t, "/oauth2/device", url.Values{"client_id": {client}, "scope": {scope}})
}

func (e *edge) poll(t testing.TB, client, deviceCode string) reply {
	t.Helper()
	return e.form(t, "/oauth2/token", url.Values{"grant_type": {deviceType}, "client_id": {client}, "device_code": {deviceCode}})
}

// decide enters a user code and decides, by the use cases alone.
func (e *edge) decide(t testing.TB, userCode string, approve bool) error {
	t.Helper()
	browser := auth.Browser{Secret: [32]byte{1}}.Digest()
	d, err := e.ClaimDeviceGrant(t.Context(), userCode, browser, e.signedIn(t), auth.From{Addr: authtest.Addr})
	if err != nil {
		return err
	}
	return e.DecideDeviceGrant(t.Context(), auth.DecideDeviceParams{ID: d.ID, Browser: browser, Cookie: e.signedIn(t), Approve: approve, Scope: d.Scope})
}

// TestDEV01_DEV02_Answer: what clients need, in its types.
func TestDEV01_DEV02_DEV14_Answer(t *testing.T) {
	e := newEdge(t)
	c := e.client(t)
	p := e.form(t, "/oauth2/device", url.Values{"client_id": {c}, "scope": {fullScope}, "login_hint": {"mxid:@alice:example.org"}})
	p.want(t, 200, "")
	user := p.str("user_code")
	if !regexp.MustCompile(`^[BCDFGHJKLMNPQRSTVWXZ]{4}-[BCDFGHJKLMNPQRSTVWXZ]{4}$`).MatchString(user) || len(p.str("device_code")) != 43 {
		t.Errorf("got %s", p.Body)
	}
	want := map[string]any{
		"device_code": p.str("device_code"), "user_code": user, "verification_uri": issuer + "link", "verification_uri_complete": issuer + "link?code=" + user,
		"expires_in": float64(1200), "interval": float64(5),
	}
	if diff := cmp.Diff(want, p.object); diff != "" {
		t.Errorf("answer (-want +got):\n%s", diff)
	}
	if p.Header().Get("Cache-Control") != "no-store" {
		t.Errorf("got %v", p.Header())
	}
}

// TestDEV03_DEV06_DEV08_Life: pending, then tokens once, then nothing.
func TestDEV03_DEV06_DEV08_E19_Life(t *testing.T) {
	e := newEdge(t)
	c := e.client(t)
	p := e.device(t, c, "openid "+fullScope)
	e.poll(t, c, p.str("device_code")).want(t, 400, "authorization_pending")
	e.Clock.Advance(5 * time.Second)
	if err := e.decide(t, strings.ToLower(strings.ReplaceAll(p.str("user_code"), "-", " ")), true); err != nil {
		t.Fatal(err)
	}
	other := e.register(t, `{"client_uri":"https://example.com","client_name":"other","redirect_uris":["`+redirect+`"],"token_endpoint_auth_method":"none",
		"grant_types":["`+deviceType+`"]}`).str("client_id")
	e.poll(t, other, p.str("device_code")).want(t, 400, "invalid_grant")
	q := e.poll(t, c, p.str("device_code"))
	q.want(t, 200, "")
	r := strict(t, q)
	if r.RefreshToken == "" || r.Scope != "openid "+fullScope || e.verdict(t, r.AccessToken) != auth.Active {
		t.Errorf("got %s", q.Body)
	}
	e.verify(t, r.IDToken, "RS256")
	e.refresh(t, c, r.RefreshToken).want(t, 200, "")
	e.Clock.Advance(5 * time.Second)
	e.poll(t, c, p.str("device_code")).want(t, 400, "invalid_grant")
	e.poll(t, c, "x").want(t, 400, "invalid_grant")
	e.poll(t, c, "").want(t, 400, "invalid_request")
}

func TestDEV03_DeniedAndExpired(t *testing.T) {
	e := newEdge(t)
	c := e.client(t)
	denied, late := e.device(t, c, fullScope), e.device(t, c, strings.ReplaceAll(fullScope, "A", "B"))
	if err := e.decide(t, denied.str("user_code"), false); err != nil {
		t.Fatal(err)
	}
	e.poll(t, c, denied.str("device_code")).want(t, 400, "access_denied")
	e.Clock.Advance(20 * time.Minute)
	e.poll(t, c, late.str("device_code")).want(t, 400, "expired_token")
	if err := e.decide(t, late.str("user_code"), true); err == nil {
		t.Error("a code is approved after its end")
	}
	e.poll(t, c, late.str("device_code")).want(t, 400, "expired_token")
}

// TestDEV04_RAT06_SlowDown: polling too early costs five seconds each time.
func TestDEV04_RAT06_SlowDown(t *testing.T) {
	e := newEdge(t)
	c := e.client(t)
	p := e.device(t, c, fullScope)
	e.poll(t, c, p.str("device_code")).want(t, 400, "authorization_pending")
	e.Clock.Advance(4 * time.Second)
	e.poll(t, c, p.str("device_code")).want(t, 400, "slow_down")
	e.Clock.Advance(9 * time.Second)
	e.poll(t, c, p.str("device_code")).want(t, 400, "slow_down")
	e.Clock.Advance(15 * time.Second)
	e.poll(t, c, p.str("device_code")).want(t, 400, "authorization_pending")
}

// TestDEV05_Trouble: what polls is told to come back, whatever fails: anything else ends its flow.
func TestDEV05_Trouble(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := newEdge(t)
		c := e.client(t)
		p := e.device(t, c, fullScope)
		if err := e.decide(t, p.str("user_code"), true); err != nil {
			t.Fatal(err)
		}
		for _, fault := range []authtest.Fault{authtest.Down, authtest.Broken, authtest.Garbage, authtest.WrongSecret, authtest.Undelegated} {
			e.Synapse.Fail(fault)
			q := e.poll(t, c, p.str("device_code"))
			if q.Code != 400 || strings.TrimSpace(q.Body.String()) != `{"error":"slow_down"}` {
				t.Errorf("%v: got %d %s", fault, q.Code, q.Body)
			}
			e.Clock.Advance(time.Minute)
		}
		e.Synapse.Heal()
		e.poll(t, c, p.str("device_code")).want(t, 200, "")
		if err := e.DB.Close(); err != nil {
			t.Fatal(err)
		}
		e.poll(t, c, "x").want(t, 400, "slow_down")
		if q := e.device(t, c, fullScope); q.Code != 503 || q.Body.Len() != 0 {
			t.Errorf("start: got %d %s", q.Code, q.Body)
		}
	})
}

// TestDEV07_Guesses are few, and a wrong one looks like an expired and a used one.
func TestDEV07_Guesses(t *testing.T) {
	e := newEdge(t)
	for i := range 11 {
		err := e.decide(t, "BCDF-GHJK", true)
		if limited := i == 10; limited != (err != nil && err.Error() == auth.ErrRateLimited.Error()) {
			t.Errorf("guess %d: got %v", i, err)
		}
	}
}

// TestDEV11_ChecksAtTheStart: the client's grants, and exactly one device.
func TestDEV11_ChecksAtTheStart(t *testing.T) {
	e := newEdge(t)
	c := e.client(t)
	for scope, code := range map[string]string{
		"": "invalid_scope", "openid": "invalid_scope", apiScope: "invalid_scope", fullScope + " urn:matrix:client:device:BBBBBBBBBB": "invalid_scope",
		"urn:matrix:client:device:AAAAAAAAAA": "invalid_scope", "x": "invalid_scope", fullScope: "", oldScope: "",
	} {
		status := 400
		if code == "" {
			status = 200
		}
		e.device(t, c, scope).want(t, status, code)
	}
	web := e.register(t, `{"client_uri":"https://example.com","redirect_uris":["`+redirect+`"],"token_endpoint_auth_method":"none"}`).str("client_id")
	e.device(t, web, fullScope).want(t, 400, "unauthorized_client")
	e.poll(t, web, "x").want(t, 400, "unauthorized_client")
	e.device(t, "x", fullScope).want(t, 401, "invalid_client")
	e.device(t, "", fullScope).want(t, 400, "invalid_request")
}

// TestDEV12_DeviceAppears only with the tokens.
func TestDEV12_DeviceAppears(t *testing.T) {
	e := newEdge(t)
	c := e.client(t)
	p := e.device(t, c, fullScope)
	if err := e.decide(t, p.str("user_code"), true); err != nil {
		t.Fatal(err)
	}
	if got := e.Synapse.Devices("alice"); len(got) != 0 {
		t.Errorf("before: got %v", got)
	}
	e.poll(t, c, p.str("device_code")).want(t, 200, "")
	if got := e.Synapse.Devices("alice"); !slices.Equal(got, []mxid.DeviceID{"AAAAAAAAAA"}) {
		t.Errorf("after: got %v", got)
	}
}

// TestDeviceGrant_Admin: a client that registered itself gets no admin scope in this way; one of the configuration does for an
// administrator, and not for others.
func TestDeviceGrant_Admin(t *testing.T) {
	e := newEdge(t, func(s *auth.Settings) {
		s.Clients = map[string]auth.Client{"static": {Static: true, Client: store.Client{ID: "static", AuthMethod: "none", GrantTypes: []string{deviceType}}}}
	})
	redeem := func(c string) string {
		t.Helper()
		p := e.device(t, c, fullScope+" urn:synapse:admin:* urn:mas:admin")
		if err := e.decide(t, p.str("user_code"), true); err != nil {
			t.Fatal(err)
		}
		return e.poll(t, c, p.str("device_code")).str("scope")
	}
	if got := redeem("static"); got != fullScope {
		t.Errorf("somebody: got %q", got)
	}
	if err := e.SetAdmin(t.Context(), "alice", true); err != nil {
		t.Fatal(err)
	}
	if got := redeem("static"); got != fullScope+" urn:synapse:admin:* urn:mas:admin" {
		t.Errorf("an administrator: got %q", got)
	}
	if got := redeem(e.client(t)); got != fullScope {
		t.Errorf("an administrator and a self-registered client: got %q", got)
	}
}

// TestDeviceGrant_Limit: nobody has authenticated.
func TestDeviceGrant_Limit(t *testing.T) {
	e := newEdge(t, func(s *auth.Settings) { s.DeviceCodeLimit = auth.Limit{Burst: 1, Window: time.Minute} })
	c := e.client(t)
	e.device(t, c, fullScope).want(t, 200, "")
	p := e.device(t, c, fullScope)
	p.want(t, 429, "temporarily_unavailable")
	if got := p.Header().Get("Retry-After"); got != "60" {
		t.Errorf("got Retry-After %q, want 60", got)
	}
}

// TestDeviceGrant_Parallel: twenty polls at once, one pair of tokens.
func TestDeviceGrant_Parallel(t *testing.T) {
	e := newEdge(t)
	c := e.client(t)
	p := e.device(t, c, fullScope)
	if err := e.decide(t, p.str("user_code"), true); err != nil {
		t.Fatal(err)
	}
	answers := make([]reply, 20)
	parallel(len(answers), func(i int) { answers[i] = e.poll(t, c, p.str("device_code")) })
	won := 0
	for _, a := range answers {
		switch {
		case a.Code == 200:
			won++
			if got := e.verdict(t, a.str("access_token")); got != auth.Active {
				t.Errorf("the winner: got %v", got)
			}
		case a.Code != 400 || a.str("error") != "slow_down" && a.str("error") != "invalid_grant":
			t.Errorf("got %d %s", a.Code, a.Body)
		}
	}
	if won != 1 {
		t.Errorf("got %d winners", won)
	}
}
