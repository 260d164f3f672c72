package web

import (
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/caddy-matrix/caddy-matrix-auth/internal/auth"
	"github.com/caddy-matrix/caddy-matrix-auth/internal/authtest"
	"github.com/caddy-matrix/caddy-matrix-auth/internal/token"
	"github.com/caddy-matrix/caddy-matrix-auth/store"
)

func (s *site) deviceGrant(t *testing.T, c auth.Client) (store.DeviceGrant, token.Secret) {
	t.Helper()
	d, code, err := s.StartDeviceGrant(t.Context(), auth.StartDeviceParams{ClientID: c.ID, Scope: matrixScope, From: auth.From{Addr: authtest.Addr, UserAgent: "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"}})
	if err != nil {
		t.Fatal(err)
	}
	return d, code
}

func (s *site) poll(t *testing.T, c auth.Client, code token.Secret) error {
	t.Helper()
	s.Clock.Advance(6 * time.Second)
	_, err := s.RedeemDevice(t.Context(), auth.RedeemDeviceParams{DeviceCode: code, ClientID: c.ID})
	return err
}

func TestDEV10_DEV15_Device(t *testing.T) {
	s := newSite(t, authtest.Options{})
	s.MustAddUser(t, "alice")
	c := s.client(t, store.Client{Name: "Element X"})
	d, code := s.deviceGrant(t, c)
	b := s.surfer(t)
	shown := d.UserCode[:4] + "-" + d.UserCode[4:]

	// Case 1: the code in the link is only filled in.
	b.get("/link?code=" + strings.ToLower(d.UserCode))
	b.expect(http.StatusOK, "Link a device")
	if _, form := b.form(""); form.Get("code") != shown {
		t.Errorf("got %q, want %q", form.Get("code"), shown)
	}
	b.get("/device/" + d.ID.String())
	b.expect(http.StatusBadRequest, "started in another browser")

	// Case 2: posted, then signed in.
	b.get("/link?code=" + d.UserCode)
	b.press("", nil)
	b.expect(http.StatusOK, "A program that calls itself Element X wants to use your account.")
	b.signIn("alice", authtest.Password)
	b.expect(http.StatusOK, "Sign another device in?", shown, "calls itself Element X", authtest.Addr.String(), "Firefox, Linux", "just now",
		"@alice:example.org", "I started this on my other device just now", "KFJWQZNB")
	page := b.at.String()
	for n := range b.all("input") {
		if attr(n, "type") == "checkbox" && attr(n, "checked") != "" {
			t.Error("the box is ticked")
		}
	}

	// Case 3: without the tick nothing is approved.
	b.press("allow", nil)
	b.expect(http.StatusUnprocessableEntity, "Tick the box only if")
	if err := s.poll(t, c, code); err == nil || !strings.Contains(err.Error(), "pending") {
		t.Errorf("got %v, want pending", err)
	}

	// Case 4: with it, the device is signed in; the page and a second press say so.
	_, form := b.form("allow")
	b.press("allow", url.Values{"mine": {"yes"}})
	b.expect(http.StatusOK, "Your other device is being signed in")
	form.Set("decision", "cancel")
	b.do(http.MethodPost, page, form.Encode())
	b.expect(http.StatusOK, "Your other device is being signed in")
	if err := s.poll(t, c, code); err != nil {
		t.Errorf("got %v", err)
	}
}

func TestDeviceDenied(t *testing.T) {
	s := newSite(t, authtest.Options{})
	s.MustAddUser(t, "alice")
	c := s.client(t, store.Client{Name: "Element X"})
	d, code := s.deviceGrant(t, c)
	b := s.signedInSurfer(t, "alice")
	b.get("/link")
	b.press("", url.Values{"code": {" " + strings.ToLower(d.UserCode) + "-"}})
	b.expect(http.StatusOK, "Sign another device in?")
	b.press("cancel", nil)
	b.expect(http.StatusOK, "The device was not signed in", "Nothing was changed")
	if err := s.poll(t, c, code); err == nil || !strings.Contains(err.Error(), "denied") {
		t.Errorf("got %v, want denied", err)
	}
}

// TestDeviceLinkByAnAttacker: claimed in the attacker's browser, the page is nobody else's.
func TestDeviceLinkByAnAttacker(t *testing.T) {
	s := newSite(t, authtest.Options{})
	s.MustAddUser(t, "alice")
	c := s.client(t, store.Client{Name: "Element X"})
	d, _ := s.deviceGrant(t, c)
	attacker := s.surfer(t)
	attacker.get("/link?code=" + d.UserCode)
	attacker.press("", nil)
	b := s.signedInSurfer(t, "alice")
	b.get("/device/" + d.ID.String())
	b.expect(http.StatusBadRequest, "started in another browser", "close this page")
	_, form := attacker.form2("/link?code="+d.UserCode, "")
	b.do(http.MethodPost, "/link", form.Encode())
	b.expect(http.StatusForbidden, "out of date")
}

// TestDeviceCodeSeenByAnAttacker: claimed in the victim's browser, it is nobody else's either.
func TestDeviceCodeSeenByAnAttacker(t *testing.T) {
	s := newSite(t, authtest.Options{})
	s.MustAddUser(t, "alice")
	s.MustAddUser(t, "mallory")
	c := s.client(t, store.Client{Name: "Element X"})
	d, code := s.deviceGrant(t, c)
	alice, mallory := s.signedInSurfer(t, "alice"), s.signedInSurfer(t, "mallory")
	enter := func(b *surfer, code string) {
		b.get("/link")
		b.press("", url.Values{"code": {code}})
	}
	enter(alice, d.UserCode)
	alice.expect(http.StatusOK, "Sign another device in?", "@alice:example.org")
	enter(mallory, "BCDFGHJK")
	unknown := mallory.text()
	enter(mallory, d.UserCode)
	mallory.expect(http.StatusUnprocessableEntity, "No device is waiting with that code")
	if mallory.text() != unknown {
		t.Errorf("another browser's code does not look like an unknown one: %s", mallory.text())
	}
	mallory.get("/device/" + d.ID.String())
	mallory.expect(http.StatusBadRequest, "started in another browser")
	alice.press("allow", url.Values{"mine": {"yes"}})
	alice.expect(http.StatusOK, "Your other device is being signed in")
	if err := s.poll(t, c, code); err != nil {
		t.Errorf("got %v", err)
	}
}

func TestDEV07_CaddySecurity271_UserCodeGuessing(t *testing.T) {
	s := newSite(t, authtest.Options{})
	c := s.client(t, store.Client{Name: "Element X"})
	d, _ := s.deviceGrant(t, c)
	expired, _ := s.deviceGrant(t, c)
	s.Clock.Advance(21 * time.Minute)
	b := s.surfer(t)
	b.get("/link")

	// Case 1: unknown, expired and malformed look the same.
	var texts []string
	for _, code := range []string{"BCDFGHJK", expired.UserCode, "x"} {
		b.press("", url.Values{"code": {code}})
		b.expect(http.StatusUnprocessableEntity, "No device is waiting")
		texts = append(texts, b.text())
	}
	if texts[0] != texts[1] || texts[1] != texts[2] {
		t.Errorf("got %q", texts)
	}

	// Case 2: ten in ten minutes, then even the right one is not looked at, and the page says when.
	for range 7 {
		b.press("", url.Values{"code": {"BCDFGHJK"}})
	}
	b.press("", url.Values{"code": {d.UserCode}})
	b.expect(http.StatusTooManyRequests, "Try again in a minute")
	if b.head.Get("Retry-After") == "" {
		t.Error("no Retry-After")
	}
}
