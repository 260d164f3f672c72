package password

import (
	"context"
	"runtime"
	"sync"
	"testing"
	"time"

	"golang.org/x/crypto/argon2"
)

// BenchmarkChild compares logins through the child with argon2id on all cores and nothing else, in alternating slices.
func BenchmarkChild(b *testing.B) {
	h := newTestHasher(b, Config{Command: serving})
	encoded, err := h.Hash(context.Background(), home, horse)
	if err != nil {
		b.Fatal(err)
	}
	const slice = 200
	var child, raw time.Duration
	n := 0
	for b.Loop() {
		child += parallel(slice, 64, func() {
			if got, err := h.Verify(context.Background(), home, encoded, horse); got != Match {
				b.Error(got, err)
			}
		})
		raw += parallel(slice, runtime.GOMAXPROCS(0), func() {
			argon2.IDKey([]byte(horse), []byte("somesalt-16bytes"), ours.time, ours.memory, uint8(ours.threads), 32)
		})
		n += slice
	}
	b.ReportMetric(float64(n)/child.Seconds(), "child-hashes/s")
	b.ReportMetric(float64(n)/raw.Seconds(), "raw-hashes/s")
	b.ReportMetric(raw.Seconds()/child.Seconds(), "child/raw")
}

func parallel(n, workers int, f func()) time.Duration {
	start := time.Now()
	todo := make(chan struct{}, n)
	for range n {
		todo <- struct{}{}
	}
	close(todo)
	var wg sync.WaitGroup
	for range workers {
		wg.Go(func() {
			for range todo {
				f()
			}
		})
	}
	wg.Wait()
	return time.Since(start)
}
