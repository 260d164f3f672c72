package web

import (
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/caddy-matrix/caddy-matrix-auth/internal/auth"
	"github.com/caddy-matrix/caddy-matrix-auth/internal/authtest"
	"github.com/caddy-matrix/caddy-matrix-auth/internal/token"
	"github.com/caddy-matrix/caddy-matrix-auth/store"
)

func TestAccountLists(t *testing.T) {
	s := newSite(t, authtest.Options{})
	s.MustAddUser(t, "alice")
	s.MustLogin(t, "alice", "PHONE")
	s.Clock.Advance(3 * time.Hour)
	b := s.signedInSurfer(t, "alice")
	b.get("/account")
	b.expect(http.StatusOK, "@alice:example.org", "Device PHONE", "3 hours ago", "since 2 January", "End all other sessions", "Encryption identity")
	if b.at.Path != "/account/" {
		t.Errorf("got %s", b.at)
	}
	b.get("/")
	b.expect(http.StatusOK, "Your account")
}

func TestACC05_EndOne(t *testing.T) {
	s := newSite(t, authtest.Options{})
	s.MustAddUser(t, "alice")
	s.MustAddUser(t, "mallory")
	phone, desk := s.MustLogin(t, "alice", "PHONE"), s.MustLogin(t, "alice", "DESK")
	b := s.signedInSurfer(t, "alice")

	// Case 1: GET asks.
	b.get("/account/?action=org.matrix.device_delete&device_id=PHONE")
	b.expect(http.StatusOK, "End this session?", "PHONE", "are lost with it")
	page := b.at.String()
	if v := s.MustVerdict(t, phone.AccessToken); v != auth.Active {
		t.Fatalf("got %v after GET", v)
	}

	// Case 2: somebody else's form and session.
	m := s.signedInSurfer(t, "mallory")
	m.get(page)
	m.expect(http.StatusOK, "does not exist")
	_, form := b.form("")
	m.do(http.MethodPost, page, form.Encode())
	m.expect(http.StatusForbidden)

	// Case 3: POST ends it, twice is harmless.
	for range 2 {
		b.do(http.MethodPost, page, form.Encode())
		b.expect(http.StatusOK, "The session has ended")
	}
	if v := s.MustVerdict(t, phone.AccessToken); v != auth.Unknown {
		t.Errorf("got %v, want the end", v)
	}
	if v := s.MustVerdict(t, desk.AccessToken); v != auth.Active {
		t.Errorf("the other session: got %v", v)
	}
	b.get(page)
	b.expect(http.StatusOK, "does not exist, or has ended already")
}

// TestEndingAWebsitesSessionTakesTheConsentBack: "You can end this at any time under your sessions" is true of websites, too,
// which need not ask again.
func TestEndingAWebsitesSessionTakesTheConsentBack(t *testing.T) {
	s := newSite(t, authtest.Options{Settings: func(set *auth.Settings) { set.AccessTTL = 5 * time.Minute }})
	s.MustAddUser(t, "alice")
	website := s.client(t, store.Client{Name: "Website"})
	scope := []string{"openid"}
	b := s.signedInSurfer(t, "alice")
	for _, one := range []bool{true, false} {
		b.approvedScope(website, scope)
		b.get(b.start(website, store.Grant{Scope: scope}))
		b.away(website.RedirectURIs[0])
		other := s.signedInSurfer(t, "alice")
		other.get("/account/")
		if one {
			other.get(other.link("End"))
		} else {
			other.get("/account/end-others")
		}
		other.press("", nil)
		b = s.signedInSurfer(t, "alice")
		b.get(b.start(website, store.Grant{Scope: scope}))
		b.expect(http.StatusOK, "Allow Website")
	}
}

// TestEndOthers_Remembered: a website whose session is over, but which need not ask, is something to end.
func TestEndOthers_Remembered(t *testing.T) {
	s := newSite(t, authtest.Options{Settings: func(set *auth.Settings) { set.AccessTTL = 5 * time.Minute }})
	s.MustAddUser(t, "alice")
	website := s.client(t, store.Client{Name: "Website"})
	scope := []string{"openid"}
	b := s.signedInSurfer(t, "alice")
	at := b.approvedScope(website, scope)
	if err := s.Revoke(t.Context(), at.Reveal(), auth.From{}); err != nil {
		t.Fatal(err)
	}
	b.get("/account/")
	b.get(b.link("End all other sessions…"))
	b.expect(http.StatusOK, "End all other sessions?", "Every website that signs you in without asking will ask you again")
	if strings.Contains(b.text(), "other browser") {
		t.Error("tells of browsers, and there is none")
	}
	b.press("", nil)
	b.expect(http.StatusOK, "All other sessions have ended")
	b.get("/account/end-others")
	b.expect(http.StatusOK, "there is nothing to end")
	b.get(b.start(website, store.Grant{Scope: scope}))
	b.expect(http.StatusOK, "Allow Website")
}

func TestEndOthers(t *testing.T) {
	s := newSite(t, authtest.Options{Settings: func(set *auth.Settings) { set.AccessTTL = 5 * time.Minute }})
	s.MustAddUser(t, "alice")
	b, other := s.signedInSurfer(t, "alice"), s.signedInSurfer(t, "alice")
	phone := s.MustLogin(t, "alice", "PHONE")
	here := b.approved(s.client(t, store.Client{Name: "Element"}))
	b.get("/account/")
	b.expect(http.StatusOK, "This browser")
	b.get("/account/end-others")
	b.expect(http.StatusOK, "End all other sessions?", "PHONE", "every other browser")
	if strings.Contains(b.text(), "Element") {
		t.Error("the session of this browser is listed")
	}
	b.press("", nil)
	b.expect(http.StatusOK, "All other sessions have ended", "Element")
	if v := s.MustVerdict(t, phone.AccessToken); v != auth.Unknown {
		t.Errorf("the phone: got %v", v)
	}
	if v := s.MustVerdict(t, here); v != auth.Active {
		t.Errorf("this browser's: got %v", v)
	}
	other.get("/account/")
	other.expect(http.StatusOK, "Sign in")
}

// TestEndOthers_Browsers: browsers that are signed in are something to end, and nothing else is.
func TestEndOthers_Browsers(t *testing.T) {
	s := newSite(t, authtest.Options{})
	s.MustAddUser(t, "alice")
	b := s.signedInSurfer(t, "alice")
	here := b.approved(s.client(t, store.Client{Name: "Element"}))

	// Case 1: nothing but this browser and what it approved.
	b.get("/account/")
	if strings.Contains(b.body, "/account/end-others") {
		t.Error("there is nothing to end, and a link to it")
	}
	b.get("/account/end-others")
	b.expect(http.StatusOK, "You are signed in nowhere else", "there is nothing to end", "Your sessions")
	for range b.all("form") {
		t.Error("there is nothing to end, and a button")
	}

	// Case 2: other browsers, the last used first.
	chrome, fox := s.surfer(t), s.surfer(t)
	chrome.header.Set("User-Agent", "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/150.0.0.0 Safari/537.36")
	fox.header.Set("User-Agent", "Mozilla/5.0 (Windows NT 10.0; rv:150.0) Gecko/20100101 Firefox/150.0")
	for _, other := range []*surfer{chrome, fox} {
		s.Clock.Advance(time.Hour)
		other.get("/login")
		other.signIn("alice", authtest.Password)
	}
	b.get("/account/")
	b.get(b.link("End all other sessions…"))
	b.expect(http.StatusOK, "End all other sessions?", "You will be signed out of these pages in every other browser. Your programs stay signed in", "Firefox, Windows These pages onlyjust now · 192.0.2.1", "Chrome, Linux These pages onlyan hour ago")
	if strings.Index(b.text(), "Firefox") > strings.Index(b.text(), "Chrome") {
		t.Error("the last used is not the first")
	}
	b.press("", nil)
	b.expect(http.StatusOK, "All other sessions have ended", "Element")
	fox.get("/account/")
	fox.expect(http.StatusOK, "Sign in")
	if v := s.MustVerdict(t, here); v != auth.Active {
		t.Errorf("this browser's: got %v", v)
	}

	// Case 3: programs and browsers.
	fox.signIn("alice", authtest.Password)
	s.MustLogin(t, "alice", "PHONE")
	b.get("/account/end-others")
	b.expect(http.StatusOK, "programs are signed out at once, and you are signed out of these pages", "Device PHONE", "Firefox, Windows These pages")

	// Case 4: more than fit on a page.
	for range perPage {
		s.signedInSurfer(t, "alice")
	}
	b.get("/account/end-others")
	b.expect(http.StatusOK, "And 2 more")
	if len(b.body) > 30_000 {
		t.Errorf("got %d bytes", len(b.body))
	}
	s.Clock.Advance(31 * 24 * time.Hour) // All sign-ins are over, this browser's too.
	b.get("/account/")
	b.signIn("alice", authtest.Password)
	b.get("/account/end-others")
	b.expect(http.StatusOK, "Device PHONE")
	if strings.Contains(b.text(), "These pages") {
		t.Error("lists sign-ins that are over")
	}
}

// approved signs a program in through the pages and returns its access token.
func (b *surfer) approved(c auth.Client) token.Secret { return b.approvedScope(c, matrixScope) }

func (b *surfer) approvedScope(c auth.Client, scope []string) token.Secret {
	b.t.Helper()
	const verifier = "a-verifier-of-forty-three-characters-or-more-43"
	g := store.Grant{
		ClientID: c.ID, Browser: b.secret().Digest(), RedirectURI: c.RedirectURIs[0], Scope: scope,
		Challenge: s256(verifier),
	}
	g, err := b.site.StartGrant(b.t.Context(), g, auth.From{Addr: authtest.Addr})
	if err != nil {
		b.t.Fatal(err)
	}
	b.get("/consent/" + g.ID.String())
	b.press("allow", nil)
	code := b.away(c.RedirectURIs[0]).Get("code")
	out, err := b.site.Redeem(b.t.Context(), auth.RedeemParams{
		Code: token.NewSecret(code), ClientID: c.ID, RedirectURI: g.RedirectURI, Verifier: verifier, Arrived: b.site.Kit.Now(),
		From: auth.From{Addr: authtest.Addr},
	})
	if err != nil {
		b.t.Fatal(err)
	}
	return out.AccessToken
}

// TestACC02_ACC03_ACC04_ACC07_Actions: ACC-02, ACC-03, ACC-04, ACC-07.
func TestACC02_ACC03_ACC04_ACC07_Actions(t *testing.T) {
	s := newSite(t, authtest.Options{})
	s.MustAddUser(t, "alice")
	s.MustLogin(t, "alice", "PHONE")
	for query, want := range map[string]string{
		"action=org.matrix.devices_list": "Your account", "action=sessions_list": "Your account", "action=org.matrix.sessions_list": "Your account",
		"action=org.matrix.device_view&device_id=PHONE":          "One of your sessions",
		"action=session_view&device_id=PHONE":                    "One of your sessions",
		"action=org.matrix.device_delete&device_id=PHONE":        "End this session?",
		"action=org.matrix.session_end&device_id=PHONE":          "End this session?",
		"action=session_end&device_id=PHONE&id_token_hint=x.y.z": "End this session?",
		"action=org.matrix.cross_signing_reset":                  "Reset your encryption identity?",
		"action=org.matrix.profile":                              "Your account",
		"action=nonsense":                                        "Your account",
		"action=session_view":                                    "Your account",
		"action=session_view&device_id=GONE":                     "Your account",
		"":                                                       "Your account",
	} {
		in := s.signedInSurfer(t, "alice")
		in.get("/account/?" + query)
		if in.status != http.StatusOK || in.title() != want {
			t.Errorf("signed in, %s: got %d %q, want %q", query, in.status, in.title(), want)
		}
		out := s.surfer(t)
		out.get("/account/?" + query)
		out.expect(http.StatusOK, "Sign in")
		out.signIn("alice", authtest.Password)
		if out.status != http.StatusOK || out.title() != want {
			t.Errorf("after signing in, %s: got %d %q, want %q", query, out.status, out.title(), want)
		}
	}
	b := s.signedInSurfer(t, "alice")
	for _, device := range []string{"&device_id=GONE", "", "&device_id=", "&device_id=%07", "&device_id=" + strings.Repeat("x", 256)} {
		for _, action := range []string{"org.matrix.device_view", "session_end"} {
			b.get("/account/?action=" + action + device)
			b.expect(http.StatusOK, "Your account", "That session does not exist")
			out := s.surfer(t)
			out.get("/account/?action=" + action + device)
			out.signIn("alice", authtest.Password)
			out.expect(http.StatusOK, "That session does not exist")
		}
	}
}

// TestACC02_UnknownParameters: whatever they are, they change nothing; those that we know are read strictly.
func TestACC02_UnknownParameters(t *testing.T) {
	s := newSite(t, authtest.Options{})
	s.MustAddUser(t, "alice")
	s.MustLogin(t, "alice", "PHONE")
	b := s.signedInSurfer(t, "alice")
	for _, unknown := range []string{"x=1&x=2", "x=%ff", "%ff=x", "x=%zz", "x=1;y=2", "x=%00", "id_token_hint=" + strings.Repeat("x", 8000)} {
		for _, query := range []string{unknown + "&action=device_view&device_id=PHONE", "action=device_view&device_id=PHONE&" + unknown} {
			b.get("/account/?" + query)
			if b.title() != "One of your sessions" {
				t.Errorf("%.60s: got %d %q", query, b.status, b.title())
			}
		}
	}
	for _, known := range []string{"device_id=PHONE&device_id=DESK", "device_id=%00", "ui_locales=%ff"} {
		b.get("/account/?action=device_view&" + known)
		b.expect(http.StatusBadRequest, "This link is broken")
	}
}

func TestACC08_CrossSigningReset(t *testing.T) {
	s := newSite(t, authtest.Options{})
	s.MustAddUser(t, "alice")
	b := s.signedInSurfer(t, "alice")
	allowed := func() bool { u, _ := s.Synapse.User("alice"); return u.CrossSigningReset }
	b.get("/account/?action=org.matrix.cross_signing_reset")
	b.press("", url.Values{"password": {"wrong"}})
	b.expect(http.StatusUnprocessableEntity, "That is not your password")
	if allowed() {
		t.Error("allowed without the password")
	}
	s.Synapse.Fail(authtest.Down)
	b.press("", url.Values{"password": {authtest.Password}})
	b.expect(http.StatusServiceUnavailable, "it is not known whether it allows the reset") // It may have, and its answer got lost.
	s.Synapse.Heal()
	b.press("", url.Values{"password": {authtest.Password}})
	b.expect(http.StatusOK, "within 10 minutes")
	if !allowed() {
		t.Error("not allowed")
	}
}

func TestRateLimitedSignInSaysWhen(t *testing.T) {
	s := newSite(t, authtest.Options{Settings: func(set *auth.Settings) { set.LoginLimit = auth.Limit{Burst: 2, Window: 10 * time.Minute} }})
	s.MustAddUser(t, "alice")
	b := s.surfer(t)
	b.get("/login")
	b.signIn("alice", "1")
	b.signIn("Alice", "2")
	b.signIn("@ALICE:example.org", authtest.Password)
	b.expect(http.StatusTooManyRequests, "Try again in 5 minutes")
	if b.head.Get("Retry-After") != "300" {
		t.Errorf("got %q", b.head.Get("Retry-After"))
	}
	b.signIn("@alice:elsewhere.example", "x")
	b.expect(http.StatusUnprocessableEntity, "on another server")
}

func TestExpiredRequest(t *testing.T) {
	s := newSite(t, authtest.Options{})
	s.MustAddUser(t, "alice")
	b := s.signedInSurfer(t, "alice")
	for _, c := range []struct {
		client store.Client
		button string // that leads on
		url    string
		text   string
	}{
		{store.Client{Name: "Element"}, "Go back to Element (app.example.com)", "https://app.example.com/", "Go back to Element and start again"},
		{store.Client{}, "Go back to app.example.com", "https://app.example.com/", "Go back to app.example.com and start again"},
		{store.Client{Name: "App", RedirectURIs: []string{"com.example.app:/"}}, "Your account", "/account/", "Go back to App and start again"},
	} {
		path := b.start(s.client(t, c.client), store.Grant{})
		b.get(path)
		_, form := b.form("allow")
		s.Clock.Advance(11 * time.Minute)
		b.do(http.MethodPost, path, form.Encode())
		b.expect(http.StatusGone, "This link has expired", "Reference", c.text)
		if got := b.link(c.button); got != c.url {
			t.Errorf("%s leads to %s, want %s", c.button, got, c.url)
		}
		stranger := s.surfer(t)
		stranger.get("/login")
		stranger.get(path)
		stranger.expect(http.StatusBadRequest, "started in another browser")
		if got := stranger.link("Your account"); got != "/account/" || strings.Contains(stranger.body, "example.com") {
			t.Errorf("another browser is led to %s: %s", got, stranger.text())
		}
	}
	b.get("/consent/01JD9K7W3QAAAAAAAAAAAAAAAA")
	b.expect(http.StatusNotFound, "This link has expired", "Go back to the program or device")
	b.get("/device/01JD9K7W3QAAAAAAAAAAAAAAAA")
	b.expect(http.StatusNotFound, "This link has expired")
	if got := b.link("Enter another code"); got != "/link" {
		t.Errorf("got %s", got)
	}
}

func TestManySessionsFitOnPages(t *testing.T) {
	s := newSite(t, authtest.Options{})
	s.MustAddUser(t, "alice")
	for range 60 {
		s.MustLogin(t, "alice", "")
	}
	b := s.signedInSurfer(t, "alice")
	count := 0
	for range 3 {
		if len(b.body) > 30_000 {
			t.Errorf("%s has %d bytes", b.at, len(b.body))
		}
		for range b.all("li") {
			count++
		}
		if !strings.Contains(b.body, "Older sessions") {
			break
		}
		b.get(b.link("Older sessions"))
	}
	if count != 60 {
		t.Errorf("got %d sessions", count)
	}
	b.get("/account/end-others")
	b.expect(http.StatusOK, "And 35 more")
}

// TestAuditHasWhoDecidedAndWhere: what a person does at our pages is in the audit log, with the browser's address.
func TestAuditHasWhoDecidedAndWhere(t *testing.T) {
	s := newSite(t, authtest.Options{})
	s.MustAddUser(t, "alice")
	c := s.client(t, store.Client{Name: "Element"})
	b := s.signedInSurfer(t, "alice")
	for _, answer := range []string{"allow", "cancel"} {
		b.get(b.start(c, store.Grant{}))
		b.press(answer, nil)
		d, _ := s.deviceGrant(t, c)
		b.get("/link?code=" + d.UserCode)
		b.press("", nil)
		b.press(answer, url.Values{"mine": {"yes"}})
	}
	b.get("/logout")
	b.press("", nil)
	var told []string
	for _, e := range s.Events("grant_approved", "grant_denied", "signed_out") {
		if e.UserID != "@alice:example.org" || e.Addr != authtest.Addr {
			t.Errorf("got %+v", e)
		}
		told = append(told, e.Name+" "+e.Grant)
	}
	want := []string{
		"grant_approved authorization_code", "grant_approved device_code", "grant_denied authorization_code", "grant_denied device_code", "signed_out ",
	}
	if !slices.Equal(told, want) {
		t.Errorf("got %q, want %q", told, want)
	}
}
