package caddymodule

import (
	"errors"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
)

// admin calls a route of the admin API, as Caddy's admin endpoint does; params are its path's parameters and their values.
func (e *edge) admin(method, pattern, body string, params ...string) answer {
	e.t.Helper()
	req := httptest.NewRequest(method, adminBase+pattern, strings.NewReader(body))
	for i := 0; i < len(params); i += 2 {
		req.SetPathValue(params[i], params[i+1])
	}
	w := httptest.NewRecorder()
	err := adminMethods(adminRoutes[pattern]).ServeHTTP(w, req)
	if ae, ok := errors.AsType[caddy.APIError](err); ok {
		return answer{ae.HTTPStatus, w.Header(), ae.Message, false}
	}
	if err != nil {
		e.t.Fatal(err)
	}
	return answer{w.Code, w.Header(), w.Body.String(), false}
}

// TestKeysOverAdmin lists and rotates; clients see both generations.
func TestKeysOverAdmin(t *testing.T) {
	e := newEdge(t)
	e.mustLoad(e.config("", ""))
	var before string
	eventually(t, "the first keys are made", func() bool {
		before = e.admin("GET", "/keys", "").body
		return strings.Count(before, `"state":"signing"`) == 2
	})
	a := e.admin("POST", "/keys/rotate", "")
	if a.status != 200 || strings.Count(a.body, `"state":"signing"`) != 2 || strings.Count(a.body, `"state":"published"`) != 2 ||
		strings.Count(a.body, "retired_at") != 2 {
		t.Errorf("rotated: got %d %s", a.status, a.body)
	}
	if a := e.admin("POST", "/keys/rotate", `{"x":1}`); a.status != 400 {
		t.Errorf("a member that does not exist: got %d %s", a.status, a.body)
	}
	if keys := e.request("GET", "/oauth2/keys.json", "", ""); strings.Count(keys.body, `"kid"`) != 4 || strings.Contains(keys.body, `"d":`) {
		t.Errorf("published: got %s", keys.body)
	}
	e.mustLog("matrix_auth.audit", "admin_request", "rotate_keys")
	e.mustLog("matrix_auth.audit", "key_rotated")
	if a := e.admin("DELETE", "/keys", ""); a.status != 405 {
		t.Errorf("DELETE: got %d", a.status)
	}
}
