package password

import (
	"cmp"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"slices"
	"sync"
)

// Census counts the stored hashes by what they cost, for Dummy. Its owner adds and removes each stored hash.
// The zero value is empty: every dummy is then one of our own hashes. It is safe for concurrent use.
type Census struct {
	mu     sync.Mutex
	counts []census // sorted by scheme, none of them 0
}

type census struct {
	scheme scheme
	n      int
}

// Add counts a stored hash. One that cannot be read counts as ours, because that is what judging it costs.
func (c *Census) Add(encoded string) { c.change(encoded, 1) }

// Remove takes back one Add of such a hash.
func (c *Census) Remove(encoded string) { c.change(encoded, -1) }

func (c *Census) change(encoded string, by int) {
	s := ours
	if r, err := parseRecord(encoded); err == nil {
		s = r.scheme
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	i, found := slices.BinarySearchFunc(c.counts, s, func(e census, s scheme) int { return e.scheme.compare(s) })
	if !found {
		c.counts = slices.Insert(c.counts, i, census{scheme: s})
	}
	c.counts[i].n += by
	if c.counts[i].n <= 0 {
		c.counts = slices.Delete(c.counts, i, i+1)
	}
}

// pick chooses a scheme for a name. Ours sorts first, so that while users are upgraded names move to it and never from it.
func (c *Census) pick(key [32]byte, name string) scheme {
	c.mu.Lock()
	defer c.mu.Unlock()
	total := 0
	for _, e := range c.counts {
		total += e.n
	}
	if total == 0 {
		return ours
	}
	mac := hmac.New(sha256.New, key[:])
	mac.Write([]byte(name))
	// The name stands at a fixed share of the whole: 53 bits, to stay exact in a float64.
	share := float64(binary.BigEndian.Uint64(mac.Sum(nil))>>11) / (1 << 53)
	place := int(share * float64(total))
	for _, e := range c.counts {
		if place -= e.n; place < 0 {
			return e.scheme
		}
	}
	return ours
}

// compare orders schemes: ours, then by kind and parameters.
func (s scheme) compare(o scheme) int {
	if (s == ours) != (o == ours) {
		if s == ours {
			return -1
		}
		return 1
	}
	return cmp.Or(cmp.Compare(s.kind, o.kind), cmp.Compare(s.memory, o.memory), cmp.Compare(s.time, o.time),
		cmp.Compare(s.threads, o.threads), cmp.Compare(s.size, o.size))
}
