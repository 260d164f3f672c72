package store

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// benchSessions is how many sessions a benchmark's store holds.
const benchSessions = 20_000

// benchStore is a store on disk with sessions in it.
func benchStore(b *testing.B) *DB {
	b.Helper()
	db := mustOpen(b, testOptions(b.TempDir()))
	for from := 0; from < benchSessions; from += 500 {
		mustUpdate(b, db, func(tx *Tx) error {
			for n := from; n < from+500; n++ {
				if err := tx.InsertSession(testSession(n, n%1000)); err != nil {
					return err
				}
			}
			return nil
		})
	}
	return db
}

// spread is the nth session to take: all are taken before one comes again.
func spread(n int64) int { return int(n * 7919 % benchSessions) }

// refresh is what a refresh does to the store, once a View has found the session.
func refresh(tx *Tx, n int) error {
	s, err := tx.Session(testID(n))
	if err != nil {
		return err
	}
	s.Generation++
	s.RefreshedAt = tx.Now()
	return tx.UpdateSession(s)
}

// plainRefresh is the same in a transaction of Badger's own, with its own fsync.
func plainRefresh(db *DB, n int, revision uint64) error {
	return db.PlainUpdate(revision, func(tx *Tx) error { return refresh(tx, n) })
}

// perSecond runs fn in goroutines for a while and returns how often it was done in a second.
func perSecond(b *testing.B, goroutines int, d time.Duration, fn func(n int64) error) float64 {
	b.Helper()
	var done atomic.Int64
	var wg sync.WaitGroup
	begin := time.Now()
	for range goroutines {
		wg.Go(func() {
			for time.Since(begin) < d {
				if err := fn(done.Add(1)); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	return float64(done.Load()) / time.Since(begin).Seconds()
}

// BenchmarkRefresh compares the writer with one durable transaction each, in slices that alternate.
func BenchmarkRefresh(b *testing.B) {
	const slice = time.Second
	for _, goroutines := range []int{1, 16, 64} {
		b.Run(fmt.Sprintf("callers=%d", goroutines), func(b *testing.B) {
			db := benchStore(b)
			var grouped, plain []float64
			var revision atomic.Uint64
			for b.Loop() {
				grouped = append(grouped, perSecond(b, goroutines, slice, func(n int64) error {
					return db.Update(context.Background(), func(tx *Tx) error { return refresh(tx, spread(n)) })
				}))
				revision.Store(db.Revision())
				plain = append(plain, perSecond(b, goroutines, slice, func(n int64) error {
					return plainRefresh(db, spread(n), revision.Add(1))
				}))
				db.SetRevision(revision.Load() + 1)
			}
			b.ReportMetric(median(grouped), "grouped/s")
			b.ReportMetric(median(plain), "plain/s")
			b.ReportMetric(median(grouped)/median(plain), "ratio")
			s := db.Stats()
			b.ReportMetric(float64(s.Committed)/float64(s.Commits), "functions/commit")
		})
	}
}

// BenchmarkLookup compares the median time of a lookup alone with that beside four durable writers, in slices that alternate.
func BenchmarkLookup(b *testing.B) {
	const slice = time.Second
	db := benchStore(b)
	lookups := func() float64 {
		var times []float64
		begin := time.Now()
		for n := int64(0); time.Since(begin) < slice; n++ {
			start := time.Now()
			err := db.View(func(tx *Tx) error {
				_, err := tx.SessionByAccessHandle(testHandle('a', spread(n)))
				return err
			})
			if err != nil {
				b.Fatal(err)
			}
			times = append(times, float64(time.Since(start).Nanoseconds()))
		}
		return median(times)
	}
	var idle, busy []float64
	for b.Loop() {
		idle = append(idle, lookups())
		var stop atomic.Bool
		var wg sync.WaitGroup
		var n atomic.Int64
		for range 4 {
			wg.Go(func() {
				for !stop.Load() {
					err := db.Update(context.Background(), func(tx *Tx) error { return refresh(tx, spread(n.Add(1))) })
					if err != nil {
						b.Error(err)
					}
				}
			})
		}
		busy = append(busy, lookups())
		stop.Store(true)
		wg.Wait()
	}
	b.ReportMetric(median(idle), "idle-ns")
	b.ReportMetric(median(busy), "busy-ns")
	b.ReportMetric(median(busy)/median(idle), "ratio")
}

func median(values []float64) float64 {
	s := slices.Sorted(slices.Values(values))
	return s[len(s)/2]
}

// BenchmarkRecord is the cost of a session's value alone.
func BenchmarkRecord(b *testing.B) {
	s := testSession(1, 2)
	value, err := encode(&s)
	if err != nil {
		b.Fatal(err)
	}
	b.Run("encode", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, err := encode(&s); err != nil {
				b.Fatal(err)
			}
		}
		b.ReportMetric(float64(len(value)), "bytes")
	})
	b.Run("decode", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, err := sessions.decode(value); err != nil {
				b.Fatal(err)
			}
		}
	})
}
