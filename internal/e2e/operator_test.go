//go:build e2e

package e2e

import (
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/caddy-matrix/caddy-matrix-auth/internal/e2e/rig"
)

// What an operator does by the command line is what Synapse knows of the user.

// account asks Synapse's admin API for a user.
func account(t *testing.T, admin rig.Client, u user) rig.Reply {
	t.Helper()
	r := call(t, admin, http.MethodGet, "/_synapse/admin/v2/users/"+url.PathEscape(u.id), nil)
	want(t, r, http.StatusOK, "")
	return r
}

// refused runs a command that has to fail, and returns why it did.
func (s *stack) refused(t *testing.T, stdin string, args ...string) string {
	t.Helper()
	_, err := s.edge.Command(t.Context(), stdin, args...)
	if err == nil {
		t.Fatalf("%s: got no error", strings.Join(args, " "))
	}
	return err.Error()
}

// TestOperatorErases closes an account for good, and opens it again as an empty one.
func TestOperatorErases(t *testing.T) {
	s := shared(t)
	admin, u := s.adminToken(t), s.newUser(t)
	phone := s.login(t, u, "PHONE")
	r := call(t, phone.Client, http.MethodPut, "/_matrix/client/v3/profile/"+url.PathEscape(u.id)+"/displayname", map[string]string{"displayname": "Somebody"})
	want(t, r, http.StatusOK, "")

	s.command(t, "", "user", "deactivate", u.localpart, "--erase")
	phone.dead(t)
	if r := account(t, admin, u); r.Get("deactivated") != true || r.Get("erased") != true || r.Text("displayname") != "" {
		t.Errorf("got %s, want a user that is deactivated, erased and without a name", r)
	}
	if got := adminDevices(t, admin, u.id); len(got) != 0 {
		t.Errorf("got devices %v, want none", got)
	}
	s.refused(t, "", "user", "reactivate", u.localpart) // without a password

	old := u
	u.password = "another " + u.password
	s.command(t, u.password+"\n", "user", "reactivate", u.localpart)
	// A new database of Synapse lacks for a while the index without which a profile cannot be made again: then this waits.
	eventually(t, "the user can log in", func() bool {
		return call(t, s.Client, http.MethodPost, loginPath, u.loginBody("", false)).Status == http.StatusOK
	})
	if r := account(t, admin, u); r.Get("deactivated") != false || r.Get("erased") != false {
		t.Errorf("got %s, want a user that is neither deactivated nor erased", r)
	}
	want(t, call(t, s.Client, http.MethodPost, loginPath, old.loginBody("", false)), http.StatusForbidden, "M_FORBIDDEN")
	phone.dead(t)
	again := s.login(t, u, "PHONE")
	again.alive(t)
}

// TestOperatorSetsPassword: sessions go on, unless they are to end, and then their devices go with them.
func TestOperatorSetsPassword(t *testing.T) {
	s := shared(t)
	admin, u := s.adminToken(t), s.newUser(t)
	phone := s.login(t, u, "PHONE")
	old := u
	u.password = "another " + u.password
	s.command(t, u.password+"\n", "user", "set-password", u.localpart)
	phone.alive(t)
	want(t, call(t, s.Client, http.MethodPost, loginPath, old.loginBody("", false)), http.StatusForbidden, "M_FORBIDDEN")
	laptop := s.login(t, u, "LAPTOP")
	laptop.alive(t)

	s.command(t, "\n", "user", "set-password", u.localpart, "--end-sessions") // an empty one: nobody can sign in
	phone.dead(t)
	laptop.dead(t)
	eventually(t, "the devices are gone from Synapse", func() bool { return len(adminDevices(t, admin, u.id)) == 0 })
	want(t, call(t, s.Client, http.MethodPost, loginPath, u.loginBody("", false)), http.StatusForbidden, "M_FORBIDDEN")
}

// TestOperatorAdopts takes a user over that Synapse had before the edge.
func TestOperatorAdopts(t *testing.T) {
	s := shared(t)
	u := user{localpart: "operatoradopts-old", id: "@operatoradopts-old:" + serverName, password: "correct horse"}
	r := call(t, s.asEdge(t), http.MethodPost, "/_synapse/mas/provision_user", map[string]string{"localpart": u.localpart, "set_displayname": "Old Hand"})
	want(t, r, http.StatusCreated, "")

	if why := s.refused(t, u.password+"\n", "user", "add", u.localpart); !strings.Contains(why, "--adopt") {
		t.Errorf("got %q, want a word on --adopt", why)
	}
	if why := s.refused(t, u.password+"\n", "user", "add", "--adopt", "operatoradopts-none"); !strings.Contains(why, "no user operatoradopts-none") {
		t.Errorf("got %q, want that there is no such user", why)
	}
	if got := strings.TrimSpace(s.command(t, u.password+"\n", "user", "add", "--adopt", u.localpart)); got != u.id {
		t.Errorf("got %q, want %s", got, u.id)
	}
	phone := s.login(t, u, "PHONE")
	phone.alive(t)
	r = call(t, phone.Client, http.MethodGet, "/_matrix/client/v3/profile/"+url.PathEscape(u.id)+"/displayname", nil)
	if r.Text("displayname") != "Old Hand" {
		t.Errorf("got %s, want the name that the user had", r)
	}

	closed := user{localpart: "operatoradopts-closed"}
	r = call(t, s.asEdge(t), http.MethodPost, "/_synapse/mas/provision_user", map[string]string{"localpart": closed.localpart})
	want(t, r, http.StatusCreated, "")
	r = call(t, s.asEdge(t), http.MethodPost, "/_synapse/mas/delete_user", map[string]any{"localpart": closed.localpart, "erase": false})
	want(t, r, http.StatusOK, "")
	if why := s.refused(t, "\n", "user", "add", "--adopt", closed.localpart); !strings.Contains(why, "deactivated") {
		t.Errorf("got %q, want that the account is closed", why)
	}
	if got := s.synapseUser(t, closed); got.Get("is_deactivated") != true {
		t.Errorf("got %s, want an account that is still closed", got)
	}
}

// TestOperatorIssuesTokens: without a device, on one, and as an older client has it; each is what Synapse takes it for.
func TestOperatorIssuesTokens(t *testing.T) {
	s := shared(t)
	admin, u := s.adminToken(t), s.newUser(t)
	issue := func(kind string, args ...string) rig.Client {
		t.Helper()
		token := strings.TrimSpace(s.command(t, "", append([]string{"token", "issue", u.localpart}, args...)...))
		if !strings.HasPrefix(token, kind) {
			t.Fatalf("token issue %v: got a token of another kind than %s", args, kind)
		}
		return s.With(token)
	}
	device := func(c rig.Client) string {
		t.Helper()
		r := call(t, c, http.MethodGet, whoamiPath, nil)
		want(t, r, http.StatusOK, "")
		if r.Text("user_id") != u.id {
			t.Fatalf("got %s, want %s", r, u.id)
		}
		return r.Text("device_id")
	}
	phone := s.login(t, u, "PHONE")

	script := issue("mpt_")
	if got := device(script); got != "" {
		t.Errorf("without a device: got %q", got)
	}
	bot := issue("mpt_", "--device", "PHONE", "--expires", "30d")
	if got := device(bot); got != "PHONE" {
		t.Errorf("on a device: got %q", got)
	}
	phone.dead(t) // its device is another's now
	old := issue("mct_", "--legacy")
	made := device(old)
	if made == "" || made == "PHONE" {
		t.Errorf("as an older client: got device %q, want a new one", made)
	}
	if got := adminDevices(t, admin, u.id); len(got) != 2 {
		t.Errorf("got devices %v at Synapse, want PHONE and %s", got, made)
	}

	want(t, call(t, old, http.MethodPost, logoutPath, nil), http.StatusOK, "")
	if got := adminDevices(t, admin, u.id); len(got) != 1 || got[0] != "PHONE" {
		t.Errorf("got devices %v after the logout of %s, want PHONE alone", got, made)
	}
	s.command(t, "", "session", "end", "--all", u.localpart)
	for _, c := range []rig.Client{script, bot, old} {
		want(t, call(t, c, http.MethodGet, whoamiPath, nil), http.StatusUnauthorized, "M_UNKNOWN_TOKEN")
	}
}
