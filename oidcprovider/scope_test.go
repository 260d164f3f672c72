package oidcprovider_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/caddy-matrix/caddy-matrix-auth/internal/auth"
)

// TestSCP01_to_SCP08_Scopes: what is granted of what is asked for.
func TestSCP01_SCP02_SCP03_SCP04_SCP05_SCP06_SCP07_SCP08_Scopes(t *testing.T) {
	e := newEdge(t)
	c := e.client(t)
	const (
		device    = "urn:matrix:client:device:"
		oldAPI    = "urn:matrix:org.matrix.msc2967.client:api:*"
		oldDevice = "urn:matrix:org.matrix.msc2967.client:device:"
	)
	long := strings.Repeat("x", 255)
	for _, tc := range []struct {
		ask, want string
	}{
		{fullScope, fullScope},
		{oldScope, oldScope},
		{"openid", "openid"},
		{"profile openid email", "profile openid email"},
		{"  openid \t\n\r " + apiScope + "  " + device + "A ", "openid " + apiScope + " " + device + "A"},
		{"openid openid " + fullScope + " " + apiScope, "openid " + fullScope},
		{"openid offline_access phone address x urn:x urn:matrix:client:x " + fullScope, "openid " + fullScope},
		{apiScope + " " + device + "a-b._~!$&'()*+,;=:@/?#%zz", apiScope + " " + device + "a-b._~!$&'()*+,;=:@/?#%zz"},
		{apiScope + " " + device + long, apiScope + " " + device + long},
		{oldAPI + " " + oldDevice + "AB", oldAPI + " " + oldDevice + "AB"},
		{fullScope + " urn:synapse:admin:* urn:mas:admin", fullScope + " urn:synapse:admin:* urn:mas:admin"}, // consent drops them
	} {
		got := e.grant(t, grantOf(t, e.authorize(t, authorization(c, tc.ask)))).Scope
		if diff := cmp.Diff(strings.Split(tc.want, " "), got); diff != "" {
			t.Errorf("%q (-want +got):\n%s", tc.ask, diff)
		}
	}
	for _, bad := range []string{
		"", " ", "x", "offline_access", "phone",
		apiScope, "openid " + apiScope, device + "A", "openid " + device + "A",
		fullScope + " " + device + "B", oldScope + " " + oldDevice + "C",
		apiScope + " " + oldDevice + "A", oldAPI + " " + device + "A", fullScope + " " + oldAPI, fullScope + " " + oldDevice + "AAAAAAAAAA",
		apiScope + " " + device, apiScope + " " + device + long + "x", apiScope + " " + device + "ä", apiScope + " " + device + `a"b`, apiScope + " " + device + `a\b`,
	} {
		wantError(t, bad, e.authorize(t, authorization(c, bad)), "invalid_scope")
	}
}

// TestSCP09_Admin: asked for by anybody, granted to administrators, and gone from the answer when the right is.
func TestSCP09_Admin(t *testing.T) {
	e := newEdge(t)
	c := e.client(t)
	ask := fullScope + " urn:synapse:admin:*"
	if p := e.tokens(t, c, ask); p.str("scope") != fullScope {
		t.Errorf("somebody: got %q", p.str("scope"))
	}
	if err := e.SetAdmin(t.Context(), "alice", true); err != nil {
		t.Fatal(err)
	}
	p := e.tokens(t, c, ask)
	if p.str("scope") != ask {
		t.Errorf("an administrator: got %q", p.str("scope"))
	}
	if err := e.SetAdmin(t.Context(), "alice", false); err != nil {
		t.Fatal(err)
	}
	q := e.refresh(t, c, p.str("refresh_token"))
	if q.str("scope") != fullScope {
		t.Errorf("after the right is gone: got %q", q.str("scope"))
	}
	admitted, err := e.Judge(t.Context(), q.str("access_token"), auth.From{})
	if err != nil || admitted.Verdict != auth.Active || admitted.Admin() {
		t.Errorf("got %v, admin %v, %v", admitted.Verdict, admitted.Admin(), err)
	}
	admitted.Release()
}
