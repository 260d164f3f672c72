package oidcprovider

import (
	"net/url"
	"testing"

	"github.com/caddy-matrix/caddy-matrix-auth/store"
)

// TestLeeway: what auth calls active for longer has to be longer for Synapse, by the same time.
func TestLeeway(t *testing.T) {
	if leeway != store.StaleAccess {
		t.Errorf("got %v, want %v", leeway, store.StaleAccess)
	}
}

// FuzzFormValue compares with the standard library, which allocates a map.
func FuzzFormValue(f *testing.F) {
	for _, s := range []string{
		"token=mat_abc&token_type_hint=access_token", "", "token", "token=", "=x", "&&", "token=a&token=b", "tok%65n=a%20b+c",
		"token=%", "token=%zz", "a;b=c", "%=1&token=x", "token=a=b", "\xff=\x00&token=\xff",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, form string) {
		got, n, ok := formValue(form, "token")
		want, err := url.ParseQuery(form)
		if ok != (err == nil) {
			t.Fatalf("%q: got ok %v, want error %v", form, ok, err)
		}
		if ok && (got != want.Get("token") || n != len(want["token"])) {
			t.Errorf("%q: got %q (%d), want %q", form, got, n, want["token"])
		}
	})
}
