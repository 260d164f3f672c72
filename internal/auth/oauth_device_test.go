package auth_test

import (
	"errors"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/caddy-matrix/caddy-matrix-auth/internal/auth"
	"github.com/caddy-matrix/caddy-matrix-auth/internal/authtest"
	"github.com/caddy-matrix/caddy-matrix-auth/internal/mxid"
	"github.com/caddy-matrix/caddy-matrix-auth/internal/token"
	"github.com/caddy-matrix/caddy-matrix-auth/store"
)

// device is a device that waits to be signed in.
type device struct {
	store.DeviceGrant
	p    *person
	code token.Secret
}

func (p *person) device(client string, scope []string) *device {
	p.Helper()
	d, code, err := p.k.StartDeviceGrant(p.Context(), auth.StartDeviceParams{ClientID: client, Scope: scope, From: auth.From{Addr: authtest.Addr, UserAgent: "Phone/1"}})
	must(p.T, err)
	return &device{DeviceGrant: d, p: p, code: code}
}

// claim enters a user code in this browser.
func (p *person) claim(typed string) (store.DeviceGrant, error) {
	return p.k.ClaimDeviceGrant(p.Context(), typed, p.browser.Digest(), p.cookie, auth.From{Addr: authtest.Addr})
}

func (p *person) decide(d *device, approve bool) error { return p.decideFor(d, approve, d.Scope) }

func (p *person) decideFor(d *device, approve bool, scope []string) error {
	return p.k.DecideDeviceGrant(p.Context(), auth.DecideDeviceParams{
		ID: d.ID, Browser: p.browser.Digest(), Cookie: p.cookie, Approve: approve, Scope: scope,
	})
}

// decided claims and decides.
func (d *device) decided(approve bool) *device {
	d.p.Helper()
	_, err := d.p.claim(d.UserCode)
	must(d.p.T, err)
	must(d.p.T, d.p.decide(d, approve))
	return d
}

func (d *device) poll() (auth.Redeemed, error) { return d.pollAs(d.ClientID) }

func (d *device) pollAs(client string) (auth.Redeemed, error) {
	return d.p.k.RedeemDevice(d.p.Context(), auth.RedeemDeviceParams{DeviceCode: d.code, ClientID: client, From: auth.From{Addr: authtest.Addr}})
}

func (d *device) mustPoll(want error) {
	d.p.Helper()
	_, err := d.poll()
	mustBe(d.p.T, "polling", err, want)
}

// The whole flow of a device, once (DEV-03, DEV-06, DEV-08, E19).
func TestDEV03_ADeviceSignsIn(t *testing.T) {
	k := provider(t)
	client := mustRegister(t, k, public("App"))
	p := signIn(t, k, "alice")
	d := p.device(client.ID, onDevice(phone))
	if len(d.UserCode) != store.DeviceUserCodeChars || strings.Trim(d.UserCode, store.DeviceCodeAlphabet) != "" || len(d.code.Reveal()) < 22 {
		t.Errorf("user code %q, device code of %d characters", d.UserCode, len(d.code.Reveal()))
	}
	d.mustPoll(auth.ErrPending)
	claimed, err := p.claim(strings.ToLower(d.UserCode[:4]) + "-" + d.UserCode[4:] + " ")
	must(t, err)
	if claimed.ID != d.ID || claimed.Addr != authtest.Addr.String() || claimed.UserAgent != "Phone/1" {
		t.Errorf("got %+v", claimed)
	}
	shown, c, err := k.DeviceGrant(t.Context(), d.ID, p.browser.Digest())
	must(t, err)
	if shown.UserCode != d.UserCode || c.ID != client.ID {
		t.Errorf("got %+v, %+v", shown, c)
	}
	must(t, p.decide(d, true))
	k.Clock.Advance(store.DevicePollInterval)
	out, err := d.poll()
	must(t, err)
	if out.DeviceID != phone || out.RefreshToken.Empty() || out.Subject != p.signedIn().User.ID || !out.ExpiresAt.Equal(k.Now().Add(accessTTL)) {
		t.Errorf("got %+v", out)
	}
	mustJudge(t, k, "the session", out.AccessToken, auth.Active)
	if got := k.Synapse.Devices("alice"); !slices.Equal(got, []mxid.DeviceID{phone}) {
		t.Errorf("devices: got %v", got)
	}
	d.mustPoll(auth.ErrGrantInvalid)
	mustJudge(t, k, "after a poll too many", out.AccessToken, auth.Active)
	_, err = p.claim(d.UserCode)
	mustBe(t, "a used user code", err, auth.ErrNotFound)
	k.Clock.Advance(store.CodeReplayLeeway + time.Second)
	d.mustPoll(auth.ErrGrantReplayed)
	mustJudge(t, k, "after a late replay", out.AccessToken, auth.Unknown)
}

// Polling too early adds five seconds each time, for good (DEV-04).
func TestDEV04_SlowDownAddsFiveSeconds(t *testing.T) {
	k := provider(t)
	p := signIn(t, k, "alice")
	d, other := p.device(staticID, onDevice(phone)), p.device(staticID, onDevice("TABLET000A"))
	d.mustPoll(auth.ErrPending)
	for _, step := range []struct {
		wait time.Duration
		want error
	}{
		{5 * time.Second, auth.ErrPending},
		{5*time.Second - 1, auth.ErrSlowDown}, // 10 s from here
		{9 * time.Second, auth.ErrSlowDown},   // 15 s
		{15 * time.Second, auth.ErrPending},
		{15 * time.Second, auth.ErrPending},
		{14 * time.Second, auth.ErrSlowDown}, // 20 s
		{19 * time.Second, auth.ErrSlowDown}, // 25 s
		{25 * time.Second, auth.ErrPending},
	} {
		k.Clock.Advance(step.wait)
		if _, err := d.poll(); !errors.Is(err, step.want) {
			t.Fatalf("after %v: got %v, want %v", step.wait, err, step.want)
		}
	}
	other.mustPoll(auth.ErrPending) // a clock of its own
	d.decided(true)
	k.Clock.Advance(24 * time.Second)
	d.mustPoll(auth.ErrSlowDown)
	k.Clock.Advance(30 * time.Second)
	d.mustPoll(nil)
}

// No is told at once and stays; what nobody decided, and what is decided too late, has expired (DEV-03).
func TestDEV03_DeniedAndExpired(t *testing.T) {
	k := provider(t)
	p := signIn(t, k, "alice")
	d := p.device(staticID, onDevice(phone)).decided(false)
	d.mustPoll(auth.ErrDenied)
	d.mustPoll(auth.ErrDenied)
	mustBe(t, "approving what was denied", p.decide(d, true), auth.ErrDone)

	late := p.device(staticID, onDevice(phone))
	_, err := p.claim(late.UserCode)
	must(t, err)
	k.Clock.Advance(store.DeviceGrantFor)
	mustBe(t, "approving too late", p.decide(late, true), auth.ErrExpired)
	mustBe(t, "denying too late", p.decide(late, false), auth.ErrExpired)
	_, _, err = k.DeviceGrant(t.Context(), late.ID, p.browser.Digest())
	mustBe(t, "looking too late", err, auth.ErrExpired)
	late.mustPoll(auth.ErrExpired)
	_, err = p.claim(late.UserCode)
	mustBe(t, "an expired user code", err, auth.ErrNotFound)
	d.mustPoll(auth.ErrExpired)

	approved := p.device(staticID, onDevice(phone)).decided(true)
	k.Clock.Advance(store.DeviceGrantFor)
	approved.mustPoll(auth.ErrExpired)
}

// A device code is its client's, and one that is none is invalid (DEV-06, F2 "missing client binding").
func TestDEV06_ADeviceCodeIsBoundToItsClient(t *testing.T) {
	k := provider(t)
	other := mustRegister(t, k, public("Other"))
	p := signIn(t, k, "alice")
	d := p.device(staticID, onDevice(phone)).decided(true)
	for name, client := range map[string]string{"another client": other.ID, "no client": ""} {
		_, err := d.pollAs(client)
		mustBe(t, name, err, auth.ErrGrantInvalid)
	}
	_, err := k.RedeemDevice(t.Context(), auth.RedeemDeviceParams{DeviceCode: token.NewSecret(d.ID.String()), ClientID: staticID})
	mustBe(t, "the name of its page", err, auth.ErrGrantInvalid)
	_, err = k.RedeemDevice(t.Context(), auth.RedeemDeviceParams{DeviceCode: token.NewSecret(d.UserCode), ClientID: staticID})
	mustBe(t, "the user code", err, auth.ErrGrantInvalid)
	d.mustPoll(nil)
}

// The first of twenty decisions wins, whatever it is.
func TestTheFirstDecisionWins(t *testing.T) {
	k := provider(t)
	p := signIn(t, k, "alice")
	d := p.device(staticID, onDevice(phone))
	_, err := p.claim(d.UserCode)
	must(t, err)
	var yes, no, late atomic.Int32
	var wg sync.WaitGroup
	for i := range 20 {
		wg.Go(func() {
			switch err := p.decide(d, i%2 == 0); {
			case errors.Is(err, auth.ErrDone):
				late.Add(1)
			case err != nil:
				t.Error(err)
			case i%2 == 0:
				yes.Add(1)
			default:
				no.Add(1)
			}
		})
	}
	wg.Wait()
	if yes.Load()+no.Load() != 1 || late.Load() != 19 {
		t.Fatalf("got %d times yes, %d times no, %d too late", yes.Load(), no.Load(), late.Load())
	}
	if yes.Load() == 1 {
		d.mustPoll(nil)
	} else {
		d.mustPoll(auth.ErrDenied)
	}
}

// Twenty polls at once with an approved device code: one session.
func TestTwentyParallelPollsHaveOneWinner(t *testing.T) {
	k := provider(t)
	p := signIn(t, k, "alice")
	d := p.device(staticID, onDevice(phone)).decided(true)
	var wins atomic.Int32
	var won atomic.Pointer[auth.Redeemed]
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() {
			switch out, err := d.poll(); {
			case err == nil:
				wins.Add(1)
				won.Store(&out)
			case !errors.Is(err, auth.ErrGrantInvalid) && !errors.Is(err, auth.ErrSlowDown):
				t.Errorf("got %v", err)
			}
		})
	}
	wg.Wait()
	if wins.Load() != 1 {
		t.Fatalf("got %d winners", wins.Load())
	}
	mustJudge(t, k, "the winner's session", won.Load().AccessToken, auth.Active)
}

// Only the browser in which the user code was entered sees the request and decides; a link without the code leads nowhere.
func TestADeviceGrantIsItsBrowsers(t *testing.T) {
	k := provider(t)
	k.MustAddUser(t, "mallory")
	p, m := signIn(t, k, "alice"), signIn(t, k, "mallory")
	d := p.device(staticID, onDevice(phone))
	_, _, err := k.DeviceGrant(t.Context(), d.ID, p.browser.Digest())
	mustBe(t, "looking before the code was entered", err, auth.ErrOtherBrowser)
	_, _, err = k.DeviceGrant(t.Context(), d.ID, store.Digest{})
	mustBe(t, "looking without a cookie", err, auth.ErrOtherBrowser)
	mustBe(t, "deciding before the code was entered", p.decide(d, true), auth.ErrOtherBrowser)
	_, err = p.claim(d.UserCode)
	must(t, err)
	mustBe(t, "deciding in another browser", m.decide(d, true), auth.ErrOtherBrowser)
	p.cookie = token.NewSecret("")
	mustBe(t, "deciding without a sign-in", p.decide(d, true), auth.ErrSignInNeeded)
	d.mustPoll(auth.ErrPending)
}

// A user code that was entered in one browser is unknown in every other, and entering it there is a guess; in the first it may
// be entered again, and its page goes on working.
func TestDEV07_AClaimIsNotTakenOver(t *testing.T) {
	k := provider(t)
	k.MustAddUser(t, "mallory")
	p, m := signIn(t, k, "alice"), signIn(t, k, "mallory")
	d := p.device(staticID, onDevice(phone))
	must(t, errorOf(p.claim(d.UserCode)))
	for range 10 {
		_, err := k.ClaimDeviceGrant(t.Context(), d.UserCode, m.browser.Digest(), m.cookie, auth.From{Addr: netip.MustParseAddr("198.51.100.1")})
		mustBe(t, "entering the code in another browser", err, auth.ErrNotFound)
	}
	_, err := k.ClaimDeviceGrant(t.Context(), d.UserCode, m.browser.Digest(), m.cookie, auth.From{Addr: netip.MustParseAddr("198.51.100.1")})
	mustBe(t, "once more", err, auth.ErrRateLimited)
	mustBe(t, "deciding in another browser", m.decide(d, true), auth.ErrOtherBrowser)
	must(t, errorOf(p.claim(d.UserCode)))
	_, _, err = k.DeviceGrant(t.Context(), d.ID, p.browser.Digest())
	must(t, err)
	must(t, p.decide(d, true))
	k.Clock.Advance(6 * time.Second)
	got, err := d.poll()
	if err != nil || got.UserID != "@alice:example.org" {
		t.Errorf("got %s, %v", got.UserID, err)
	}
}

// Guesses are limited per browser, user and address, right ones too, and all bad codes look the same (DEV-07, RFC 8628 §5.1).
func TestDEV07_GuessesAreLimited(t *testing.T) {
	t.Parallel()
	addr := func(n byte) auth.From { return auth.From{Addr: netip.AddrFrom4([4]byte{198, 51, 100, n})} }
	for name, guess := range map[string]func(k *authtest.Kit, p *person, n byte) error{
		"browser": func(k *authtest.Kit, p *person, n byte) error {
			_, err := k.ClaimDeviceGrant(t.Context(), "BCDFGHJK", p.browser.Digest(), token.Secret{}, addr(n))
			return err
		},
		"user": func(k *authtest.Kit, p *person, n byte) error {
			_, err := k.ClaimDeviceGrant(t.Context(), "BCDFGHJK", newBrowser().Digest(), p.cookie, addr(n))
			return err
		},
		"address": func(k *authtest.Kit, _ *person, _ byte) error {
			_, err := k.ClaimDeviceGrant(t.Context(), "short", newBrowser().Digest(), token.NewSecret("nobody's"), addr(1))
			return err
		},
	} {
		k := provider(t)
		p := signIn(t, k, "alice")
		for n := range byte(10) {
			mustBe(t, name, guess(k, p, n), auth.ErrNotFound)
		}
		err := guess(k, p, 100)
		mustBe(t, name+": the eleventh", err, auth.ErrRateLimited)
		var limit *auth.RateLimitError
		if !errors.As(err, &limit) || limit.RetryAfter < time.Second || limit.RetryAfter > time.Minute {
			t.Errorf("%s: got %+v", name, limit)
		}
		k.Clock.Advance(limit.RetryAfter)
		mustBe(t, name+": later", guess(k, p, 101), auth.ErrNotFound)
	}
}

// Who guesses user codes is not forgotten for what others ask for meanwhile, from however many addresses (DEV-07).
func TestDEV07_NothingElseDrivesAGuesserOut(t *testing.T) {
	k := provider(t)
	p := signIn(t, k, "alice")
	guess := func() error {
		_, err := k.ClaimDeviceGrant(t.Context(), "BCDFGHJK", p.browser.Digest(), p.cookie, auth.From{Addr: authtest.Addr})
		return err
	}
	for range 10 {
		mustBe(t, "a guess", guess(), auth.ErrNotFound)
	}
	for i := range auth.MaxCounters {
		must(t, k.Spend(auth.Limit{Burst: 1, Window: time.Minute}, netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)})))
	}
	mustBe(t, "the eleventh guess", guess(), auth.ErrRateLimited)
}

// Case, spaces and punctuation do not count (DEV-07).
func TestDEV07_NormalizeUserCode(t *testing.T) {
	for typed, want := range map[string]string{
		"BCDF-GHJK": "BCDFGHJK", "bcdf ghjk": "BCDFGHJK", " b.c.d.f/g_h–j k\n": "BCDFGHJK", "": "", "AEIOUY0123": "", "ｂｃｄｆ": "",
		"BCDFGHJK\x00": "BCDFGHJK", "\xffBCDFGHJK": "BCDFGHJK", strings.Repeat("-", 64) + "B": "",
	} {
		if got := auth.NormalizeUserCode(typed); got != want {
			t.Errorf("%q: got %q, want %q", typed, got, want)
		}
	}
}

// FuzzNormalizeUserCode: what comes out can be a key, and means the same when it is typed again, in either case and with a dash.
func FuzzNormalizeUserCode(f *testing.F) {
	for _, seed := range []string{"", "BCDF-GHJK", "bcdf ghjk", "ſßKK", "\xff\x00", strings.Repeat("z", 100), "AEIOU", "＋BCDF"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, typed string) {
		got := auth.NormalizeUserCode(typed)
		if len(got) > 64 || strings.Trim(got, store.DeviceCodeAlphabet) != "" {
			t.Fatalf("%q: got %q", typed, got)
		}
		for _, again := range []string{got, strings.ToLower(got), got[:len(got)/2] + "-" + got[len(got)/2:]} {
			if len(again) <= 64 && auth.NormalizeUserCode(again) != got {
				t.Fatalf("%q: %q becomes %q", typed, again, auth.NormalizeUserCode(again))
			}
		}
	})
}

// repeatingRand makes the same user code again and again, and then others.
type repeatingRand struct{ left atomic.Int32 }

func (r *repeatingRand) Read(p []byte) (int, error) {
	if len(p) == 1 && r.left.Add(-1) >= 0 {
		p[0] = 0
		return 1, nil
	}
	return authtest.NewRand(byte(r.left.Load())).Read(p)
}

// User codes are unique while they may be entered (DEV-07).
func TestDEV07_UserCodesAreUniqueWhilePending(t *testing.T) {
	r := &repeatingRand{}
	k := providerWith(t, authtest.Options{Idle: true, Rand: r})
	p := signIn(t, k, "alice")
	r.left.Store(3 * store.DeviceUserCodeChars)
	first := p.device(staticID, onDevice(phone))
	second := p.device(staticID, onDevice(phone))
	if first.UserCode != "BBBBBBBB" || second.UserCode == first.UserCode {
		t.Fatalf("got %q and %q", first.UserCode, second.UserCode)
	}
	first.decided(true)
	r.left.Store(store.DeviceUserCodeChars)
	if third := p.device(staticID, onDevice(phone)); third.UserCode != first.UserCode {
		t.Errorf("got %q: a user code is free once its request was decided", third.UserCode)
	}
}

// A poll while Synapse is down, and by a user who is locked, or whose sign-in is over (DEV-05).
func TestDEV05_APollInTrouble(t *testing.T) {
	k := provider(t)
	p := signIn(t, k, "alice")
	d := p.device(staticID, onDevice(phone)).decided(true)
	k.Synapse.Fail(authtest.Down)
	d.mustPoll(auth.ErrUnavailable)
	k.Synapse.Heal()
	must(t, k.Lock(t.Context(), "alice"))
	k.Clock.Advance(store.DevicePollInterval)
	d.mustPoll(auth.ErrGrantInvalid)
	must(t, k.Unlock(t.Context(), "alice"))
	k.Clock.Advance(store.DevicePollInterval)
	d.mustPoll(nil)

	d = p.device(staticID, onDevice(phone)).decided(true)
	must(t, k.SignOut(t.Context(), p.cookie, auth.From{}))
	k.Synapse.ForgetCalls()
	d.mustPoll(auth.ErrGrantInvalid)
	if got := ops(k); len(got) != 0 {
		t.Errorf("synapse was asked: %v", got)
	}
}

// An admin scope comes with a device grant only for a client that an operator vouches for, a person with the right, and a password
// of a moment ago (SCP-09).
func TestSCP09_AdminScopesOfDeviceGrants(t *testing.T) {
	k := provider(t)
	client := mustRegister(t, k, public("App"))
	p := signIn(t, k, "alice")
	scope := onDevice(phone, mxid.ScopeAdmin, mxid.ScopeMASAdmin)
	granted := func(client string) []string {
		t.Helper()
		out, err := p.device(client, scope).decided(true).poll()
		must(t, err)
		return out.Scope
	}
	if got := granted(staticID); !slices.Equal(got, onDevice(phone)) {
		t.Errorf("without the right: got %v", got)
	}
	must(t, k.SetAdmin(t.Context(), "alice", true))
	if got := granted(client.ID); !slices.Equal(got, onDevice(phone)) {
		t.Errorf("to a self-registered client: got %v", got)
	}
	if got := granted(staticID); !slices.Equal(got, scope) {
		t.Errorf("to a configured client: got %v", got)
	}
	k.Clock.Advance(5*time.Minute + time.Second)
	d := p.device(staticID, scope)
	_, err := p.claim(d.UserCode)
	must(t, err)
	mustBe(t, "with an old password", p.decide(d, true), auth.ErrSignInNeeded)
	must(t, p.decide(d, false))
}

// What is granted to a device is what the page showed: not a right that the person got since, and nothing that was not asked for.
func TestADeviceGetsWhatWasShown(t *testing.T) {
	k := provider(t)
	p := signIn(t, k, "alice")
	shown := onDevice(phone)
	d := p.device(staticID, append(slices.Clone(shown), mxid.ScopeAdmin))
	_, err := p.claim(d.UserCode)
	must(t, err)
	must(t, k.SetAdmin(t.Context(), "alice", true))
	for name, scope := range map[string][]string{"more": append(slices.Clone(d.Scope), "openid"), "another device": onDevice("TABLET000A"), "nothing": nil} {
		mustBe(t, name, p.decideFor(d, true, scope), auth.ErrScopeDenied)
	}
	must(t, p.decideFor(d, true, shown))
	out, err := d.poll()
	must(t, err)
	if !slices.Equal(out.Scope, shown) {
		t.Errorf("got %v, want %v", out.Scope, shown)
	}
}

// Starting is limited per address.
func TestDeviceGrantsAreLimited(t *testing.T) {
	k := provider(t, func(set *auth.Settings) { set.DeviceCodeLimit = auth.Limit{Burst: 2, Window: time.Minute} })
	p := signIn(t, k, "alice")
	p.device(staticID, onDevice(phone))
	p.device(staticID, onDevice(phone))
	_, _, err := k.StartDeviceGrant(t.Context(), auth.StartDeviceParams{ClientID: staticID, Scope: onDevice(phone), From: auth.From{Addr: authtest.Addr}})
	mustBe(t, "the third", err, auth.ErrRateLimited)
	_, _, err = k.StartDeviceGrant(t.Context(), auth.StartDeviceParams{ClientID: staticID, Scope: onDevice(phone), From: auth.From{Addr: netip.MustParseAddr("198.51.100.7")}})
	must(t, err)
}
