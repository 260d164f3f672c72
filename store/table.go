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
	indices []index[T]
}

// index finds records by another key. A record for which key gives nil is not in it.
type index[T any] struct {
	id     byte
	unique bool
	shape  layout
	key    func(*T) []byte
}

// entry is a key and a value of an index for a record; the zero entry is none.
func (t *table[T]) entry(i *index[T], record *T) kv {
	if record == nil {
		return kv{}
	}
	key := i.key(record)
	if key == nil {
		return kv{}
	}
	if i.unique {
		return kv{uniqueKey(t.id, i.id, key), t.pk(record)}
	}
	return kv{entryKey(t.id, i.id, key, t.pk(record)), []byte{}}
}

func (t *table[T]) decode(value []byte) (T, error) { return decode(value, t.times) }

// get reads the record with that primary key, or ErrNotFound.
func (t *table[T]) get(tx *Tx, pk []byte) (T, error) {
	value, err := tx.get(recordKey(t.id, pk))
	if err != nil {
		var none T
		return none, err
	}
	return t.decode(value)
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
	return t.put(tx, nil, record)
}

// update writes a record that is there, or gives ErrNotFound.
func (t *table[T]) update(tx *Tx, record *T) error {
	if err := tx.writable(); err != nil {
		return err
	}
	old, err := tx.get(recordKey(t.id, t.pk(record)))
	if err != nil {
		return err
	}
	return t.put(tx, old, record)
}

// upsert writes a record, whether it is there or not.
func (t *table[T]) upsert(tx *Tx, record *T) error {
	if err := tx.writable(); err != nil {
		return err
	}
	old, err := tx.get(recordKey(t.id, t.pk(record)))
	if err != nil && !errors.Is(err, ErrNotFound) {
		return err
	}
	return t.put(tx, old, record)
}

// remove deletes a record with its index entries, or gives ErrNotFound.
func (t *table[T]) remove(tx *Tx, pk []byte) error {
	if err := tx.writable(); err != nil {
		return err
	}
	old, err := tx.get(recordKey(t.id, pk))
	if err != nil {
		return err
	}
	return t.put(tx, old, nil)
}

// put replaces a record by another one with the same primary key, and moves every index entry. oldValue is nil for a new
// record, record for a removed one. On an error nothing has been written.
func (t *table[T]) put(tx *Tx, oldValue []byte, record *T) error {
	old, err := t.oldRecord(oldValue)
	if err != nil {
		return err
	}
	var value []byte
	if record != nil {
		if value, err = t.encode(record); err != nil {
			return err
		}
		if err := t.checkUnique(tx, old, record); err != nil {
			return err
		}
	}
	for i := range t.indices {
		move(tx, t.entry(&t.indices[i], old), t.entry(&t.indices[i], record))
	}
	if oldValue == nil || !bytes.Equal(oldValue, value) {
		tx.set(recordKey(t.id, t.pkOf(old, record)), value)
	}
	return nil
}

func (t *table[T]) oldRecord(value []byte) (*T, error) {
	if value == nil {
		return nil, nil
	}
	old, err := t.decode(value)
	if err != nil {
		return nil, err
	}
	return &old, nil
}

func (t *table[T]) pkOf(old, record *T) []byte {
	if record != nil {
		return t.pk(record)
	}
	return t.pk(old)
}

// encode gives the record's value, after a look at its keys: what could not be parsed again is not written.
func (t *table[T]) encode(record *T) ([]byte, error) {
	if err := t.pkShape.check(t.pk(record)); err != nil {
		return nil, fmt.Errorf("store: primary key of %s: %w", t.name, err)
	}
	for i := range t.indices {
		key := t.indices[i].key(record)
		if key == nil {
			continue
		}
		if err := t.indices[i].shape.check(key); err != nil {
			return nil, fmt.Errorf("store: index %d of %s: %w", t.indices[i].id, t.name, err)
		}
	}
	return encode(record)
}

// checkUnique gives ErrConflict if another record has one of this one's unique keys. One that has not changed is its own.
func (t *table[T]) checkUnique(tx *Tx, old, record *T) error {
	for i := range t.indices {
		if !t.indices[i].unique {
			continue
		}
		entry := t.entry(&t.indices[i], record)
		if entry.key == nil || bytes.Equal(entry.key, t.entry(&t.indices[i], old).key) {
			continue
		}
		holder, err := tx.get(entry.key)
		if errors.Is(err, ErrNotFound) {
			continue
		}
		if err != nil {
			return err
		}
		if !bytes.Equal(holder, entry.value) {
			return fmt.Errorf("%w: index %d of %s", ErrConflict, t.indices[i].id, t.name)
		}
	}
	return nil
}

// move replaces an index entry by another one; either may be none.
func move(tx *Tx, from, to kv) {
	if bytes.Equal(from.key, to.key) {
		return
	}
	if from.key != nil {
		tx.set(from.key, nil)
	}
	if to.key != nil {
		tx.set(to.key, to.value)
	}
}
