package auth

import (
	"context"
	"crypto/subtle"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/golang-lru/v2/simplelru"
	"github.com/oklog/ulid/v2"

	"github.com/caddy-matrix/caddy-matrix-auth/internal/token"
	"github.com/caddy-matrix/caddy-matrix-auth/store"
)

const (
	userCodeTries = 8               // to find a user code that is free
	pollPenalty   = 5 * time.Second // added to the interval of a device that polls too early (RFC 8628 §3.5)
	maxPolls      = 10_000          // poll clocks kept
	guessBurst    = 10              // user codes entered within guessWindow, per address, browser and user (RFC 8628 §5.1)
	guessWindow   = 10 * time.Minute

	grantDeviceCode = "device_code" // in events
)

// StartDeviceGrant begins the sign-in of a device that cannot show our pages (RFC 8628 §3.1). The device code is told once.
// ErrRateLimited; ErrClientUnknown: the assertion has been used.
func (s *Service) StartDeviceGrant(ctx context.Context, p StartDeviceParams) (store.DeviceGrant, token.Secret, error) {
	if err := s.limits.spend(limitDeviceCode, s.settings.Load().DeviceCodeLimit, p.From.Addr); err != nil {
		return store.DeviceGrant{}, token.Secret{}, err
	}
	code, err := s.random()
	if err != nil {
		return store.DeviceGrant{}, token.Secret{}, err
	}
	d := store.DeviceGrant{
		DeviceCode: digest(code), ClientID: p.ClientID, Scope: p.Scope, Status: store.GrantPending,
		Addr: addrText(p.From), UserAgent: cut(p.From.UserAgent, maxAgentLen),
	}
	if d.ID, err = s.newID(); err != nil {
		return d, token.Secret{}, err
	}
	for range userCodeTries {
		if d.UserCode, err = s.userCode(); err != nil {
			return d, token.Secret{}, err
		}
		err = s.spareUpdate(ctx, func(tx *store.Tx) error {
			d.CreatedAt = tx.Now()
			if err := s.useAssertion(tx, p.ClientID, p.Assertion); err != nil {
				return err
			}
			return tx.InsertDeviceGrant(d)
		})
		if !errors.Is(err, store.ErrConflict) {
			break
		}
	}
	if err == nil {
		s.wrote(deviceGrantSize(&d))
	}
	return d, code, err
}

// userCode is eight letters that are hard to mistake, each equally likely (RFC 8628 §6.1).
func (s *Service) userCode() (string, error) {
	const alphabet = store.DeviceCodeAlphabet
	const unbiased = 256 - 256%len(alphabet)
	code := make([]byte, 0, store.DeviceUserCodeChars)
	for len(code) < cap(code) {
		var b [1]byte
		if _, err := io.ReadFull(&s.rand, b[:]); err != nil {
			return "", fmt.Errorf("reading randomness: %w", err)
		}
		if int(b[0]) < unbiased {
			code = append(code, alphabet[int(b[0])%len(alphabet)])
		}
	}
	return string(code), nil
}

// NormalizeUserCode is what a person meant by a typed user code: case and punctuation do not count (RFC 8628 §6.1).
func NormalizeUserCode(typed string) string {
	return strings.Map(func(r rune) rune {
		if r = toUpper(r); strings.ContainsRune(store.DeviceCodeAlphabet, r) {
			return r
		}
		return -1
	}, cut(typed, 64))
}

func toUpper(r rune) rune {
	if 'a' <= r && r <= 'z' {
		return r - 'a' + 'A'
	}
	return r
}

// ClaimDeviceGrant finds the device grant of a user code for the browser in which a person typed it first; only that browser can
// decide, and none takes it away: whoever saw the code on a screen could sign the device in to another account. Guesses are
// limited per address, per browser and, if cookie holds a sign-in, per user.
//
// ErrRateLimited. ErrNotFound: unknown, expired and used codes, and another browser's, look the same.
func (s *Service) ClaimDeviceGrant(ctx context.Context, typed string, browser store.Digest, cookie token.Secret, from From) (store.DeviceGrant, error) {
	if err := s.guess(browser, cookie, from); err != nil {
		return store.DeviceGrant{}, err
	}
	code := NormalizeUserCode(typed)
	if len(code) != store.DeviceUserCodeChars {
		return store.DeviceGrant{}, fmt.Errorf("%w: no such code", ErrNotFound)
	}
	var d store.DeviceGrant
	err := s.spareUpdate(ctx, func(tx *store.Tx) (err error) {
		if d, err = tx.DeviceGrantByUserCode(code); err != nil {
			return err
		}
		if d.Browser != (store.Digest{}) && d.Browser != browser || !tx.Now().Before(d.ExpiresAt()) {
			return store.ErrNotFound
		}
		d.Browser = browser
		return tx.UpdateDeviceGrant(d)
	})
	if err != nil {
		return store.DeviceGrant{}, notFound(err, "no such code")
	}
	return d, nil
}

// guess counts a user code that was typed, right or wrong (RFC 8628 §5.1).
func (s *Service) guess(browser store.Digest, cookie token.Secret, from From) error {
	limit := Limit{Burst: guessBurst, Window: guessWindow}
	if err := s.limits.spend(limitUserCode, limit, from.Addr); err != nil {
		return err
	}
	if err := s.limits.spendOne(limitUserCodeBrowser, limit, spendKey{id: [16]byte(browser[:16])}); err != nil {
		return err
	}
	if cookie.Empty() {
		return nil
	}
	var user store.User
	err := s.DB.View(func(tx *store.Tx) (err error) {
		_, user, err = liveBrowserSession(tx, digest(cookie))
		return err
	})
	switch err = notSignedIn(err); {
	case errors.Is(err, ErrSignInNeeded):
		return nil
	case err != nil:
		return err
	}
	return s.limits.spendOne(limitUserCodeUser, limit, spendKey{id: user.ID})
}

// DeviceGrant returns a device grant to the browser that claimed it, and its client.
// ErrNotFound, ErrOtherBrowser, ErrExpired.
func (s *Service) DeviceGrant(ctx context.Context, id ulid.ULID, browser store.Digest) (store.DeviceGrant, Client, error) {
	var d store.DeviceGrant
	err := s.DB.View(func(tx *store.Tx) (err error) {
		d, err = deviceGrantOf(tx, id, browser)
		return err
	})
	if err != nil {
		return d, Client{}, notFound(err, "no such request")
	}
	c, err := s.Client(ctx, d.ClientID)
	return d, c, err
}

func deviceGrantOf(tx *store.Tx, id ulid.ULID, browser store.Digest) (store.DeviceGrant, error) {
	d, err := tx.DeviceGrant(id)
	switch {
	case err != nil:
		return d, err
	case d.Browser == (store.Digest{}) || subtle.ConstantTimeCompare(d.Browser[:], browser[:]) != 1:
		return store.DeviceGrant{}, ErrOtherBrowser
	case d.Status == store.GrantPending && !tx.Now().Before(d.ExpiresAt()):
		return store.DeviceGrant{}, ErrExpired
	}
	return d, nil
}

// DecideDeviceGrant is the signed-in person's yes or no. The first decision wins.
//
// ErrNotFound, ErrOtherBrowser, ErrExpired, ErrSignInNeeded, ErrScopeDenied, ErrDone. Gate: the Update that finds it pending.
func (s *Service) DecideDeviceGrant(ctx context.Context, p DecideDeviceParams) error {
	var d store.DeviceGrant
	var user store.User
	err := s.update(ctx, func(tx *store.Tx) (err error) {
		if d, err = deviceGrantOf(tx, p.ID, p.Browser); err != nil {
			return err
		}
		if d.Status != store.GrantPending {
			return ErrDone
		}
		var bs store.BrowserSession
		if bs, user, err = liveBrowserSession(tx, digest(p.Cookie)); err != nil {
			return notSignedIn(err)
		}
		d.Status, d.UserID, d.BrowserSessionID, d.AuthTime, d.DecidedAt = store.GrantDenied, user.ID, bs.ID, bs.AuthenticatedAt, tx.Now()
		if p.Approve {
			if err := s.fulfilDevice(tx, &d, &bs, &user, p.Scope); err != nil {
				return err
			}
		}
		return tx.UpdateDeviceGrant(d)
	})
	if err != nil {
		return notFound(err, "no such request")
	}
	e := Event{
		Name: "grant_denied", Grant: grantDeviceCode, UserID: s.userID(user.Localpart), GrantID: d.ID, ClientID: d.ClientID, Addr: p.From.Addr,
	}
	if p.Approve {
		e.Name = "grant_approved"
	}
	s.emit(e)
	return nil
}

// GrantableToDevice is the part of a scope that a person can grant to a device: an admin scope takes the right to it, and a client
// that an operator vouches for.
func GrantableToDevice(scope []string, c *Client, admin bool) []string {
	return Grantable(scope, admin && c.Static)
}

// fulfilDevice makes it a yes to a scope: not to more, which nobody was shown. An admin scope needs a password that was entered a
// moment ago.
func (s *Service) fulfilDevice(tx *store.Tx, d *store.DeviceGrant, bs *store.BrowserSession, user *store.User, scope []string) error {
	if !isPart(scope, d.Scope) {
		return ErrScopeDenied
	}
	set := s.settings.Load()
	c := set.Clients[d.ClientID] // Else nobody vouches for it.
	d.Scope = GrantableToDevice(scope, &c, set.admin(user))
	if !adminAuthenticated(tx, bs, d.Scope) {
		return ErrSignInNeeded
	}
	d.Status = store.GrantFulfilled
	return nil
}

// RedeemDevice is a poll with a device code (RFC 8628 §3.4): once approved, it becomes a session, as Redeem does.
//
// ErrPending, ErrSlowDown, ErrDenied, ErrExpired, ErrGrantInvalid, ErrGrantReplayed. ErrUnavailable, ErrHomeserver: poll again.
func (s *Service) RedeemDevice(ctx context.Context, p RedeemDeviceParams) (Redeemed, error) {
	code := digest(p.DeviceCode)
	var d store.DeviceGrant
	var user store.User
	var approval error // why it does not count any more
	err := s.DB.View(func(tx *store.Tx) (err error) {
		if d, err = tx.DeviceGrantByDeviceCode(code); err != nil || d.UserID.IsZero() {
			return err
		}
		user, approval, err = approver(tx, d.UserID, d.BrowserSessionID)
		return err
	})
	switch {
	case errors.Is(err, store.ErrNotFound) || err == nil && d.ClientID != p.ClientID:
		return Redeemed{}, ErrGrantInvalid
	case err != nil:
		return Redeemed{}, fmt.Errorf("%w: reading a device grant: %w", ErrUnavailable, err)
	case d.Status == store.GrantExchanged:
		return Redeemed{}, s.replayedDevice(ctx, &d, &p)
	case !s.now().Before(d.ExpiresAt()):
		return Redeemed{}, ErrExpired
	case d.Status == store.GrantDenied:
		return Redeemed{}, ErrDenied
	case !s.polls.allow(code, s.now()):
		return Redeemed{}, ErrSlowDown
	case d.Status == store.GrantPending:
		return Redeemed{}, ErrPending
	case approval != nil:
		return Redeemed{}, approval
	}
	st := s.oauthStart(grantDeviceCode, &d.BrowserSessionID, user, d.ClientID, d.Scope, p.From)
	st.grantID = d.ID
	st.gate = func(tx *store.Tx, u *store.User, sess *store.Session) error {
		return s.exchangeDevice(tx, d.ID, &p, sess)
	}
	t, err := s.start(ctx, st)
	if errors.Is(err, ErrBadCredentials) || errors.Is(err, ErrUserLocked) {
		err = ErrGrantInvalid
	}
	return Redeemed{Tokens: t, Subject: user.ID, AuthTime: d.AuthTime}, err
}

// exchangeDevice consumes a device grant in the Update that inserts its session.
func (s *Service) exchangeDevice(tx *store.Tx, id ulid.ULID, p *RedeemDeviceParams, sess *store.Session) error {
	d, err := tx.DeviceGrant(id)
	if errors.Is(err, store.ErrNotFound) || err == nil && d.Status != store.GrantFulfilled {
		return ErrGrantInvalid
	}
	if err != nil {
		return err
	}
	if err := approverIsLive(tx, d.BrowserSessionID); err != nil {
		return err
	}
	if err := s.useAssertion(tx, p.ClientID, p.Assertion); err != nil {
		return err
	}
	if err := useClient(tx, d.ClientID); err != nil {
		return err
	}
	d.Status, d.ExchangedAt, d.SessionID = store.GrantExchanged, tx.Now(), sess.ID
	return tx.UpdateDeviceGrant(d)
}

func (s *Service) replayedDevice(ctx context.Context, d *store.DeviceGrant, p *RedeemDeviceParams) error {
	if s.now().Sub(d.ExchangedAt) <= store.CodeReplayLeeway {
		return ErrGrantInvalid
	}
	return s.endReplayed(ctx, replay{session: d.SessionID, client: d.ClientID, assertion: p.Assertion, from: p.From})
}

// polls are the clocks of devices that poll. They are in memory: a restart forgives.
type polls struct {
	mu  sync.Mutex
	all *simplelru.LRU[store.Digest, *poll]
}

type poll struct {
	last     time.Time
	interval time.Duration
}

func newPolls() *polls {
	p := new(polls)
	p.all, _ = simplelru.NewLRU[store.Digest, *poll](maxPolls, nil)
	return p
}

// allow reports whether a device may poll now; if it is too early, it has to wait longer from now on.
func (p *polls) allow(code store.Digest, now time.Time) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	c, ok := p.all.Get(code)
	if !ok {
		p.all.Add(code, &poll{last: now, interval: store.DevicePollInterval})
		return true
	}
	early := now.Sub(c.last) < c.interval
	c.last = now
	if early {
		c.interval += pollPenalty
	}
	return !early
}
