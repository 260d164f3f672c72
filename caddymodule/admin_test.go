package caddymodule

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"go.uber.org/zap"

	"github.com/caddy-matrix/caddy-matrix-auth/internal/auth"
	"github.com/caddy-matrix/caddy-matrix-auth/internal/authtest"
	"github.com/caddy-matrix/caddy-matrix-auth/store"
)

// adminRequest asks the admin endpoint on a socket.
func adminRequest(t *testing.T, socket, method, path, body string) answer {
	t.Helper()
	client := http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", strings.TrimPrefix(socket, "unix/"))
	}}
	req, err := http.NewRequest(method, "http://127.0.0.1"+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	resp, err := client.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return answer{resp.StatusCode, resp.Header, string(text), resp.Close}
}

// TestAdminEndpoint asks for everything that is refused, in order.
func TestAdminEndpoint(t *testing.T) {
	e := newEdge(t)
	socket, config := e.adminSocket(e.config("", ""))
	e.mustLoad(config)
	for _, tc := range []struct {
		method, path, body string
		status             int
		want               string
	}{
		{"POST", "/users", `{"localpart":"alice","password":"pw"}`, 200, `"has_password":true`},
		{"POST", "/users", `{"localpart":"alice"}`, 409, "there is a user alice already"},
		{"POST", "/users", `{"localpart":"bob","localpart":"eve"}`, 400, "not valid JSON"},
		{"POST", "/users", `{"localpart":"bob","role":"x"}`, 400, "does not exist: /role"},
		{"POST", "/users", `{"Localpart":"bob"}`, 400, "does not exist: /Localpart"},
		{"POST", "/users", `{"localpart":7}`, 400, "wrong type: /localpart"},
		{"POST", "/users", "{\"localpart\":\"\xff\"}", 400, "not valid JSON"},
		{"POST", "/users", `{"localpart":"bo\u0000b"}`, 400, "cannot be a user's name"},
		{"POST", "/users", `{"localpart":"` + strings.Repeat("a", 300) + `"}`, 400, "cannot be a user's name"},
		{"POST", "/users", `{"localpart":"bob","password":"` + strings.Repeat("p", 2000) + `"}`, 400, "password"},
		{"POST", "/users", strings.Repeat(" ", maxAdminBody) + `{"localpart":"bob"}`, 400, "more than 65536 bytes"},
		{"POST", "/users", strings.Repeat(`{"a":`, 20_000), 400, `"error"`},
		{"POST", "/users", `[]`, 400, "not a JSON object"},
		{"POST", "/users", `null`, 400, "not a JSON object"},
		{"POST", "/users", `{} {}`, 400, "not valid JSON"},
		{"POST", "/users", ``, 400, "localpart is missing"},
		{"PUT", "/users", ``, 405, "takes GET, POST"},
		{"GET", "/users/alice", ``, 200, `"user_id":"@alice:example.org"`},
		{"GET", "/users/@ALICE:example.org", ``, 200, `"user_id":"@alice:example.org"`},
		{"GET", "/users/nobody", ``, 404, "no such user"},
		{"GET", "/users/a%2Fb", ``, 404, "no such user"},
		{"DELETE", "/users/alice", ``, 405, "takes GET"},
		{"POST", "/users/alice/lock", `{"reason":"x"}`, 400, "/reason"},
		{"POST", "/users/alice/lock", `{}`, 200, `"locked_at":"`},
		{"POST", "/tokens", `{"localpart":"alice"}`, 409, "the user is locked"},
		{"POST", "/users/alice/unlock", ``, 200, `"admin":false`},
		{"POST", "/users/nobody/lock", ``, 404, "no such user"},
		{"POST", "/users/alice/password", `{}`, 400, "password is missing"},
		{"POST", "/users/alice/password", `{"password":null}`, 400, "password is missing"},
		{"POST", "/users/alice/admin", `{}`, 400, "admin is missing"},
		{"POST", "/users/alice/admin", `{"admin":true}`, 200, `"admin":true`},
		{"POST", "/users/alice/reactivate", `{"password":"x"}`, 409, "alice is not deactivated"},
		{"POST", "/users/alice/reactivate", `{}`, 400, "new password is needed"},
		{"POST", "/users/alice/frobnicate", `{}`, 404, "there is nothing at"},
		{"POST", "/tokens", `{"localpart":"alice","device_id":"\u0007"}`, 400, "device ID"},
		{"POST", "/tokens", `{"localpart":"alice","expires_in":-1}`, 400, "out of range"},
		{"POST", "/tokens", `{"localpart":"alice","expires_in":9223372036854775807}`, 400, "out of range"},
		{"POST", "/tokens", `{"localpart":"alice","legacy":true,"scope":"urn:synapse:admin:*"}`, 400, "no scopes"},
		{"POST", "/tokens", `{"localpart":"alice","scope":"urn:synapse:admin:*","expires_in":60}`, 200, `"expires_at":"`},
		{"GET", "/sessions?localpart=nobody", ``, 404, "no such user"},
		{"GET", "/sessions?localpart=", ``, 400, "which user"},
		{"GET", "/sessions?localpart=alice", ``, 200, `"kind":"personal"`},
		{"POST", "/sessions/x/end", ``, 400, "not the ID of a session"},
		{"POST", "/sessions/end", ``, 400, "which user"},
		{"POST", "/sessions/end", `{"localpart":"alice"}`, 200, `{"ended":1}`},
		{"GET", "/status", ``, 200, `"server_name":"example.org"`},
		{"POST", "/doctor", `{"secret":"x"}`, 400, "/secret"},
		{"GET", "/nothing", ``, 404, "there is nothing at"},
		{"GET", "/", ``, 404, "there is nothing at"},
	} {
		a := adminRequest(t, socket, tc.method, "/matrix_auth"+tc.path, tc.body)
		ok := a.status == tc.status && strings.Contains(a.body, tc.want)
		if !ok || tc.status != 200 && a.text("error") == "" {
			t.Errorf("%s %s %.60s: got %d %s, want %d with %q", tc.method, tc.path, tc.body, a.status, a.body, tc.status, tc.want)
		}
	}
	if a := adminRequest(t, socket, "GET", "/matrix_auth/users", ""); a.header.Get("Content-Type") != "application/x-ndjson" {
		t.Errorf("a list: got %v", a.header)
	}
}

// TestAdminAPIWithoutSynapse: what needs Synapse says so, the rest works.
func TestAdminAPIWithoutSynapse(t *testing.T) {
	e := newEdge(t)
	socket, config := e.adminSocket(e.config("", ""))
	e.mustLoad(config)
	e.mustAddUser("alice")
	e.synapse.Fail(authtest.Down)
	a := adminRequest(t, socket, "POST", "/matrix_auth/users", `{"localpart":"bob"}`)
	if a.status != 503 || !strings.Contains(a.text("error"), "no connection") || strings.Contains(a.body, "\\n") {
		t.Errorf("adding a user: got %d %s", a.status, a.body)
	}
	if a := adminRequest(t, socket, "POST", "/matrix_auth/users/alice/lock", ``); a.status != 200 {
		t.Errorf("locking a user: got %d %s", a.status, a.body)
	}
	if a := adminRequest(t, socket, "POST", "/matrix_auth/users/alice/deactivate", ``); a.status != 200 {
		t.Errorf("deactivating a user: got %d %s", a.status, a.body)
	}
	e.synapse.Fail(authtest.WrongSecret)
	a = adminRequest(t, socket, "POST", "/matrix_auth/users", `{"localpart":"bob"}`)
	if a.status != 503 || !strings.Contains(a.text("error"), "the shared secrets differ") {
		t.Errorf("adding a user with a wrong secret: got %d %s", a.status, a.body)
	}
}

// TestAdminAPIWithoutApp: a Caddy without the app says so, and a rejected reload leaves the API as it was.
func TestAdminAPIWithoutApp(t *testing.T) {
	e := newEdge(t)
	socket, config := e.adminSocket(e.config("", ""))
	bare := "{\nadmin " + socket + "|0200\npersist_config off\n}\n"
	e.mustLoad(bare)
	a := adminRequest(t, socket, "GET", "/matrix_auth/users", "")
	if a.status != 404 || !strings.Contains(a.text("error"), "no app matrix_auth") {
		t.Errorf("without the app: got %d %s", a.status, a.body)
	}
	r := runCommand("", "status", "--address", socket)
	if r.status != 1 || !strings.Contains(r.err, "no app matrix_auth") {
		t.Errorf("status: got %d %q", r.status, r.err)
	}
	e.mustLoad(config)
	e.mustAddUser("alice")
	if err := load(strings.Replace(config, "matrix_auth example.org", "matrix_auth example.net", 1)); err == nil {
		t.Fatal("the reload was not rejected")
	}
	a = adminRequest(t, socket, "GET", "/matrix_auth/users", "")
	if a.status != 200 || !strings.Contains(a.body, "@alice:example.org") {
		t.Errorf("after a rejected reload: got %d %s", a.status, a.body)
	}
}

// TestBrokenList: trouble before the first line is an error, and after it a last line.
func TestBrokenList(t *testing.T) {
	broken := errors.New("broken")
	list := func(good int) (*httptest.ResponseRecorder, error) {
		w := httptest.NewRecorder()
		c := &adminCall{w: w, Request: httptest.NewRequest("GET", "/", nil), app: &App{log: zap.NewNop()}}
		err := writeLines(c, func(yield func(int, error) bool) {
			for i := range good {
				if !yield(i, nil) {
					return
				}
			}
			yield(0, broken)
		}, func(i *int) any { return map[string]int{"n": *i} })
		return w, err
	}
	if w, err := list(0); !errors.Is(err, broken) || w.Body.Len() > 0 {
		t.Errorf("got %v and %q, want the error alone", err, w.Body)
	}
	w, err := list(1)
	if want := "{\"n\":0}\n{\"error\":\"the list is not complete, see Caddy's log\"}\n"; err != nil || w.Body.String() != want {
		t.Errorf("got %v and %q, want %q", err, w.Body, want)
	}
}

func TestAdminError(t *testing.T) {
	for _, tc := range []struct {
		err    error
		status int
		text   string
	}{
		{fmt.Errorf("%w: too short", auth.ErrInvalid), 400, "too short"},
		{fmt.Errorf("%w: no such user", auth.ErrNotFound), 404, "no such user"},
		{auth.ErrConflict, 409, "conflict"},
		{errors.Join(auth.ErrUnavailable, fmt.Errorf("%w: low on space", store.ErrUnavailable)), 503, "store: unavailable: low on space"},
		{fmt.Errorf("%w: no", auth.ErrHomeserver), 503, "no"},
		{auth.ErrUserLocked, 409, "the user is locked"},
		{errors.New("disk on fire"), 500, "internal error, see Caddy's log"},
	} {
		e, ok := errors.AsType[caddy.APIError](adminError(tc.err))
		if !ok || e.HTTPStatus != tc.status || e.Message != tc.text {
			t.Errorf("%v: got %d %q, want %d %q", tc.err, e.HTTPStatus, e.Message, tc.status, tc.text)
		}
	}
}

// FuzzAdminBody reads bodies that anybody may send. No value of theirs is in an error.
func FuzzAdminBody(f *testing.F) {
	for _, seed := range []string{
		"", "{}", `{"localpart":"alice","password":"hunter2"}`, `{"password":"hunter2"`, `{"admin":"hunter2"}`, `null`, "\xff", `{"a":{}}`,
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, body string) {
		c := &adminCall{w: httptest.NewRecorder(), Request: httptest.NewRequest("POST", "/", strings.NewReader(body))}
		var v addUserJSON
		err := c.readBody(&v)
		if err == nil {
			return
		}
		if !errors.Is(err, auth.ErrInvalid) || len(err.Error()) > 600 {
			t.Errorf("got %v", err)
		}
		if strings.Contains(err.Error(), `hunter2`) && strings.HasPrefix(body, `{"password":"hunter2"`) {
			t.Errorf("the password is in %v", err)
		}
	})
}
