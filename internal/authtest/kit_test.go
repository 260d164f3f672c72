package authtest_test

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/caddy-matrix/caddy-matrix-auth/internal/auth"
	"github.com/caddy-matrix/caddy-matrix-auth/internal/authtest"
	"github.com/caddy-matrix/caddy-matrix-auth/internal/homeserver"
	"github.com/caddy-matrix/caddy-matrix-auth/internal/mxid"
)

// TestKit: the helpers, and what they leave behind at Synapse and in the audit log.
func TestKit(t *testing.T) {
	k := authtest.NewService(t, authtest.Options{})
	k.MustAddUser(t, "alice")
	in := k.MustLogin(t, "alice", "PHONE")
	if got := k.MustVerdict(t, in.AccessToken); got != auth.Active {
		t.Errorf("logged in: got verdict %d, want active", got)
	}
	if diff := cmp.Diff([]mxid.DeviceID{"PHONE"}, k.Synapse.Devices("alice")); diff != "" {
		t.Errorf("devices (-want +got):\n%s", diff)
	}
	k.Clock.Advance(10 * time.Minute)
	if got := k.MustVerdict(t, in.AccessToken); got != auth.Expired {
		t.Errorf("ten minutes later: got verdict %d, want expired", got)
	}
	if got := k.MustVerdict(t, k.MustRefresh(t, in.RefreshToken).AccessToken); got != auth.Active {
		t.Errorf("refreshed: got verdict %d, want active", got)
	}
	if got := k.Events("login_succeeded"); len(got) != 1 || got[0].UserID != "@alice:example.org" {
		t.Errorf("got events %+v, want one login of alice", got)
	}
}

// TestInABubble: a login against a Synapse that hangs ends by the bubble's clock.
func TestInABubble(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := authtest.NewService(t, authtest.Options{RealClock: true})
		k.MustAddUser(t, "alice")
		k.Synapse.Fail(authtest.Slow)
		start := time.Now()
		_, err := k.Login(t.Context(), authtest.LoginParams("alice", ""))
		if !errors.Is(err, auth.ErrUnavailable) || time.Since(start) < homeserver.DefaultTimeout {
			t.Errorf("got %v after %v, want an unavailable homeserver after %v", err, time.Since(start), homeserver.DefaultTimeout)
		}
	})
}

// TestSynapseFaultsOverASocket: the faults look the same to any HTTP client.
func TestSynapseFaultsOverASocket(t *testing.T) {
	s := authtest.NewSynapse(t, "example.org")
	s.AddUser("alice", "D")
	get := func() (status int, body string) {
		req, _ := http.NewRequest("GET", s.URL()+"/_synapse/mas/query_user?localpart=alice", nil)
		req.Header.Set("Authorization", "Bearer "+authtest.Secret)
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			return 0, ""
		}
		defer resp.Body.Close()
		b, _ := io.ReadAll(resp.Body)
		return resp.StatusCode, string(b)
	}
	for _, tc := range []struct {
		fault  authtest.Fault
		status int
		body   string
	}{
		{authtest.Healthy, 200, `"user_id":"@alice:example.org"`},
		{authtest.Down, 0, ""},
		{authtest.Garbage, 200, "<html>"},
		{authtest.WrongSecret, 403, "must only be called by MAS"},
		{authtest.Broken, 500, "M_UNKNOWN"},
		{authtest.AnswerLost, 0, ""},
		{authtest.Undelegated, 404, "<html>"},
	} {
		s.Fail(tc.fault)
		if status, body := get(); status != tc.status || !strings.Contains(body, tc.body) {
			t.Errorf("fault %d: got %d %s, want %d %s", tc.fault, status, body, tc.status, tc.body)
		}
	}
	s.FailOp("query_user", authtest.Healthy)
	if status, _ := get(); status != 200 {
		t.Errorf("exempted: got %d", status)
	}
	want := authtest.Call{Op: "query_user", Localpart: "alice"}
	if calls := s.Calls("query_user"); !slices.Contains(calls, want) || len(s.Calls("delete_user")) != 0 {
		t.Errorf("got calls %+v", calls)
	}
	if s.ForgetCalls(); len(s.Calls()) != 0 {
		t.Errorf("forgotten: got %+v", s.Calls())
	}
}

// TestRand: the same seed, the same bytes.
func TestRand(t *testing.T) {
	read := func(seed byte) []byte {
		b := make([]byte, 64)
		authtest.NewRand(seed).Read(b)
		return b
	}
	if !bytes.Equal(read(1), read(1)) || bytes.Equal(read(1), read(2)) {
		t.Error("got other bytes for the same seed, or the same for another")
	}
}
