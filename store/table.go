package store

import (
	"bytes"
	"errors"
	"fmt"
	"iter"
	"time"
)

// table keeps records of one type, each under its primary key, and every index entry of a record moves with it: all
// writing ends in put.
type table[T any] struct {
	id      byte
	name    string
	pkShape layout
	pk      func(*T) []byte
	times   func(*T) []*time.Time // every time in the record; nil: none
	clone   func(*T) T            // a record that shares nothing that is written to; nil: records are decoded each time
	indices []index[T]
}

// index finds records by another key. A record for which key gives nil is not in it.
type index[T any] struct {
	id     byte
	unique bool
	shape  layout
	key    func(*T) []byte
}

// of is the record's key; nil: it is not in the index, or no record.
func (i *index[T]) of(record *T) []byte {
	if record == nil {
		return nil
	}
	return i.key(record)
}

// entry is a key and a value of an index for a record; the zero entry is none.
func (t *table[T]) entry(i *index[T], record *T) kv {
	key := i.of(record)
	if key == nil {
		return kv{}
	}
	if i.unique {
		return kv{uniqueKey(t.id, i.id, key), t.pk(record)}
	}
	return kv{entryKey(t.id, i.id, key, t.pk(record)), []byte{}}
}

func (t *table[T]) decode(value []byte) (T, error) {
	record, err := decode(value, t.times)
	if err != nil {
		return *new(T), err
	}
	return *record, nil
}

// get reads the record with that primary key, or ErrNotFound.
func (t *table[T]) get(tx *Tx, pk []byte) (T, error) {
	s, err := t.read(tx, pk)
	if err != nil {
		return *new(T), err
	}
	if t.clone == nil {
		return *s.record, nil
	}
	return t.clone(s.record), nil
}

// stored is a record as it is in the store; the zero value is none.
type stored[T any] struct {
	value  []byte
	record *T
}

// read is get, without a copy for the caller to change unless there is nothing else.
func (t *table[T]) read(tx *Tx, pk []byte) (stored[T], error) {
	key := recordKey(t.id, pk)
	value, err := tx.get(key)
	if err != nil {
		return stored[T]{}, err
	}
	if record, ok := tx.last.record.(*T); ok && bytes.Equal(tx.last.key, key) && bytes.Equal(tx.last.value, value) {
		return stored[T]{value, record}, nil
	}
	record, err := decode(value, t.times)
	if err != nil {
		return stored[T]{}, err
	}
	if t.clone != nil {
		tx.last = lastRead{key, value, record}
	}
	return stored[T]{value, record}, nil
}

// lookup reads the record that a unique index finds, or ErrNotFound.
func (t *table[T]) lookup(tx *Tx, index byte, key []byte) (T, error) {
	var none T
	pk, err := tx.get(uniqueKey(t.id, index, key))
	if err != nil {
		return none, err
	}
	record, err := t.get(tx, pk)
	if errors.Is(err, ErrNotFound) {
		return none, fmt.Errorf("%w: index %d of %s names %x, which is not there", ErrCorrupt, index, t.name, pk)
	}
	return record, err
}

// scan lists the records whose primary key is above after, in order. After one that is ErrCorrupt it goes on, if it may.
func (t *table[T]) scan(tx *Tx, after []byte) iter.Seq2[T, error] {
	from := recordKey(t.id, after)
	if len(after) > 0 {
		from = append(from, 0)
	}
	return t.scanFrom(tx, recordKey(t.id, nil), from)
}

// scanUnder lists the records whose primary key begins with prefix, like scan.
func (t *table[T]) scanUnder(tx *Tx, prefix []byte) iter.Seq2[T, error] {
	key := recordKey(t.id, prefix)
	return t.scanFrom(tx, key, key)
}

func (t *table[T]) scanFrom(tx *Tx, prefix, from []byte) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		for item, err := range tx.scan(prefix, from, true) {
			var record T
			if err == nil {
				if record, err = t.decode(item.value); err != nil {
					err = fmt.Errorf("the record %x: %w", item.key[2:], err)
				}
			}
			if !yield(record, err) || err != nil && !errors.Is(err, ErrCorrupt) {
				return
			}
		}
	}
}

// scanIndex lists the records under a key of an index that is not unique, by primary key. A record that the ranging
// function has moved away meanwhile is left out. After one that is ErrCorrupt it goes on, if it may.
func (t *table[T]) scanIndex(tx *Tx, index byte, key []byte) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		prefix := entryPrefix(t.id, index, key)
		for item, err := range tx.scan(prefix, prefix, false) {
			var record T
			if err == nil {
				record, err = t.behind(tx, item.key, item.key[len(prefix):])
			}
			if errors.Is(err, ErrNotFound) {
				continue
			}
			if errors.Is(err, ErrCorrupt) {
				err = fmt.Errorf("the record %x: %w", item.key[len(prefix):], err)
			}
			if !yield(record, err) || err != nil && !errors.Is(err, ErrCorrupt) {
				return
			}
		}
	}
}

// behind reads the record behind an index entry; ErrNotFound: the entry is no longer there.
func (t *table[T]) behind(tx *Tx, entry, pk []byte) (T, error) {
	var none T
	if tx.stack != nil {
		if _, err := tx.get(entry); err != nil {
			return none, err
		}
	}
	record, err := t.get(tx, pk)
	if errors.Is(err, ErrNotFound) {
		return none, fmt.Errorf("%w: %x of %s names %x, which is not there", ErrCorrupt, entry, t.name, pk)
	}
	return record, err
}

// insert writes a new record. ErrConflict: it is there, or its key in a unique index is taken.
func (t *table[T]) insert(tx *Tx, record *T) error {
	if err := tx.writable(); err != nil {
		return err
	}
	switch _, err := tx.get(recordKey(t.id, t.pk(record))); {
	case err == nil:
		return fmt.Errorf("%w: %s", ErrConflict, t.name)
	case !errors.Is(err, ErrNotFound):
		return err
	}
	return t.put(tx, stored[T]{}, record)
}

// update writes a record that is there, or gives ErrNotFound.
func (t *table[T]) update(tx *Tx, record *T) error {
	if err := tx.writable(); err != nil {
		return err
	}
	old, err := t.read(tx, t.pk(record))
	if err != nil {
		return err
	}
	return t.put(tx, old, record)
}

// upsert writes a record, whether it is there or not, or cannot be read: that is as good as none in a table without indices.
func (t *table[T]) upsert(tx *Tx, record *T) error {
	if err := tx.writable(); err != nil {
		return err
	}
	old, err := t.read(tx, t.pk(record))
	if err != nil && !errors.Is(err, ErrNotFound) && !(errors.Is(err, ErrCorrupt) && len(t.indices) == 0) {
		return err
	}
	return t.put(tx, old, record)
}

// remove deletes a record with its index entries, or gives ErrNotFound. Without indices it need not be readable.
func (t *table[T]) remove(tx *Tx, pk []byte) error {
	if err := tx.writable(); err != nil {
		return err
	}
	if len(t.indices) == 0 {
		return t.removeOnly(tx, pk)
	}
	old, err := t.read(tx, pk)
	if err != nil {
		return err
	}
	return t.put(tx, old, nil)
}

// removeOnly deletes a record that is in no index.
func (t *table[T]) removeOnly(tx *Tx, pk []byte) error {
	key := recordKey(t.id, pk)
	_, err := tx.get(key)
	if err == nil {
		tx.set(key, nil)
	}
	return err
}

// put replaces a record by another one with the same primary key, and moves the index entries that change. old is none for a new
// record, record nil for a removed one. On an error nothing has been written.
func (t *table[T]) put(tx *Tx, old stored[T], record *T) error {
	value, err := t.encode(record)
	if err != nil {
		return err
	}
	moves, err := t.moves(tx, old.record, record)
	if err != nil {
		return err
	}
	for _, m := range moves {
		tx.set(m.key, m.value)
	}
	if old.value == nil || !bytes.Equal(old.value, value) {
		tx.set(recordKey(t.id, t.pkOf(old.record, record)), value)
	}
	return nil
}

func (t *table[T]) pkOf(old, record *T) []byte {
	if record != nil {
		return t.pk(record)
	}
	return t.pk(old)
}

// encode gives the record's value, after a look at its key: what could not be parsed again is not written.
func (t *table[T]) encode(record *T) ([]byte, error) {
	if record == nil {
		return nil, nil
	}
	if err := t.pkShape.check(t.pk(record)); err != nil {
		return nil, fmt.Errorf("store: primary key of %s: %w", t.name, err)
	}
	return encode(record)
}

// moves lists what becomes of the index entries of a record that is replaced by another one: those that have changed are deleted and
// written, after a look at their keys. ErrConflict: another record has one of this one's unique keys.
func (t *table[T]) moves(tx *Tx, old, record *T) (moves []kv, err error) {
	for i := range t.indices {
		x := &t.indices[i]
		from, to := x.of(old), x.of(record)
		if bytes.Equal(from, to) && (from == nil) == (to == nil) {
			continue
		}
		if from != nil {
			moves = append(moves, kv{t.entry(x, old).key, nil})
		}
		if to == nil {
			continue
		}
		if err := x.shape.check(to); err != nil {
			return nil, fmt.Errorf("store: index %d of %s: %w", x.id, t.name, err)
		}
		entry := t.entry(x, record)
		if err := t.checkUnique(tx, x, entry); err != nil {
			return nil, err
		}
		moves = append(moves, entry)
	}
	return moves, nil
}

// checkUnique gives ErrConflict if another record has this entry in a unique index.
func (t *table[T]) checkUnique(tx *Tx, x *index[T], entry kv) error {
	if !x.unique {
		return nil
	}
	holder, err := tx.get(entry.key)
	if errors.Is(err, ErrNotFound) || err == nil && bytes.Equal(holder, entry.value) {
		return nil
	}
	if err != nil {
		return err
	}
	return fmt.Errorf("%w: index %d of %s", ErrConflict, x.id, t.name)
}
