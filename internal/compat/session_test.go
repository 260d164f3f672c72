package compat_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddy-matrix/caddy-matrix-auth/internal/auth"
	"github.com/caddy-matrix/caddy-matrix-auth/internal/authtest"
	"github.com/caddy-matrix/caddy-matrix-auth/internal/token"
	"github.com/caddy-matrix/caddy-matrix-auth/store"
)

const refreshable = `,"refresh_token":true`

func TestLRF01_Refresh(t *testing.T) {
	e := newEdge(t, authtest.Options{})
	e.MustAddUser(t, "alice")
	login := e.mustLogin(t, refreshable)
	p := e.refresh(t, login.str("refresh_token"))
	golden(t, "refresh", p)
	if p.str("access_token") == login.str("access_token") || p.str("refresh_token") == login.str("refresh_token") {
		t.Error("got the old tokens, want new ones")
	}
	// LRF-02: until the successor is used, the answer can be had again, and the old access token lives.
	again := e.refresh(t, login.str("refresh_token"))
	if again.str("refresh_token") != p.str("refresh_token") || again.str("access_token") != p.str("access_token") {
		t.Error("got another successor, want the same")
	}
	if got := e.verdict(t, login.str("access_token")); got != auth.Active {
		t.Errorf("E4: got verdict %d of the old access token, want active", got)
	}
	// What is left of the token is told as of now.
	e.Clock.Advance(90*time.Second + 250*time.Millisecond)
	if got := e.refresh(t, login.str("refresh_token")).object["expires_in_ms"]; got != 209_750.0 {
		t.Errorf("got expires_in_ms %v, want 209750", got)
	}
}

func TestLRF03_TokenUnknown(t *testing.T) {
	e := newEdge(t, authtest.Options{})
	e.MustAddUser(t, "alice")
	login := e.mustLogin(t, refreshable)
	oauth, err := token.NewMint(e.DB.TokenKey(), authtest.NewRand(1)).New(token.Refresh, token.Handle([]byte("abcdefgh")))
	if err != nil {
		t.Fatal(err)
	}
	good := login.str("refresh_token")
	for name, text := range map[string]string{
		"empty":          "",
		"garbage":        "garbage",
		"truncated":      good[:len(good)-1],
		"wrong CRC":      good[:len(good)-6] + "000000",
		"access token":   login.str("access_token"),
		"ERR-09 OAuth's": oauth.Reveal(),
		"long":           strings.Repeat("m", 50_000),
		"Synapse's":      "syr_YWxpY2U_abcdefghijklmnopqrst_0a1b2c",
	} {
		t.Run(name, func(t *testing.T) { golden(t, "token_unknown", e.refresh(t, text)) })
	}
	e.ask(t, "POST", logoutPath, "", bearer(login.str("access_token"))).want(t, 200, "")
	golden(t, "token_unknown", e.refresh(t, good))
}

func TestLRF_BadBodies(t *testing.T) {
	e := newEdge(t, authtest.Options{})
	for body, errcode := range map[string]string{
		``:                              "M_NOT_JSON",
		`refresh_token=x`:               "M_NOT_JSON",
		`{}`:                            "M_MISSING_PARAM",
		`{"refresh_token":null}`:        "M_MISSING_PARAM",
		`{"Refresh_Token":"x"}`:         "M_MISSING_PARAM",
		`{"refresh_token":1}`:           "M_BAD_JSON",
		`["x"]`:                         "M_BAD_JSON",
		strings.Repeat(`{"a":`, 10_000): "M_BAD_JSON",
		`{"refresh_token":"x","refresh_token":"y"}`: "M_BAD_JSON",
	} {
		e.ask(t, "POST", refreshPath, body).want(t, 400, errcode)
	}
	e.ask(t, "POST", refreshPath, `{"refresh_token":"`+strings.Repeat("x", 1<<20)+`"}`).want(t, 413, "M_TOO_LARGE")
	// LRF-06.
	e.ask(t, "POST", refreshPath, `{"refresh_token":"x","refresh_token_lifetime_ms":1}`).want(t, 401, "M_UNKNOWN_TOKEN")
}

func TestLRF04_Alias(t *testing.T) {
	e := newEdge(t, authtest.Options{})
	e.MustAddUser(t, "alice")
	login := e.mustLogin(t, refreshable)
	body := fmt.Sprintf(`{"refresh_token":%q}`, login.str("refresh_token"))
	e.ask(t, "POST", "/_matrix/client/unstable/org.matrix.msc2918/refresh", body).want(t, 200, "")
}

// TestE3_TwoTabs: parallel refreshes get one pair.
func TestE3_TwoTabs(t *testing.T) {
	e := newEdge(t, authtest.Options{})
	e.MustAddUser(t, "alice")
	login := e.mustLogin(t, refreshable)
	replies := make([]reply, 20)
	var wg sync.WaitGroup
	for i := range replies {
		wg.Go(func() { replies[i] = e.refresh(t, login.str("refresh_token")) })
	}
	wg.Wait()
	for _, p := range replies {
		if p.Code != 200 || p.str("refresh_token") != replies[0].str("refresh_token") {
			t.Errorf("got %d, want the same pair for all", p.Code)
		}
	}
}

func TestLRF_LockedAndDeactivated(t *testing.T) {
	e := newEdge(t, authtest.Options{})
	e.MustAddUser(t, "alice")
	login := e.mustLogin(t, refreshable)
	if err := e.Lock(t.Context(), "alice"); err != nil {
		t.Fatal(err)
	}
	p := e.refresh(t, login.str("refresh_token"))
	p.want(t, 200, "")
	if err := e.Deactivate(t.Context(), "alice", false); err != nil {
		t.Fatal(err)
	}
	golden(t, "token_unknown", e.refresh(t, p.str("refresh_token")))
}

// TestE1_StoreInTrouble: a refresh is held for 10 s, and then gets no verdict; login gets an error.
func TestE1_StoreInTrouble(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var broken atomic.Bool
		e := newEdge(t, authtest.Options{RealClock: true, Store: store.Options{
			FreeBytes: func(string) (uint64, error) {
				if broken.Load() {
					return 0, errors.New("no such disk")
				}
				return 1 << 40, nil
			},
		}})
		e.MustAddUser(t, "alice")
		login := e.mustLogin(t, refreshable)
		broken.Store(true)
		start := time.Now()
		golden(t, "refresh_trouble", e.refresh(t, login.str("refresh_token")))
		if waited := time.Since(start); waited < 5*time.Second || waited > 15*time.Second {
			t.Errorf("held for %v, want about 10 s", waited)
		}
		golden(t, "login_unavailable", e.ask(t, "POST", loginPath, loginBody("alice", authtest.Password, "")))
		broken.Store(false)
		e.refresh(t, login.str("refresh_token")).want(t, 200, "")
	})
}

func TestLGO01_Logout(t *testing.T) {
	e := newEdge(t, authtest.Options{})
	e.MustAddUser(t, "alice")
	mine, other := e.mustLogin(t, `,"device_id":"MINE"`), e.mustLogin(t, `,"device_id":"OTHER"`)
	golden(t, "logout", e.ask(t, "POST", logoutPath, "", bearer(mine.str("access_token"))))
	// LGO-02: before the answer.
	if got := e.verdict(t, mine.str("access_token")); got != auth.Unknown {
		t.Errorf("got verdict %d, want unknown", got)
	}
	if got := e.verdict(t, other.str("access_token")); got != auth.Active {
		t.Errorf("got verdict %d of another session, want active", got)
	}
	if got := e.Synapse.Devices("alice"); len(got) != 1 || got[0] != "OTHER" {
		t.Errorf("got devices %v at Synapse, want OTHER", got)
	}
	// LGO-08.
	golden(t, "token_unknown", e.ask(t, "POST", logoutPath, "", bearer(mine.str("access_token"))))
}

func TestLGO03_Tokens(t *testing.T) {
	e := newEdge(t, authtest.Options{})
	e.MustAddUser(t, "alice")
	good := e.mustLogin(t, refreshable)
	access := good.str("access_token")
	for _, path := range []string{logoutPath, allPath} {
		for name, tc := range map[string]struct {
			query   string
			headers []string
			errcode string
		}{
			"none":             {"", nil, "M_MISSING_TOKEN"},
			"not bearer":       {"", []string{"Authorization: Basic eDp5"}, "M_MISSING_TOKEN"},
			"two headers":      {"", []string{bearer(access), bearer(access)}, "M_MISSING_TOKEN"},
			"header and query": {"?access_token=" + access, []string{bearer(access)}, "M_MISSING_TOKEN"},
			"twice in query":   {"?access_token=x&access_token=" + access, nil, "M_MISSING_TOKEN"},
			"semicolon":        {"?access_token=x;access_token=" + access, nil, "M_MISSING_TOKEN"},
			"garbage":          {"", []string{bearer("garbage")}, "M_UNKNOWN_TOKEN"},
			"truncated":        {"", []string{bearer(access[:20])}, "M_UNKNOWN_TOKEN"},
			"wrong CRC":        {"", []string{bearer(access[:len(access)-6] + "000000")}, "M_UNKNOWN_TOKEN"},
			"refresh token":    {"", []string{bearer(good.str("refresh_token"))}, "M_UNKNOWN_TOKEN"},
		} {
			p := e.ask(t, "POST", path+tc.query, "", tc.headers...)
			if p.Code != 401 || p.str("errcode") != tc.errcode {
				t.Errorf("%s %s: got %d %s, want 401 %s", path, name, p.Code, p.Body, tc.errcode)
			}
			if tc.errcode == "M_UNKNOWN_TOKEN" {
				p.wantSoftLogout(t, false)
			}
		}
	}
	if got := e.verdict(t, access); got != auth.Active {
		t.Errorf("got verdict %d, want active", got)
	}
	golden(t, "token_missing", e.ask(t, "POST", logoutPath, ""))
}

func TestLGO04_AnyBody(t *testing.T) {
	e := newEdge(t, authtest.Options{})
	e.MustAddUser(t, "alice")
	for _, body := range []string{"", "{}", "garbage", "\xff\xfe", strings.Repeat("x", 200_000)} {
		for _, path := range []string{logoutPath, allPath} {
			p := e.mustLogin(t, "")
			e.ask(t, "POST", path, body, "Content-Type: text/plain", bearer(p.str("access_token"))).want(t, 200, "")
		}
	}
}

func TestLGO05_LogoutAll(t *testing.T) {
	e := newEdge(t, authtest.Options{})
	e.MustAddUser(t, "alice")
	e.MustAddUser(t, "bob")
	bob := e.MustLogin(t, "bob", "BOB")
	first, second := e.mustLogin(t, ""), e.mustLogin(t, refreshable)
	personal, err := e.IssueToken(t.Context(), auth.IssueTokenParams{Localpart: "alice"})
	if err != nil {
		t.Fatal(err)
	}
	golden(t, "logout", e.ask(t, "POST", allPath, "", bearer(first.str("access_token"))))
	for _, text := range []string{first.str("access_token"), second.str("access_token"), personal.AccessToken.Reveal()} {
		if got := e.verdict(t, text); got != auth.Unknown {
			t.Errorf("got verdict %d, want unknown", got)
		}
	}
	if got := e.Synapse.Devices("alice"); len(got) != 0 {
		t.Errorf("got devices %v at Synapse, want none", got)
	}
	if got := e.MustVerdict(t, bob.AccessToken); got != auth.Active {
		t.Errorf("got verdict %d of another user, want active", got)
	}
}

func TestLGO06_ExpiredAndLocked(t *testing.T) {
	e := newEdge(t, authtest.Options{})
	e.MustAddUser(t, "alice")
	expired := e.mustLogin(t, refreshable)
	e.Clock.Advance(48 * time.Hour)
	if got := e.verdict(t, expired.str("access_token")); got != auth.Expired {
		t.Errorf("got verdict %d, want expired", got)
	}
	e.ask(t, "POST", logoutPath, "", bearer(expired.str("access_token"))).want(t, 200, "")
	locked := e.mustLogin(t, "")
	if err := e.Lock(t.Context(), "alice"); err != nil {
		t.Fatal(err)
	}
	e.ask(t, "POST", logoutPath, "", bearer(locked.str("access_token"))).want(t, 200, "")
}

func TestLGO07_QueryToken(t *testing.T) {
	e := newEdge(t, authtest.Options{})
	e.MustAddUser(t, "alice")
	for _, query := range []string{"?access_token=%s", "?x=1;access_token=%s", "?%%61ccess_token=%s"} {
		p := e.mustLogin(t, "")
		e.ask(t, "POST", logoutPath+fmt.Sprintf(query, p.str("access_token")), "").want(t, 200, "")
	}
}

// TestLogoutOfALeavingClient: who closes the page while logging out is logged out.
func TestLogoutOfALeavingClient(t *testing.T) {
	e := newEdge(t, authtest.Options{})
	e.MustAddUser(t, "alice")
	p := e.mustLogin(t, "")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	e.askContext(t, ctx, "POST", logoutPath, "", bearer(p.str("access_token"))).want(t, 200, "")
	if got := e.verdict(t, p.str("access_token")); got != auth.Unknown {
		t.Errorf("got verdict %d, want unknown", got)
	}
}

// TestE8_LogoutWithoutSynapse: the token is dead all the same; the device follows.
func TestE8_LogoutWithoutSynapse(t *testing.T) {
	e := newEdge(t, authtest.Options{Idle: true})
	e.MustAddUser(t, "alice")
	p := e.mustLogin(t, "")
	e.Synapse.Fail(authtest.Down)
	e.ask(t, "POST", logoutPath, "", bearer(p.str("access_token"))).want(t, 200, "")
	if got := e.verdict(t, p.str("access_token")); got != auth.Unknown {
		t.Errorf("got verdict %d, want unknown", got)
	}
	if got := e.Status().Jobs; got != 1 {
		t.Errorf("got %d jobs, want 1", got)
	}
}
