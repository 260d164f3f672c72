package auth

import (
	"net/netip"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/golang-lru/v2/simplelru"
	"golang.org/x/time/rate"
)

// Limits of failed passwords beside the configured pair per (account, address).
const (
	perAddress    = 6         // times the burst, for all accounts of one address
	perAccount    = 10        // times the burst, in accountWindow and over all addresses
	accountWindow = time.Hour // a guess from everywhere at once is slow
	maxCounters   = 100_000   // of each sort; the least recently used are forgotten
)

// limits counts failed passwords: per account and address, per address, per account. An account is whom a name means, whether
// or not there is such a user.
type limits struct {
	now func() time.Time

	mu        sync.Mutex
	pairs     *simplelru.LRU[pairKey, *rate.Limiter]
	addresses *simplelru.LRU[netip.Prefix, *rate.Limiter]
	accounts  *simplelru.LRU[string, *rate.Limiter]
	spent     [limitKinds]*simplelru.LRU[spendKey, *rate.Limiter] // by kind: what is cheap drives out nobody who guesses codes
}

// spendKey is one address, browser or user.
type spendKey struct {
	addr netip.Prefix
	id   [16]byte
}

// limitKind is a thing that nobody has authenticated for.
type limitKind uint8

const (
	limitAuthorize limitKind = iota
	limitDeviceCode
	limitRegistration
	limitUserCode
	limitUserCodeBrowser
	limitUserCodeUser
	limitKinds
)

type pairKey struct {
	account string
	addr    netip.Prefix
}

func newLimits(now func() time.Time) *limits {
	l := &limits{now: now}
	l.pairs, _ = simplelru.NewLRU[pairKey, *rate.Limiter](maxCounters, nil)
	l.addresses, _ = simplelru.NewLRU[netip.Prefix, *rate.Limiter](maxCounters, nil)
	l.accounts, _ = simplelru.NewLRU[string, *rate.Limiter](maxCounters, nil)
	for kind := range l.spent {
		l.spent[kind], _ = simplelru.NewLRU[spendKey, *rate.Limiter](maxCounters, nil)
	}
	return l
}

// attempt is one try at a password that has taken its place in every counter. Nil: limits are off.
type attempt struct {
	limits *limits
	key    pairKey
	taken  []*rate.Limiter
}

// take lets an attempt begin, or answers RateLimitError. Its place is taken before it queues, so that many at once do not
// all pass.
func (l *limits) take(limit Limit, account string, addr netip.Addr) (*attempt, error) {
	if limit.Burst <= 0 {
		return nil, nil
	}
	account = strings.Clone(account) // a slice of a request's body would keep all of it
	key := pairKey{account: account, addr: limitPrefix(addr)}
	now := l.now()
	l.mu.Lock()
	defer l.mu.Unlock()
	a := &attempt{limits: l, key: key}
	for _, c := range []*rate.Limiter{
		counter(l.pairs, key, limit.Burst, limit.Window),
		counter(l.addresses, key.addr, perAddress*limit.Burst, limit.Window),
		counter(l.accounts, account, perAccount*limit.Burst, accountWindow),
	} {
		if !c.AllowN(now, 1) {
			a.returnLocked(now)
			return nil, &RateLimitError{RetryAfter: wait(c, now)}
		}
		a.taken = append(a.taken, c)
	}
	return a, nil
}

// counter finds the limiter of a key, adapted to a limit that a reload may have changed.
func counter[K comparable](lru *simplelru.LRU[K, *rate.Limiter], key K, burst int, window time.Duration) *rate.Limiter {
	every := rate.Every(window / time.Duration(burst))
	if c, ok := lru.Get(key); ok && c.Burst() == burst && c.Limit() == every {
		return c
	}
	c := rate.NewLimiter(every, burst)
	lru.Add(key, c)
	return c
}

// wait is how long until the limiter has a place.
func wait(c *rate.Limiter, now time.Time) time.Duration {
	missing := 1 - c.TokensAt(now)
	return max(time.Duration(missing/float64(c.Limit())*float64(time.Second)), time.Second)
}

// returnLocked gives the places back: a negative event is one that did not happen.
func (a *attempt) returnLocked(now time.Time) {
	for _, c := range a.taken {
		c.AllowN(now, -1)
	}
}

// giveBack undoes an attempt that came to no verdict.
func (a *attempt) giveBack() {
	if a == nil {
		return
	}
	now := a.limits.now()
	a.limits.mu.Lock()
	defer a.limits.mu.Unlock()
	a.returnLocked(now)
}

// succeed undoes an attempt with the right password and forgets the failures of this account from this address.
func (a *attempt) succeed() {
	if a == nil {
		return
	}
	a.giveBack()
	a.limits.mu.Lock()
	defer a.limits.mu.Unlock()
	a.limits.pairs.Remove(a.key)
}

// spend counts one request of an address, or answers RateLimitError.
func (l *limits) spend(what limitKind, limit Limit, addr netip.Addr) error {
	return l.spendOne(what, limit, spendKey{addr: limitPrefix(addr)})
}

func (l *limits) spendOne(what limitKind, limit Limit, key spendKey) error {
	if limit.Burst <= 0 {
		return nil
	}
	now := l.now()
	l.mu.Lock()
	defer l.mu.Unlock()
	c := counter(l.spent[what], key, limit.Burst, limit.Window)
	if !c.AllowN(now, 1) {
		return &RateLimitError{RetryAfter: wait(c, now)}
	}
	return nil
}
