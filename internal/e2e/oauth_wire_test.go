//go:build e2e

package e2e

import (
	"bytes"
	"cmp"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/caddy-matrix/caddy-matrix-auth/internal/e2e/rig"
)

// wireTests look at single requests. They share a stack, and harm only their own users.
var wireTests = map[string]func(*testing.T, *stack){
	"DSC-16, DSC-18, DSC-20: auth_metadata is ours, versions is Synapse's": func(t *testing.T, s *stack) {
		theirs := call(t, s.At(s.synapse.URL()), http.MethodGet, "/_matrix/client/versions", nil)
		ours := call(t, s.Client, http.MethodGet, "/_matrix/client/versions", nil)
		if !bytes.Equal(ours.Body, theirs.Body) || ours.Status != http.StatusOK {
			t.Errorf("got %s, want %s", ours, theirs)
		}
		r := call(t, s.Client, http.MethodGet, "/_matrix/client/v1/auth_metadata", nil)
		again := call(t, s.Client, http.MethodGet, "/.well-known/openid-configuration", nil)
		if r.Status != http.StatusOK || !bytes.Equal(r.Body, again.Body) {
			t.Errorf("got %s, want %s", r, again)
		}
		if got := call(t, s.Client, http.MethodGet, loginPath, nil); got.Status != http.StatusOK {
			t.Errorf("got %s, want the flows of the legacy API", got)
		}
	},
	"E6: stable and unstable scopes are equal and come back as asked": testScopeForms,
	"E7: offline_access is not needed, and never granted": func(t *testing.T, s *stack) {
		a, p := s.register(t, "https://app.example.com/callback"), s.newPerson(t, s.newUser(t))
		code := a.codeOf(t, p.authorize(a.authorizeURL("", url.Values{"scope": {"offline_access " + matrixScope("OFFLINE") + "  nonsense"}})))
		r := a.tokenForm(t, a.redeemForm(code))
		if a.tokensOf(t, r, p.user, "OFFLINE"); r.Text("scope") != matrixScope("OFFLINE") {
			t.Errorf("got scope %q, want %q", r.Text("scope"), matrixScope("OFFLINE"))
		}
	},
	"AUZ-17, TOK-08: twenty redeem one code: one session, and it lives":                      testTwentyRedeem,
	"REF-06: twenty refresh with one token: one pair for all":                                testTwentyRefresh,
	"REV-07, E10: twenty revoke one session: all are told that it is over":                   testTwentyRevoke,
	"E17, ERR-02, REF-15, REV-06: expired, locked and ended are told apart":                  testVerdicts,
	"ERR-05: a suspended person signs in":                                                    testSuspended,
	"E22, LGN-21, LGN-22: GET /login with the token of a session that is over":               testStaleHeader,
	"E21: localparts are folded, devices and tokens are not":                                 testFolding,
	"E26: forms that are too large, or no forms":                                             testNoForms,
	"COR-02, COR-07, COR-08, COR-09: preflights of everything that clients in browsers call": testPreflights,
	"COR-04: no CORS for what people see, and none for introspection":                        testNoCORS,
	"DEV-09, DEV-14: prompt and login_hint do no harm at the device endpoint":                testDeviceExtras,
	"DEV-13: the rendezvous of QR codes passes":                                              testRendezvous,
	"ACC-01, ACC-03, ACC-06: every action that is announced works":                           testActions,
	"UIA-01, UIA-02, ACC-08: new cross-signing keys, with our account page's yes":            testCrossSigning,
	"UIA-03, UIA-04, LGN-25, SSO-08: what is not there":                                      testGone,
	"LGN-24: the login page of old is Synapse's": func(t *testing.T, s *stack) {
		const path = "/_matrix/static/client/login/"
		theirs, ours := call(t, s.At(s.synapse.URL()), http.MethodGet, path, nil), call(t, s.Client, http.MethodGet, path, nil)
		if ours.Status != theirs.Status || !bytes.Equal(ours.Body, theirs.Body) {
			t.Errorf("got %s, want %s", ours, theirs)
		}
	},
	"UIA-05, UIA-07: capabilities, and a device's name":         testCapabilities,
	"INT-09, E31: Synapse's internal API does not pass":         testInternalAPI,
	"E32: introspection is fast":                                testIntrospectionSpeed,
	"LRF-05: transaction IDs survive a refresh":                 testTransactions,
	"LGO-08: two logouts at once":                               testTwoLogouts,
	"E16, LRF-06: a legacy login as asked, and unknown members": testLegacyAsAsked,
	"REV-11, REV-12, E29: each API ends sessions of the other":  testCrossLogout,
}

func testScopeForms(t *testing.T, s *stack) {
	a, p := s.register(t, "https://app.example.com/callback"), s.newPerson(t, s.newUser(t))
	first := a.signIn(t, p, "FORMS00001")
	first.alive(t)
	unstable := "urn:matrix:org.matrix.msc2967.client:api:* urn:matrix:org.matrix.msc2967.client:device:FORMS00001"
	code := a.codeOf(t, p.authorize(a.authorizeURL("", url.Values{"scope": {unstable}})))
	r := a.tokenForm(t, a.redeemForm(code))
	second := a.tokensOf(t, r, p.user, "FORMS00001")
	if r.Text("scope") != unstable {
		t.Errorf("got scope %q, want %q", r.Text("scope"), unstable)
	}
	second.alive(t)
	first.over(t) // The same device, in another form.
	if r = a.tokenForm(t, second.refreshForm()); r.Text("scope") != unstable {
		t.Errorf("got scope %q after a refresh, want %q", r.Text("scope"), unstable)
	}
}

// atOnce makes n requests at the same moment and returns the answers.
func atOnce(t *testing.T, n int, request func() (rig.Reply, error)) []rig.Reply {
	t.Helper()
	answers, errs := make([]rig.Reply, n), make([]error, n)
	var group sync.WaitGroup
	start := make(chan struct{})
	for i := range n {
		group.Go(func() {
			<-start
			answers[i], errs[i] = request()
		})
	}
	close(start)
	group.Wait()
	for _, err := range errs {
		if err != nil {
			t.Fatal(err)
		}
	}
	return answers
}

func testTwentyRedeem(t *testing.T, s *stack) {
	a, p := s.register(t, "https://app.example.com/callback"), s.newPerson(t, s.newUser(t))
	code := a.codeOf(t, p.authorize(a.authorizeURL("TWENTY0001", nil)))
	var won []rig.Reply
	for _, r := range atOnce(t, 20, func() (rig.Reply, error) { return s.tryForm(t.Context(), "/oauth2/token", a.redeemForm(code)) }) {
		switch {
		case r.Status == http.StatusOK:
			won = append(won, r)
		case r.Status != http.StatusBadRequest || r.Text("error") != "invalid_grant":
			t.Errorf("got %s, want 400 invalid_grant", r)
		}
	}
	if len(won) != 1 {
		t.Fatalf("got tokens %d times, want once", len(won))
	}
	session := a.tokensOf(t, won[0], p.user, "TWENTY0001")
	session.alive(t)
	session.rotate(t).alive(t)
}

func testTwentyRefresh(t *testing.T, s *stack) {
	a := s.register(t, "https://app.example.com/callback")
	session := a.signIn(t, s.newPerson(t, s.newUser(t)), "TWENTY0002")
	for range 3 {
		next := session
		for i, r := range atOnce(t, 20, func() (rig.Reply, error) { return s.tryForm(t.Context(), "/oauth2/token", session.refreshForm()) }) {
			got := a.tokensOf(t, r, user{id: session.userID}, session.device)
			if i > 0 && got.refresh != next.refresh {
				t.Fatal("got different pairs, want one for all")
			}
			next = got
		}
		next.alive(t)
		session.alive(t)
		session = next
	}
}

func testTwentyRevoke(t *testing.T, s *stack) {
	a := s.register(t, "https://app.example.com/callback")
	session := a.signIn(t, s.newPerson(t, s.newUser(t)), "TWENTY0003")
	session.alive(t)
	var turns sync.Mutex
	turn := 0
	for _, r := range atOnce(t, 20, func() (rig.Reply, error) {
		turns.Lock()
		token := []string{session.Token, session.refresh}[turn%2]
		turn++
		turns.Unlock()
		return s.tryForm(t.Context(), "/oauth2/revoke", url.Values{"token": {token}, "token_type_hint": {"access_token"}})
	}) {
		if r.Status != http.StatusOK || strings.TrimSpace(string(r.Body)) != "{}" {
			t.Errorf("got %s, want 200 {}", r)
		}
	}
	session.over(t)
}

// testVerdicts needs a token's whole life.
func testVerdicts(t *testing.T, s *stack) {
	a, u := s.register(t, "https://app.example.com/callback"), s.newUser(t)
	p := s.newPerson(t, u)
	asleep, locked, ended := a.signIn(t, p, "VERDICT001"), a.signIn(t, p, "VERDICT002"), a.signIn(t, p, "VERDICT003")
	ended.alive(t)
	s.form(t, "/oauth2/revoke", url.Values{"token": {ended.refresh}, "client_id": {a.id}})
	ended.over(t)

	s.command(t, "", "user", "lock", u.localpart)
	r := call(t, locked.Client, http.MethodGet, whoamiPath, nil)
	wantMatrixError(t, r, http.StatusUnauthorized, "M_USER_LOCKED")
	if r.Get("soft_logout") != true {
		t.Errorf("got %s, want soft_logout true", r)
	}
	locked = locked.rotate(t) // REF-15: the client keeps what it has.
	s.command(t, "", "user", "unlock", u.localpart)
	locked.alive(t)

	time.Sleep((shortTokens + 1) * time.Second) // The shortest life that tokens may have: there is no way around waiting.
	r = call(t, asleep.Client, http.MethodGet, whoamiPath, nil)
	wantMatrixError(t, r, http.StatusUnauthorized, "M_UNKNOWN_TOKEN")
	if r.Get("soft_logout") != true {
		t.Errorf("got %s, want soft_logout true", r)
	}
	fresh := asleep.rotate(t)
	fresh.alive(t)
	// REV-06: the expired token still ends its session.
	if r := s.form(t, "/oauth2/revoke", url.Values{"token": {asleep.Token}}); r.Status != http.StatusOK {
		t.Errorf("got %s, want 200", r)
	}
	fresh.over(t)
}

// adminToken is a token for Synapse's admin API, at Synapse itself.
func (s *stack) adminToken(t *testing.T) rig.Client {
	t.Helper()
	boss := s.newUser(t)
	s.command(t, "", "user", "set-admin", boss.localpart)
	out := s.command(t, "", "token", "issue", boss.localpart, "--scope", "urn:synapse:admin:*", "--json")
	token := rig.Reply{Body: []byte(out)}.Text("access_token")
	if token == "" {
		t.Fatal("token issue: got no access_token")
	}
	return rig.Client{Base: s.synapse.URL(), Token: token}
}

func testSuspended(t *testing.T, s *stack) {
	u := s.newUser(t)
	a := s.register(t, "https://app.example.com/callback")
	a.signIn(t, s.newPerson(t, u), "SUSPENDED1").alive(t)
	r := call(t, s.adminToken(t), http.MethodPut, "/_synapse/admin/v1/suspend/"+url.PathEscape(u.id), map[string]bool{"suspend": true})
	want(t, r, http.StatusOK, "")
	again := a.signIn(t, s.newPerson(t, u), "SUSPENDED2")
	again.alive(t)
	s.login(t, u, "SUSPENDED3").alive(t)
}

func testStaleHeader(t *testing.T, s *stack) {
	a := s.register(t, "https://app.example.com/callback")
	session := a.signIn(t, s.newPerson(t, s.newUser(t)), "STALE00001")
	s.form(t, "/oauth2/revoke", url.Values{"token": {session.Token}})
	for _, path := range []string{loginPath, "/_matrix/client/v1/auth_metadata", "/.well-known/matrix/client"} {
		want(t, call(t, session.Client, http.MethodGet, path, nil), http.StatusOK, "")
	}
	for _, method := range []string{http.MethodPut, http.MethodDelete} { // LGN-22
		wantMatrixError(t, call(t, session.Client, method, loginPath, nil), http.StatusMethodNotAllowed, "M_UNRECOGNIZED")
	}
}

func testFolding(t *testing.T, s *stack) {
	u := s.newUser(t)
	shouting := u
	shouting.localpart = strings.ToUpper(u.localpart)
	a := s.register(t, "https://app.example.com/callback")
	p := s.newPerson(t, shouting)
	p.user.id = u.id
	upper, lower := a.signIn(t, p, "FoldingOne"), a.signIn(t, p, "foldingone")
	upper.alive(t)
	lower.alive(t)
	if got := lower.devices(t); !got["FoldingOne"] || !got["foldingone"] {
		t.Errorf("got devices %v, want both", got)
	}
	folded := swapCase(upper.Token)
	want(t, call(t, s.With(folded), http.MethodGet, whoamiPath, nil), http.StatusUnauthorized, "M_UNKNOWN_TOKEN")
	upper.alive(t)
}

// swapCase changes the case of a token behind its prefix.
func swapCase(token string) string {
	return token[:4] + strings.Map(func(r rune) rune {
		if lower := strings.ToLower(string(r)); lower != string(r) {
			return []rune(lower)[0]
		}
		return []rune(strings.ToUpper(string(r)))[0]
	}, token[4:])
}

func testNoForms(t *testing.T, s *stack) {
	a := s.register(t, "https://app.example.com/callback")
	for _, c := range []struct{ name, kind, body string }{
		{"multipart", "multipart/form-data; boundary=x", "--x\r\nContent-Disposition: form-data; name=\"grant_type\"\r\n\r\nrefresh_token\r\n--x--\r\n"},
		{"JSON", "application/json", `{"grant_type":"refresh_token","client_id":"` + a.id + `"}`},
		{"too large", "application/x-www-form-urlencoded", "grant_type=refresh_token&client_id=" + a.id + "&refresh_token=" + strings.Repeat("x", 2<<20)},
	} {
		for _, path := range []string{"/oauth2/token", "/oauth2/device", "/oauth2/revoke"} {
			req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, s.Base+path, strings.NewReader(c.body))
			if err != nil {
				t.Fatal(err)
			}
			req.Header.Set("Content-Type", c.kind)
			r, err := s.Send(req)
			if err != nil {
				t.Fatalf("%s to %s: %v", c.name, path, err)
			}
			refused := r.Status == http.StatusBadRequest || r.Status == http.StatusRequestEntityTooLarge
			if !refused || r.Text("error") != "invalid_request" || r.Errcode() != "" {
				t.Errorf("%s to %s: got %s, want an OAuth error", c.name, path, r)
			}
		}
	}
}

// The endpoints that clients in browsers call, and those that they have no business with.
var (
	calledByScripts = []string{
		"/.well-known/matrix/client", "/.well-known/openid-configuration", "/.well-known/oauth-authorization-server",
		"/_matrix/client/v1/auth_metadata", "/_matrix/client/unstable/org.matrix.msc2965/auth_metadata",
		"/_matrix/client/unstable/org.matrix.msc2965/auth_issuer", loginPath, logoutPath, logoutPath + "/all", refreshPath,
		"/oauth2/token", "/oauth2/revoke", "/oauth2/device", "/oauth2/registration", "/oauth2/userinfo", "/oauth2/keys.json", whoamiPath,
	}
	notForScripts = []string{"/authorize", "/login", "/logout", "/link", "/account/", "/consent/01M88HBP8WT9WRFW8HKADNZ6Q2", "/oauth2/introspect"}
)

func testPreflights(t *testing.T, s *stack) {
	for _, path := range calledByScripts {
		for _, header := range []string{"content-type", "authorization"} { // COR-08
			r := s.fromOrigin(t, http.MethodOptions, path, http.Header{
				"Access-Control-Request-Method": {"POST"}, "Access-Control-Request-Headers": {header},
			})
			if r.Status/100 != 2 {
				t.Errorf("%s: got %s, want 2xx", path, r)
			}
			allowed := strings.ToLower(r.Header.Get("Access-Control-Allow-Headers"))
			if !strings.Contains(allowed, header) || !strings.Contains(r.Header.Get("Access-Control-Allow-Methods"), "POST") {
				t.Errorf("%s: got %v, want %s and POST", path, r.Header, header)
			}
			wantOneOrigin(t, path, r)
			if ours := path != whoamiPath; ours && r.Header.Get("Access-Control-Max-Age") != "3600" {
				t.Errorf("%s: got max age %q, want an hour", path, r.Header.Get("Access-Control-Max-Age"))
			}
		}
		// COR-07: a wrong method is an error that a script can read.
		wantOneOrigin(t, path, s.fromOrigin(t, http.MethodDelete, path, nil))
	}
}

// fromOrigin makes a request as a browser does for a script of another site.
func (s *stack) fromOrigin(t *testing.T, method, path string, header http.Header) rig.Reply {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, s.Base+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	if header != nil {
		req.Header = header
	}
	req.Header.Set("Origin", "https://app.example.com")
	r, err := s.Send(req)
	if err != nil {
		t.Fatalf("%s %s: %v", method, path, err)
	}
	return r
}

func wantOneOrigin(t *testing.T, path string, r rig.Reply) {
	t.Helper()
	if got := r.Header.Values("Access-Control-Allow-Origin"); len(got) != 1 || got[0] != "*" {
		t.Errorf("%s: got %d with Access-Control-Allow-Origin %q, want * once", path, r.Status, got)
	}
	if got := r.Header.Values("Access-Control-Allow-Credentials"); len(got) != 0 {
		t.Errorf("%s: got credentials %q, want none", path, got)
	}
}

func testNoCORS(t *testing.T, s *stack) {
	for _, path := range notForScripts {
		for _, method := range []string{http.MethodGet, http.MethodOptions, http.MethodPost} {
			r := s.fromOrigin(t, method, path, nil)
			for name := range r.Header {
				if strings.HasPrefix(name, "Access-Control-") {
					t.Errorf("%s %s: got %s, want no CORS", method, path, name)
				}
			}
		}
	}
}

func testDeviceExtras(t *testing.T, s *stack) {
	a := s.register(t, "https://app.example.com/callback")
	for name, value := range map[string]string{"prompt": "create", "login_hint": "mxid:@somebody:elsewhere.example", "nonsense": "1"} {
		r := s.form(t, "/oauth2/device", url.Values{"client_id": {a.id}, "scope": {matrixScope("EXTRAS0001")}, name: {value}})
		if r.Status != http.StatusOK || r.Text("user_code") == "" {
			t.Errorf("%s: got %s, want 200", name, r)
		}
	}
}

// testRendezvous meets another device at Synapse (MSC4108, as of 2024).
func testRendezvous(t *testing.T, s *stack) {
	const path = "/_matrix/client/unstable/org.matrix.msc4108/rendezvous"
	send := func(method, link, body string, header http.Header) rig.Reply {
		t.Helper()
		req, err := http.NewRequestWithContext(t.Context(), method, link, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		req.Header = header
		if body != "" {
			req.Header.Set("Content-Type", "text/plain")
		}
		r, err := s.Send(req)
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	r := send(http.MethodPost, s.Base+path, "hello", http.Header{})
	if theirs := send(http.MethodPost, s.synapse.URL()+path, "hello", http.Header{}); theirs.Status == http.StatusNotFound {
		want(t, r, http.StatusNotFound, "M_UNRECOGNIZED") // An old Synapse.
		return
	}
	link, tag := r.Text("url"), r.Header.Get("ETag")
	if r.Status != http.StatusCreated || !strings.HasPrefix(link, s.Base+"/") || tag == "" {
		t.Fatalf("got %s with %v, want 201, a URL of ours and an ETag", r, r.Header)
	}
	if r = send(http.MethodGet, link, "", http.Header{"If-None-Match": {tag}}); r.Status != http.StatusNotModified {
		t.Errorf("got %s, want 304", r)
	}
	if r = send(http.MethodPut, link, "answer", http.Header{"If-Match": {tag}}); r.Status/100 != 2 || r.Header.Get("ETag") == tag {
		t.Errorf("got %s with ETag %q, want 2xx and another ETag", r, r.Header.Get("ETag"))
	}
	if r = send(http.MethodPut, link, "again", http.Header{"If-Match": {tag}}); r.Status != http.StatusPreconditionFailed {
		t.Errorf("got %s, want 412", r)
	}
	if r = send(http.MethodGet, link, "", http.Header{}); r.Status != http.StatusOK || string(r.Body) != "answer" {
		t.Errorf("got %s, want what was put", r)
	}
}

func testActions(t *testing.T, s *stack) {
	r := call(t, s.Client, http.MethodGet, "/_matrix/client/v1/auth_metadata", nil)
	account := r.Text("account_management_uri")
	if u, err := url.Parse(account); err != nil || !u.IsAbs() || u.RawQuery != "" || u.Fragment != "" {
		t.Fatalf("got account page %q (%v), want a URL without query and fragment", account, err)
	}
	actions, _ := r.Get("account_management_actions_supported").([]any)
	if len(actions) == 0 {
		t.Fatal("got no actions")
	}
	u := s.newUser(t)
	p := s.newPerson(t, u)
	s.register(t, "https://app.example.com/callback").signIn(t, p, "ACTIONS001").alive(t)
	var paths []string
	for _, action := range actions {
		name := action.(string)
		got := p.open(account + "?" + url.Values{"action": {name}, "device_id": {"ACTIONS001"}}.Encode())
		paths = append(paths, got.URL.Path)
	}
	slices.Sort(paths)
	if distinct := slices.Compact(paths); len(distinct) < 4 { // The list, a session, its end, the reset.
		t.Errorf("got pages %q, want four of them", distinct)
	}
}

// crossSigningKeys are keys that nobody could sign with: Synapse does not mind.
func crossSigningKeys(userID, master string) map[string]any {
	return map[string]any{"master_key": map[string]any{"user_id": userID, "usage": []string{"master"}, "keys": map[string]string{"ed25519:" + master: master}}}
}

func testCrossSigning(t *testing.T, s *stack) {
	const path = "/_matrix/client/v3/keys/device_signing/upload"
	u := s.newUser(t)
	p := s.newPerson(t, u)
	phone := s.register(t, "https://app.example.com/callback").signIn(t, p, "CROSSSIGN1")
	first := crossSigningKeys(u.id, strings.Repeat("A", 43))
	want(t, call(t, phone.Client, http.MethodPost, path, first), http.StatusOK, "")
	want(t, call(t, phone.Client, http.MethodPost, path, first), http.StatusOK, "")

	second := crossSigningKeys(u.id, strings.Repeat("B", 43))
	r := call(t, phone.Client, http.MethodPost, path, second)
	link := cmp.Or(r.Text("params", "m.oauth", "url"), r.Text("params", "org.matrix.cross_signing_reset", "url")) // Of an old Synapse.
	if r.Status != http.StatusUnauthorized || r.Text("session") == "" || !strings.HasPrefix(link, s.Base+"/account/?action=org.matrix.cross_signing_reset") {
		t.Fatalf("got %s, want Synapse's challenge with our account page", r)
	}
	g := p.submit(p.open(link), url.Values{"password": {u.password}})
	if !strings.Contains(g.HTML, "10 minutes") {
		t.Fatalf("got a page that does not say for how long: %.1500s", g.HTML)
	}
	second["auth"] = map[string]string{"session": r.Text("session")}
	want(t, call(t, phone.Client, http.MethodPost, path, second), http.StatusOK, "")
}

func testGone(t *testing.T, s *stack) {
	phone := s.register(t, "https://app.example.com/callback").signIn(t, s.newPerson(t, s.newUser(t)), "GONE000001")
	phone.alive(t)
	empty := map[string]string{}
	for _, c := range []struct {
		method, path string
		body         any
	}{
		{http.MethodDelete, "/_matrix/client/v3/devices/GONE000001", empty},
		{http.MethodPost, "/_matrix/client/v3/delete_devices", map[string]any{"devices": []string{"GONE000001"}}},
		{http.MethodPost, "/_matrix/client/v3/account/password", empty},
		{http.MethodPost, "/_matrix/client/v3/account/deactivate", empty},
		{http.MethodPost, "/_matrix/client/v3/account/3pid", empty},
		{http.MethodPost, "/_matrix/client/v3/account/3pid/add", empty},
		{http.MethodGet, "/_matrix/client/v3/register/available?username=x", nil},
		{http.MethodPost, "/_matrix/client/v1/login/get_token", empty},
		{http.MethodGet, "/_matrix/client/v3/login/cas/redirect?redirectUrl=https://app.example.com", nil},
	} {
		want(t, call(t, phone.Client, c.method, c.path, c.body), http.StatusNotFound, "M_UNRECOGNIZED")
	}
	want(t, call(t, s.Client, http.MethodPost, "/_matrix/client/v3/register", empty), http.StatusForbidden, "M_FORBIDDEN")
	phone.alive(t)
}

func testCapabilities(t *testing.T, s *stack) {
	phone := s.register(t, "https://app.example.com/callback").signIn(t, s.newPerson(t, s.newUser(t)), "CAPABLE001")
	r := call(t, phone.Client, http.MethodGet, "/_matrix/client/v3/capabilities", nil)
	want(t, r, http.StatusOK, "")
	for _, name := range []string{"m.change_password", "m.3pid_changes", "m.get_login_token"} {
		if got := r.Get("capabilities", name, "enabled"); got != false {
			t.Errorf("%s: got %v, want false", name, got)
		}
	}
	const path = "/_matrix/client/v3/devices/CAPABLE001"
	want(t, call(t, phone.Client, http.MethodPut, path, map[string]string{"display_name": "My phone"}), http.StatusOK, "")
	if r = call(t, phone.Client, http.MethodGet, path, nil); r.Text("display_name") != "My phone" {
		t.Errorf("got %s, want the name", r)
	}
}

func testInternalAPI(t *testing.T, s *stack) {
	u := s.newUser(t)
	inside := s.asEdge(t)
	outside := s.With(inside.Token)
	path := "/_synapse/mas/query_user?localpart=" + u.localpart
	want(t, call(t, inside, http.MethodGet, path, nil), http.StatusOK, "")
	for _, p := range []string{path, "/" + path, strings.Replace(path, "mas", "%6das", 1), "/_synapse/x/../mas/query_user?localpart=" + u.localpart} {
		if r := call(t, outside, http.MethodGet, p, nil); r.Status != http.StatusNotFound || r.Text("user_id") != "" {
			t.Errorf("%s: got %s, want 404", p, r)
		}
	}
	// E31: the secret itself is nobody's access token.
	want(t, call(t, outside, http.MethodGet, whoamiPath, nil), http.StatusUnauthorized, "M_UNKNOWN_TOKEN")
}

func testIntrospectionSpeed(t *testing.T, s *stack) {
	session := s.register(t, "https://app.example.com/callback").signIn(t, s.newPerson(t, s.newUser(t)), "SPEED00001")
	synapse := rig.Client{Base: strings.TrimSuffix(s.edge.InternalURL(), "/"), Token: s.asEdge(t).Token}
	var took []time.Duration
	for range 100 {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, synapse.Base+"/oauth2/introspect", strings.NewReader(url.Values{"token": {session.Token}}.Encode()))
		if err != nil {
			t.Fatal(err)
		}
		req.Header = http.Header{"Content-Type": {"application/x-www-form-urlencoded"}, "Authorization": {"Bearer " + synapse.Token}}
		began := time.Now()
		r, err := synapse.Send(req)
		if err != nil || r.Get("active") != true {
			t.Fatalf("got %s (%v), want an active token", r, err)
		}
		took = append(took, time.Since(began))
	}
	slices.Sort(took)
	if quarter := took[len(took)/4]; quarter > 50*time.Millisecond { // Others are at work beside.
		t.Errorf("got more than %s for three in four, want at most 50 ms", quarter)
	}
}

func testTransactions(t *testing.T, s *stack) {
	u := s.newUser(t)
	legacy := s.login(t, u, "TXN0000001")
	oauth := s.register(t, "https://app.example.com/callback").signIn(t, s.newPerson(t, u), "TXN0000002")
	for name, c := range map[string]struct{ before, after rig.Client }{
		"legacy": {legacy.Client, legacy.rotate(t).Client}, "OAuth": {oauth.Client, oauth.rotate(t).Client},
	} {
		r := call(t, c.before, http.MethodPost, "/_matrix/client/v3/createRoom", map[string]string{"preset": "private_chat"})
		want(t, r, http.StatusOK, "")
		path := fmt.Sprintf("/_matrix/client/v3/rooms/%s/send/m.room.message/once", url.PathEscape(r.Text("room_id")))
		message := map[string]string{"msgtype": "m.text", "body": "once"}
		one, two := call(t, c.before, http.MethodPut, path, message), call(t, c.after, http.MethodPut, path, message)
		if one.Text("event_id") == "" || one.Text("event_id") != two.Text("event_id") {
			t.Errorf("%s: got %s and %s, want one event", name, one, two)
		}
	}
}

func testTwoLogouts(t *testing.T, s *stack) {
	u := s.newUser(t)
	for _, session := range []session{s.login(t, u, ""), s.register(t, "https://app.example.com/callback").signIn(t, s.newPerson(t, u), "LOGOUT0001").session} {
		session.alive(t)
		done := 0
		for _, r := range atOnce(t, 4, func() (rig.Reply, error) { return session.Do(t.Context(), http.MethodPost, logoutPath, nil) }) {
			switch r.Status {
			case http.StatusOK:
				done++
			default:
				want(t, r, http.StatusUnauthorized, "M_UNKNOWN_TOKEN")
			}
		}
		if done == 0 {
			t.Error("got no logout, want one at least")
		}
		session.dead(t)
	}
}

func testLegacyAsAsked(t *testing.T, s *stack) {
	u := s.newUser(t)
	r := call(t, s.Client, http.MethodPost, loginPath, u.loginBody("", false))
	want(t, r, http.StatusOK, "")
	if r.Text("refresh_token") != "" || r.Get("expires_in_ms") != nil {
		t.Errorf("got %v, want neither a refresh token nor an end", r.Get("expires_in_ms"))
	}
	session := s.login(t, u, "")
	r = call(t, s.Client, http.MethodPost, refreshPath, map[string]any{
		"refresh_token": session.refresh, "refresh_token_lifetime_ms": 5, "org.example": map[string]any{"a": []int{1}},
	})
	want(t, r, http.StatusOK, "")
}

func testCrossLogout(t *testing.T, s *stack) {
	u := s.newUser(t)
	a, p := s.register(t, "https://app.example.com/callback"), s.newPerson(t, u)
	legacy, oauth := s.login(t, u, "CROSS00001"), a.signIn(t, p, "CROSS00002")
	legacy.alive(t)
	oauth.alive(t)
	if r := s.form(t, "/oauth2/revoke", url.Values{"token": {legacy.refresh}}); r.Status != http.StatusOK {
		t.Errorf("got %s, want 200", r)
	}
	legacy.dead(t)
	want(t, call(t, oauth.Client, http.MethodPost, logoutPath, nil), http.StatusOK, "")
	oauth.over(t)
	// E29: refresh tokens are good at their own API alone, and trying does not hurt.
	legacy, oauth = s.login(t, u, "CROSS00003"), a.signIn(t, p, "CROSS00004")
	r := s.form(t, "/oauth2/token", url.Values{"grant_type": {"refresh_token"}, "client_id": {a.id}, "refresh_token": {legacy.refresh}})
	if r.Status != http.StatusBadRequest || r.Text("error") != "invalid_grant" {
		t.Errorf("got %s, want 400 invalid_grant", r)
	}
	want(t, call(t, s.Client, http.MethodPost, refreshPath, map[string]string{"refresh_token": oauth.refresh}), http.StatusUnauthorized, "M_UNKNOWN_TOKEN")
	legacy.rotate(t).alive(t)
	oauth.rotate(t).alive(t)
}
