package web

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/html"

	"github.com/caddy-matrix/caddy-matrix-auth/internal/auth"
	"github.com/caddy-matrix/caddy-matrix-auth/internal/authtest"
	"github.com/caddy-matrix/caddy-matrix-auth/store"
)

func TestCVE202239222_ConsentPostedByAnotherBrowser(t *testing.T) {
	s := newSite(t, authtest.Options{})
	s.MustAddUser(t, "alice")
	s.MustAddUser(t, "mallory")
	c := s.client(t, store.Client{Name: "Element"})
	b := s.signedInSurfer(t, "alice")
	path := b.start(c, store.Grant{})
	b.get(path)
	_, form := b.form("allow")

	// Case 1: another browser, signed in as anybody.
	for _, who := range []string{"alice", "mallory"} {
		m := s.signedInSurfer(t, "alice")
		if who == "mallory" {
			m = s.signedInSurfer(t, "mallory")
		}
		m.get(path)
		m.expect(http.StatusBadRequest, "started in another browser")
		m.do(http.MethodPost, path, form.Encode())
		m.expect(http.StatusBadRequest, "started in another browser")
	}

	// Case 2: a browser without cookies: it keeps none, or has never been here. Nobody can tell, and the page does not.
	for accept, texts := range map[string][]string{
		"en": {"We do not recognise this browser", "Perhaps you started in another one, or this one did not keep our cookie."},
		"de": {"Wir erkennen diesen Browser nicht wieder", "Vielleicht hast du in einem anderen begonnen, oder dieser hat unser Cookie nicht behalten."},
	} {
		m := s.surfer(t)
		m.header.Set("Accept-Language", accept)
		m.get(path)
		m.expect(http.StatusBadRequest, texts...)
		m.do(http.MethodPost, path, form.Encode())
		m.expect(http.StatusBadRequest, texts...)
		m.do(http.MethodPost, "/login", form.Encode())
		m.expect(http.StatusBadRequest, texts...)
	}

	// Case 3: none of it changed anything.
	b.get(path)
	b.expect(http.StatusOK, "Allow Element")
}

func TestGHSAv2x6m99h_ConsentForAnotherPerson(t *testing.T) {
	s := newSite(t, authtest.Options{})
	s.MustAddUser(t, "alice")
	s.MustAddUser(t, "bob")
	c := s.client(t, store.Client{Name: "Element"})
	b := s.signedInSurfer(t, "alice")
	path := b.start(c, store.Grant{})
	b.get(path)
	_, form := b.form("allow")
	b.get(b.link("Not you?"))
	b.signIn("bob", authtest.Password)
	b.expect(http.StatusOK, "@bob:example.org")
	b.do(http.MethodPost, path, form.Encode())
	b.expect(http.StatusForbidden, "out of date", "Nothing was changed")
	b.get(path)
	b.expect(http.StatusOK, "Allow Element")
}

func TestRFC9700_LoginCSRF(t *testing.T) {
	s := newSite(t, authtest.Options{})
	s.MustAddUser(t, "mallory")
	attacker := s.surfer(t)
	attacker.get("/login")
	_, form := attacker.form("")
	form.Set("username", "mallory")
	form.Set("password", authtest.Password)

	// Case 1: the attacker's form in the victim's browser.
	b := s.surfer(t)
	b.get("/login")
	b.do(http.MethodPost, "/login", form.Encode())
	b.expect(http.StatusForbidden, "out of date")

	// Case 2: a form of one destination for another.
	_, form = b.form2("/login", "")
	form.Set("username", "mallory")
	form.Set("password", authtest.Password)
	b.do(http.MethodPost, "/login?kind=cross_signing_reset", form.Encode())
	b.expect(http.StatusForbidden, "out of date")

	// Case 3: what the browser says about who sent it.
	for _, h := range []http.Header{
		{"Sec-Fetch-Site": {"cross-site"}}, {"Sec-Fetch-Site": {"same-site"}}, {"Sec-Fetch-Site": {"none"}},
		{"Sec-Fetch-Site": {"same-origin"}, "Sec-Fetch-Mode": {"cors"}, "Sec-Fetch-Dest": {"empty"}},
		{"Origin": {"null"}}, {"Origin": {"https://evil.example"}}, {"Origin": {"http://auth.example.org"}},
	} {
		b.header = h
		b.do(http.MethodPost, "/login", form.Encode())
		b.expect(http.StatusForbidden)
	}
	b.header = http.Header{}
	if !b.cookie().Empty() {
		t.Error("somebody is signed in")
	}
	b.do(http.MethodPost, "/login", form.Encode())
	b.expect(http.StatusOK, "Your account")
}

// form2 opens a page and reads its form.
func (b *surfer) form2(target, decision string) (string, url.Values) {
	b.t.Helper()
	b.get(target)
	return b.form(decision)
}

const evil = `"><img src=x onerror=alert(1)>'</title><script>alert(1)</script>{{.}}&lt;b&gt;`

// TestCaddySecurity264_267_XSS: what others say is text, wherever it is shown.
func TestCaddySecurity264_267_XSS(t *testing.T) {
	s := newSite(t, authtest.Options{})
	s.MustAddUser(t, "alice")
	c := s.client(t, store.Client{
		Name: evil, URI: "https://e.example/" + evil, LogoURI: "https://e.example/" + evil, PolicyURI: "javascript:alert(1)//https://" + evil,
		TOSURI: "https://e.example/" + evil, Localized: map[string]string{"client_name#de": evil, "tos_uri#de": "javascript:alert(1)"},
		RedirectURIs: []string{"https://app.example.com/" + evil},
	})
	app := s.client(t, store.Client{Name: evil, RedirectURIs: []string{"com.example." + evil + ":/"}})
	b := s.surfer(t)
	for _, lang := range []string{"en", "de"} {
		b.header.Set("Accept-Language", lang)
		for _, c := range []auth.Client{c, app} {
			b.get(b.start(c, store.Grant{LoginHint: evil, State: evil, HasState: true}))
			b.harmless()
		}
	}
	b.header.Del("Accept-Language")
	b.signIn(evil, evil)
	b.expect(http.StatusUnprocessableEntity)
	b.harmless()
	if _, form := b.form(""); form.Get("username") != evil {
		t.Errorf("got %q, want what was typed", form.Get("username"))
	}
	b.signIn("alice", authtest.Password)
	b.expect(http.StatusOK, "Allow", "alert(1)")
	b.harmless()
	b.get(b.start(c, store.Grant{State: evil, HasState: true, ResponseMode: "form_post"}))
	b.press("allow", nil)
	b.harmless()
	for _, target := range []string{
		"/link?code=" + url.QueryEscape(evil), "/login?kind=" + url.QueryEscape(evil), "/login?kind=session_view&id=" + url.QueryEscape(evil),
		"/account/?action=" + url.QueryEscape(evil) + "&device_id=" + url.QueryEscape(evil), "/account/?notice=" + url.QueryEscape(evil),
		"/account/?ui_locales=" + url.QueryEscape(evil), "/consent/" + url.PathEscape(evil), "/device/" + url.PathEscape(evil),
		"/account/" + url.PathEscape(evil), "/account/?from=" + url.QueryEscape(evil),
	} {
		b.get(target)
		b.harmless()
	}
	d, _, err := s.StartDeviceGrant(t.Context(), auth.StartDeviceParams{ClientID: c.ID, Scope: matrixScope, From: auth.From{Addr: authtest.Addr, UserAgent: evil}})
	if err != nil {
		t.Fatal(err)
	}
	b.get("/link")
	b.press("", url.Values{"code": {evil}})
	b.harmless()
	b.press("", url.Values{"code": {d.UserCode}})
	b.expect(http.StatusOK, "Sign another device in?", "alert(1)")
	b.harmless()

	// On the account page, the program that somebody let in; and on the pages about it.
	b.approved(s.client(t, store.Client{Name: evil}))
	other := s.signedInSurfer(t, "alice")
	for _, target := range []string{"/account/", "/account/end-others", "/account/?action=session_view&device_id=KFJWQZNB", "/account/?action=session_end&device_id=KFJWQZNB"} {
		other.get(target)
		other.expect(http.StatusOK, "alert(1)")
		other.harmless()
	}
	other.get(other.start(s.client(t, store.Client{Name: "Another"}), store.Grant{}))
	other.expect(http.StatusOK, "This ends the session", "alert(1)")
	other.harmless()
}

// TestRauthy007_LogosAreNotShown: a picture that a client names is on no page, whoever it is of.
func TestRauthy007_LogosAreNotShown(t *testing.T) {
	s := newSite(t, authtest.Options{})
	s.MustAddUser(t, "alice")
	c := s.client(t, store.Client{Name: "App", URI: "https://app.example.com/", LogoURI: "https://app.example.com/logo.svg", Localized: map[string]string{"logo_uri#en": "https://app.example.com/en.svg"}})
	b := s.surfer(t)
	show := func() {
		t.Helper()
		if b.status != http.StatusOK || strings.Contains(b.body, "app.example.com/logo") || strings.Contains(b.body, "en.svg") {
			t.Errorf("%s: got %d: %s", b.at, b.status, b.body)
		}
	}
	b.get(b.start(c, store.Grant{}))
	show()
	b.signIn("alice", authtest.Password)
	show()
	b.approved(c)
	b.get("/account/")
	show()
}

// TestGHSAhgx228f8_CraftedCursors: where a list goes on is a number of one's own sessions, whatever the link says.
func TestGHSAhgx228f8_CraftedCursors(t *testing.T) {
	s := newSite(t, authtest.Options{})
	s.MustAddUser(t, "alice")
	s.MustAddUser(t, "bob")
	own, others := s.MustLogin(t, "alice", "ALICES").SessionID.String(), s.MustLogin(t, "bob", "BOBS").SessionID.String()
	b := s.signedInSurfer(t, "alice")
	if b.get("/account/"); !strings.Contains(b.body, own) || strings.Contains(b.body, others) {
		t.Fatalf("got %s", b.body)
	}
	for _, from := range []string{"-1", "1", "2", "99999999999999999999", "9223372036854775807", "-9223372036854775808", "0x1", "' OR 1=1 --", "%00", "s%00", "%ff"} {
		b.get("/account/?from=" + from)
		if b.status >= 500 || strings.Contains(b.body, others) {
			t.Errorf("from=%s: got %d: %s", from, b.status, b.text())
		}
	}
}

// harmless makes sure that the page runs nothing but our script, and leads to nothing that runs.
func (b *surfer) harmless() {
	b.t.Helper()
	for n := range b.page.Descendants() {
		if n.Type != html.ElementNode {
			continue
		}
		switch {
		case n.Data == "img", n.Data == "style", n.Data == "b", n.Data == "script" && !strings.HasPrefix(attr(n, "src"), "/assets/continue."):
			b.t.Errorf("%s: a %s", b.at, n.Data)
		}
		for _, a := range n.Attr {
			if strings.HasPrefix(a.Key, "on") || a.Key == "style" || strings.HasPrefix(strings.TrimSpace(strings.ToLower(a.Val)), "javascript:") {
				b.t.Errorf("%s: %s %s=%q", b.at, n.Data, a.Key, a.Val)
			}
		}
	}
	if strings.Contains(b.body, "ZgotmplZ") {
		b.t.Errorf("%s: a value that the template refused", b.at)
	}
}

func TestAUZ19_AUZ21_RFC9700_ClickjackingHeaders(t *testing.T) {
	s := newSite(t, authtest.Options{})
	s.MustAddUser(t, "alice")
	b := s.signedInSurfer(t, "alice")
	c := s.client(t, store.Client{Name: "Element"})
	for _, target := range []string{
		"/login?other=1", "/logout", b.start(c, store.Grant{}), "/link", "/device/01JD9K7W3QAAAAAAAAAAAAAAAA", "/account/", "/account/reset",
		"/account/end-others", "/account/nowhere", "/",
	} {
		b.once(http.MethodGet, target, "")
		for name, want := range map[string]string{
			"X-Frame-Options": "DENY", "Referrer-Policy": "same-origin", "Cache-Control": "no-store", "X-Content-Type-Options": "nosniff",
		} {
			if got := b.head.Get(name); got != want {
				t.Errorf("%s: %s: got %q, want %q", target, name, got, want)
			}
		}
		policy := b.head.Get("Content-Security-Policy")
		if !strings.Contains(policy, "frame-ancestors 'none'") || !strings.Contains(policy, "default-src 'none'") ||
			strings.Contains(policy, "unsafe") || strings.Contains(policy, "script-src") {
			t.Errorf("%s: got %s", target, policy)
		}
		if b.head.Get("Access-Control-Allow-Origin") != "" {
			t.Errorf("%s: CORS", target)
		}
	}
}

// TestCaddySecurity268_OpenRedirect: no parameter of a sign-in names an address.
func TestCaddySecurity268_OpenRedirect(t *testing.T) {
	s := newSite(t, authtest.Options{})
	s.MustAddUser(t, "alice")
	for _, target := range []string{"https://evil.example/", "//evil.example", "/\\evil.example", "../evil"} {
		q := url.QueryEscape(target)
		for _, query := range []string{
			"kind=" + q, "kind=consent&id=" + q, "kind=device&id=" + q, "kind=session_view&id=" + q, "kind=account&id=" + q,
			"next=" + q, "redirect=" + q, "return_to=" + q, "post_auth_action=" + q, "kind=account&other=" + q, "ui_locales=" + q, "redirect_uri=" + q,
		} {
			b := s.surfer(t)
			b.once(http.MethodGet, "/login?"+query, "")
			if b.status != http.StatusOK {
				continue // refused
			}
			_, form := b.form("")
			form.Set("username", "alice")
			form.Set("password", authtest.Password)
			b.once(http.MethodPost, "/login?"+query, form.Encode())
			u, err := url.Parse(b.head.Get("Location"))
			if err != nil || u.Scheme != "https" || u.Host != "auth.example.org" || !strings.HasPrefix(u.Path, "/account/") {
				t.Errorf("%s: sent to %q", query, b.head.Get("Location"))
			}
		}
	}
	// The account's own redirects and the one to the issuer's host.
	b := s.signedInSurfer(t, "alice")
	for _, target := range []string{"/account?//evil.example", "/account/?signed_in=1&x=//evil.example", "/account/?action=session_view&device_id=//evil.example"} {
		b.once(http.MethodGet, target, "")
		if u, err := url.Parse(b.head.Get("Location")); err != nil || u.Host != "auth.example.org" && u.Host != "" {
			t.Errorf("%s: sent to %q", target, b.head.Get("Location"))
		}
	}
}

// A client whose redirect URIs change while its request is at our pages gets no answer at the old one: whoever has it now.
func TestRFC9700_NoAnswerToARedirectURIThatWasTakenOut(t *testing.T) {
	s := newSite(t, authtest.Options{})
	s.MustAddUser(t, "alice")
	configured := auth.Client{Static: true, Client: store.Client{ID: "site", AuthMethod: "none", RedirectURIs: []string{"https://old.example.com/cb"}}}
	claim := func() {
		set := s.Settings
		set.Clients = map[string]auth.Client{configured.ID: configured}
		s.Claim(set)
	}
	claim()
	b := s.signedInSurfer(t, "alice")
	shown := b.start(configured, store.Grant{Scope: []string{"openid"}})
	b.get(shown)
	_, allow := b.form("allow")
	_, cancel := b.form("cancel")
	configured.RedirectURIs = []string{"https://new.example.com/cb"}
	claim()
	for what, form := range map[string]string{"allow": allow.Encode(), "cancel": cancel.Encode()} {
		b.do(http.MethodPost, shown, form)
		if b.head.Get("Location") != "" {
			t.Errorf("%s: sent to %s", what, b.head.Get("Location"))
		}
		b.expect(http.StatusBadRequest, "leads somewhere else")
	}
	s.Clock.Advance(11 * time.Minute) // Nor is it a way back from a request that has expired.
	b.get(shown)
	b.expect(http.StatusBadRequest, "leads somewhere else")
	if strings.Contains(b.body, "old.example.com") {
		t.Error("the page names it")
	}
}

// The fragment of a link to us goes no further than our answer, whichever it is: a browser carries it over every redirect and
// form on the way (Fetch Standard, "location URL"), and the client would read it as ours.
func TestMAS6a99e56c8_AFragmentEndsAtTheAnswer(t *testing.T) {
	s := newSite(t, authtest.Options{})
	s.MustAddUser(t, "alice")
	for _, mode := range []string{"query", "fragment"} {
		c := s.client(t, store.Client{Name: mode})
		for name, act := range map[string]func(b *surfer){
			"allowed":    func(b *surfer) { b.signIn("alice", authtest.Password); b.press("allow", nil) },
			"canceled":   func(b *surfer) { b.press("cancel", nil) },
			"said again": func(b *surfer) { b.press("cancel", nil); b.get(b.at.Path); b.press("cancel", nil) },
			"without asking": func(b *surfer) {
				b.signIn("alice", authtest.Password)
				b.press("allow", nil)
				b.get(b.start(c, store.Grant{ResponseMode: mode, Scope: []string{"openid"}, Prompt: []string{"none"}}))
			},
		} {
			b := s.surfer(t)
			b.get(b.start(c, store.Grant{ResponseMode: mode, Scope: []string{"openid"}, Prompt: []string{"consent"}}))
			act(b)
			location := b.head.Get("Location")
			if _, fragment, found := strings.Cut(location, "#"); b.status != http.StatusSeeOther || !found || (fragment == "") != (mode == "query") {
				t.Errorf("%s, %s: got %d to %q, where a browser adds the fragment it came with", mode, name, b.status, location)
			}
		}
	}
}

func TestCaddySecurity272_CookieOfAnEndedSignIn(t *testing.T) {
	s := newSite(t, authtest.Options{})
	s.MustAddUser(t, "alice")
	b := s.signedInSurfer(t, "alice")
	c := s.client(t, store.Client{Name: "Element"})
	stolen := *b
	path := b.start(c, store.Grant{})
	b.get(path)
	target, form := b.form("allow")

	// Case 1: signed out. The thief has copied the cookies.
	kept := b.jar.Cookies(b.at)
	b.get("/logout")
	b.press("", nil)
	b.expect(http.StatusOK, "You are signed out", "Your programs stay signed in")
	stolen.jar = mustJar(t)
	stolen.jar.SetCookies(b.at, kept)
	stolen.do(http.MethodPost, target, form.Encode())
	stolen.expect(http.StatusOK, "Sign in")
	stolen.get("/account/")
	stolen.expect(http.StatusOK, "Sign in")

	// Case 2: the browser that signed out is another one now (oauth: replaced at sign-out).
	b.get(path)
	b.expect(http.StatusBadRequest, "started in another browser")

	// Case 3: locked: as if nobody was signed in; signing in says why.
	b = s.signedInSurfer(t, "alice")
	if err := s.Lock(t.Context(), "alice"); err != nil {
		t.Fatal(err)
	}
	b.get("/account/")
	b.expect(http.StatusOK, "Sign in")
	b.signIn("alice", authtest.Password)
	b.expect(http.StatusForbidden, "This account is locked")

	// Case 4: unlocked, it is 30 days without use.
	if err := s.Unlock(t.Context(), "alice"); err != nil {
		t.Fatal(err)
	}
	b.get("/account/")
	b.expect(http.StatusOK, "Your account")
	s.Clock.Advance(31 * 24 * time.Hour)
	b.get("/account/")
	b.expect(http.StatusOK, "Sign in")
}

// TestCookiesAreKeptOrSaidSo: a browser that loses a cookie on the way sees a page, not a loop.
func TestCookiesAreKeptOrSaidSo(t *testing.T) {
	s := newSite(t, authtest.Options{})
	s.MustAddUser(t, "alice")
	b := s.surfer(t)
	c := s.client(t, store.Client{Name: "Element"})
	path := b.start(c, store.Grant{})
	b.get(path)
	_, form := b.form("")
	form.Set("username", "alice")
	form.Set("password", authtest.Password)
	login := b.at.String()
	b.once(http.MethodPost, login, form.Encode())
	next := b.head.Get("Location")
	b.forgetSession()
	b.get(next)
	b.expect(http.StatusBadRequest, "did not keep our cookie")
}

func TestOnlyOnTheIssuersHost(t *testing.T) {
	s := newSite(t, authtest.Options{})
	for _, host := range []string{"example.org", "evil.example", "auth.example.org.evil.example", "auth.example.org:8443", "app.example.com"} {
		for _, forwarded := range []string{"", "auth.example.org"} {
			r := httptest.NewRequest(http.MethodGet, "https://"+host+"/login?kind=account&x=%2F", nil)
			r.Header.Set("X-Forwarded-Host", forwarded)
			w := httptest.NewRecorder()
			s.Handler.ServeEndpoint(w, r, signInEndpoint)
			if w.Code != http.StatusSeeOther || w.Header().Get("Location") != issuer+"/login?kind=account&x=%2F" || len(w.Result().Cookies()) > 0 {
				t.Errorf("%s: got %d to %q", host, w.Code, w.Header().Get("Location"))
			}
			w = httptest.NewRecorder()
			r.Method = http.MethodPost
			s.Handler.ServeEndpoint(w, r, signInEndpoint)
			if w.Code != http.StatusNotFound {
				t.Errorf("%s: a post got %d", host, w.Code)
			}
		}
	}
	for _, host := range []string{"auth.example.org", "AUTH.example.org:443"} {
		w := httptest.NewRecorder()
		s.Handler.ServeEndpoint(w, httptest.NewRequest(http.MethodGet, "https://"+host+"/login", nil), signInEndpoint)
		if w.Code != http.StatusOK {
			t.Errorf("%s: got %d", host, w.Code)
		}
	}
}

func TestForms(t *testing.T) {
	s := newSite(t, authtest.Options{})
	s.MustAddUser(t, "alice")
	b := s.surfer(t)
	_, form := b.form2("/login", "")
	form.Set("username", "alice")
	form.Set("password", authtest.Password)
	good := form.Encode()
	for name, c := range map[string]struct {
		body   string
		status int
	}{
		"repeated":        {good + "&username=bob", http.StatusBadRequest},
		"too large":       {good + "&x=" + strings.Repeat("x", 64<<10), http.StatusRequestEntityTooLarge},
		"NUL":             {good + "&x=%00", http.StatusBadRequest},
		"invalid UTF-8":   {good + "&x=%ff", http.StatusBadRequest},
		"broken escape":   {good + "&x=%zz", http.StatusBadRequest},
		"semicolon":       {good + ";x=1", http.StatusBadRequest},
		"no proof":        {"username=alice&password=x", http.StatusForbidden},
		"proof of length": {"proof=" + strings.Repeat("A", 86), http.StatusForbidden},
	} {
		b.do(http.MethodPost, "/login", c.body)
		if b.status != c.status {
			t.Errorf("%s: got %d, want %d", name, b.status, c.status)
		}
	}
	b.header.Set("Content-Type", "text/plain")
	b.do(http.MethodPost, "/login", good)
	b.expect(http.StatusBadRequest)
	b.header.Set("Content-Type", "application/x-www-form-urlencoded; charset=utf-8")
	b.once(http.MethodGet, "/login?kind=account&kind=device", "")
	b.expect(http.StatusBadRequest)
	b.header.Set("Early-Data", "1")
	b.do(http.MethodPost, "/login", good)
	b.expect(http.StatusTooEarly)
	b.header.Del("Early-Data")
	b.once(http.MethodPut, "/login", good)
	if b.status != http.StatusMethodNotAllowed || b.head.Get("Allow") != "GET, HEAD, POST" {
		t.Errorf("PUT: got %d", b.status)
	}
	b.do(http.MethodPost, "/login", good)
	b.expect(http.StatusOK, "Your account")
}
