package route

import (
	"net/url"
	"path"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var versions = []string{"r0", "v3", "api/v1", "unstable"}

func TestMatchOurs(t *testing.T) {
	type want struct {
		endpoint Endpoint
		group    Group
		methods  string
	}
	tests := map[string]want{
		"/.well-known/matrix/client":                                {WellKnownClient, Discovery, "GET, HEAD"},
		"/.well-known/matrix/server":                                {WellKnownServer, Discovery, "GET, HEAD"},
		"/.well-known/matrix/support":                               {WellKnownSupport, Discovery, "GET, HEAD"},
		"/_matrix/client/v1/auth_metadata":                          {AuthMetadata, Discovery, "GET, HEAD"},
		"/_matrix/client/unstable/org.matrix.msc2965/auth_metadata": {AuthMetadata, Discovery, "GET, HEAD"},
		"/_matrix/client/unstable/org.matrix.msc2965/auth_issuer":   {AuthIssuer, Discovery, "GET, HEAD"},
		"/_matrix/client/unstable/org.matrix.msc2918/refresh":       {Refresh, Compat, "POST"},
		"/.well-known/oauth-authorization-server":                   {OAuthMetadata, Discovery, "GET, HEAD"},
		"/authorize":           {Authorize, OAuth, "GET, HEAD, POST"},
		"/oauth2/token":        {Token, OAuth, "POST"},
		"/oauth2/revoke":       {Revoke, OAuth, "POST"},
		"/oauth2/userinfo":     {UserInfo, OAuth, "GET, HEAD, POST"},
		"/oauth2/device":       {DeviceAuthorization, OAuth, "POST"},
		"/oauth2/registration": {Registration, OAuth, "POST"},
		"/oauth2/keys.json":    {Keys, OAuth, "GET, HEAD"},
		"/login":               {SignInPage, Human, "GET, HEAD, POST"},
		"/logout":              {SignOutPage, Human, "GET, HEAD, POST"},
		"/link":                {LinkPage, Human, "GET, HEAD, POST"},
		"/account":             {AccountPage, Human, "GET, HEAD, POST"},
		"/health":              {Health, Internal, "GET, HEAD"},
	}
	for _, v := range versions {
		base := "/_matrix/client/" + v
		tests[base+"/login"] = want{Login, Compat, "GET, HEAD, POST"}
		tests[base+"/logout"] = want{Logout, Compat, "POST"}
		tests[base+"/logout/all"] = want{LogoutAll, Compat, "POST"}
		tests[base+"/refresh"] = want{Refresh, Compat, "POST"}
	}
	for p, w := range tests {
		got, want := Match(p), ours(w.endpoint, w.group, w.methods)
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("Match(%q) (-want +got):\n%s", p, diff)
		}
	}
	both := map[string]Decision{
		"/oauth2/introspect":                {Ours, Introspect, Internal, "POST", OAuth},
		"/.well-known/openid-configuration": {Ours, OpenIDConfiguration, Internal, "GET, HEAD", Discovery},
	}
	for p, want := range both {
		if diff := cmp.Diff(want, Match(p)); diff != "" {
			t.Errorf("Match(%q) (-want +got):\n%s", p, diff)
		}
	}
	if len(tests)+len(both) != len(table) {
		t.Errorf("got %d paths in the table, want the %d listed here", len(table), len(tests)+len(both))
	}
}

// TestMatchPages: a page's path may hold what it reads, but nothing that leads elsewhere.
func TestMatchPages(t *testing.T) {
	for p, want := range map[string]Decision{
		"/":                                   ours(HomePage, Human, get),
		"/consent/01KDYGT3X8ZYPS9A3QTB1GX7N0": ours(ConsentPage, Human, getPost),
		"/consent/x%20y":                      ours(ConsentPage, Human, getPost),
		"/device/01KDYGT3X8ZYPS9A3QTB1GX7N0":  ours(DevicePage, Human, getPost),
		"/account/":                           ours(AccountPage, Human, getPost),
		"/account/sessions/01KDYGT3X8":        ours(AccountPage, Human, getPost),
		"/assets/style-0123abcd.css":          ours(Asset, Assets, get),
	} {
		if diff := cmp.Diff(want, Match(p)); diff != "" {
			t.Errorf("Match(%q) (-want +got):\n%s", p, diff)
		}
	}
	for _, p := range []string{
		"/consent", "/consent/", "/consent/a/b", "/device/", "/device/a/", "/assets/", "/assets/a/b",
		"/account/../x", "/account/%2e%2e/x", "/account//x", "/consent/..", "/consent/%2e%2e", "//", "/.", "/x/..", "",
	} {
		if got := Match(p); got.Kind == Ours {
			t.Errorf("Match(%q): got %+v, want nothing of ours", p, got)
		}
	}
	for _, p := range []string{
		"/account/../_synapse/mas/query_user", "/account/..%2F_matrix/client/v3/login", "/consent/..;/_synapse/mas/x",
		"/Authorize", "/authorize/", "/oauth2/TOKEN", "/oauth2//token", "/oauth2/%74oken", "/LOGIN",
	} {
		if got := Match(p); got.Kind != Refused {
			t.Errorf("Match(%q): got %+v, want Refused", p, got)
		}
	}
}

func TestCVE202627587_MatchMisspelt(t *testing.T) {
	for _, v := range versions {
		base := "/_matrix/client/" + v
		tests := map[string]Endpoint{
			base + "/login/":                           Login,
			base + "//login":                           Login,
			base + "/%6Cogin":                          Login,
			base + "/%6cogin":                          Login,
			base + "%2Flogin":                          Login,
			base + "%2flogin":                          Login,
			base + "/login%2F":                         Login,
			base + "/LOGIN":                            Login,
			base + "/Login":                            Login,
			base + "/%4Cogin":                          Login,
			base + "/./login":                          Login,
			base + "/login/.":                          Login,
			base + "/x/../login":                       Login,
			base + "/%2e/login":                        Login,
			base + "/x/%2E%2E/login":                   Login,
			base + "/x%2F..%2Flogin":                   Login,
			base + "/login;":                           Login,
			base + "/login;a=b":                        Login,
			base + "/login%3Ba=b":                      Login,
			base + ";a/login":                          Login,
			base + "/%256Cogin":                        Login, // encoded twice
			base + "%252Flogin":                        Login,
			base + "/login%253B":                       Login,
			base + `/x\..\login`:                       Login,
			base + "%5Clogin":                          Login,
			base + "/logout/":                          Logout,
			base + "/logout//all":                      LogoutAll,
			base + "/logout%2Fall":                     LogoutAll,
			base + "/logout/ALL":                       LogoutAll,
			base + "/refresh/":                         Refresh,
			base + "/re%66resh":                        Refresh,
			"/" + base + "/login":                      Login,
			"//" + base + "/refresh":                   Refresh,
			"/." + base + "/login":                     Login,
			"/x/.." + base + "/login":                  Login,
			"/%2F" + base[1:] + "/login":               Login,
			"/%5Fmatrix" + base[8:] + "/login":         Login,
			"/_MATRIX" + base[8:] + "/login":           Login,
			"/_matrix%2F" + base[9:] + "/login":        Login,
			"/_matrix/%63lient" + base[15:] + "/login": Login,
		}
		for p, endpoint := range tests {
			if got := Match(p); got.Kind != Refused || got.Endpoint != endpoint && got.Endpoint != NoEndpoint {
				t.Errorf("Match(%q): got %+v, want Refused", p, got)
			}
		}
	}
	for p, want := range map[string]Decision{
		"/.well-known/matrix/client/":                               {Refused, WellKnownClient, Discovery, get, ""},
		"/.well-known/matrix/%63lient":                              {Refused, WellKnownClient, Discovery, get, ""},
		"//.well-known/matrix/client":                               {Refused, WellKnownClient, Discovery, get, ""},
		"/%2Ewell-known/matrix/server":                              {Refused, WellKnownServer, Discovery, get, ""},
		"/.WELL-KNOWN/matrix/support":                               {Refused, WellKnownSupport, Discovery, get, ""},
		"/.well-known%2Fmatrix/support":                             {Refused, WellKnownSupport, Discovery, get, ""},
		"/oauth2//introspect":                                       {Refused, Introspect, Internal, post, OAuth},
		"/oauth2/Introspect":                                        {Refused, Introspect, Internal, post, OAuth},
		"/health/":                                                  {Refused, Health, Internal, get, ""},
		"/_matrix/client/v1/auth_metadata/":                         {Refused, AuthMetadata, Discovery, get, ""},
		"/_matrix/client/unstable/org.matrix.msc2965%2Fauth_issuer": {Refused, AuthIssuer, Discovery, get, ""},
		"/_matrix/client/unstable/org.matrix.msc2918/Refresh":       {Refused, Refresh, Compat, post, ""},
	} {
		if diff := cmp.Diff(want, Match(p)); diff != "" {
			t.Errorf("Match(%q) (-want +got):\n%s", p, diff)
		}
	}
}

// TestMatchForbidden holds what must never reach Synapse from a public site, in every spelling.
func TestMatchForbidden(t *testing.T) {
	for _, p := range []string{
		"/_synapse/mas", "/_synapse/mas/", "/_synapse/mas/query_user", "/_synapse/MAS/query_user",
		"/_synapse/metrics", "/_synapse/metrics/", "/_synapse/replication", "/_synapse/replication/x/y",
		"/_synapse", "/_synapse/", "/_synapse/unknown",
		"//_synapse/mas/query_user", "///_synapse/mas/query_user", "/_synapse//mas/query_user",
		"/_%73ynapse/mas/query_user", "/%5Fsynapse/mas/query_user", "/%5fsynapse/%6das/query_user",
		"/_synapse/%6Das/query_user", "/_synapse/m%61s/query_user", "/_synapse%2Fmas%2Fquery_user",
		"/_synapse/mas%2Fquery_user", "/_synapse%2fmas/query_user", "%2F_synapse/mas", "/%2F_synapse/mas/query_user",
		"/_SYNAPSE/mas/query_user", "/_Synapse/Mas/Query_User", "//_SYNAPSE/mas",
		"/./_synapse/mas/query_user", "/_synapse/./mas/query_user", "/_synapse/../_synapse/mas/query_user",
		"/x/../_synapse/mas/query_user", "/%2e/_synapse/mas/x", "/x/%2E%2E/_synapse/metrics",
		"/_matrix/../_synapse/mas/query_user", "/_matrix/%2e%2e/_synapse/mas/query_user", "/_matrix/..%2F_synapse/mas/query_user",
		"/_matrix/client/v3/rooms/..%2F..%2F..%2F..%2F_synapse%2Fmas%2Fquery_user",
		"/_synapse/x/mas/query_user", "/_synapse/x/y/z/mas/query_user", // Synapse's UnrecognizedRequestResource
		"/_synapse/clients/mas/query_user", "/_synapse/Client/mas", "/_synapse/client%2F../mas/x",
		"/_synapse/client/../mas/query_user", "/_synapse/client/%2e%2e/mas/query_user", "/_synapse/client/..%2Fmas/query_user",
		"/_synapse/client/%252e%252e/mas/query_user", "/_synapse/client/..;/mas/query_user", `/_synapse/client/..\mas`,
		"/_synapse/client//pick_idp", "/_synapse/client/x/./y", "/_synapse/client/%2e%2e/../../mas",
		"/_synapse/mas/..%2F..%2F_matrix%2Fx", "/_synapse/mas/%2e%2e/client/pick_idp", "/_synapse/mas;x/query_user",
		"/_synapse;x/mas/query_user", "/%255Fsynapse/mas/x", "/_synapse%252Fmas", "/_synapse%255Cmas",
		"//_synapse/client/pick_idp", "/_synapse%2Fclient/pick_idp", "/%5Fsynapse/client/pick_idp",
		"/_synapse/ADMIN/v1/x", "/_synapse/%61dmin/v1/x", "//_synapse/admin/v1/x", "/_synapse//admin/v1/x", "/_synapse/x/admin/v1/y",
		"/_synapse/admin%2Fv1/x", "/_synapse/./admin/v1/x", "/_synapse/admin/../mas/query_user", "/_synapse/admin//v1",
		"/_synapse/admin/v2/users/..%2F..%2F..%2F..%2F_matrix%2Fx", "/_synapse/admin/v1/%2e%2e/x",
	} {
		if got, want := Match(p), (Decision{Kind: Refused}); got != want {
			t.Errorf("Match(%q): got %+v, want %+v", p, got, want)
		}
	}
	for _, p := range []string{
		"/_synapse/admin", "/_synapse/admin/", "/_synapse/admin/v1/server_version", "/_synapse/admin/v2/users/%40a:example.org",
		"/_synapse/admin/v1/rooms/%21x%3Aexample.org/members", "/_synapse/admin/v2/users/@a%2Fb:example.org",
	} {
		if got, want := Match(p), (Decision{Kind: Refused, Endpoint: Admin}); got != want {
			t.Errorf("Match(%q): got %+v, want %+v", p, got, want)
		}
	}
}

func TestMatchMisplaced(t *testing.T) {
	for _, p := range []string{
		"//_matrix/client/v3/sync", "/./_matrix/client/v3/sync", "/x/../_matrix/client/v3/sync", "/%5Fmatrix/client/v3/sync",
		"/_%6Datrix/client/v3/sync", "/_matrix%2Fclient/v3/sync", "/%2F_matrix/client/v3/sync", "/_MATRIX/client/v3/sync",
		"/%2e%2e/_matrix/client/v3/sync", "/_matrix;x/client/v3/sync", "/%255fmatrix/client/v3/sync", `/\_matrix/client/v3/sync`,
		"//_matrix/federation/v1/version", "/%5Fmatrix/key/v2/server",
	} {
		if got, want := Match(p), (Decision{Kind: Refused}); got != want {
			t.Errorf("Match(%q): got %+v, want %+v", p, got, want)
		}
		if !Gated(p) {
			t.Errorf("Gated(%q): got false, want true", p)
		}
	}
}

// foreignPaths are legitimate, and pass as they are.
var foreignPaths = []string{
	"", "*", "/index.html", "/blog//post", "/a/../b", "/Health.html", "/healthy", "/logins", "/accounts/", "/oauth2/tokens",
	"/_matrix", "/_matrixx/client", "/_synapses/mas", "/x/_synapse/mas", "/x/_matrix/client/v3/login",
	"/.well-known/acme-challenge/x", "/.well-known/matrix", "/.well-known/matrix/policy",
	"/_matrix/client/versions", "/_matrix/client/v3/sync", "/_matrix/client/v3/createRoom", "/_matrix/client/v3/pushrules/",
	"/_matrix/client/v1/login", "/_matrix/client/v2/login", "/_matrix/client/v3/login/sso/redirect", "/_matrix/client/v3/loginx",
	"/_matrix/client/v1/login/get_token", "/_matrix/client/v3/logout/alll", "/_matrix/client/v1/refresh", "/_matrix/client/v3/register",
	"/_matrix/client/v3/rooms/%21x%3Ahs/state/m.room.name/%2Flogin",
	"/_matrix/client/v3/rooms/%21x%3Ahs/state/m.room.name/",
	"/_matrix/client/v3/rooms/%21x%3Ahs/state/m%2Froom/login",
	"/_matrix/client/v3/rooms/%21x%3Ahs/state/m.room.name/..",
	"/_matrix/client/v3/rooms/%21x%3Ahs/state/login/logout%2Fall",
	"/_matrix/client/v3/rooms/%21x%3Ahs/state/%252Flogin/%25",
	"/_matrix/client/v3/rooms/!x:hs/send/m.room.message/m1;2",
	"/_matrix/client/v3/directory/room/%23a%2Fb%3Ahs", "/_matrix/client/v3/directory/room/%23..%2Flogin%3Ahs",
	"/_matrix/client/v3/directory/room/%23%2F_synapse%2Fmas%3Ahs", "/_matrix/client/v3/profile/%40a%2Fb%3Ahs/displayname",
	"/_matrix/client/v3/user/@a:hs/account_data/_synapse%2Fmas", "/_matrix/client/v3/presence/@a:hs/status",
	"/_matrix/media/v3/download/hs/abc/..%2Ffile.png", "/_matrix/media/v3/download/hs/abc/file.png",
	"/_matrix/federation/v1/send/1", "/_matrix/key/v2/server", "/_matrix/static/client/login/", "/_matrix/client/v3/_synapse/mas",
	"/_synapse/client", "/_synapse/client/", "/_synapse/client/pick_idp", "/_synapse/client/oidc/callback",
	"/_synapse/client/rendezvous/01J", "/_synapse/client/password_reset/email/submit_token", "/_synapse/client/a%2Bb",
	"/_matrix/../x",
}

func TestMatchForeign(t *testing.T) {
	for _, p := range foreignPaths {
		if got := Match(p); got != (Decision{}) {
			t.Errorf("Match(%q): got %+v, want Foreign", p, got)
		}
	}
}

func TestGated(t *testing.T) {
	for p, want := range map[string]bool{
		"/_matrix/client/v3/sync":                   true,
		"/_matrix/client/v3/login":                  true, // that it is ours is for Match to say
		"/_matrix/media/v3/upload":                  true,
		"/_matrix/../x":                             true,
		"/_matrix/client/v3/rooms/..%2F..%2F..%2Fx": true,
		"/_synapse/client/pick_idp":                 true,
		"/_synapse/admin/v1/x":                      true,
		"/_matrix/federation/v1/send/1":             false,
		"/_matrix/federation/v1/event/$a%2Fb":       false,
		"/_matrix/key/v2/server":                    false,
		"/_matrix/federation":                       true,
		"/_matrix/federationx/v1":                   true,
		"/_matrix/Federation/v1/send/1":             true,
		"/_matrix/%66ederation/v1/send/1":           true,
		"/_matrix/federation/../client/v3/sync":     true,
		"/_matrix/federation/..%2Fclient/v3/sync":   true,
		"/_matrix/key/%2e%2e/client/v3/sync":        true,
		"/":                                         false,
		"":                                          false,
		"/_matrix":                                  true,
		"/_synapse":                                 true,
		"/x/_matrix/client":                         false,
		"/blog/Post%20One":                          false,
		"/.well-known/matrix/client":                false,
	} {
		if got := Gated(p); got != want {
			t.Errorf("Gated(%q): got %v, want %v", p, got, want)
		}
	}
}

func TestAllows(t *testing.T) {
	d := Match("/_matrix/client/v3/login")
	for method, want := range map[string]bool{"GET": true, "HEAD": true, "POST": true, "PUT": false, "": false, "OPTIONS": false, "GE": false} {
		if got := d.Allows(method); got != want {
			t.Errorf("Allows(%q): got %v, want %v", method, got, want)
		}
	}
}

func TestEndpointString(t *testing.T) {
	seen := map[string]bool{}
	for e := Login; e <= Asset; e++ {
		if e.String() == "" || seen[e.String()] {
			t.Errorf("endpoint %d: got name %q, want one of its own", e, e)
		}
		seen[e.String()] = true
	}
	if got := (Asset + 1).String(); got != "" {
		t.Errorf("got %q, want none", got)
	}
}

func TestNoAllocations(t *testing.T) {
	paths := append(slices.Clone(foreignPaths), "/_matrix/client/v3/login", "/_matrix/client/v3/login/", "//_synapse/mas", "/_synapse/admin/v1/x",
		"/", "/oauth2/token", "/consent/01KDYGT3X8ZYPS9A3QTB1GX7N0", "/account/sessions/")
	for _, p := range paths {
		if got := testing.AllocsPerRun(100, func() { Match(p); Gated(p) }); got != 0 {
			t.Errorf("%q: got %v allocations, want 0", p, got)
		}
	}
}

func TestURLs(t *testing.T) {
	for _, text := range []string{"https://matrix.example.com/", "https://matrix.example.com"} {
		issuer, err := url.Parse(text)
		if err != nil {
			t.Fatal(err)
		}
		u := NewURLs(issuer)
		if got, want := u.Issuer(), "https://matrix.example.com/"; got != want {
			t.Errorf("issuer: got %q, want %q", got, want)
		}
		if got, want := u.Account(), "https://matrix.example.com/account/"; got != want {
			t.Errorf("account: got %q, want %q", got, want)
		}
		for link, want := range map[string]Endpoint{
			u.Account(): AccountPage, u.Authorize(): Authorize, u.Token(): Token, u.Revoke(): Revoke, u.UserInfo(): UserInfo,
			u.DeviceAuthorization(): DeviceAuthorization, u.Registration(): Registration, u.Keys(): Keys, u.Introspect(): Introspect,
			u.Link(): LinkPage, u.Consent("01KDYGT3X8ZYPS9A3QTB1GX7N0"): ConsentPage, u.Issuer(): HomePage,
		} {
			if got := Match(must(t, link).EscapedPath()); got.Kind != Ours || got.Endpoint != want {
				t.Errorf("%s: got %+v, want %v", link, got, want)
			}
		}
	}
}

func must(t *testing.T, text string) *url.URL {
	t.Helper()
	u, err := url.Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	return u
}

// twisted is how Synapse finds its resource: segments decoded, empty ones in front overlooked, unknown ones below /_synapse too.
func twisted(escaped string) []string {
	segments := strings.Split(strings.TrimPrefix(escaped, "/"), "/")
	for i, s := range segments {
		if u, err := url.PathUnescape(s); err == nil {
			segments[i] = u
		}
	}
	for len(segments) > 0 && segments[0] == "" {
		segments = segments[1:]
	}
	return segments
}

func forbiddenAtSynapse(segments []string) bool {
	if len(segments) < 2 || segments[0] != "_synapse" {
		return false
	}
	for _, s := range segments[1:] {
		switch s {
		case "mas", "admin", "metrics", "replication":
			return true
		case "client":
			return false
		}
	}
	return false
}

func FuzzMatch(f *testing.F) {
	for _, p := range foreignPaths {
		f.Add(p)
	}
	for p := range table {
		f.Add(p)
	}
	f.Add("/_synapse/%6Das/query_user")
	f.Add("//_matrix/client/v3/%6Cogin;x")
	f.Add("/_synapse/admin/v2/users/..%2F..%2F..%2F..%2F_matrix%2Fx")
	f.Fuzz(func(t *testing.T, raw string) {
		u, err := url.ParseRequestURI(raw)
		if err != nil || u.Opaque != "" {
			return
		}
		p := u.EscapedPath()
		d := Match(p)
		_, inTable := table[p]
		if (d.Kind == Ours) != inTable {
			t.Errorf("Match(%q): got %+v, in the table: %v", p, d, inTable)
		}
		clean := strings.ToLower(path.Clean("/" + u.Path))
		if e, ours := table[clean]; ours && !inTable && (d.Kind != Refused || d.Endpoint != e.Endpoint && d.Endpoint != NoEndpoint) {
			t.Errorf("Match(%q): got %+v, want the misspelt %v refused", p, d, e.Endpoint)
		}
		if under(clean, synapseRoot) && !under(clean, synapseClient) && d.Kind == Foreign {
			t.Errorf("Match(%q): got Foreign, cleaned it is %q", p, clean)
		}
		if forbiddenAtSynapse(twisted(p)) && d.Kind != Refused {
			t.Errorf("Match(%q): got %+v, Synapse reads %q", p, d, twisted(p))
		}
		if (under(clean, matrixRoot) || under(clean, synapseRoot)) && !Gated(p) && !strings.HasPrefix(p, "/_matrix/federation/") && !strings.HasPrefix(p, "/_matrix/key/") {
			t.Errorf("Gated(%q): got false, cleaned it is %q", p, clean)
		}
		if d.Kind == Foreign && Gated(p) && !under(p, matrixRoot) && !under(p, synapseRoot) {
			t.Errorf("Match(%q): got Foreign for a path that is gated and does not begin so", p)
		}
		if d.Endpoint == Admin && !under(p, synapseAdmin) {
			t.Errorf("Match(%q): got Admin in another spelling", p)
		}
	})
}

func BenchmarkMatch(b *testing.B) {
	for name, p := range map[string]string{
		"ours":    "/_matrix/client/v3/login",
		"sync":    "/_matrix/client/v3/sync",
		"encoded": "/_matrix/client/v3/rooms/%21abcdefghij%3Aexample.org/send/m.room.message/m1700000000.1",
		"synapse": "/_synapse/client/pick_idp",
	} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				Match(p)
				Gated(p)
			}
		})
	}
}
