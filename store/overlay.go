package store

import (
	"bytes"
	"slices"
)

// overlay is what has been written on top of a snapshot and not committed. A nil value is a deletion.
type overlay struct {
	writes map[string][]byte
	bytes  int64 // as Badger counts them, so that a commit is not refused as too big
}

// entryOverhead is more than what Badger adds to an entry's key and value when it counts a transaction's size.
const entryOverhead = 32

func newOverlay() *overlay { return &overlay{writes: make(map[string][]byte)} }

// get reports what the overlay says about a key, if it says anything.
func (o *overlay) get(key []byte) (value []byte, ok bool) {
	value, ok = o.writes[string(key)]
	return value, ok
}

// set writes a value; nil deletes.
func (o *overlay) set(key, value []byte) {
	old, ok := o.writes[string(key)]
	if ok {
		o.bytes -= entrySize(len(key), old)
	}
	o.writes[string(key)] = value
	o.bytes += entrySize(len(key), value)
}

func entrySize(key int, value []byte) int64 { return int64(key + len(value) + entryOverhead) }

// merge puts another overlay on top.
func (o *overlay) merge(top *overlay) {
	for key, value := range top.writes {
		o.set([]byte(key), value)
	}
}

// kv is a key and its value.
type kv struct{ key, value []byte }

// rangeOf lists what a stack of overlays, lowest first, says about the keys that have the prefix and are not below from.
func rangeOf(stack []*overlay, prefix, from []byte) []kv {
	var found []kv
	for level, o := range stack {
		for key, value := range o.writes {
			k := []byte(key)
			if bytes.HasPrefix(k, prefix) && bytes.Compare(k, from) >= 0 && !hidden(stack[level+1:], k) {
				found = append(found, kv{k, value})
			}
		}
	}
	slices.SortFunc(found, func(a, b kv) int { return bytes.Compare(a.key, b.key) })
	return found
}

// hidden reports whether an overlay above says something about the key.
func hidden(above []*overlay, key []byte) bool {
	for _, o := range above {
		if _, ok := o.get(key); ok {
			return true
		}
	}
	return false
}
