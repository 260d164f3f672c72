package homeserver_test

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/caddy-matrix/caddy-matrix-auth/internal/homeserver"
	"github.com/caddy-matrix/caddy-matrix-auth/internal/mxid"
	"github.com/caddy-matrix/caddy-matrix-auth/internal/token"
)

const secret = "a-secret-of-some-length"

// newClient makes a client of a server at url with what the test wants changed.
func newClient(t *testing.T, c homeserver.Config) *homeserver.Client {
	t.Helper()
	c.Secret = token.NewSecret(secret)
	client, err := homeserver.New(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	return client
}

// newServer starts a server and makes its client.
func newServer(t *testing.T, h http.HandlerFunc) *homeserver.Client {
	t.Helper()
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	return newClient(t, homeserver.Config{URL: s.URL})
}

// answer is a handler that always says the same.
func answer(status int, contentType, body string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", contentType)
		w.WriteHeader(status)
		io.WriteString(w, body)
	}
}

func mustError(t *testing.T, err error) *homeserver.Error {
	t.Helper()
	e, ok := err.(*homeserver.Error)
	if !ok {
		t.Fatalf("got error %v (%T), want a *homeserver.Error", err, err)
	}
	return e
}

// TestRequests pins what is sent for each call.
func TestRequests(t *testing.T) {
	type sent struct{ Method, URI, Body string }
	var got sent
	var header http.Header
	c := newServer(t, func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		got, header = sent{r.Method, r.RequestURI, string(body)}, r.Header
		answer(200, "application/json", `{"user_id":"@alice:example.org","display_name":null,"is_deactivated":false}`)(w, r)
	})
	ctx := t.Context()
	const alice, dev = mxid.Localpart("alice"), mxid.DeviceID("DEVICE1")
	long, cut := strings.Repeat("é", 300), func(n int) string { return strings.Repeat("é", n) }
	for _, tc := range []struct {
		call func() error
		want sent
	}{
		{
			func() error { _, _, err := c.QueryUser(ctx, "a+b/c"); return err },
			sent{"GET", "/_synapse/mas/query_user?localpart=a%2Bb%2Fc", ""},
		},
		{
			func() error { return c.IsLocalpartAvailable(ctx, alice) },
			sent{"GET", "/_synapse/mas/is_localpart_available?localpart=alice", ""},
		},
		{
			func() error { return c.ProvisionUser(ctx, alice, "") },
			sent{"POST", "/_synapse/mas/provision_user", `{"localpart":"alice"}`},
		},
		{
			func() error { return c.ProvisionUser(ctx, alice, long) },
			sent{"POST", "/_synapse/mas/provision_user", `{"localpart":"alice","set_displayname":"` + cut(256) + `"}`},
		},
		{
			func() error { return c.UpsertDevice(ctx, alice, dev, "") },
			sent{"POST", "/_synapse/mas/upsert_device", `{"localpart":"alice","device_id":"DEVICE1"}`},
		},
		{
			func() error { return c.UpsertDevice(ctx, alice, dev, long) },
			sent{"POST", "/_synapse/mas/upsert_device", `{"localpart":"alice","device_id":"DEVICE1","display_name":"` + cut(100) + `"}`},
		},
		{
			func() error { return c.UpsertDevice(ctx, alice, dev, "a\x00b\xff\"") },
			sent{"POST", "/_synapse/mas/upsert_device", `{"localpart":"alice","device_id":"DEVICE1","display_name":"ab` + "\uFFFD" + `\""}`},
		},
		{
			func() error { return c.UpdateDeviceDisplayName(ctx, alice, dev, "") },
			sent{"POST", "/_synapse/mas/update_device_display_name", `{"localpart":"alice","device_id":"DEVICE1","display_name":""}`},
		},
		{
			func() error { return c.DeleteDevice(ctx, alice, dev) },
			sent{"POST", "/_synapse/mas/delete_device", `{"localpart":"alice","device_id":"DEVICE1"}`},
		},
		{
			func() error { return c.DeleteUser(ctx, alice, false) },
			sent{"POST", "/_synapse/mas/delete_user", `{"localpart":"alice","erase":false}`},
		},
		{
			func() error { return c.DeleteUser(ctx, alice, true) },
			sent{"POST", "/_synapse/mas/delete_user", `{"localpart":"alice","erase":true}`},
		},
		{
			func() error { return c.ReactivateUser(ctx, alice) },
			sent{"POST", "/_synapse/mas/reactivate_user", `{"localpart":"alice"}`},
		},
		{
			func() error { return c.SetDisplayName(ctx, alice, long) },
			sent{"POST", "/_synapse/mas/set_displayname", `{"localpart":"alice","displayname":"` + cut(256) + `"}`},
		},
		{
			func() error { return c.UnsetDisplayName(ctx, alice) },
			sent{"POST", "/_synapse/mas/unset_displayname", `{"localpart":"alice"}`},
		},
		{
			func() error { return c.AllowCrossSigningReset(ctx, alice) },
			sent{"POST", "/_synapse/mas/allow_cross_signing_reset", `{"localpart":"alice"}`},
		},
		{
			func() error { return c.SyncDevices(ctx, alice, []mxid.DeviceID{dev}) },
			sent{"POST", "/_synapse/mas/sync_devices", `{"localpart":"alice","devices":["DEVICE1"]}`},
		},
		{
			func() error { return c.SyncDevices(ctx, alice, nil) },
			sent{"POST", "/_synapse/mas/sync_devices", `{"localpart":"alice","devices":[]}`},
		},
	} {
		if err := tc.call(); err != nil {
			t.Errorf("%s: %v", tc.want.URI, err)
		}
		if diff := cmp.Diff(tc.want, got); diff != "" {
			t.Errorf("request (-want +got):\n%s", diff)
		}
		if want := "Bearer " + secret; header.Get("Authorization") != want {
			t.Errorf("%s: got Authorization %q, want %q", tc.want.URI, header.Get("Authorization"), want)
		}
		if tc.want.Body != "" && header.Get("Content-Type") != "application/json" {
			t.Errorf("%s: got Content-Type %q", tc.want.URI, header.Get("Content-Type"))
		}
	}
}

func TestQueryUser(t *testing.T) {
	body := `{"user_id":"@alice:example.org","display_name":"Alice","avatar_url":null,"is_suspended":false,"is_deactivated":true}`
	name, deactivated, err := newServer(t, answer(200, "application/json", body)).QueryUser(t.Context(), "alice")
	if err != nil || name != "Alice" || !deactivated {
		t.Errorf("got %q, %v, %v, want Alice, true", name, deactivated, err)
	}
}

// TestClassification says what each answer means. want holds the classes that are true.
func TestClassification(t *testing.T) {
	matrix := func(errcode, text string) string {
		b, _ := json.Marshal(map[string]string{"errcode": errcode, "error": text})
		return string(b)
	}
	const html, js = "text/html", "application/json"
	const page = "<html><body>hello</body></html>"
	for _, tc := range []struct {
		name        string
		status      int
		contentType string
		body        string
		kind        homeserver.Kind
		want        string
		reason      string
	}{
		{"page of HTML", 200, html, page, homeserver.KindGarbage, "unreachable", "not one of synapse's"},
		{"JSON sent as HTML", 200, html, `{}`, homeserver.KindGarbage, "unreachable", "not one of synapse's"},
		{"HTML sent as JSON", 200, js, page, homeserver.KindGarbage, "unreachable", "not one of synapse's"},
		{"cut off JSON", 200, js, `{"user_id":"@al`, homeserver.KindGarbage, "unreachable", "not one of synapse's"},
		{"no body", 200, js, ``, homeserver.KindGarbage, "unreachable", "not one of synapse's"},
		{"an array", 200, js, `[]`, homeserver.KindGarbage, "unreachable", "not one of synapse's"},
		{"null", 200, js, `null`, homeserver.KindGarbage, "unreachable", "not one of synapse's"},
		{"another status", 202, js, `{}`, homeserver.KindGarbage, "unreachable", "not one of synapse's"},
		{"redirect", 302, html, page, homeserver.KindGarbage, "unreachable", "redirect"},
		{"refusal in HTML", 400, html, page, homeserver.KindGarbage, "unreachable", "not one of synapse's"},
		{"forbidden in HTML", 403, html, page, homeserver.KindGarbage, "unreachable", "not one of synapse's"},
		{"internal error", 500, js, matrix("M_UNKNOWN", "Internal server error"), homeserver.KindBroken, "unreachable", "500 M_UNKNOWN"},
		{"proxy's page", 502, html, page, homeserver.KindBroken, "unreachable", "502"},
		{"no token", 401, js, matrix("M_MISSING_TOKEN", "Missing access token"), homeserver.KindUnauthorized, "unreachable unauthorized", "the shared secrets differ"},
		{"wrong secret", 403, js, matrix("M_UNKNOWN", "This endpoint must only be called by MAS"), homeserver.KindUnauthorized, "unreachable unauthorized", "the shared secrets differ"},
		{"a module's veto", 403, js, matrix("M_FORBIDDEN", "no"), homeserver.KindRefused, "", "403 M_FORBIDDEN"},
		{"unknown user", 404, js, matrix("M_NOT_FOUND", "User not found"), homeserver.KindNotFound, "not found", "not found"},
		{"no such path", 404, html, page, homeserver.KindUndelegated, "unreachable", "matrix_authentication_service is not enabled"},
		{"the edge itself", 404, js, matrix("M_UNRECOGNIZED", "Unrecognized request"), homeserver.KindUndelegated, "unreachable", "leads elsewhere"},
		{"name taken", 400, js, matrix("M_USER_IN_USE", "User ID already taken."), homeserver.KindConflict, "conflict", "already taken"},
		{"name malformed", 400, js, matrix("M_INVALID_USERNAME", "x"), homeserver.KindConflict, "conflict", "cannot be used"},
		{"name reserved", 400, js, matrix("M_EXCLUSIVE", "x"), homeserver.KindConflict, "conflict", "cannot be used"},
		{"missing parameter", 400, js, matrix("M_MISSING_PARAM", "x"), homeserver.KindRefused, "", "400 M_MISSING_PARAM"},
		{"spam checker", 429, js, matrix("M_UNKNOWN", "Rate limited"), homeserver.KindRefused, "", "429"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			e := mustError(t, newServer(t, answer(tc.status, tc.contentType, tc.body)).ProvisionUser(t.Context(), "alice", ""))
			if e.Kind != tc.kind || e.Status != tc.status || e.Op != "provision_user" {
				t.Errorf("got kind %d, status %d of %s, want %d, %d", e.Kind, e.Status, e.Op, tc.kind, tc.status)
			}
			if got := classes(e); got != tc.want {
				t.Errorf("got classes %q, want %q", got, tc.want)
			}
			if !strings.Contains(e.Reason(), tc.reason) || !strings.Contains(e.Error(), e.Reason()) {
				t.Errorf("got %q, want %q in it", e, tc.reason)
			}
		})
	}
}

func classes(e *homeserver.Error) string {
	var s []string
	for name, is := range map[string]bool{"unreachable": e.Unreachable(), "unauthorized": e.Unauthorized(), "not found": e.NotFound(), "conflict": e.Conflict()} {
		if is {
			s = append(s, name)
		}
	}
	slices.Sort(s)
	slices.Reverse(s)
	return strings.Join(s, " ")
}

func TestQueryUserIncompleteAnswer(t *testing.T) {
	for _, body := range []string{`{}`, `{"user_id":"@alice:example.org"}`, `{"is_deactivated":false}`, `{"user_id":1,"is_deactivated":false}`} {
		_, _, err := newServer(t, answer(200, "application/json", body)).QueryUser(t.Context(), "alice")
		if e := mustError(t, err); e.Kind != homeserver.KindGarbage {
			t.Errorf("%s: got %v, want garbage", body, e)
		}
	}
}

func TestNoContentIsSuccess(t *testing.T) {
	if err := newServer(t, answer(204, "", "")).DeleteDevice(t.Context(), "alice", "D"); err != nil {
		t.Error(err)
	}
}

// TestHugeAnswer: what is too long is neither read to its end nor believed.
func TestHugeAnswer(t *testing.T) {
	c := newServer(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		io.WriteString(w, `{"x":"`)
		chunk := strings.Repeat("x", 1<<20)
		for {
			if _, err := io.WriteString(w, chunk); err != nil {
				return // The client has closed the connection, which is what is tested.
			}
		}
	})
	if e := mustError(t, c.ReactivateUser(t.Context(), "alice")); e.Kind != homeserver.KindGarbage {
		t.Errorf("got %v, want garbage", e)
	}
}

// TestRedirectIsNotFollowed: the secret goes to nobody else.
func TestRedirectIsNotFollowed(t *testing.T) {
	var other http.Header
	elsewhere := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { other = r.Header }))
	defer elsewhere.Close()
	c := newServer(t, func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, elsewhere.URL, http.StatusPermanentRedirect)
	})
	if e := mustError(t, c.ProvisionUser(t.Context(), "alice", "")); !e.Unreachable() || e.Status != 308 {
		t.Errorf("got %v, want an unreachable 308", e)
	}
	if other != nil {
		t.Errorf("the redirect was followed with %v", other)
	}
}

// TestProxyOfTheEnvironment: it would be handed the secret.
func TestProxyOfTheEnvironment(t *testing.T) {
	proxy := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("the proxy was used") }))
	defer proxy.Close()
	t.Setenv("HTTP_PROXY", proxy.URL)
	c := newClient(t, homeserver.Config{URL: "http://synapse.invalid:8008"})
	if e := mustError(t, c.ReactivateUser(t.Context(), "alice")); e.Kind != homeserver.KindConnection {
		t.Errorf("got %v, want no connection", e)
	}
}

// TestSecretStaysOut: an answer that echoes the request does not get the secret into a text.
func TestSecretStaysOut(t *testing.T) {
	c := newServer(t, func(w http.ResponseWriter, r *http.Request) {
		body, _ := json.Marshal(map[string]string{"errcode": r.Header.Get("Authorization"), "error": "you sent " + r.Header.Get("Authorization")})
		answer(400, "application/json", string(body))(w, r)
	})
	e := mustError(t, c.ReactivateUser(t.Context(), "alice"))
	if text := e.Error() + e.Reason() + e.Errcode + e.Message; strings.Contains(text, secret) {
		t.Errorf("got the secret in %q", text)
	}
}

func TestBaseURL(t *testing.T) {
	var mu sync.Mutex
	var path string
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		path = r.URL.EscapedPath()
		answer(200, "application/json", `{}`)(w, r)
	}))
	defer s.Close()
	for suffix, want := range map[string]string{
		"":             "/_synapse/mas/reactivate_user",
		"/":            "/_synapse/mas/reactivate_user",
		"/sub":         "/sub/_synapse/mas/reactivate_user",
		"/sub/path//":  "/sub/path/_synapse/mas/reactivate_user",
		"/with%2Fpart": "/with%2Fpart/_synapse/mas/reactivate_user",
	} {
		if err := newClient(t, homeserver.Config{URL: s.URL + suffix}).ReactivateUser(t.Context(), "alice"); err != nil {
			t.Errorf("%q: %v", suffix, err)
		}
		if path != want {
			t.Errorf("%q: got path %s, want %s", suffix, path, want)
		}
	}
}

func TestNewRefuses(t *testing.T) {
	for url, want := range map[string]string{
		"":                          "http:// or https://",
		"localhost:8008":            "http:// or https://",
		"unix:///run/synapse":       "http:// or https://",
		"http://":                   "no host",
		"http://user:pw@host":       "user name",
		"http://host/?x=1":          "query",
		"http://host/#x":            "fragment",
		"http://user:hunter2@%zz/x": "malformed",
	} {
		_, err := homeserver.New(homeserver.Config{URL: url, Secret: token.NewSecret(secret)})
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: got %v, want %q", url, err, want)
		}
	}
	for _, s := range []interface{ Reveal() string }{nil, token.NewSecret("")} {
		if _, err := homeserver.New(homeserver.Config{URL: "http://localhost:8008", Secret: s}); err == nil {
			t.Errorf("secret %v: got no error", s)
		}
	}
}

// TestCallerGone: a caller who goes away gets its own error back.
func TestCallerGone(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	c := newServer(t, func(_ http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body) // Only then does the server notice that the client goes away.
		cancel()
		<-r.Context().Done()
	})
	e := mustError(t, c.ReactivateUser(ctx, "alice"))
	if cause := e.Unwrap(); !strings.Contains(cause.Error(), context.Canceled.Error()) || !e.Unreachable() {
		t.Errorf("got %v, want it to be canceled", e)
	}
}
