package auth

import (
	"hash/maphash"
	"net/netip"
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
	maxCounters   = 64 << 10  // of each kind, as many as a /48 has addresses; about 200 bytes each; the least recently used are forgotten
)

// limits counts failed passwords: per address, per account and address, per account; and requests that nobody has authenticated
// for. An account is whom a name means, whether or not there is such a user.
type limits struct {
	now  func() time.Time
	seed maphash.Seed // so that nobody knows which keys share a counter

	mu       sync.Mutex
	counters [limitKinds]*simplelru.LRU[uint64, *rate.Limiter] // by kind: what is cheap drives out nobody who guesses passwords or codes
}

// limitKind is what is counted.
type limitKind uint8

const (
	limitAddress limitKind = iota // failed passwords
	limitPair
	limitAccount
	limitAuthorize
	limitDeviceCode
	limitRegistration
	limitUserCode
	limitUserCodeBrowser
	limitUserCodeUser
	limitKinds
)

// spendKey is whose requests are counted: those of an account, an address, a browser or a user.
type spendKey struct {
	account string
	addr    netip.Prefix
	id      [16]byte
}

// place is one place in a counter.
type place struct {
	kind  limitKind
	key   uint64
	limit Limit
}

func newLimits(now func() time.Time) *limits {
	l := &limits{now: now, seed: maphash.MakeSeed()}
	for kind := range l.counters {
		l.counters[kind], _ = simplelru.NewLRU[uint64, *rate.Limiter](maxCounters, nil)
	}
	return l
}

func (l *limits) place(kind limitKind, limit Limit, key spendKey) place {
	return place{kind, maphash.Comparable(l.seed, key), limit}
}

// takeLocked takes a place, or answers RateLimitError. A counter is adapted to a limit that a reload has changed.
func (l *limits) takeLocked(p place) error {
	now, every := l.now(), rate.Every(p.limit.Window/time.Duration(p.limit.Burst))
	c, ok := l.counters[p.kind].Get(p.key)
	if !ok {
		c = rate.NewLimiter(every, p.limit.Burst)
		l.counters[p.kind].Add(p.key, c)
	} else if c.Limit() != every || c.Burst() != p.limit.Burst {
		c.SetLimitAt(now, every)
		c.SetBurstAt(now, p.limit.Burst)
	}
	if !c.AllowN(now, 1) {
		missing := 1 - c.TokensAt(now)
		return &RateLimitError{RetryAfter: max(time.Duration(missing/float64(every)*float64(time.Second)), time.Second)}
	}
	return nil
}

// returnLocked gives a place back: a negative event is one that did not happen. It leaves no counter, and so drives out none.
func (l *limits) returnLocked(p place) {
	c, ok := l.counters[p.kind].Peek(p.key)
	if !ok {
		return
	}
	now := l.now()
	c.AllowN(now, -1)
	if c.TokensAt(now) >= float64(c.Burst()) {
		l.counters[p.kind].Remove(p.key)
	}
}

// attempt is one try at a password that has taken its place in every counter. Nil: limits are off.
type attempt struct {
	limits *limits
	taken  []place
}

// take lets an attempt begin, or answers RateLimitError. Its place is taken before it queues, so that many at once do not
// all pass. The address comes first: one that is over its limit touches no other counter.
func (l *limits) take(limit Limit, account string, addr netip.Addr) (*attempt, error) {
	if limit.Burst <= 0 {
		return nil, nil
	}
	prefix := limitPrefix(addr)
	a := &attempt{limits: l}
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, p := range []place{
		l.place(limitAddress, Limit{perAddress * limit.Burst, limit.Window}, spendKey{addr: prefix}),
		l.place(limitPair, limit, spendKey{account: account, addr: prefix}),
		l.place(limitAccount, Limit{perAccount * limit.Burst, accountWindow}, spendKey{account: account}),
	} {
		if err := l.takeLocked(p); err != nil {
			a.returnLocked()
			return nil, err
		}
		a.taken = append(a.taken, p)
	}
	return a, nil
}

func (a *attempt) returnLocked() {
	for _, p := range a.taken {
		a.limits.returnLocked(p)
	}
}

// giveBack undoes an attempt that came to no verdict.
func (a *attempt) giveBack() {
	if a == nil {
		return
	}
	a.limits.mu.Lock()
	defer a.limits.mu.Unlock()
	a.returnLocked()
}

// succeed undoes an attempt with the right password and forgets the failures of this account from this address.
func (a *attempt) succeed() {
	if a == nil {
		return
	}
	a.limits.mu.Lock()
	defer a.limits.mu.Unlock()
	for _, p := range a.taken {
		if p.kind == limitPair {
			a.limits.counters[p.kind].Remove(p.key)
		} else {
			a.limits.returnLocked(p)
		}
	}
}

// spend counts one request of an address, or answers RateLimitError.
func (l *limits) spend(what limitKind, limit Limit, addr netip.Addr) error {
	return l.spendOne(what, limit, spendKey{addr: limitPrefix(addr)})
}

func (l *limits) spendOne(what limitKind, limit Limit, key spendKey) error {
	if limit.Burst <= 0 {
		return nil
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.takeLocked(l.place(what, limit, key))
}
