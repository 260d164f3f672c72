package oidcprovider_test

import (
	"context"
	"errors"
	"flag"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/oklog/ulid/v2"
	"go.uber.org/zap"

	"github.com/caddy-matrix/caddy-matrix-auth/internal/auth"
	"github.com/caddy-matrix/caddy-matrix-auth/internal/authtest"
	"github.com/caddy-matrix/caddy-matrix-auth/internal/mxid"
	"github.com/caddy-matrix/caddy-matrix-auth/internal/token"
	"github.com/caddy-matrix/caddy-matrix-auth/oidcprovider"
)

var update = flag.Bool("update", false, "write the golden files")

const issuer = "https://matrix.example.org/"

var now = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

// golden compares a body with a file of testdata.
func golden(t *testing.T, name, got string) {
	t.Helper()
	file := filepath.Join("testdata", name+".json")
	if *update {
		if err := os.WriteFile(file, []byte(got+"\n"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(strings.TrimSuffix(string(want), "\n"), got); diff != "" {
		t.Errorf("%s (-want +got):\n%s", file, diff)
	}
}

func newProvider(t testing.TB, c oidcprovider.Config) *oidcprovider.Provider {
	t.Helper()
	if c.Issuer == "" {
		c.Issuer = issuer
	}
	if c.Secrets == nil {
		c.Secrets = []token.Secret{token.NewSecret(authtest.Secret)}
	}
	if c.Now == nil {
		c.Now = func() time.Time { return now }
	}
	if c.Log == nil {
		c.Log = zap.NewNop()
	}
	p, err := oidcprovider.New(c)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// verdict makes a provider whose every token gets the same verdict.
func verdict(t testing.TB, found auth.Introspection, err error) *oidcprovider.Provider {
	t.Helper()
	return newProvider(t, oidcprovider.Config{
		Introspect: func(context.Context, string) (auth.Introspection, error) { return found, err },
	})
}

// request is what Synapse sends.
func request(text string) *http.Request {
	r := httptest.NewRequest("POST", "/oauth2/introspect", strings.NewReader("token="+url.QueryEscape(text)+"&token_type_hint=access_token"))
	r.Header.Set("Authorization", "Bearer "+authtest.Secret)
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	r.Header.Set("X-MAS-Supports-Device-Id", "1")
	return r
}

func serve(p *oidcprovider.Provider, r *http.Request) *httptest.ResponseRecorder {
	w := httptest.NewRecorder()
	p.ServeIntrospection(w, r)
	return w
}

func deviceSession(device mxid.DeviceID) auth.Introspection {
	scope := []string{mxid.ScopeAPI, mxid.ScopeAPIUnstable}
	if stable, unstable, ok := device.Scopes(); ok {
		scope = append(scope, stable, unstable)
	}
	return auth.Introspection{
		SessionID: ulid.MustParse("01KDYGT3X8ZYPS9A3QTB1GX7N0"),
		Subject:   ulid.MustParse("01KDYGT3X8ZYPS9A3QTB1GX7N1"),
		Localpart: "alice",
		DeviceID:  device,
		ClientID:  "legacy",
		Scope:     strings.Join(scope, " "),
		ExpiresAt: now.Add(5*time.Minute - time.Millisecond),
	}
}

// TestINT01_Request: what is answered to a request as Synapse makes it, in headers and body.
func TestINT01_Request(t *testing.T) {
	var seen string
	p := newProvider(t, oidcprovider.Config{Introspect: func(_ context.Context, text string) (auth.Introspection, error) {
		seen = text
		return deviceSession("AAAAAAAAAA"), nil
	}})
	w := serve(p, request("mat_a+b/c%d"))
	if seen != "mat_a+b/c%d" || w.Code != http.StatusOK {
		t.Errorf("got token %q, status %d", seen, w.Code)
	}
	golden(t, "active", w.Body.String())
	want := http.Header{
		"Content-Type":   {"application/json"},
		"Cache-Control":  {"no-store"},
		"Content-Length": w.Header()["Content-Length"],
	}
	if diff := cmp.Diff(want, w.Header()); diff != "" {
		t.Errorf("header (-want +got):\n%s", diff)
	}
}

// TestINT01_OverASocket: one answer with a length, not chunked, and the connection is kept.
func TestINT01_OverASocket(t *testing.T) {
	p := verdict(t, deviceSession("AAAAAAAAAA"), nil)
	s := httptest.NewServer(http.HandlerFunc(p.ServeIntrospection))
	defer s.Close()
	req := request("x")
	req.RequestURI = ""
	req.URL, _ = url.Parse(s.URL)
	resp, err := s.Client().Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil || resp.ContentLength != int64(len(body)) || resp.TransferEncoding != nil || resp.Close {
		t.Errorf("got length %d of %d, encoding %v, close %v, %v", resp.ContentLength, len(body), resp.TransferEncoding, resp.Close, err)
	}
}

// TestINT02_Types: expires_in is an integer of seconds, rounded up and 90 late, or not there.
func TestINT02_Types(t *testing.T) {
	for _, tc := range []struct {
		name string
		left time.Duration // from now to the token's end
		want string
	}{
		{"whole", 300 * time.Second, `"expires_in":390`},
		{"rounded up", 299*time.Second + 1, `"expires_in":390`},
		{"over for half a second", -500 * time.Millisecond, `"expires_in":90`},
		{"over for 89.5 s", -89500 * time.Millisecond, `"expires_in":1`},
		{"over for 90 s", -90 * time.Second, `{"active":false}`},
		{"long over", -time.Hour, `{"active":false}`},
		{"years", 10 * 365 * 24 * time.Hour, `"expires_in":315360090`},
	} {
		found := deviceSession("AAAAAAAAAA")
		found.ExpiresAt = now.Add(tc.left)
		w := serve(verdict(t, found, nil), request("x"))
		if w.Code != http.StatusOK || !strings.Contains(w.Body.String(), tc.want) {
			t.Errorf("%s: got %d %s, want %s", tc.name, w.Code, w.Body, tc.want)
		}
	}
	found := deviceSession("AAAAAAAAAA")
	found.ExpiresAt = time.Time{}
	golden(t, "active_forever", serve(verdict(t, found, nil), request("x")).Body.String())
}

// TestINT02_Admin: a further scope is passed on as it is.
func TestINT02_Admin(t *testing.T) {
	found := deviceSession("")
	found.Scope += " " + mxid.ScopeAdmin
	golden(t, "active_admin_deviceless", serve(verdict(t, found, nil), request("x")).Body.String())
}

// TestINT04_DeviceOutsideTheScopeAlphabet: it is named by device_id alone.
func TestINT04_DeviceOutsideTheScopeAlphabet(t *testing.T) {
	golden(t, "active_odd_device", serve(verdict(t, deviceSession("Mein \"Gerät\"\u2028<&>\\"), nil), request("x")).Body.String())
}

// TestINT04_DeviceIDWithoutTheHeader: it is always there.
func TestINT04_DeviceIDWithoutTheHeader(t *testing.T) {
	r := request("x")
	r.Header.Del("X-MAS-Supports-Device-Id")
	golden(t, "active", serve(verdict(t, deviceSession("AAAAAAAAAA"), nil), r).Body.String())
}

// TestINT05_Inactive: nothing else is said.
func TestINT05_Inactive(t *testing.T) {
	for _, err := range []error{auth.ErrTokenUnknown, auth.ErrTokenExpired, errors.Join(errors.New("why"), auth.ErrTokenUnknown)} {
		w := serve(verdict(t, auth.Introspection{}, err), request("x"))
		if w.Code != http.StatusOK {
			t.Errorf("%v: got status %d", err, w.Code)
		}
		golden(t, "inactive", w.Body.String())
	}
}

// TestINT06_NothingUncertainIsKept: Synapse keeps 200 for two minutes, so what is not for ever is something else.
func TestINT06_NothingUncertainIsKept(t *testing.T) {
	for _, tc := range []struct {
		err    error
		status int
		golden string
	}{
		{auth.ErrUserLocked, http.StatusServiceUnavailable, "locked"},
		{auth.ErrUnavailable, http.StatusInternalServerError, "failed"},
		{context.DeadlineExceeded, http.StatusInternalServerError, "failed"},
		{errors.New("disk on fire: mat_secret"), http.StatusInternalServerError, "failed"},
	} {
		w := serve(verdict(t, auth.Introspection{}, tc.err), request("x"))
		if w.Code != tc.status {
			t.Errorf("%v: got status %d, want %d", tc.err, w.Code, tc.status)
		}
		golden(t, tc.golden, w.Body.String())
	}
}

// TestINT10_ClientCredentials: a client's own token has no user, and no name is made up.
func TestINT10_ClientCredentials(t *testing.T) {
	found := auth.Introspection{ClientID: "01KDYGT3X8ZYPS9A3QTB1GX7N2", Scope: "urn:example:x", ExpiresAt: now}
	golden(t, "active_client", serve(verdict(t, found, nil), request("x")).Body.String())
}

func TestConfiguration(t *testing.T) {
	p := verdict(t, auth.Introspection{}, nil)
	for _, method := range []string{"GET", "HEAD", "POST", "PUT", "OPTIONS"} {
		w := httptest.NewRecorder()
		p.ServeConfiguration(w, httptest.NewRequest(method, "/.well-known/openid-configuration", nil))
		if method == "GET" || method == "HEAD" {
			golden(t, "openid_configuration", w.Body.String())
			continue
		}
		if w.Code != http.StatusMethodNotAllowed || w.Header().Get("Allow") != "GET, HEAD" {
			t.Errorf("%s: got %d, Allow %q", method, w.Code, w.Header().Get("Allow"))
		}
	}
}

func TestNewRefuses(t *testing.T) {
	good := []token.Secret{token.NewSecret("a")}
	for _, c := range []oidcprovider.Config{
		{Issuer: "", Secrets: good},
		{Issuer: "matrix.example.org", Secrets: good},
		{Issuer: "https://matrix.example.org/?a=b", Secrets: good},
		{Issuer: "https://matrix.example.org/?", Secrets: good},
		{Issuer: "https://matrix.example.org/#x", Secrets: good},
		{Issuer: issuer},
		{Issuer: issuer, Secrets: []token.Secret{token.NewSecret("")}},
	} {
		if _, err := oidcprovider.New(c); err == nil {
			t.Errorf("%+v: got no error", c)
		}
	}
}
