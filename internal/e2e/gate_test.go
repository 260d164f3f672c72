//go:build e2e

package e2e

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"
)

// TestGateWalkArounds tries to reach Synapse with the token of a locked user in every form that Synapse reads and a careless
// proxy does not. Behind Caddy's own proxy they all arrive, because Synapse still remembers that token as good: that is
// asserted first.
func TestGateWalkArounds(t *testing.T) {
	s := shared(t)
	u := s.newUser(t)
	victim := s.login(t, u, "")
	victim.alive(t)
	friend := s.login(t, s.newUser(t), "")
	friend.alive(t)
	s.command(t, "", "user", "lock", u.localpart)
	dead := victim.Token

	const form = "Content-Type: application/x-www-form-urlencoded"
	hidden := fmt.Sprintf(`{"name":"&access_token=%s&"}`, dead)
	length := fmt.Sprintf("Content-Length: %d", len(hidden))
	for _, c := range []struct {
		name, method, target, body string
		header                     []string
		status                     int
		errcode                    string
	}{
		{"header", "GET", whoamiPath, "", []string{"Authorization: Bearer " + dead}, 401, "M_USER_LOCKED"},
		{"query", "GET", whoamiPath + "?access_token=" + dead, "", nil, 401, "M_USER_LOCKED"},
		{"semicolon", "GET", whoamiPath + "?x=1;access_token=" + dead, "", nil, 401, "M_USER_LOCKED"},
		{"escaped key", "GET", whoamiPath + "?%61ccess_token=" + dead, "", nil, 401, "M_USER_LOCKED"},
		{"form", "POST", "/_matrix/client/v3/createRoom", hidden, []string{form, length}, 401, "M_MISSING_TOKEN"},
		{"hop by hop", "GET", whoamiPath + "?access_token=" + dead, "", []string{"Connection: close, Authorization", "Authorization: Bearer " + friend.Token}, 401, "M_MISSING_TOKEN"},
		{"form in capitals", "POST", "/_matrix/client/v3/createRoom", hidden, []string{strings.ToUpper(form) + "; charset=utf-8", length}, 401, "M_MISSING_TOKEN"},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := raw(t, s.plain, c.method, c.target, c.body, c.header...)
			if r.Status != http.StatusOK || c.target != "/_matrix/client/v3/createRoom" && r.Text("user_id") != u.id {
				t.Errorf("got %s behind a plain proxy, want 200 for %s: otherwise this shows nothing", r, u.id)
			}
			want(t, raw(t, s.Base, c.method, c.target, c.body, c.header...), c.status, c.errcode)
		})
	}

	for _, c := range []struct {
		name, target string
		header       []string
		status       int
		errcode      string
	}{
		{"hop by hop, dead", whoamiPath, []string{"Connection: Authorization", "Authorization: Bearer " + dead}, 401, "M_USER_LOCKED"},
		{"hop by hop, live", whoamiPath, []string{"Connection: Authorization", "Authorization: Bearer " + friend.Token}, 200, ""},
		{"two headers", whoamiPath, []string{"Authorization: Bearer " + friend.Token, "Authorization: Bearer " + dead}, 401, "M_MISSING_TOKEN"},
		{"header and query", whoamiPath + "?access_token=" + friend.Token, []string{"Authorization: Bearer " + friend.Token}, 401, "M_MISSING_TOKEN"},
		{"twice in the query", whoamiPath + "?access_token=" + friend.Token + "&access_token=" + dead, nil, 401, "M_MISSING_TOKEN"},
		{"malformed", whoamiPath, []string{"Authorization: Bearer " + friend.Token[:len(friend.Token)-1] + "_"}, 401, "M_UNKNOWN_TOKEN"},
		{"never made", whoamiPath, []string{"Authorization: Bearer mct_" + strings.Repeat("a", 30) + "_000000"}, 401, "M_UNKNOWN_TOKEN"},
		{"none", whoamiPath, nil, 401, "M_MISSING_TOKEN"},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := raw(t, s.Base, "GET", c.target, "", append(c.header, "X-Forwarded-Proto: https")...)
			want(t, r, c.status, c.errcode)
			if c.status == 200 && r.Text("user_id") != friend.userID {
				t.Errorf("got %s, want %s", r, friend.userID)
			}
		})
	}
}

// TestForbiddenPaths asks for what is never public, with the secret that Synapse would take.
func TestForbiddenPaths(t *testing.T) {
	s := shared(t)
	u := s.newUser(t)
	query := "?localpart=" + u.localpart
	secret := "Authorization: Bearer " + s.asEdge(t).Token
	want(t, raw(t, s.synapse.URL(), "GET", "//_synapse/mas/query_user"+query, "", secret), http.StatusOK, "") // Synapse is no help here.

	for _, path := range []string{
		"/_synapse/mas/query_user" + query,
		"//_synapse/mas/query_user" + query,
		"/_synapse//mas/query_user" + query,
		"/_%73ynapse/mas/query_user" + query,
		"/_synapse/%6das/query_user" + query,
		"/_synapse%2Fmas/query_user" + query,
		"/_SYNAPSE/mas/query_user" + query,
		"/_synapse/MAS/query_user" + query,
		"/_synapse/mas",
		"/_synapse/mas/",
		"/./_synapse/mas/query_user" + query,
		"/x/../_synapse/mas/query_user" + query,
		"/x/..%2f_synapse/mas/query_user" + query,
		"/_matrix/../_synapse/mas/query_user" + query,
		"/_matrix/client/..%2F..%2F_synapse/mas/query_user" + query,
		"/_matrix/%2e%2e/_synapse/mas/query_user" + query,
		"/_synapse/client/../mas/query_user" + query,
		"/_synapse/client/..%2fmas/query_user" + query,
		"/_synapse/admin/v1/server_version",
		"/_synapse/%61dmin/v1/server_version",
		"/_synapse/admin/v2/users/..%2F..%2F..%2F..%2F_matrix%2Fx",
		"/_synapse/metrics",
		"/_synapse/replication/x",
	} {
		r := raw(t, s.Base, "GET", path, "", secret)
		if r.Status != http.StatusNotFound || r.Errcode() != "M_UNRECOGNIZED" {
			t.Errorf("%s: got %s, want 404 M_UNRECOGNIZED", path, r)
			continue
		}
		if r.Header.Get("Access-Control-Allow-Origin") != "*" {
			t.Errorf("%s: got no CORS header", path)
		}
	}

	// What is ours has one spelling; the others are neither served nor handed on.
	for _, path := range []string{
		"/_matrix/client/v3/login/", "//_matrix/client/v3/login", "/_matrix//client/v3/login", "/_matrix/client/v3%2Flogin",
		"/_matrix/client/v3/./login", "/_matrix/client/v3/x/../login", "/_matrix/client/v3/%6cogin",
	} {
		for _, method := range []string{"GET", "POST"} {
			r := raw(t, s.Base, method, path, "", "Content-Length: 0")
			if r.Status != http.StatusNotFound || r.Errcode() != "M_UNRECOGNIZED" {
				t.Errorf("%s %s: got %s, want 404 M_UNRECOGNIZED", method, path, r)
			}
		}
	}
}

// TestPublicSurface looks at what a client asks first.
func TestPublicSurface(t *testing.T) {
	s := shared(t)
	for _, path := range []string{
		"/_matrix/client/v1/auth_metadata",
		"/_matrix/client/unstable/org.matrix.msc2965/auth_metadata",
		"/_matrix/client/unstable/org.matrix.msc2965/auth_issuer",
	} {
		r := call(t, s.Client, http.MethodGet, path, nil)
		want(t, r, http.StatusOK, "")
		if got := r.Text("issuer"); got != s.Base+"/" {
			t.Errorf("%s: got issuer %q, want %q", path, got, s.Base+"/")
		}
	}
	r := call(t, s.Client, http.MethodGet, "/.well-known/matrix/client", nil)
	want(t, r, http.StatusOK, "")
	if got := strings.TrimSuffix(r.Text("m.homeserver", "base_url"), "/"); got != s.Base {
		t.Errorf("got base_url %q, want %q", got, s.Base)
	}
	if got := r.Text("org.matrix.msc2965.authentication", "issuer"); got != s.Base+"/" {
		t.Errorf("got issuer %q, want %q", got, s.Base+"/")
	}
	wantMatrixError(t, call(t, s.Client, http.MethodPut, loginPath, nil), http.StatusMethodNotAllowed, "M_UNRECOGNIZED")
	for _, path := range []string{loginPath, logoutPath, refreshPath, whoamiPath} {
		r := call(t, s.Client, http.MethodOptions, path, nil)
		if r.Status/100 != 2 || len(r.Header.Values("Access-Control-Allow-Origin")) != 1 {
			t.Errorf("OPTIONS %s: got %s with %q, want 2xx and one CORS header", path, r, r.Header.Values("Access-Control-Allow-Origin"))
		}
	}
	r = call(t, s.asEdge(t).At(s.Base), http.MethodPost, "/oauth2/introspect", strings.NewReader("token=x"))
	if r.Get("active") != nil {
		t.Errorf("got %s for introspection on the public site, want no answer to it", r)
	}
}

// TestPathsReachSynapse has characters in path segments that must not be decoded on the way.
func TestPathsReachSynapse(t *testing.T) {
	s := shared(t)
	u := s.newUser(t)
	phone := s.login(t, u, "")
	r := call(t, phone.Client, http.MethodPost, "/_matrix/client/v3/createRoom", map[string]string{"preset": "private_chat"})
	want(t, r, http.StatusOK, "")
	room := r.Text("room_id")
	alias := fmt.Sprintf("#%s/a%%b+c:%s", u.localpart, serverName)
	path := "/_matrix/client/v3/directory/room/" + url.PathEscape(alias)
	if !strings.Contains(path, "%2F") {
		t.Fatalf("got path %q, want one with %%2F", path)
	}
	want(t, call(t, phone.Client, http.MethodPut, path, map[string]string{"room_id": room}), http.StatusOK, "")
	r = call(t, phone.Client, http.MethodGet, path, nil)
	want(t, r, http.StatusOK, "")
	if r.Text("room_id") != room {
		t.Errorf("got %s for alias %s, want room %s", r, alias, room)
	}
	r = call(t, phone.Client, http.MethodGet, "/_matrix/client/v3/rooms/"+url.PathEscape(room)+"/aliases", nil)
	want(t, r, http.StatusOK, "")
	if got := fmt.Sprint(r.Get("aliases")); got != "["+alias+"]" {
		t.Errorf("got aliases %s, want %s", got, alias)
	}
}

// appService is the registration of the one application service of the shared stack.
const appService = `id: rig
url: null
as_token: as-token-of-the-rig
hs_token: hs-token-of-the-rig
sender_localpart: _rig_bot
rate_limited: false
namespaces: {users: [{exclusive: true, regex: "@_rig_.*"}], rooms: [], aliases: []}
`

// TestApplicationService passes the edge with its own token, which is none of ours.
func TestApplicationService(t *testing.T) {
	s := shared(t)
	bridge := s.With("as-token-of-the-rig")
	r := call(t, bridge, http.MethodPost, "/_matrix/client/v3/register", map[string]any{
		"type": "m.login.application_service", "username": "_rig_ghost", "inhibit_login": true,
	})
	want(t, r, http.StatusOK, "")
	r = call(t, bridge, http.MethodGet, whoamiPath+"?user_id="+url.QueryEscape("@_rig_ghost:"+serverName), nil)
	want(t, r, http.StatusOK, "")
	if got := r.Text("user_id"); got != "@_rig_ghost:"+serverName {
		t.Errorf("got %q, want the ghost", got)
	}
	r = raw(t, s.Base, "GET", whoamiPath+"?access_token=as-token-of-the-rig", "")
	want(t, r, http.StatusOK, "")
	r = call(t, s.Client, http.MethodPost, loginPath, map[string]any{
		"type": "m.login.application_service", "identifier": map[string]string{"type": "m.id.user", "user": "_rig_ghost"},
	})
	want(t, r, http.StatusBadRequest, "M_APPSERVICE_LOGIN_UNSUPPORTED")
}
