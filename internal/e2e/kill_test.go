//go:build e2e

package e2e

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/caddy-matrix/caddy-matrix-auth/internal/e2e/rig"
)

// TestKill ends the edge with SIGKILL, again and again, while clients sign in, refresh and sign out. After each time: what
// was acknowledged holds, what had ended is dead, and a refresh whose answer was lost works when it is asked again. In the end
// Synapse has exactly the devices of the live sessions.
func TestKill(t *testing.T) {
	t.Parallel()
	s := newStack(t, nil)
	const actors, kills, most = 10, 24, 96 // kills go on until each kind of loss was met, up to the most.
	boss := s.newUser(t)
	s.command(t, "", "user", "set-admin", boss.localpart)

	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	transport := new(http.Transport)
	s.HTTP = &http.Client{Transport: transport, Timeout: callTimeout}
	var all []*actor
	for i := range actors {
		all = append(all, &actor{stack: s, user: s.newUser(t), random: rand.New(rand.NewPCG(seed, uint64(i))), steady: i%2 == 0})
	}
	random := rand.New(rand.NewPCG(seed, actors))
	var total counts
	k := 0
	for ; k < kills || k < most && total.lacking(); k++ {
		var group sync.WaitGroup
		for _, a := range all {
			group.Go(a.stockUp)
		}
		group.Wait()
		for _, a := range all {
			group.Go(a.act)
		}
		time.Sleep(50*time.Millisecond + time.Duration(random.Int64N(int64(600*time.Millisecond))))
		s.restartEdge(t, func() error {
			s.edge.Process().Kill()
			group.Wait()
			transport.CloseIdleConnections()
			return nil
		})
		for _, a := range all {
			group.Go(a.check)
		}
		group.Wait()
		for i, a := range all {
			if a.err != nil {
				t.Fatalf("kill %d, actor %d (%s): %v", k+1, i, a.user.id, a.err)
			}
		}
		total = counts{}
		for _, a := range all {
			total.add(a.counts)
		}
	}
	for _, a := range all {
		if err := a.checkEnded(a.ended); err != nil {
			t.Errorf("%s: %v", a.user.id, err)
		}
	}
	t.Logf("%d kills: %+v", k, total)
	if total.lacking() {
		t.Fatalf("got %+v, want some of each: otherwise this shows nothing", total)
	}
	s.compareDevices(t, boss, all)
}

// counts is what the actors did: a test that did nothing shows nothing.
type counts struct {
	logins, refreshes, logouts             int // answered
	lostLogins, lostRefreshes, lostLogouts int // sent, and never answered
	unheard                                int // of those, the ones that ended a session all the same
}

// lacking reports whether something has not happened yet.
func (c counts) lacking() bool {
	return slices.Contains([]int{c.logins, c.refreshes, c.logouts, c.lostLogins, c.lostRefreshes, c.lostLogouts, c.unheard}, 0)
}

func (c *counts) add(o counts) {
	c.logins += o.logins
	c.refreshes += o.refreshes
	c.logouts += o.logouts
	c.lostLogins += o.lostLogins
	c.lostRefreshes += o.lostRefreshes
	c.lostLogouts += o.lostLogouts
	c.unheard += o.unheard
}

// actor is a user with several devices who acts until the edge dies. Only its own goroutine touches it.
type actor struct {
	*stack
	user   user
	random *rand.Rand
	steady bool // only refreshes and looks: a login takes so much longer that everybody would be found in one
	made   int
	live   []*held
	ended  []session // acknowledged as ended, or seen dead
	counts counts
	err    error
}

// held is a session whose tokens the client has.
type held struct {
	session
	doubt doubt
}

// doubt is what a session was in the middle of when the edge died.
type doubt int

const (
	sure     doubt = iota
	rotating       // a refresh whose answer was lost
	ending         // a logout, or a login on the same device, whose answer was lost
)

// stockUp signs in on enough devices for everything else to happen at once.
func (a *actor) stockUp() {
	for a.err == nil && len(a.live) < 3 {
		if !a.signIn(nil) && a.err == nil {
			a.err = errors.New("a login was not answered while nobody ended the edge")
		}
	}
}

// act does one thing after the other until there is no answer.
func (a *actor) act() {
	for a.err == nil {
		if !a.step() {
			return
		}
	}
}

// step does one thing and reports whether it was answered.
func (a *actor) step() bool {
	if len(a.live) == 0 {
		return a.signIn(nil)
	}
	h := a.live[a.random.IntN(len(a.live))]
	switch n := a.random.IntN(10); {
	case a.steady && n < 8:
		return a.rotate(h)
	case a.steady || n < 1:
		return a.look(h)
	case n < 3:
		return a.signIn(nil)
	case n < 4:
		return a.signIn(h)
	case n < 6:
		return a.rotate(h)
	default:
		return a.signOut(h)
	}
}

// send makes a request; no answer is false, and any answer but 200 an error. lost counts the requests that were sent.
func (a *actor) send(lost *int, c rig.Client, method, path string, body any) (rig.Reply, bool) {
	ctx, cancel := contextFor(callTimeout)
	defer cancel()
	r, err := c.Do(ctx, method, path, body)
	if err != nil {
		if !errors.Is(err, syscall.ECONNREFUSED) {
			*lost++
		}
		return r, false
	}
	if r.Status != http.StatusOK {
		a.err = fmt.Errorf("%s %s: got %s, want 200", method, path, r)
	}
	return r, a.err == nil
}

// signIn logs in on a new device, or once more on one that is signed in.
func (a *actor) signIn(again *held) bool {
	a.made++
	device := fmt.Sprintf("KILL%d", a.made)
	if again != nil {
		device = again.device
	}
	r, ok := a.send(&a.counts.lostLogins, a.Client, http.MethodPost, loginPath, a.user.loginBody(device, true))
	if !ok {
		if again != nil {
			again.doubt = ending
		}
		return false
	}
	a.counts.logins++
	if again != nil {
		a.drop(again)
	}
	a.live = append(a.live, &held{session: session{
		Client: a.With(r.Text("access_token")), userID: a.user.id, device: device, refresh: r.Text("refresh_token"),
	}})
	return true
}

func (a *actor) rotate(h *held) bool {
	r, ok := a.send(&a.counts.lostRefreshes, a.Client, http.MethodPost, refreshPath, map[string]string{"refresh_token": h.refresh})
	if !ok {
		h.doubt = rotating
		return false
	}
	a.counts.refreshes++
	h.Client, h.refresh, h.doubt = a.With(r.Text("access_token")), r.Text("refresh_token"), sure
	return true
}

func (a *actor) look(h *held) bool {
	_, ok := a.send(new(int), h.Client, http.MethodGet, whoamiPath, nil)
	return ok
}

func (a *actor) signOut(h *held) bool {
	if _, ok := a.send(&a.counts.lostLogouts, h.Client, http.MethodPost, logoutPath, nil); !ok {
		h.doubt = ending
		return false
	}
	a.counts.logouts++
	a.drop(h)
	return true
}

// drop moves a session to those that have ended.
func (a *actor) drop(h *held) {
	a.ended = append(a.ended, h.session)
	a.live = slices.DeleteFunc(a.live, func(o *held) bool { return o == h })
}

// checkedEnded is how many of the sessions that ended last are looked at after each kill; all are in the end.
const checkedEnded = 8

// check looks at every session after a restart.
func (a *actor) check() {
	for _, h := range slices.Clone(a.live) {
		if err := a.checkHeld(h); err != nil {
			a.err = fmt.Errorf("session on %s, doubt %d: %w", h.device, h.doubt, err)
			return
		}
		h.doubt = sure
	}
	a.err = a.checkEnded(a.ended[max(0, len(a.ended)-checkedEnded):])
}

func (a *actor) checkHeld(h *held) error {
	r, err := h.whoami()
	if err != nil {
		return err
	}
	if h.doubt == ending && r.Errcode() == "M_UNKNOWN_TOKEN" {
		a.counts.unheard++
		a.drop(h)
		return nil
	}
	if r.Status != http.StatusOK || r.Text("device_id") != h.device {
		return fmt.Errorf("whoami: got %s, want the device", r)
	}
	if h.doubt == rotating {
		if !a.rotate(h) {
			return fmt.Errorf("refreshing again: %w", a.err)
		}
		if !a.look(h) {
			return fmt.Errorf("whoami after refreshing again: %w", a.err)
		}
	}
	return nil
}

// whoami asks Synapse again while that still asks, for a request from before, the edge that was killed.
func (s session) whoami() (rig.Reply, error) {
	ctx, cancel := contextFor(callTimeout)
	defer cancel()
	for {
		r, err := s.Do(ctx, http.MethodGet, whoamiPath, nil)
		if err != nil || r.Status != http.StatusServiceUnavailable || !strings.Contains(r.Text("error"), "introspect") {
			return r, err
		}
		time.Sleep(50 * time.Millisecond)
	}
}

// checkEnded asserts that neither token of these sessions works.
func (a *actor) checkEnded(ended []session) error {
	ctx, cancel := contextFor(callTimeout)
	defer cancel()
	for _, e := range ended {
		r, err := e.Do(ctx, http.MethodGet, whoamiPath, nil)
		if err != nil {
			return err
		}
		if r.Status != http.StatusUnauthorized || r.Errcode() != "M_UNKNOWN_TOKEN" || r.Get("soft_logout") == true {
			return fmt.Errorf("whoami of an ended session on %s: got %s, want 401 M_UNKNOWN_TOKEN without soft_logout", e.device, r)
		}
		r, err = a.Do(ctx, http.MethodPost, refreshPath, map[string]string{"refresh_token": e.refresh})
		if err != nil {
			return err
		}
		if r.Status != http.StatusUnauthorized {
			return fmt.Errorf("refresh of an ended session on %s: got %s, want 401", e.device, r)
		}
	}
	return nil
}

// compareDevices waits until Synapse has exactly the devices of the live sessions of these actors.
func (s *stack) compareDevices(t *testing.T, boss user, all []*actor) {
	t.Helper()
	var issued struct {
		AccessToken string `json:"access_token"`
	}
	out := s.command(t, "", "token", "issue", boss.localpart, "--scope", "urn:synapse:admin:*", "--json")
	if err := json.Unmarshal([]byte(out), &issued); err != nil || issued.AccessToken == "" {
		t.Fatalf("token issue: got no access_token (%v)", err)
	}
	admin := rig.Client{Base: s.synapse.URL(), Token: issued.AccessToken}
	for _, a := range all {
		var atSynapse, sessions []string
		equal := func() bool {
			atSynapse, sessions = adminDevices(t, admin, a.user.id), s.liveDevices(t, a.user.id)
			return slices.Equal(atSynapse, sessions)
		}
		end := time.Now().Add(time.Minute)
		for !equal() {
			if time.Now().After(end) {
				t.Errorf("%s: got devices %q at Synapse, want those of the live sessions %q", a.user.id, atSynapse, sessions)
				break
			}
			time.Sleep(500 * time.Millisecond)
		}
		for _, h := range a.live {
			if !slices.Contains(sessions, h.device) {
				t.Errorf("%s: got live sessions on %q, want %s among them", a.user.id, sessions, h.device)
			}
		}
	}
}

// adminDevices asks Synapse's admin API for a user's devices.
func adminDevices(t *testing.T, admin rig.Client, userID string) []string {
	t.Helper()
	r := call(t, admin, http.MethodGet, "/_synapse/admin/v2/users/"+url.PathEscape(userID)+"/devices", nil)
	want(t, r, http.StatusOK, "")
	found := map[string]bool{}
	list, _ := r.Get("devices").([]any)
	for _, d := range list {
		found[fmt.Sprint(d.(map[string]any)["device_id"])] = true
	}
	return slices.Sorted(maps.Keys(found))
}

// liveDevices asks the edge for the devices of a user's live sessions.
func (s *stack) liveDevices(t *testing.T, userID string) []string {
	t.Helper()
	var devices []string
	lines := bufio.NewScanner(strings.NewReader(s.command(t, "", "session", "list", "--json")))
	for lines.Scan() {
		var e struct {
			UserID   string `json:"user_id"`
			DeviceID string `json:"device_id"`
			EndedAt  string `json:"ended_at"`
		}
		if err := json.Unmarshal(lines.Bytes(), &e); err != nil {
			t.Fatalf("session list: %v in %q", err, lines.Text())
		}
		if e.UserID == userID && e.EndedAt == "" && e.DeviceID != "" {
			devices = append(devices, e.DeviceID)
		}
	}
	slices.Sort(devices)
	return devices
}
