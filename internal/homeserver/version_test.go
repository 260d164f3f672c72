package homeserver_test

import (
	"errors"
	"fmt"
	"net/http"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/caddy-matrix/caddy-matrix-auth/internal/homeserver"
)

func TestParseVersion(t *testing.T) {
	for _, tc := range []struct {
		header    string
		want      homeserver.Version
		supported bool
		drops     bool
	}{
		{"Synapse/1.163.2", homeserver.Version{Major: 1, Minor: 163, Patch: 2, Text: "1.163.2"}, true, false},
		{"Synapse/1.157.1 (b=develop,a58ad44eb0)", homeserver.Version{Major: 1, Minor: 157, Patch: 1, Text: "1.157.1"}, true, false},
		{"Synapse/1.136.0", homeserver.Version{Major: 1, Minor: 136, Text: "1.136.0"}, true, false},
		{"Synapse/1.135.2", homeserver.Version{Major: 1, Minor: 135, Patch: 2, Text: "1.135.2"}, false, false},
		{"Synapse/1.142.0rc3", homeserver.Version{Major: 1, Minor: 142, Text: "1.142.0rc3"}, true, true},
		{"Synapse/1.142.1", homeserver.Version{Major: 1, Minor: 142, Patch: 1, Text: "1.142.1"}, true, true},
		{"Synapse/1.143.0", homeserver.Version{Major: 1, Minor: 143, Text: "1.143.0"}, true, false},
		{"Synapse/2.0", homeserver.Version{Major: 2, Text: "2.0"}, true, false},
	} {
		got, err := homeserver.ParseVersion(tc.header)
		if err != nil {
			t.Errorf("%s: %v", tc.header, err)
		}
		if diff := cmp.Diff(tc.want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", tc.header, diff)
		}
		if got.Supported() != tc.supported || got.DropsEndpointPath() != tc.drops {
			t.Errorf("%s: got supported %v, drops path %v", tc.header, got.Supported(), got.DropsEndpointPath())
		}
	}
	for _, header := range []string{"", "nginx", "Synapse", "Synapse/", "Synapse/1", "Synapse/x.y", "Synapse/1.x", "Synapse/1.2.x", "synapse/1.163.2", "Synapse/99999999999999999999.1"} {
		if v, err := homeserver.ParseVersion(header); !errors.Is(err, homeserver.ErrNoVersion) {
			t.Errorf("%q: got %v, %v, want ErrNoVersion", header, v, err)
		}
	}
}

func TestVersion(t *testing.T) {
	var authorization string
	c := newServer(t, func(w http.ResponseWriter, r *http.Request) {
		authorization = r.Header.Get("Authorization")
		w.Header().Set("Server", "Synapse/1.163.2")
	})
	v, err := c.Version(t.Context())
	if err != nil || v.String() != "1.163.2" {
		t.Errorf("got %v, %v, want 1.163.2", v, err)
	}
	if authorization != "" {
		t.Errorf("the question was asked with %q", authorization)
	}
	if _, err := newServer(t, answer(200, "", "")).Version(t.Context()); !errors.Is(err, homeserver.ErrNoVersion) {
		t.Errorf("got %v, want ErrNoVersion", err)
	}
	down := newClient(t, homeserver.Config{URL: "http://synapse.test", Transport: transport(func(*http.Request) (*http.Response, error) { return nil, errRefused })})
	if _, err := down.Version(t.Context()); !mustError(t, err).Unreachable() {
		t.Errorf("got %v, want it to be unreachable", err)
	}
}

// TestOldSynapseIsLogged: once, whatever is asked, and again after an update that was taken back.
func TestOldSynapseIsLogged(t *testing.T) {
	core, logs := observer.New(zap.InfoLevel)
	server := ""
	c := newClient(t, homeserver.Config{URL: "http://synapse.test", Log: zap.New(core), Transport: transport(func(*http.Request) (*http.Response, error) {
		r, err := respondOK()
		r.Header.Set("Server", server)
		return r, err
	})})
	for _, server = range []string{"Synapse/1.163.2", "nginx", "", "Synapse/1.135.2", "Synapse/1.135.2", "nginx", "Synapse/1.136.0", "Synapse/1.99.0rc1"} {
		c.ReactivateUser(t.Context(), "alice")
		c.Version(t.Context())
	}
	var got []string
	for _, e := range logs.All() {
		got = append(got, fmt.Sprint(e.Level, " ", e.ContextMap()["version"]))
	}
	if diff := cmp.Diff([]string{"warn 1.135.2", "warn 1.99.0rc1"}, got); diff != "" {
		t.Errorf("log (-want +got):\n%s", diff)
	}
}

func FuzzParseVersion(f *testing.F) {
	for _, s := range []string{"Synapse/1.163.2", "Synapse/1.142.0rc3 (b=x)", "Synapse/1.", "Synapse/.", "nginx/1.2", ""} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		v, err := homeserver.ParseVersion(s)
		if err == nil && (v.Text == "" || v.Major < 0 || v.Minor < 0 || v.Patch < 0) {
			t.Errorf("%q: got %+v", s, v)
		}
	})
}
