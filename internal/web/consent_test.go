package web

import (
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddy-matrix/caddy-matrix-auth/internal/auth"
	"github.com/caddy-matrix/caddy-matrix-auth/internal/authtest"
	"github.com/caddy-matrix/caddy-matrix-auth/internal/mxid"
	"github.com/caddy-matrix/caddy-matrix-auth/store"
)

func TestAUZ07_AUZ13_AUZ20_AUZ22_AUZ24_SignInConsentRedirect(t *testing.T) {
	s := newSite(t, authtest.Options{})
	s.MustAddUser(t, "alice")
	b := s.surfer(t)
	c := s.client(t, store.Client{Name: "Element"})
	path := b.start(c, store.Grant{State: "st&té=", HasState: true, LoginHint: "alice"})

	// Case 1: nobody is signed in. The hint is filled in.
	b.get(path)
	b.expect(http.StatusOK, "A program that calls itself Element wants to use your account. Afterwards you go back to app.example.com.", ":example.org")
	if _, form := b.form(""); form.Get("username") != "alice" {
		t.Errorf("AUZ-13: got %q, want the hint", form.Get("username"))
	}

	// Case 2: a wrong password keeps the name.
	b.signIn("alice", "wrong")
	b.expect(http.StatusUnprocessableEntity, "do not match")
	if _, form := b.form(""); form.Get("username") != "alice" || form.Get("password") != "" {
		t.Errorf("got %v, want the name and not the password", form)
	}

	// Case 3: the right one leads to the consent page, which says who, what, which device, and where to.
	b.signIn("Alice", authtest.Password)
	b.expect(http.StatusOK, "Allow Element to use your account?", "@alice:example.org", "app.example.com", "KFJWQZNB",
		"Read and send messages", "has not checked that")
	consent := b.at.String()

	// Case 4: yes. The state is as it was sent, and iss is there.
	_, form := b.form("allow")
	b.press("allow", nil)
	q := b.away("https://app.example.com/cb?")
	if q.Get("state") != "st&té=" || q.Get("iss") != issuer+"/" || q.Get("code") == "" {
		t.Errorf("AUZ-07: got %v", q)
	}

	// Case 5: a double click gives the same code.
	b.do(http.MethodPost, consent, form.Encode())
	if again := b.away("https://app.example.com/cb?"); again.Get("code") != q.Get("code") {
		t.Error("the second click got another code")
	}

	// Case 6: going back shows a page (AUZ-24), whose button gives the same answer.
	b.get(consent)
	b.expect(http.StatusOK, "You have answered already")
	b.press("allow", nil)
	if again := b.away("https://app.example.com/cb?"); again.Get("code") != q.Get("code") {
		t.Error("the page after going back got another code")
	}

	// Case 7: when the code is too old, nothing is given any more.
	s.Clock.Advance(2 * time.Minute)
	b.do(http.MethodPost, consent, form.Encode())
	b.expect(http.StatusOK, "You have answered already")
	for n := range b.all("form") {
		t.Errorf("there is still a form: %v", n.Attr)
	}
}

func TestAUZ06_AUZ16_Cancel(t *testing.T) {
	s := newSite(t, authtest.Options{})
	s.MustAddUser(t, "alice")
	c := s.client(t, store.Client{Name: "Element"})
	for name, signIn := range map[string]bool{"before signing in": false, "on the consent page": true} {
		t.Run(name, func(t *testing.T) {
			b := s.surfer(t)
			path := b.start(c, store.Grant{State: "s", HasState: true, ResponseMode: "fragment"})
			b.get(path)
			if signIn {
				b.signIn("alice", authtest.Password)
			}
			b.press("cancel", nil)
			q := b.away("https://app.example.com/cb#")
			if q.Get("error") != "access_denied" || q.Get("state") != "s" || q.Get("iss") == "" || q.Has("code") {
				t.Errorf("got %v", q)
			}
			b.get(path)
			b.expect(http.StatusOK, "You said no", "Nothing was changed")
			b.press("cancel", nil)
			if q := b.away("https://app.example.com/cb#"); q.Get("error") != "access_denied" {
				t.Errorf("again: got %v", q)
			}
		})
	}
}

// signedIn makes a browser in which somebody is signed in.
func (s *site) signedInSurfer(t testing.TB, user mxid.Localpart) *surfer {
	t.Helper()
	b := s.surfer(t)
	b.get("/login")
	b.signIn(string(user), authtest.Password)
	b.expect(http.StatusOK, "Your account")
	return b
}

func TestAUZ10_AUZ12_PromptNone(t *testing.T) {
	s := newSite(t, authtest.Options{})
	alice, bob := s.MustAddUser(t, "alice"), s.MustAddUser(t, "bob")
	c := s.client(t, store.Client{Name: "Wiki"})
	openid := []string{"openid"}
	none := store.Grant{Prompt: []string{"none"}, Scope: openid}
	expectError := func(b *surfer, g store.Grant, want string) {
		t.Helper()
		b.get(b.start(c, g))
		if q := b.away("https://app.example.com/cb?"); q.Get("error") != want || q.Get("iss") == "" {
			t.Errorf("got %v, want %s", q, want)
		}
	}

	// Case 1: nobody is signed in.
	expectError(s.surfer(t), none, "login_required")

	// Case 2: somebody is, and has to be asked.
	b := s.signedInSurfer(t, "alice")
	expectError(b, none, "consent_required")

	// Case 3: another person is named, by either hint.
	other := none
	other.Subject = bob.ID
	expectError(b, other, "login_required")
	other = none
	other.LoginHint = "bob"
	expectError(b, other, "login_required")

	// Case 4: after one yes, nobody is asked, with and without prompt=none.
	b.get(b.start(c, store.Grant{Scope: openid}))
	b.press("allow", nil)
	b.away("https://app.example.com/cb?")
	none.Subject = alice.ID
	for _, g := range []store.Grant{none, {Scope: openid}} {
		path := b.start(c, g)
		b.get(path)
		q := b.away("https://app.example.com/cb?")
		if q.Get("code") == "" {
			t.Errorf("got %v, want a code", q)
		}
		b.get(path)
		if again := b.away("https://app.example.com/cb?"); again.Get("code") != q.Get("code") {
			t.Errorf("reloaded: got %v, want %v", again, q)
		}
	}

	// Case 5: prompt=consent asks nevertheless (AUZ-10), and a Matrix device is always asked for.
	b.get(b.start(c, store.Grant{Scope: openid, Prompt: []string{"consent"}}))
	b.expect(http.StatusOK, "Allow Wiki")
	b.get(b.start(c, store.Grant{}))
	b.press("allow", nil)
	expectError(b, store.Grant{Prompt: []string{"none"}}, "consent_required")

	// Case 6: a sign-in that is too old.
	none.MinAuthTime = s.Now().Add(time.Second)
	expectError(b, none, "login_required")

	// Case 7: HEAD approves nothing.
	none.MinAuthTime = time.Time{}
	path := b.start(c, none)
	b.once(http.MethodHead, path, "")
	if b.head.Get("Location") != "" || b.status != http.StatusOK {
		t.Errorf("HEAD: got %d to %q", b.status, b.head.Get("Location"))
	}

	// Case 8: early data approves nothing either.
	b.header.Set("Early-Data", "1")
	b.get(path)
	b.expect(http.StatusTooEarly)
	b.header.Del("Early-Data")
}

// TestOneAnswerForOneRequest: a client that was told an error is told nothing else, whatever becomes of the browser.
func TestOneAnswerForOneRequest(t *testing.T) {
	s := newSite(t, authtest.Options{})
	bob := s.MustAddUser(t, "bob")
	s.MustAddUser(t, "alice")
	c := s.client(t, store.Client{Name: "Wiki"})
	openid := []string{"openid"}
	silent := store.Grant{Prompt: []string{"none"}, Scope: openid, State: "s", HasState: true}
	for _, tc := range []struct {
		g        store.Grant
		want     string
		signedIn bool
		after    func(b *surfer, path string)
	}{
		{silent, "login_required", false, func(b *surfer, _ string) { b.get("/login"); b.signIn("alice", authtest.Password) }},
		{silent, "login_required", false, func(b *surfer, path string) {
			b.get("/login?kind=consent&id=" + strings.TrimPrefix(path, "/consent/"))
		}},
		{silent, "consent_required", true, func(b *surfer, _ string) {
			b.get(b.start(c, store.Grant{Scope: openid}))
			b.press("allow", nil)
			b.away("https://app.example.com/cb?")
		}},
		{store.Grant{Subject: bob.ID, Scope: openid, State: "s", HasState: true}, "login_required", false, func(b *surfer, _ string) {
			b.get("/login?other=1")
			b.signIn("bob", authtest.Password)
		}},
		{store.Grant{Scope: []string{mxid.ScopeAdmin}, State: "s", HasState: true}, "invalid_scope", true, func(*surfer, string) {
			if err := s.SetAdmin(t.Context(), "alice", true); err != nil {
				t.Error(err)
			}
		}},
	} {
		b := s.surfer(t)
		if tc.signedIn {
			b = s.signedInSurfer(t, "alice")
		}
		path := b.start(c, tc.g)
		b.get(path)
		if tc.g.Subject == bob.ID {
			b.signIn("alice", authtest.Password)
		}
		first := b.away("https://app.example.com/cb?")
		if first.Get("error") != tc.want {
			t.Errorf("got %v, want %s", first, tc.want)
		}
		tc.after(b, path)
		b.get(path)
		if again := b.away("https://app.example.com/cb?"); again.Encode() != first.Encode() {
			t.Errorf("later: got %v, want %v again", again, first)
		}
	}
}

func TestAUZ12_Reauthentication(t *testing.T) {
	s := newSite(t, authtest.Options{})
	s.MustAddUser(t, "alice")
	s.MustAddUser(t, "bob")
	c := s.client(t, store.Client{Name: "Element"})
	b := s.signedInSurfer(t, "alice")
	s.Clock.Advance(time.Hour)

	// Case 1: the same person enters the password again, and keeps the sign-in's record.
	before, err := s.BrowserSession(t.Context(), b.cookie())
	if err != nil {
		t.Fatal(err)
	}
	old := b.cookie()
	b.get(b.start(c, store.Grant{MinAuthTime: s.Now()}))
	b.expect(http.StatusOK, "Is it still you?", "@alice:example.org")
	b.press("", url.Values{"password": {authtest.Password}})
	b.expect(http.StatusOK, "Allow Element")
	after, err := s.BrowserSession(t.Context(), b.cookie())
	if err != nil || after.Session.ID != before.Session.ID {
		t.Errorf("got %v, %v, want the record %v", after.Session.ID, err, before.Session.ID)
	}
	if _, err := s.BrowserSession(t.Context(), old); err == nil {
		t.Error("the old cookie still works")
	}

	// Case 2: or uses another account.
	s.Clock.Advance(time.Hour)
	b.get(b.start(c, store.Grant{MinAuthTime: s.Now()}))
	b.get(b.link("Not you?"))
	b.expect(http.StatusOK, "Sign in")
	b.signIn("bob", authtest.Password)
	b.expect(http.StatusOK, "Allow Element", "@bob:example.org")

	// Case 3: a wrong password for the same person stays on the page.
	s.Clock.Advance(time.Hour)
	b.get(b.start(c, store.Grant{MinAuthTime: s.Now()}))
	b.press("", url.Values{"password": {"wrong"}})
	b.expect(http.StatusUnprocessableEntity, "Is it still you?", "That is not your password")
}

// link is where a link leads.
func (b *surfer) link(text string) string {
	b.t.Helper()
	for a := range b.all("a") {
		if a.FirstChild != nil && plain(a.FirstChild.Data) == text {
			return attr(a, "href")
		}
	}
	b.t.Fatalf("no link %q: %s", text, b.text())
	return ""
}

func TestAUZ11_PromptSelectAndCreate(t *testing.T) {
	s := newSite(t, authtest.Options{})
	s.MustAddUser(t, "alice")
	c := s.client(t, store.Client{Name: "Element"})
	for prompt, notice := range map[string]string{"select_account": "account that you want to use", "create": "cannot create an account here"} {
		b := s.signedInSurfer(t, "alice")
		s.Clock.Advance(time.Minute)
		b.get(b.start(c, store.Grant{Prompt: []string{prompt}}))
		b.expect(http.StatusOK, notice)
		b.signIn("alice", authtest.Password)
		b.expect(http.StatusOK, "Allow Element")
	}
}

func TestIDTokenHintPicksThePerson(t *testing.T) {
	s := newSite(t, authtest.Options{})
	s.MustAddUser(t, "alice")
	bob := s.MustAddUser(t, "bob")
	c := s.client(t, store.Client{Name: "Element"})
	b := s.signedInSurfer(t, "alice")
	s.Clock.Advance(time.Minute)
	path := b.start(c, store.Grant{Subject: bob.ID})
	b.get(path)
	b.expect(http.StatusOK, "asks for a different account")
	b.signIn("bob", authtest.Password)
	b.expect(http.StatusOK, "Allow Element", "@bob:example.org")

	s.Clock.Advance(time.Minute)
	b = s.surfer(t)
	b.get(b.start(c, store.Grant{Subject: bob.ID}))
	b.signIn("alice", authtest.Password)
	if q := b.away("https://app.example.com/cb?"); q.Get("error") != "login_required" {
		t.Errorf("got %v, want login_required", q)
	}
}

func TestAdminScopes(t *testing.T) {
	s := newSite(t, authtest.Options{Settings: func(set *auth.Settings) { set.Admins = map[mxid.Localpart]bool{"root": true} }})
	s.MustAddUser(t, "root")
	s.MustAddUser(t, "alice")
	c := s.client(t, store.Client{Name: "Console"})
	scope := append(slices.Clone(matrixScope), mxid.ScopeAdmin)
	const line = "Administer the whole server"

	// Case 1: dropped for others.
	b := s.signedInSurfer(t, "alice")
	b.get(b.start(c, store.Grant{Scope: scope}))
	b.expect(http.StatusOK, "Allow Console")
	if strings.Contains(b.text(), line) {
		t.Error("somebody else was asked for the rights of an administrator")
	}
	b.press("allow", nil)
	b.away("https://app.example.com/cb?")
	b.get(b.start(c, store.Grant{Scope: []string{mxid.ScopeAdmin}}))
	if q := b.away("https://app.example.com/cb?"); q.Get("error") != "invalid_scope" {
		t.Errorf("got %v, want invalid_scope", q)
	}

	// Case 2: a line of its own, for a password not older than five minutes.
	b = s.signedInSurfer(t, "root")
	path := b.start(c, store.Grant{Scope: scope})
	b.get(path)
	b.expect(http.StatusOK, line)
	_, form := b.form("allow")
	s.Clock.Advance(6 * time.Minute)
	b.do(http.MethodPost, path, form.Encode())
	b.expect(http.StatusOK, "Is it still you?")
	b.press("", url.Values{"password": {authtest.Password}})
	b.expect(http.StatusOK, line)
	b.press("allow", nil)
	b.away("https://app.example.com/cb?")
}

func TestConsentNamesTheSessionThatItEnds(t *testing.T) {
	s := newSite(t, authtest.Options{})
	s.MustAddUser(t, "alice")
	s.MustLogin(t, "alice", "KFJWQZNB")
	b := s.signedInSurfer(t, "alice")
	b.get(b.start(s.client(t, store.Client{Name: "Element"}), store.Grant{}))
	b.expect(http.StatusOK, "This ends the session on device KFJWQZNB")
}

func TestFormPost(t *testing.T) {
	s := newSite(t, authtest.Options{})
	s.MustAddUser(t, "alice")
	c := s.client(t, store.Client{Name: "Wiki"})
	b := s.signedInSurfer(t, "alice")
	b.get(b.start(c, store.Grant{ResponseMode: "form_post", State: `"><script>`, HasState: true}))
	b.press("allow", nil)
	b.expect(http.StatusOK, "Continue to app.example.com")
	target, fields := b.form("")
	if target != "https://app.example.com/cb" || fields.Get("state") != `"><script>` || fields.Get("code") == "" || fields.Get("iss") == "" {
		t.Errorf("got %s %v", target, fields)
	}
	policy := b.head.Get("Content-Security-Policy")
	if !strings.Contains(policy, "script-src 'self'") || !strings.Contains(policy, "form-action 'self' https:") {
		t.Errorf("got %s", policy)
	}
	scripts := 0
	for n := range b.all("script") {
		scripts++
		if src := attr(n, "src"); !strings.HasPrefix(src, "/assets/continue.") || n.FirstChild != nil {
			t.Errorf("got a script %q", src)
		}
	}
	if scripts != 1 {
		t.Errorf("got %d scripts", scripts)
	}
}

// TestE13_FormPostLeavesAsRegistered: the address that a form posts to is the registered one, byte for byte, and no app's.
func TestE13_FormPostLeavesAsRegistered(t *testing.T) {
	s := newSite(t, authtest.Options{})
	s.MustAddUser(t, "alice")
	b := s.signedInSurfer(t, "alice")
	for _, uri := range []string{
		"https://app.example.com/cb(1)/it's?a=%zz&b=%2F&c=x+y%20z&&d", "https://app.example.com/a%2fB/~;x=1,2!*?q[]=1", "http://[::1]:4711/cb?x=|",
	} {
		c := s.client(t, store.Client{Name: "Wiki " + uri, RedirectURIs: []string{uri}})
		b.get(b.start(c, store.Grant{RedirectURI: uri, ResponseMode: "form_post"}))
		b.press("allow", nil)
		b.expect(http.StatusOK, "Continue to")
		for form := range b.all("form") {
			if got := attr(form, "action"); got != uri {
				t.Errorf("got %s, want %s", got, uri)
			}
		}
	}
	for _, uri := range []string{"com.example.app:/cb", "javascript:alert(1)"} {
		c := s.client(t, store.Client{Name: "App " + uri, RedirectURIs: []string{uri}})
		b.get(b.start(c, store.Grant{RedirectURI: uri, ResponseMode: "form_post"}))
		b.press("allow", nil)
		b.expect(http.StatusBadRequest, "This link is broken")
		b.harmless()
	}
}

func TestAUZ23_E13_RedirectsLeaveAsRegistered(t *testing.T) {
	s := newSite(t, authtest.Options{})
	s.MustAddUser(t, "alice")
	b := s.signedInSurfer(t, "alice")
	for uri, want := range map[string][2]string{
		"com.example.app:/":                                {"com.example.app:/?code=", "com.example.app"},
		"io.element.desktop:/vector/webapp/":               {"io.element.desktop:/vector/webapp/?code=", "io.element.desktop"},
		"https://app.example.com/?no_universal_links=true": {"https://app.example.com/?no_universal_links=true&code=", "app.example.com"},
		"http://[::1]:4711/cb":                             {"http://[::1]:4711/cb?code=", "[::1]:4711"},
		"http://127.0.0.1/?b=2&a=x%20y&flag":               {"http://127.0.0.1/?b=2&a=x%20y&flag&code=", "127.0.0.1"},
		"https://bücher.example/cb":                        {"https://bücher.example/cb?code=", "xn--bcher-kva.example"},
	} {
		c := s.client(t, store.Client{Name: "App " + uri, RedirectURIs: []string{uri}})
		b.get(b.start(c, store.Grant{RedirectURI: uri}))
		b.expect(http.StatusOK, want[1])
		scheme, _, _ := strings.Cut(uri, ":")
		if p := b.head.Get("Content-Security-Policy"); !strings.HasSuffix(p, "form-action 'self' "+scheme+":") {
			t.Errorf("AUZ-23, %s: got %s", uri, p)
		}
		b.press("allow", nil)
		if location := b.head.Get("Location"); !strings.HasPrefix(location, want[0]) {
			t.Errorf("%s: got %s", uri, location)
		}
	}
}

// Two tabs answer at the same moment: the second is told what the first one said.
func TestAnswersInTwoTabs(t *testing.T) {
	for _, tc := range []struct {
		first, second string
		told          string
	}{
		{"allow", "cancel", "You allowed App to use your account."},
		{"cancel", "allow", "App cannot use your account."},
	} {
		synctest.Test(t, func(t *testing.T) {
			s := newSite(t, authtest.Options{RealClock: true, Idle: true})
			s.MustAddUser(t, "alice")
			c := s.client(t, store.Client{Name: "App"})
			b := s.signedInSurfer(t, "alice")
			b.get(b.start(c, store.Grant{Scope: matrixScope}))
			b.expect(http.StatusOK, "Allow App to use your account?")
			busy := make(chan struct{})
			var waiting sync.WaitGroup
			waiting.Go(func() {
				if err := s.DB.Update(t.Context(), func(*store.Tx) error { <-busy; return nil }); err != nil {
					t.Error(err)
				}
			})
			second := *b
			synctest.Wait()
			waiting.Go(func() { b.press(tc.first, nil) })
			synctest.Wait()
			waiting.Go(func() { second.press(tc.second, nil) })
			synctest.Wait()
			close(busy)
			waiting.Wait()
			b.away("https://app.example.com/cb?")
			second.expect(http.StatusOK, tc.told)
			second.press(tc.first, nil) // The page gives the answer again.
			if got, want := second.head.Get("Location"), b.head.Get("Location"); got != want {
				t.Errorf("%s, then %s: got %q again, want %q", tc.first, tc.second, got, want)
			}
		})
	}
}
