package auth

import (
	"hash/maphash"
	"net/netip"
	"sync"
	"time"

	"github.com/hashicorp/golang-lru/v2/simplelru"
)

// Limits of failed passwords beside the configured pair per (account, address).
const (
	perAddress    = 6         // times the burst, for all accounts of one address
	perAccount    = 10        // times the burst, in accountWindow and over all addresses
	accountWindow = time.Hour // a guess from everywhere at once is slow
	maxCounters   = 16 << 10  // of each kind, about 120 bytes each; the least recently used are forgotten
)

// limits counts failed passwords: per address, per account and address, per account; and requests that nobody has authenticated
// for. An account is whom a name means, whether or not there is such a user.
type limits struct {
	now   func() time.Time
	start time.Time
	seed  maphash.Seed // so that nobody knows which keys share a counter

	mu       sync.Mutex
	counters [limitKinds]*simplelru.LRU[uint64, fullAt] // by kind: what is cheap drives out nobody who guesses passwords or codes
}

// fullAt is a token bucket: when it will be full again if nothing more is taken, since the start of the limits. One that is full
// is not kept.
type fullAt time.Duration

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

// every is how long it takes until one more is allowed.
func (p place) every() fullAt { return fullAt(p.limit.Window / time.Duration(p.limit.Burst)) }

func newLimits(now func() time.Time) *limits {
	l := &limits{now: now, start: now(), seed: maphash.MakeSeed()}
	for kind := range l.counters {
		l.counters[kind], _ = simplelru.NewLRU[uint64, fullAt](maxCounters, nil)
	}
	return l
}

func (l *limits) place(kind limitKind, limit Limit, key spendKey) place {
	return place{kind, maphash.Comparable(l.seed, key), limit}
}

// takeLocked takes a place, or answers RateLimitError.
func (l *limits) takeLocked(p place) error {
	now, window := fullAt(l.now().Sub(l.start)), fullAt(p.limit.Window)
	full, _ := l.counters[p.kind].Get(p.key)
	full = min(max(full, now), now+window) // no longer than the window, which a reload may have changed
	late := full + p.every() - (now + window)
	if late <= 0 {
		full += p.every()
	}
	l.counters[p.kind].Add(p.key, full)
	if late > 0 {
		return &RateLimitError{RetryAfter: max(time.Duration(late), time.Second)}
	}
	return nil
}

// returnLocked gives a place back. What did not happen leaves no counter, and so drives out none.
func (l *limits) returnLocked(p place) {
	full, ok := l.counters[p.kind].Peek(p.key)
	if !ok {
		return
	}
	if full -= p.every(); full > fullAt(l.now().Sub(l.start)) {
		l.counters[p.kind].Add(p.key, full)
	} else {
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
	a.returnLocked()
	for _, p := range a.taken {
		if p.kind == limitPair {
			a.limits.counters[p.kind].Remove(p.key)
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
