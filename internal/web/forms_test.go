package web

import (
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/caddy-matrix/caddy-matrix-auth/internal/auth"
	"github.com/caddy-matrix/caddy-matrix-auth/internal/authtest"
	"github.com/caddy-matrix/caddy-matrix-auth/store"
)

// sent is a form as a browser would send it.
type sent struct {
	target string
	fields url.Values
}

// everyForm opens each page with a form and fills it in.
func everyForm(b *surfer, grant, device string) map[string]sent {
	b.t.Helper()
	forms := make(map[string]sent)
	for name, f := range map[string]struct {
		page, decision string
		typed          url.Values
	}{
		"sign in":           {"/login?other=1", "", url.Values{"username": {"alice"}, "password": {authtest.Password}}},
		"allow":             {grant, "allow", nil},
		"cancel":            {grant, "cancel", nil},
		"cancel at sign-in": {"/login?other=1&kind=consent&id=" + strings.TrimPrefix(grant, "/consent/"), "cancel", nil},
		"link":              {"/link", "", url.Values{"code": {"BCDFGHJK"}}},
		"device":            {device, "allow", url.Values{"mine": {"yes"}}},
		"sign out":          {"/logout", "", nil},
		"end":               {"/account/?action=session_end&device_id=PHONE", "", nil},
		"end others":        {"/account/end-others", "", nil},
		"reset":             {"/account/reset", "", url.Values{"password": {authtest.Password}}},
	} {
		b.get(f.page)
		target, fields := b.form(f.decision)
		maps.Copy(fields, f.typed)
		forms[name] = sent{target, fields}
	}
	return forms
}

// claim enters a user code and returns the page of its device.
func (b *surfer) claim(d store.DeviceGrant) (path string) {
	b.t.Helper()
	b.get("/link")
	b.press("", url.Values{"code": {d.UserCode}})
	return b.at.Path
}

// TestEveryProofIsShownOnce: what a page says of a form's proof is not in the next one, so that the lengths of compressed pages tell
// nothing (BREACH). Each holds all the same.
func TestEveryProofIsShownOnce(t *testing.T) {
	s := newSite(t, authtest.Options{})
	s.MustAddUser(t, "alice")
	s.MustLogin(t, "alice", "PHONE")
	d, _ := s.deviceGrant(t, s.client(t, store.Client{Name: "Element"}))
	b := s.signedInSurfer(t, "alice")
	grant, device := b.start(s.client(t, store.Client{Name: "Element"}), store.Grant{}), b.claim(d)
	seen := make(map[string]string)
	for range 3 {
		for name, f := range everyForm(b, grant, device) {
			proof := f.fields.Get("proof")
			for _, part := range []string{proof[:43], proof[43:]} {
				if seen[part] != "" {
					t.Errorf("%s: a part of the proof of %s again", name, seen[part])
				}
				seen[part] = name
			}
		}
	}
	forms := everyForm(b, grant, device)
	for _, name := range []string{"device", "end others", "cancel"} { // They change nothing of each other.
		b.once(http.MethodPost, forms[name].target, forms[name].fields.Encode())
		if b.status != http.StatusSeeOther {
			t.Errorf("%s: got %d, want that its older proof holds", name, b.status)
		}
	}
}

// TestRFC9700_CaddySecurity273_EveryFormNeedsItsProof: without its own token, from another site or from a script, no form does anything.
func TestRFC9700_CaddySecurity273_EveryFormNeedsItsProof(t *testing.T) {
	s := newSite(t, authtest.Options{})
	s.MustAddUser(t, "alice")
	phone := s.MustLogin(t, "alice", "PHONE")
	c := s.client(t, store.Client{Name: "Element"})
	d, code := s.deviceGrant(t, c)
	b := s.signedInSurfer(t, "alice")
	grant, device := b.start(c, store.Grant{}), b.claim(d)
	forms := everyForm(b, grant, device)
	stranger := s.signedInSurfer(t, "alice")
	another, _ := s.deviceGrant(t, c)
	theirs := everyForm(stranger, stranger.start(c, store.Grant{}), stranger.claim(another))

	// To say no takes either token of the request, to say yes that of the consent page.
	about := []string{"allow", "cancel", "cancel at sign-in"}
	mayStandFor := func(from, to string) bool {
		return from == to || slices.Contains(about, from) && slices.Contains(about, to) && (from != "cancel at sign-in" || to != "allow")
	}
	for to, f := range forms {
		proofs := map[string]string{"none": "", "malformed": "x", "another browser's": theirs[to].fields.Get("proof")}
		for from, other := range forms {
			if !mayStandFor(from, to) {
				proofs["of "+from] = other.fields.Get("proof")
			}
		}
		for what, proof := range proofs {
			fields := maps.Clone(f.fields)
			fields.Set("proof", proof)
			b.once(http.MethodPost, f.target, fields.Encode())
			if b.status != http.StatusForbidden || b.head.Get("Location") != "" {
				t.Errorf("%s with a proof %s: got %d to %q", to, what, b.status, b.head.Get("Location"))
			}
		}
		for _, h := range []http.Header{
			{"Sec-Fetch-Site": {"cross-site"}}, {"Sec-Fetch-Site": {"same-site"}}, {"Origin": {"null"}}, {"Origin": {"https://evil.example"}},
			{"Sec-Fetch-Site": {"same-origin"}, "Sec-Fetch-Mode": {"cors"}, "Sec-Fetch-Dest": {"empty"}},
		} {
			b.header = h
			b.once(http.MethodPost, f.target, f.fields.Encode())
			if b.status != http.StatusForbidden || b.head.Get("Location") != "" {
				t.Errorf("%s with %v: got %d to %q", to, h, b.status, b.head.Get("Location"))
			}
		}
		b.header = http.Header{}
	}

	// None of it changed anything.
	b.get("/account/")
	b.expect(http.StatusOK, "Your account", "PHONE")
	b.get(grant)
	b.expect(http.StatusOK, "Allow Element")
	b.get(device)
	b.expect(http.StatusOK, "Sign another device in?")
	if err := s.poll(t, c, code); err == nil || !strings.Contains(err.Error(), "pending") {
		t.Errorf("the device: got %v, want pending", err)
	}
	if v := s.MustVerdict(t, phone.AccessToken); v != auth.Active {
		t.Errorf("the phone: got %v", v)
	}
	if u, _ := s.Synapse.User("alice"); u.CrossSigningReset {
		t.Error("the reset is allowed")
	}
}

// TestGHSAv2x6m99h_DeviceForAnotherPerson: a page that was shown to Alice approves nothing for Bob.
func TestGHSAv2x6m99h_DeviceForAnotherPerson(t *testing.T) {
	s := newSite(t, authtest.Options{})
	s.MustAddUser(t, "alice")
	s.MustAddUser(t, "bob")
	c := s.client(t, store.Client{Name: "Element X"})
	d, code := s.deviceGrant(t, c)
	b := s.signedInSurfer(t, "alice")
	b.claim(d)
	target, form := b.form("allow")
	form.Set("mine", "yes")
	b.get(b.link("Not you?"))
	b.signIn("bob", authtest.Password)
	b.expect(http.StatusOK, "Sign another device in?", "@bob:example.org")
	b.do(http.MethodPost, target, form.Encode())
	b.expect(http.StatusForbidden, "out of date", "Nothing was changed")
	if err := s.poll(t, c, code); err == nil || !strings.Contains(err.Error(), "pending") {
		t.Errorf("got %v, want pending", err)
	}
}

// TestBadInput_Pages: every parameter of every page, spoilt in every way, gets a page of ours that says so, or is ignored; it
// runs nothing, leads nowhere else and changes nothing.
func TestBadInput_Pages(t *testing.T) {
	s := newSite(t, authtest.Options{})
	s.MustAddUser(t, "alice")
	phone := s.MustLogin(t, "alice", "PHONE")
	c := s.client(t, store.Client{Name: "Element"})
	d, _ := s.deviceGrant(t, c)
	b := s.signedInSurfer(t, "alice")
	grant, device := b.start(c, store.Grant{}), b.claim(d)
	spoil := map[string]func(v url.Values, name string){
		"missing":       func(v url.Values, name string) { v.Del(name) },
		"empty":         func(v url.Values, name string) { v.Set(name, "") },
		"twice":         func(v url.Values, name string) { v.Add(name, v.Get(name)) },
		"100 kB":        func(v url.Values, name string) { v.Set(name, strings.Repeat("x", 100_000)) },
		"NUL":           func(v url.Values, name string) { v.Set(name, v.Get(name)+"\x00") },
		"invalid UTF-8": func(v url.Values, name string) { v.Set(name, v.Get(name)+"\xff\xfe") },
		"garbage":       func(v url.Values, name string) { v.Set(name, evil+"\r\nX: y") },
	}
	check := func(what, how string) {
		t.Helper()
		location := b.head.Get("Location")
		if b.status >= 500 || location != "" && !strings.HasPrefix(location, issuer+"/") || b.head.Get("X") != "" {
			t.Errorf("%s, %s: got %d to %q", what, how, b.status, location)
		}
		refused := how == "twice" || how == "NUL" || how == "invalid UTF-8" || how == "100 kB"
		if refused && (b.status < 400 || location != "") {
			t.Errorf("%s, %s: got %d to %q, want it refused", what, how, b.status, location)
		}
		if len(b.body) > 30_000 {
			t.Errorf("%s, %s: the page has %d bytes", what, how, len(b.body))
		}
		b.harmless()
	}
	for _, target := range []string{
		"/login?kind=session_view&id=PHONE&other=1&ui_locales=de", "/login?kind=consent&id=" + strings.TrimPrefix(grant, "/consent/") + "&other=1",
		grant + "?signed_in=1&ui_locales=de", "/link?code=BCDFGHJK", device + "?signed_in=1", "/logout?ui_locales=en",
		"/account/?action=device_view&device_id=PHONE", "/account/?from=0&notice=ended", "/account/end-others?ui_locales=de",
	} {
		path, query, _ := strings.Cut(target, "?")
		right, err := url.ParseQuery(query)
		if err != nil {
			t.Fatal(err)
		}
		for name := range right {
			for how, change := range spoil {
				v := url.Values{}
				for n, list := range right {
					v[n] = slices.Clone(list)
				}
				change(v, name)
				b.once(http.MethodGet, path+"?"+v.Encode(), "")
				check("GET "+path+" "+name, how)
			}
		}
	}
	for to, f := range everyForm(b, grant, device) {
		for name := range f.fields {
			for how, change := range spoil {
				if name != "proof" && (how == "missing" || how == "empty" || how == "garbage") {
					continue // May be a good form: what it does is tested elsewhere.
				}
				v := url.Values{}
				for n, list := range f.fields {
					v[n] = slices.Clone(list)
				}
				change(v, name)
				b.once(http.MethodPost, f.target, v.Encode())
				check(to+" "+name, how)
			}
		}
	}
	b.get(grant)
	b.expect(http.StatusOK, "Allow Element")
	b.get(device)
	b.expect(http.StatusOK, "Sign another device in?")
	if v := s.MustVerdict(t, phone.AccessToken); v != auth.Active {
		t.Errorf("the phone: got %v", v)
	}
}

// invalid names the fields that are marked as wrong, and the one that has the focus.
func (b *surfer) invalid() (marked, focused string) {
	for n := range b.all("input") {
		if attr(n, "aria-invalid") == "true" {
			marked += " " + attr(n, "id")
		}
		for _, a := range n.Attr {
			if a.Key == "autofocus" {
				focused += " " + attr(n, "id")
			}
		}
	}
	return marked, focused
}

// TestTheFirstWrongFieldHasTheFocus: WCAG 2.2 §3.3.1. What is right is not marked.
func TestTheFirstWrongFieldHasTheFocus(t *testing.T) {
	s := newSite(t, authtest.Options{})
	s.MustAddUser(t, "alice")
	b := s.surfer(t)
	for _, c := range []struct{ name, password, marked, focused string }{
		{"alice", "wrong", " username password", " username"},
		{"@alice:elsewhere.example", authtest.Password, " username", " username"},
	} {
		b.get("/login")
		if marked, focused := b.invalid(); marked != "" || focused != " username" {
			t.Errorf("at first: got%q marked,%q focused", marked, focused)
		}
		b.signIn(c.name, c.password)
		if marked, focused := b.invalid(); marked != c.marked || focused != c.focused {
			t.Errorf("%s: got %q marked, %q focused, want %q, %q", c.name, marked, focused, c.marked, c.focused)
		}
	}

	// Who is asked for the password again has one field.
	b.signIn("alice", authtest.Password)
	b.get(b.start(s.client(t, store.Client{Name: "Element"}), store.Grant{LoginHint: "alice", MinAuthTime: s.Clock.Now().Add(time.Second)}))
	b.expect(http.StatusOK, "Is it still you?")
	if marked, focused := b.invalid(); marked != "" || focused != " password" {
		t.Errorf("again: got %q marked, %q focused", marked, focused)
	}
	b.press("", url.Values{"password": {"wrong"}})
	b.expect(http.StatusUnprocessableEntity, "That is not your password.")
	if marked, focused := b.invalid(); marked != " password" || focused != " password" {
		t.Errorf("again and wrong: got %q marked, %q focused", marked, focused)
	}
}
