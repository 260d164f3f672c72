package password

import (
	"context"
	"fmt"
	"testing"
)

const bcrypt12 = "$2b$12$wpPK15pakpomHt1oyFL88uZ3DEmYtutB1RmiHXE1OXAuNAt..Kgku"

func add(c *Census, encoded string, n int) {
	for range n {
		c.Add(encoded)
	}
}

func picks(c *Census, names int) map[string]scheme {
	p := map[string]scheme{}
	for i := range names {
		name := fmt.Sprint("name", i)
		p[name] = c.pick([32]byte{1}, name)
	}
	return p
}

func count(p map[string]scheme, s scheme) (n int) {
	for _, got := range p {
		if got == s {
			n++
		}
	}
	return n
}

func TestCensusOfOneScheme(t *testing.T) {
	own := record{scheme: ours, salt: make([]byte, saltBytes), tag: make([]byte, 32)}.String()
	var c Census
	if got := count(picks(&c, 100), ours); got != 100 {
		t.Errorf("empty: got %d of 100 names, want all of them ours", got)
	}
	add(&c, own, 3)
	if got := count(picks(&c, 100), ours); got != 100 {
		t.Errorf("only ours: got %d of 100 names", got)
	}
	c.Add(bcrypt12)
	c.Remove(bcrypt12)
	if len(c.counts) != 1 {
		t.Errorf("got %v, want no trace of what was removed", c.counts)
	}
}

func TestCensusProportions(t *testing.T) {
	imported, err := parseRecord(bcrypt12)
	if err != nil {
		t.Fatal(err)
	}
	var c Census
	add(&c, bcrypt12, 75)
	add(&c, "not a hash", 25) // judged as ours
	before := picks(&c, 4000)
	if got := count(before, imported.scheme); got < 2850 || got > 3150 {
		t.Errorf("got bcrypt for %d of 4000 names, want about 3000", got)
	}
	if got := count(before, imported.scheme) + count(before, ours); got != 4000 {
		t.Errorf("got %d of 4000 names under the two schemes", got)
	}
	// Another key, other names.
	moved := 0
	for name, s := range before {
		if c.pick([32]byte{2}, name) != s {
			moved++
		}
	}
	if moved < 1000 {
		t.Errorf("got %d names that move with the key, want about 1500", moved)
	}
	// Users are upgraded: names follow them, and none comes back.
	for range 50 {
		c.Remove(bcrypt12)
		c.Add("not a hash")
	}
	after := picks(&c, 4000)
	if got := count(after, imported.scheme); got < 850 || got > 1150 {
		t.Errorf("upgraded: got bcrypt for %d of 4000 names, want about 1000", got)
	}
	for name, s := range after {
		if s == imported.scheme && before[name] != s {
			t.Errorf("%s went back to bcrypt", name)
		}
	}
}

// TestRauthy005_Dummy: every scheme's dummy is a record that can be read, costs what the scheme costs, and fits nothing.
func TestRauthy005_Dummy(t *testing.T) {
	h := newTestHasher(t, Config{Command: serving})
	for _, v := range vectors {
		r, err := parseRecord(v.encoded)
		if err != nil {
			t.Fatal(err)
		}
		again, err := parseRecord(r.scheme.dummy().String())
		if err != nil || again.scheme != r.scheme {
			t.Errorf("%s: got %+v and %v, want %+v", v.name, again.scheme, err, r.scheme)
		}
		var c Census
		c.Add(v.encoded)
		got, err := h.Dummy(context.Background(), home, &c, [32]byte{}, "nobody", v.password)
		if got != Mismatch || err != nil {
			t.Errorf("%s: got %v and %v, want %v", v.name, got, err, Mismatch)
		}
	}
}
