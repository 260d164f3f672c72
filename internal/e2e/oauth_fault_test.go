//go:build e2e

package e2e

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/caddy-matrix/caddy-matrix-auth/internal/e2e/rig"
)

// TestOAuthFaults takes Synapse and the edge away in the middle of sign-ins: what was begun goes on, and nobody is signed out.
func TestOAuthFaults(t *testing.T) {
	t.Parallel()
	const server = "hs.test:8448"
	s := newStack(t, func(s *stack) {
		s.edge.Options = unlimited
		s.edge.ServerName, s.synapse.ServerName = server, server
	})
	u := user{localpart: "fault", id: "@fault:" + server, password: "correct horse"}
	s.command(t, u.password+"\n", "user", "add", u.localpart)
	a, p := s.register(t, "https://app.example.com/callback"), s.newPerson(t, u)
	phone, laptop, tablet := a.signIn(t, p, "PHONE00001"), a.signIn(t, p, "LAPTOP0001"), a.signIn(t, p, "TABLET0001")
	for _, each := range []oauthSession{phone, laptop, tablet} {
		each.alive(t)
	}

	t.Run("E30: the server name has a port", func(t *testing.T) {
		full := u
		full.localpart = u.id // What a person types.
		a.signIn(t, s.newPerson(t, full), "FULLNAME01").alive(t)
		r := call(t, s.Client, http.MethodPost, loginPath, full.loginBody("FULLNAME02", false))
		want(t, r, http.StatusOK, "")
		if r.Text("user_id") != u.id {
			t.Errorf("got %q, want %q", r.Text("user_id"), u.id)
		}
		full.localpart = "@fault:hs.test" // Somebody else's server.
		want(t, call(t, s.Client, http.MethodPost, loginPath, full.loginBody("", false)), http.StatusForbidden, "M_FORBIDDEN")
		want(t, call(t, s.With(r.Text("access_token")), http.MethodPost, logoutPath, nil), http.StatusOK, "")
	})

	t.Run("E8, TOK-10: Synapse restarts between consent and token", func(t *testing.T) {
		code := a.codeOf(t, p.authorize(a.authorizeURL("NEWDEVICE1", nil)))
		if err := s.synapse.Stop(); err != nil {
			t.Fatal(err)
		}
		wantTrouble(t, a.tokenForm(t, a.redeemForm(code)))
		// Refresh and revocation need no Synapse.
		phone = phone.rotate(t)
		if r := s.form(t, "/oauth2/revoke", url.Values{"token": {tablet.refresh}, "token_type_hint": {"refresh_token"}, "client_id": {a.id}}); r.Status != http.StatusOK {
			t.Errorf("got %s for a revocation without Synapse, want 200", r)
		}
		tablet.over(t)
		// COR-07: what Caddy says in Synapse's stead can be read by scripts.
		r := call(t, phone.Client, http.MethodGet, whoamiPath, nil)
		wantMatrixError(t, r, r.Status, "M_UNKNOWN")
		s.startSynapse(t)
		session := a.tokensOf(t, a.tokenForm(t, a.redeemForm(code)), u, "NEWDEVICE1")
		session.alive(t)
		phone.alive(t)
		eventually(t, "the device revoked in the outage leaves Synapse", func() bool { return !phone.devices(t)["TABLET0001"] })
		if got := phone.devices(t); len(got) != 4 {
			t.Errorf("got devices %v, want four", got)
		}
	})

	t.Run("E1: the edge is killed between code and token", func(t *testing.T) {
		code := a.codeOf(t, p.authorize(a.authorizeURL("NEWDEVICE2", nil)))
		asked := p.signIn(p.open(a.authorizeURL("NEWDEVICE3", nil)))
		begun := s.form(t, "/oauth2/device", url.Values{"client_id": {a.id}, "scope": {matrixScope("NEWDEVICE4")}})
		s.restartEdge(t, func() error { s.edge.Process().Kill(); return nil })
		session := a.tokensOf(t, a.tokenForm(t, a.redeemForm(code)), u, "NEWDEVICE2")
		session.alive(t)
		phone.alive(t)
		laptop = laptop.rotate(t)
		laptop.alive(t)
		// A consent page from before, and a device code.
		code = a.codeOf(t, p.allow(asked).URL.String())
		a.tokensOf(t, a.tokenForm(t, a.redeemForm(code)), u, "NEWDEVICE3").alive(t)
		p.allow(p.submit(p.open(begun.Text("verification_uri_complete")), url.Values{"code": {begun.Text("user_code")}}))
		poll := url.Values{"grant_type": {"urn:ietf:params:oauth:grant-type:device_code"}, "client_id": {a.id}, "device_code": {begun.Text("device_code")}}
		a.tokensOf(t, a.tokenForm(t, poll), u, "NEWDEVICE4").alive(t)
	})

	t.Run("ERR-07: Synapse cannot ask, and does not say that the token is unknown", func(t *testing.T) {
		fresh := phone.rotate(t)
		if err := s.edge.Stop(); err != nil {
			t.Fatal(err)
		}
		r := call(t, fresh.At(s.synapse.URL()), http.MethodGet, whoamiPath, nil)
		if r.Status < 500 {
			t.Errorf("got %s from Synapse without an edge, want 5xx", r)
		}
		s.restartEdge(t, func() error { return nil })
		phone = fresh
		phone.alive(t)
	})

	t.Run("RAT-01, RAT-02, RAT-03, E24: limits, and none at the token endpoint", func(t *testing.T) {
		s.edge.Options = strings.Replace(unlimited, "rate_limit login off", "rate_limit login 3 1m", 1)
		s.reload(t)
		var r rig.Reply
		for range 6 {
			r = call(t, s.Client, http.MethodPost, loginPath, user{localpart: u.localpart, password: "wrong"}.loginBody("", false))
		}
		wantMatrixError(t, r, http.StatusTooManyRequests, "M_LIMIT_EXCEEDED")
		seconds, err := strconv.Atoi(r.Header.Get("Retry-After"))
		if _, ok := r.Get("retry_after_ms").(float64); err != nil || seconds < 1 || !ok {
			t.Errorf("got %s with Retry-After %q, want whole seconds and retry_after_ms", r, r.Header.Get("Retry-After"))
		}
		if got := r.Header.Get("Access-Control-Expose-Headers"); !strings.Contains(got, "Retry-After") {
			t.Errorf("got exposed headers %q, want Retry-After", got)
		}
		for i := range 100 {
			r = a.tokenForm(t, url.Values{"grant_type": {"refresh_token"}, "client_id": {a.id}, "refresh_token": {fmt.Sprintf("mar_nonsense%d", i)}})
			if r.Status != http.StatusBadRequest || r.Text("error") != "invalid_grant" {
				t.Fatalf("got %s, want 400 invalid_grant", r)
			}
		}
		phone.rotate(t).alive(t)
	})

	t.Run("neither the log nor the disk holds tokens, codes or passwords", func(t *testing.T) {
		code := a.codeOf(t, p.authorize(a.authorizeURL("NEWDEVICE5", nil)))
		session := a.tokensOf(t, a.tokenForm(t, a.redeemForm(code)), u, "NEWDEVICE5")
		session.alive(t)
		secrets := []string{u.password, code, session.Token, session.refresh, phone.Token, phone.refresh, laptop.Token, laptop.refresh}
		if err := s.edge.Stop(); err != nil { // Everything is written.
			t.Fatal(err)
		}
		wantNowhere(t, s.edge.LogFile(), secrets)
		wantNowhere(t, s.edge.DataDir(), secrets)
	})
}

// wantNowhere asserts that no file below a path holds one of these texts.
func wantNowhere(t *testing.T, root string, secrets []string) {
	t.Helper()
	err := filepath.WalkDir(root, func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		text, err := os.ReadFile(name)
		for i, secret := range secrets {
			if bytes.Contains(text, []byte(secret)) {
				t.Errorf("%s holds secret %d", name, i)
			}
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
}

// wantTrouble asserts what clients take for a passing trouble: 503, when to come back, and nothing to read.
func wantTrouble(t *testing.T, r rig.Reply) {
	t.Helper()
	if _, err := strconv.Atoi(r.Header.Get("Retry-After")); r.Status != http.StatusServiceUnavailable || len(r.Body) > 0 || err != nil {
		t.Errorf("got %s with Retry-After %q, want an empty 503 that says when", r, r.Header.Get("Retry-After"))
	}
	wantOneOrigin(t, "token endpoint", r)
}

// TestOAuthKill ends the edge with SIGKILL while people sign in, refresh and sign out by OAuth, so that it dies before, in and
// after commits. Afterwards what was acknowledged holds, what had ended is over, a refresh whose answer was lost works when it
// is asked again, and Synapse has exactly the devices of the live sessions.
func TestOAuthKill(t *testing.T) {
	t.Parallel()
	s := newStack(t, func(s *stack) { s.edge.Options = unlimited })
	const actors, kills = 5, 16
	transport := new(http.Transport)
	s.HTTP = &http.Client{Transport: transport, Timeout: callTimeout}
	boss := s.newUser(t)
	s.command(t, "", "user", "set-admin", boss.localpart)
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	a := s.register(t, "https://app.example.com/callback")
	var all []*oauthActor
	for i := range actors {
		u := s.newUser(t)
		p := s.newPerson(t, u)
		p.signIn(p.open(s.Base + "/login"))
		all = append(all, &oauthActor{app: a, person: p, random: rand.New(rand.NewPCG(seed, uint64(i)))})
	}
	random := rand.New(rand.NewPCG(seed, actors))
	for k := range kills {
		var group sync.WaitGroup
		for _, each := range all {
			group.Go(each.act)
		}
		time.Sleep(100*time.Millisecond + time.Duration(random.Int64N(int64(500*time.Millisecond))))
		s.restartEdge(t, func() error {
			s.edge.Process().Kill()
			group.Wait()
			transport.CloseIdleConnections()
			return nil
		})
		for i, each := range all {
			group.Go(func() {
				if each.err == nil {
					each.err = each.check()
				}
				if each.err != nil {
					t.Errorf("E2, E3, E9: kill %d, actor %d: %v", k+1, i, each.err)
				}
			})
		}
		group.Wait()
		if t.Failed() {
			return
		}
	}
	var total oauthCounts
	var holders []*actor
	for _, each := range all {
		total.add(each.counts)
		h := &actor{stack: s, user: each.person.user}
		for _, l := range each.live {
			h.live = append(h.live, &held{session: l.session})
		}
		holders = append(holders, h)
	}
	t.Logf("%d kills: %+v", kills, total)
	s.compareDevices(t, boss, holders)
}

type oauthCounts struct {
	signIns, refreshes, revocations, lostCodes, lostRedemptions, redeemedAgain, lostRefreshes, lostRevocations int
}

func (c *oauthCounts) add(o oauthCounts) {
	c.signIns += o.signIns
	c.refreshes += o.refreshes
	c.revocations += o.revocations
	c.lostCodes += o.lostCodes
	c.lostRedemptions += o.lostRedemptions
	c.redeemedAgain += o.redeemedAgain
	c.lostRefreshes += o.lostRefreshes
	c.lostRevocations += o.lostRevocations
}

// oauthActor is a person with an app on several devices, until the edge dies. Only its own goroutine touches it.
type oauthActor struct {
	app    app
	person *person
	random *rand.Rand
	made   int
	live   []*oauthHeld
	ended  []oauthSession
	code   string // whose redemption got no answer
	device string
	counts oauthCounts
	err    error
}

type oauthHeld struct {
	oauthSession
	doubt doubt
}

// errNoAnswer: the edge died.
var errNoAnswer = errors.New("no answer")

func (o *oauthActor) act() {
	for o.err == nil {
		err := o.step()
		if errors.Is(err, errNoAnswer) {
			return
		}
		o.err = err
	}
}

func (o *oauthActor) step() error {
	if len(o.live) == 0 {
		return o.signIn()
	}
	h := o.live[o.random.IntN(len(o.live))]
	switch n := o.random.IntN(10); {
	case n < 4 && len(o.live) < 4:
		return o.signIn()
	case n < 8:
		return o.rotate(h)
	}
	return o.revoke(h)
}

// form posts a form; anything but 200 is an error.
func (o *oauthActor) form(path string, form url.Values) (rig.Reply, error) {
	r, err := o.app.tryForm(o.person.t.Context(), path, form)
	if err != nil {
		return r, errors.Join(errNoAnswer, err)
	}
	if r.Status != http.StatusOK {
		return r, fmt.Errorf("POST %s: got %s, want 200", path, r)
	}
	return r, nil
}

func (o *oauthActor) signIn() error {
	o.made++
	device := fmt.Sprintf("OAUTHKILL%d", o.made)
	code, err := o.newCode(device)
	if err != nil {
		o.counts.lostCodes++
		return err
	}
	r, err := o.form("/oauth2/token", o.app.redeemForm(code))
	if err != nil {
		o.counts.lostRedemptions++
		o.code, o.device = code, device
		return err
	}
	o.counts.signIns++
	o.hold(r, device)
	return nil
}

func (o *oauthActor) hold(r rig.Reply, device string) {
	s := session{Client: o.app.With(r.Text("access_token")), userID: o.person.user.id, device: device, refresh: r.Text("refresh_token")}
	o.live = append(o.live, &oauthHeld{oauthSession: oauthSession{s, o.app}})
}

// newCode lets the person, who is signed in, agree.
func (o *oauthActor) newCode(device string) (string, error) {
	g, err := o.person.browser.Open(o.person.t.Context(), o.app.authorizeURL(device, nil))
	if err == nil {
		g, err = o.person.browser.Submit(o.person.t.Context(), g, url.Values{"decision": {"allow"}})
	}
	switch {
	case err != nil && g.URL == nil:
		return "", errors.Join(errNoAnswer, err)
	case err != nil:
		return "", fmt.Errorf("consent: %w", err)
	case g.URL.Query().Get("code") == "":
		return "", fmt.Errorf("consent: sent to %s, want a code", g.URL)
	}
	return g.URL.Query().Get("code"), nil
}

func (o *oauthActor) rotate(h *oauthHeld) error {
	r, err := o.form("/oauth2/token", h.refreshForm())
	if err != nil {
		o.counts.lostRefreshes++
		h.doubt = rotating
		return err
	}
	o.counts.refreshes++
	h.Client, h.refresh, h.doubt = o.app.With(r.Text("access_token")), r.Text("refresh_token"), sure
	return nil
}

func (o *oauthActor) revoke(h *oauthHeld) error {
	token := []string{h.Token, h.refresh}[o.random.IntN(2)]
	if _, err := o.form("/oauth2/revoke", url.Values{"token": {token}}); err != nil {
		o.counts.lostRevocations++
		h.doubt = ending
		return err
	}
	o.counts.revocations++
	o.drop(h)
	return nil
}

func (o *oauthActor) drop(h *oauthHeld) {
	o.ended = append(o.ended, h.oauthSession)
	o.live = slices.DeleteFunc(o.live, func(other *oauthHeld) bool { return other == h })
}

// check looks at every session, and at a code whose redemption got no answer, after a restart.
func (o *oauthActor) check() error {
	if o.code != "" {
		if err := o.redeemAgain(); err != nil {
			return err
		}
	}
	for _, h := range slices.Clone(o.live) {
		if err := o.checkHeld(h); err != nil {
			return fmt.Errorf("session on %s, doubt %d: %w", h.device, h.doubt, err)
		}
	}
	for _, e := range o.ended[max(0, len(o.ended)-checkedEnded):] {
		r, err := e.Do(o.person.t.Context(), http.MethodGet, whoamiPath, nil)
		if err != nil || r.Errcode() != "M_UNKNOWN_TOKEN" || r.Get("soft_logout") == true {
			return fmt.Errorf("ended session on %s: got %s (%w), want M_UNKNOWN_TOKEN without soft_logout", e.device, r, err)
		}
		r, err = o.app.tryForm(o.person.t.Context(), "/oauth2/token", e.refreshForm())
		if err != nil || r.Text("error") != "invalid_grant" {
			return fmt.Errorf("refresh of an ended session on %s: got %s (%w), want invalid_grant", e.device, r, err)
		}
	}
	return nil
}

// redeemAgain asks for the tokens of a code again: they come if the first answer was never committed, and otherwise the code is
// used, and the person signs in again on the same device.
func (o *oauthActor) redeemAgain() error {
	code, device := o.code, o.device
	o.code, o.device = "", ""
	r, err := o.app.tryForm(o.person.t.Context(), "/oauth2/token", o.app.redeemForm(code))
	switch {
	case err != nil:
		return err
	case r.Status == http.StatusOK:
		o.counts.redeemedAgain++
		o.hold(r, device)
		return nil
	case r.Status != http.StatusBadRequest || r.Text("error") != "invalid_grant":
		return fmt.Errorf("redeeming again: got %s, want tokens or invalid_grant", r)
	}
	if code, err = o.newCode(device); err != nil {
		return err
	}
	if r, err = o.form("/oauth2/token", o.app.redeemForm(code)); err != nil {
		return err
	}
	o.hold(r, device)
	return nil
}

func (o *oauthActor) checkHeld(h *oauthHeld) error {
	r, err := h.whoami()
	if err != nil {
		return err
	}
	if h.doubt == ending && r.Errcode() == "M_UNKNOWN_TOKEN" {
		o.drop(h)
		return nil
	}
	if r.Status != http.StatusOK || r.Text("device_id") != h.device {
		return fmt.Errorf("whoami: got %s, want the device", r)
	}
	if h.doubt == rotating {
		if err := o.rotate(h); err != nil {
			return fmt.Errorf("refreshing again: %w", err)
		}
		if r, err = h.whoami(); err != nil || r.Status != http.StatusOK {
			return fmt.Errorf("whoami after refreshing again: got %s (%w)", r, err)
		}
	}
	h.doubt = sure
	return nil
}
