package caddymodule

import (
	"testing"

	"github.com/caddyserver/caddy/v2"
)

// TestEdge is one user's life through a whole Caddy: log in, be known to Synapse, refresh, log out.
func TestEdge(t *testing.T) {
	e := newEdge(t)
	e.mustLoad(e.config("", ""))
	e.mustAddUser("alice")

	// Case 1: login, and Synapse learns by introspection who it is.
	access, refresh := e.mustLogin("alice", "PHONE")
	a := e.whoami(access)
	if a.status != 200 || a.text("username") != "alice" || a.text("device_id") != "PHONE" {
		t.Fatalf("whoami: got %d %s", a.status, a.body)
	}
	eventually(t, "the access log has the user", func() bool {
		return e.logged("http.log.access", "whoami", `"user_id":"@alice:example.org"`)
	})
	e.mustLog("matrix_auth.audit", "login_succeeded", "@alice:example.org")

	// Case 2: refresh.
	a = e.request("POST", "/_matrix/client/v3/refresh", "", `{"refresh_token":"`+refresh+`"}`)
	if a.status != 200 || a.text("access_token") == access {
		t.Fatalf("refresh: got %d %s", a.status, a.body)
	}
	access = a.text("access_token")

	// Case 3: logout, and the token is dead in the same instant, without Synapse.
	if a = e.request("POST", "/_matrix/client/v3/logout", access, "{}"); a.status != 200 {
		t.Fatalf("logout: got %d %s", a.status, a.body)
	}
	before := e.synapse.count()
	a = e.whoami(access)
	if a.status != 401 || a.text("errcode") != "M_UNKNOWN_TOKEN" || a.field("soft_logout") != false {
		t.Errorf("whoami after logout: got %d %s", a.status, a.body)
	}
	if e.synapse.count() != before {
		t.Error("a dead token has reached Synapse")
	}

	if err := caddy.Stop(); err != nil {
		t.Fatal(err)
	}
	e.mustLog("database closed")
}
