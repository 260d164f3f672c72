package compat_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/caddy-matrix/caddy-matrix-auth/internal/auth"
	"github.com/caddy-matrix/caddy-matrix-auth/internal/authtest"
	"github.com/caddy-matrix/caddy-matrix-auth/internal/mxid"
	"github.com/caddy-matrix/caddy-matrix-auth/internal/token"
)

func TestLGN01_Flows(t *testing.T) {
	e := newEdge(t, authtest.Options{})
	plain := e.ask(t, "GET", loginPath, "")
	golden(t, "flows", plain)
	// A body and a stale token change nothing (LGN-01, LGN-21).
	p := e.ask(t, "GET", loginPath, `{"x":`, bearer("mct_stale"))
	if diff := cmp.Diff(plain.object, p.object); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if p := e.ask(t, "HEAD", loginPath, ""); p.Code != 200 || p.Body.Len() > 0 {
		t.Errorf("HEAD: got %d with %d bytes, want 200 without", p.Code, p.Body.Len())
	}
}

func TestLGN05_PasswordsDisabled(t *testing.T) {
	e := newEdge(t, authtest.Options{Settings: func(s *auth.Settings) { s.PasswordEnabled = false }})
	if got := e.ask(t, "GET", loginPath, "").Body.String(); got != `{"flows":[]}` {
		t.Errorf("got %s, want no flow", got)
	}
	e.ask(t, "POST", loginPath, loginBody("alice", authtest.Password, "")).want(t, 400, "M_UNKNOWN")
}

func TestLGN02_Aliases(t *testing.T) {
	e := newEdge(t, authtest.Options{})
	e.MustAddUser(t, "alice")
	for _, version := range []string{"r0", "v3", "api/v1", "unstable"} {
		base := "/_matrix/client/" + version
		e.ask(t, "GET", base+"/login", "").want(t, 200, "")
		p := e.ask(t, "POST", base+"/login", loginBody("alice", authtest.Password, `,"refresh_token":true`))
		p.want(t, 200, "")
		p = e.ask(t, "POST", base+"/refresh", fmt.Sprintf(`{"refresh_token":%q}`, p.str("refresh_token")))
		p.want(t, 200, "")
		e.ask(t, "POST", base+"/logout", "", bearer(p.str("access_token"))).want(t, 200, "")
		p = e.mustLogin(t, "")
		e.ask(t, "POST", base+"/logout/all", "", bearer(p.str("access_token"))).want(t, 200, "")
	}
}

func TestLGN06_Names(t *testing.T) {
	e := newEdge(t, authtest.Options{})
	e.MustAddUser(t, "alice")
	for name, who := range map[string]string{
		"localpart":                    `"identifier":{"type":"m.id.user","user":"alice"}`,
		"user ID":                      `"identifier":{"type":"m.id.user","user":"@alice:example.org"}`,
		"upper case":                   `"identifier":{"type":"m.id.user","user":"@ALICE:example.org"}`,
		"LGN-07 deprecated":            `"user":"Alice"`,
		"LGN-07 deprecated, and wrong": `"user":"alice","identifier":{"type":"m.id.user","user":"bob"}`,
		"LGN-08 without a type":        `"identifier":{"user":"alice"}`,
	} {
		t.Run(name, func(t *testing.T) {
			p := e.ask(t, "POST", loginPath, `{"type":"m.login.password",`+who+`,"password":"`+authtest.Password+`"}`)
			p.want(t, 200, "")
			if got := p.str("user_id"); got != "@alice:example.org" {
				t.Errorf("got %s, want alice", got)
			}
		})
	}
}

// TestLGN09_OneAnswerForWhoCannotLogIn: nothing tells an unknown user from a wrong password (LGN-10, LGN-19 too).
func TestLGN09_OneAnswerForWhoCannotLogIn(t *testing.T) {
	e := newEdge(t, authtest.Options{})
	e.MustAddUser(t, "alice")
	e.MustAddUser(t, "gone")
	if err := e.Deactivate(t.Context(), "gone", false); err != nil {
		t.Fatal(err)
	}
	if _, err := e.AddUser(t.Context(), auth.AddUserParams{Localpart: "without"}); err != nil {
		t.Fatal(err)
	}
	right := `,"password":"` + authtest.Password + `"`
	for name, who := range map[string]string{
		"wrong password":   `"user":"alice","password":"wrong"`,
		"empty password":   `"user":"alice","password":""`,
		"long password":    `"user":"alice","password":"` + strings.Repeat("x", 5000) + `"`,
		"unknown user":     `"user":"bob"` + right,
		"no password":      `"user":"without"` + right,
		"deactivated":      `"user":"gone"` + right,
		"another server":   `"user":"@alice:elsewhere.example"` + right,
		"NUL":              `"user":"alice\u0000"` + right,
		"empty user":       `"identifier":{"type":"m.id.user","user":""}` + right,
		"long user":        `"user":"` + strings.Repeat("a", 5000) + `"` + right,
		"address":          `"medium":"email","address":"alice@example.org"` + right,
		"LGN-08 address":   `"identifier":{"type":"m.id.thirdparty","medium":"email","address":"alice@example.org"}` + right,
		"LGN-08 telephone": `"identifier":{"type":"m.id.phone","country":"GB","phone":"07700900001"}` + right,
	} {
		t.Run(name, func(t *testing.T) {
			golden(t, "forbidden", e.ask(t, "POST", loginPath, `{"type":"m.login.password",`+who+`}`))
		})
	}
	for _, event := range e.Events("login_failed") {
		if event.Reason != "bad_credentials" {
			t.Errorf("got reason %s, want bad_credentials", event.Reason)
		}
	}
}

func TestLGN11_Replies(t *testing.T) {
	e := newEdge(t, authtest.Options{})
	e.MustAddUser(t, "alice")
	// LGN-12, LGN-13: not asked for, so no refresh token and no end, ever.
	p := e.mustLogin(t, `,"device_id":"PHONE"`)
	golden(t, "login", p)
	golden(t, "login", e.mustLogin(t, `,"device_id":"PHONE","refresh_token":false`))
	p = e.mustLogin(t, `,"device_id":"PHONE","refresh_token":null`)
	golden(t, "login", p)
	e.Clock.Advance(1000 * time.Hour)
	if got := e.verdict(t, p.str("access_token")); got != auth.Active {
		t.Errorf("LGN-13: got verdict %d after 1000 h, want active", got)
	}
	golden(t, "login_refreshable", e.mustLogin(t, `,"device_id":"PHONE","refresh_token":true`))
	golden(t, "login_refreshable", e.mustLogin(t, `,"device_id":"PHONE","org.matrix.msc2918.refresh_token":true`)) // LRF-04
}

func TestLGN14_Devices(t *testing.T) {
	e := newEdge(t, authtest.Options{})
	e.MustAddUser(t, "alice")
	first := e.mustLogin(t, `,"device_id":"my phone","initial_device_display_name":"Phone"`)
	other := e.mustLogin(t, "")
	if first.str("device_id") != "my phone" || len(other.str("device_id")) != 10 {
		t.Fatalf("got devices %q and %q, want the given one and a new one", first.str("device_id"), other.str("device_id"))
	}
	again := e.mustLogin(t, `,"device_id":"my phone","initial_device_display_name":"Another name"`)
	for token, want := range map[string]auth.Verdict{
		first.str("access_token"): auth.Unknown,
		other.str("access_token"): auth.Active,
		again.str("access_token"): auth.Active,
	} {
		if got := e.verdict(t, token); got != want {
			t.Errorf("got verdict %d, want %d", got, want)
		}
	}
	user, _ := e.Synapse.User("alice")
	want := map[mxid.DeviceID]string{"my phone": "Phone", mxid.DeviceID(other.str("device_id")): ""}
	if diff := cmp.Diff(want, user.Devices); diff != "" {
		t.Errorf("LGN-15: devices at Synapse (-want +got):\n%s", diff)
	}
}

func TestLGN17_AnyContentType(t *testing.T) {
	e := newEdge(t, authtest.Options{})
	e.MustAddUser(t, "alice")
	for _, contentType := range []string{
		"", "application/json", "application/json; charset=utf-8", "application/x-www-form-urlencoded", "text/plain", "multipart/form-data",
	} {
		var headers []string
		if contentType != "" {
			headers = append(headers, "Content-Type: "+contentType)
		}
		e.ask(t, "POST", loginPath, loginBody("alice", authtest.Password, ""), headers...).want(t, 200, "")
	}
}

func TestLGN19_Locked(t *testing.T) {
	e := newEdge(t, authtest.Options{})
	e.MustAddUser(t, "alice")
	if err := e.Lock(t.Context(), "alice"); err != nil {
		t.Fatal(err)
	}
	golden(t, "locked", e.ask(t, "POST", loginPath, loginBody("alice", authtest.Password, "")))
	golden(t, "forbidden", e.ask(t, "POST", loginPath, loginBody("alice", "wrong", "")))
}

func TestLGN21_StaleTokenIsIgnored(t *testing.T) {
	e := newEdge(t, authtest.Options{})
	e.MustAddUser(t, "alice")
	stale := []string{bearer("mct_stale"), bearer("twice")}
	p := e.ask(t, "POST", loginPath+"?access_token=stale", loginBody("alice", authtest.Password, `,"refresh_token":true`), stale...)
	p.want(t, 200, "")
	e.ask(t, "POST", refreshPath, fmt.Sprintf(`{"refresh_token":%q}`, p.str("refresh_token")), stale...).want(t, 200, "")
}

func TestLGN23_Passwords(t *testing.T) {
	e := newEdge(t, authtest.Options{})
	for l, password := range map[mxid.Localpart]string{"pile": "пароль 💩 ñ", "long": strings.Repeat("ü", 300)} {
		if _, err := e.AddUser(t.Context(), auth.AddUserParams{Localpart: l, Password: token.NewSecret(password)}); err != nil {
			t.Fatal(err)
		}
		e.ask(t, "POST", loginPath, loginBody(string(l), password, "")).want(t, 200, "")
		e.ask(t, "POST", loginPath, loginBody(string(l), password+"x", "")).want(t, 403, "M_FORBIDDEN")
	}
}

// TestE8_HomeserverInTrouble: a login that cannot be finished changes nothing.
func TestE8_HomeserverInTrouble(t *testing.T) {
	for _, tc := range []struct {
		name  string
		fault authtest.Fault
	}{
		{"down", authtest.Down},
		{"garbage", authtest.Garbage},
		{"broken", authtest.Broken},
		{"wrong secret", authtest.WrongSecret},
	} {
		t.Run(tc.name, func(t *testing.T) {
			e := newEdge(t, authtest.Options{})
			e.MustAddUser(t, "alice")
			e.Synapse.Fail(tc.fault)
			golden(t, "login_unavailable", e.ask(t, "POST", loginPath, loginBody("alice", authtest.Password, `,"device_id":"D"`)))
			for s, err := range e.Sessions("alice") {
				t.Errorf("got session %v and %v, want none", s.ID, err)
			}
			if e.logs.FilterMessage("request failed").Len() != 1 {
				t.Errorf("got %v, want one line", e.logs.All())
			}
			e.Synapse.Heal()
			e.mustLogin(t, `,"device_id":"D"`)
		})
	}
}

func TestRAT01_Limited(t *testing.T) {
	e := newEdge(t, authtest.Options{Settings: func(s *auth.Settings) {
		s.LoginLimit = auth.Limit{Burst: 2, Window: time.Minute}
	}})
	e.MustAddUser(t, "alice")
	for range 2 {
		e.ask(t, "POST", loginPath, loginBody("alice", "wrong", "")).want(t, 403, "M_FORBIDDEN")
	}
	golden(t, "limited", e.ask(t, "POST", loginPath, loginBody("alice", authtest.Password, "")))
	// Another spelling is no way around it.
	e.ask(t, "POST", loginPath, loginBody("@ALICE:example.org", authtest.Password, "")).want(t, 429, "M_LIMIT_EXCEEDED")
	e.Clock.Advance(time.Minute)
	e.mustLogin(t, "")
}

func TestEarlyDataChangesNothing(t *testing.T) {
	e := newEdge(t, authtest.Options{})
	e.MustAddUser(t, "alice")
	p := e.mustLogin(t, `,"refresh_token":true`)
	const early = "Early-Data: 1"
	e.ask(t, "GET", loginPath, "", early).want(t, 200, "")
	e.ask(t, "POST", loginPath, loginBody("alice", authtest.Password, ""), early).want(t, 425, "M_UNKNOWN")
	e.ask(t, "POST", logoutPath, "", early, bearer(p.str("access_token"))).want(t, 425, "M_UNKNOWN")
	if p := e.ask(t, "POST", refreshPath, `{"refresh_token":"`+p.str("refresh_token")+`"}`, early); p.Code != 425 || p.Body.Len() > 0 {
		t.Errorf("refresh: got %d %s, want 425 without a body", p.Code, p.Body)
	}
	if got := e.verdict(t, p.str("access_token")); got != auth.Active {
		t.Errorf("got verdict %d, want active", got)
	}
}
