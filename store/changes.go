package store

import "hash/maphash"

// changes tells whether a key has been written to lately. It is the writer's alone, and may say yes where the answer is no: keys
// share places.
type changes struct {
	seed   maphash.Seed
	places [1 << 13]uint64 // the revision that last wrote to a key of the place
}

func (c *changes) place(hash uint64) *uint64 { return &c.places[hash%uint64(len(c.places))] }

// note remembers what is about to be committed.
func (c *changes) note(writes *overlay, revision uint64) {
	for key := range writes.writes {
		*c.place(maphash.String(c.seed, key)) = revision
	}
}

// since reports whether a key may have been written to after a revision.
func (c *changes) since(key []byte, revision uint64) bool {
	return *c.place(maphash.Bytes(c.seed, key)) > revision
}
