package caddymodule

import (
	"errors"
	"net/http"
	"strings"
	"syscall"
	"testing"

	"github.com/caddy-matrix/caddy-matrix-auth/internal/doctor"
)

// onlyHost reaches one host, and knows no other.
type onlyHost string

func (o onlyHost) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.URL.Host != string(o) {
		return nil, errors.New("no such host in this test")
	}
	res, err := transport.RoundTrip(r)
	for errors.Is(err, syscall.ECONNRESET) { // the old listener of a reload had it in its queue
		res, err = transport.RoundTrip(r)
	}
	return res, err
}

// TestDoctorSeesThePages as people get them, through a whole Caddy.
func TestDoctorSeesThePages(t *testing.T) {
	e := newEdge(t)
	e.mustLoad(e.config("", ""))
	examine := func() map[string]doctor.Check {
		t.Helper()
		app := e.app()
		conf := app.doctorConfig(app.engine)
		conf.Keys = signingKeyIDs(app.engine.service.Keys(t.Context()))
		conf.Public = onlyHost(e.public)
		checks := make(map[string]doctor.Check)
		for _, c := range doctor.Run(t.Context(), conf) {
			checks[c.Name] = c
		}
		return checks
	}
	checks := examine()
	for _, name := range []string{"sites", "issuer", "login", "metadata", "keys", "sign_in_page"} {
		if c, made := checks[name]; !made || !c.OK {
			t.Errorf("%s: got %+v", name, c)
		}
	}

	// A directive of the site that means well.
	e.mustLoad(strings.Replace(e.config("", ""), "\tmatrix_homeserver\n", "\theader >Referrer-Policy no-referrer\n\tmatrix_homeserver\n", 1))
	if c := examine()["sign_in_page"]; c.OK || !strings.Contains(c.Message, `Referrer-Policy is "no-referrer", not "same-origin"`) {
		t.Errorf("changed header: got %+v", c)
	}

	// A site without the pages.
	e.mustLoad(strings.Replace(e.config("", ""), "\tmatrix_homeserver\n", "\tmatrix_auth discovery compat\n", 1))
	checks = examine()
	if c, made := checks["sign_in_page"]; made {
		t.Errorf("a page that nobody serves: got %+v", c)
	}
	if c := checks["sites"]; c.OK || !strings.Contains(c.Message, "the group human") {
		t.Errorf("sites: got %+v", c)
	}
}
