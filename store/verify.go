package store

import (
	"bytes"
	"context"
	"errors"
	"fmt"
)

// reportedProblems bounds what a Report tells in words; all are counted.
const reportedProblems = 20

// Report is what Verify found.
type Report struct {
	Revision     uint64
	Tables       map[string]TableReport // by name
	ProblemCount int
	Problems     []string // the first ones
}

// TableReport counts what a table holds.
type TableReport struct {
	Records int
	Entries int    // of its indices
	Bytes   uint64 // keys and values
}

// OK reports whether everything is as it should be.
func (r *Report) OK() bool { return r.ProblemCount == 0 }

// Verify reads everything at one snapshot: each key is one of the key map's, each record can be read and has all its index
// entries, each index entry has its record. The error is that of reading; what is wrong with the data is in the report.
func (db *DB) Verify(ctx context.Context) (Report, error) {
	p, err := db.engine.pin()
	if err != nil {
		return Report{}, err
	}
	defer db.engine.unpin(p)
	r := Report{Revision: p.revision, Tables: make(map[string]TableReport)}
	for _, s := range schemas {
		r.Tables[s.title()] = TableReport{}
	}
	tx := &Tx{snapshot: p.snapshot, now: db.now(), revision: p.revision}
	for item, err := range tx.scan(nil, nil, true) {
		if err == nil {
			err = r.look(tx, item)
		}
		if err != nil {
			return r, err
		}
		select {
		case <-ctx.Done():
			return r, context.Cause(ctx)
		case <-p.leave:
			return r, fmt.Errorf("%w: the database is being opened again", ErrUnavailable)
		default:
		}
	}
	return r, nil
}

// VerifyDir opens a store that nobody else has open, verifies it and closes it. It makes none: ErrNotFound. The options may
// leave the server's name out.
func VerifyDir(ctx context.Context, o Options) (Report, error) {
	if !holdsStore(o.Dir) {
		return Report{}, fmt.Errorf("%w: there is no store in %q", ErrNotFound, o.Dir)
	}
	o.anyServer = o.ServerName == ""
	db, err := Open(ctx, o)
	if err != nil {
		return Report{}, err
	}
	r, err := db.Verify(ctx)
	return r, errors.Join(err, db.Close())
}

// look judges one key with its value. The error is that of reading something else.
func (r *Report) look(tx *Tx, item kv) error {
	key, err := parseKey(item.key)
	if err != nil {
		r.problem(err)
		return nil
	}
	s := schemas[key.kind]
	r.count(s.title(), key, item)
	if key.index == recordIndex {
		err = s.verifyRecord(tx, key, item.value)
	} else {
		err = s.verifyEntry(tx, key, item.value)
	}
	if errors.Is(err, ErrCorrupt) {
		r.problem(err)
		return nil
	}
	return err
}

func (r *Report) count(name string, key parsedKey, item kv) {
	t := r.Tables[name]
	if key.index == recordIndex {
		t.Records++
	} else {
		t.Entries++
	}
	t.Bytes += uint64(len(item.key) + len(item.value))
	r.Tables[name] = t
}

func (r *Report) problem(err error) {
	r.ProblemCount++
	if len(r.Problems) < reportedProblems {
		r.Problems = append(r.Problems, err.Error())
	}
}

// verifyRecord proves that a record can be read, lies under its own key, and has its entry in each index.
func (t *table[T]) verifyRecord(tx *Tx, key parsedKey, value []byte) error {
	record, err := t.decode(value)
	if err != nil {
		return fmt.Errorf("%s %x: %w", t.name, key.pk, err)
	}
	if !bytes.Equal(t.pk(&record), key.pk) {
		return fmt.Errorf("%w: %s %x lies under %x", ErrCorrupt, t.name, t.pk(&record), key.pk)
	}
	for i := range t.indices {
		want := t.entry(&t.indices[i], &record)
		if want.key == nil {
			continue
		}
		got, err := tx.get(want.key)
		if errors.Is(err, ErrNotFound) || err == nil && !bytes.Equal(got, want.value) {
			return fmt.Errorf("%w: %s %x is missing in index %d, or another one has its place", ErrCorrupt, t.name, key.pk, t.indices[i].id)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// verifyEntry proves that an index entry leads to a record that has this entry.
func (t *table[T]) verifyEntry(tx *Tx, key parsedKey, value []byte) error {
	pk := key.pk
	if pk == nil {
		pk = value
	}
	record, err := t.get(tx, pk)
	if errors.Is(err, ErrNotFound) {
		return fmt.Errorf("%w: index %d of %s leads from %x to %x, which is not there", ErrCorrupt, key.index, t.name, key.key, pk)
	}
	if err != nil {
		return err
	}
	for i := range t.indices {
		if t.indices[i].id == key.index && bytes.Equal(t.entry(&t.indices[i], &record).key, key.bytes()) {
			return nil
		}
	}
	return fmt.Errorf("%w: index %d of %s leads from %x to %x, which does not belong there", ErrCorrupt, key.index, t.name, key.key, pk)
}
