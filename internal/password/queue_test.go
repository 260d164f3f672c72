package password

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
)

func newJob(src Source) *job { return &job{src: src, done: make(chan outcome, 1)} }

func pushAll(t *testing.T, q *queue, sources ...Source) {
	t.Helper()
	for _, s := range sources {
		if err := q.push(newJob(s)); err != nil {
			t.Fatal(err)
		}
	}
}

func popAll(q *queue) (order []string) {
	for j := q.pop(); j != nil; j = q.pop() {
		order = append(order, j.src.Addr.Addr().String()+" "+j.src.Account)
	}
	return order
}

func TestQueueIsFairBetweenAddresses(t *testing.T) {
	q := newQueue(1000)
	for i := range 500 {
		pushAll(t, &q, source("192.0.2.66/32", fmt.Sprint("invented", i)))
	}
	q.pop()
	pushAll(t, &q, home)
	if got := q.pop().src; got != home {
		t.Errorf("got %v, want %v", got, home)
	}
}

func TestQueueTakesTurns(t *testing.T) {
	a, b := "192.0.2.1/32", "2001:db8::/64"
	q := newQueue(100)
	pushAll(t, &q, source(a, "x"), source(a, "x"), source(a, "x"), source(a, "y"), source(b, "x"), source(b, "z"), source(a, "w"))
	want := []string{
		"192.0.2.1 x", "2001:db8:: x", "192.0.2.1 y", "2001:db8:: z", "192.0.2.1 w", "192.0.2.1 x", "192.0.2.1 x",
	}
	if diff := cmp.Diff(want, popAll(&q)); diff != "" {
		t.Errorf("order (-want +got): %s", diff)
	}
	if q.len != 0 || len(q.addresses.places) != 0 || q.addresses.order.Len() != 0 {
		t.Errorf("the empty queue is not empty: %+v", q)
	}
}

// TestHashDoS_FullQueueMakesRoom: one address cannot keep the others out by filling the queue.
func TestHashDoS_FullQueueMakesRoom(t *testing.T) {
	crowd := "192.0.2.66/32"
	q := newQueue(4)
	pushAll(t, &q, source(crowd, "a"), source(crowd, "b"), source(crowd, "b"))
	youngest := newJob(source(crowd, "b"))
	if err := q.push(youngest); err != nil {
		t.Fatal(err)
	}
	if err := q.push(newJob(source(crowd, "c"))); !errors.Is(err, ErrQueueFull) {
		t.Errorf("one more of the crowd: got %v, want %v", err, ErrQueueFull)
	}
	pushAll(t, &q, home)
	if o := <-youngest.done; !errors.Is(o.err, ErrQueueFull) {
		t.Errorf("the youngest of the crowd: got %v, want %v", o.err, ErrQueueFull)
	}
	if q.len != 4 {
		t.Errorf("got %d waiting, want 4", q.len)
	}
}

func FuzzQueue(f *testing.F) {
	f.Add([]byte{0, 1, 2, 3, 0x80, 0x41, 0xc0, 0x80})
	f.Fuzz(func(t *testing.T, steps []byte) {
		q := newQueue(8)
		in := map[*job]bool{}
		for _, step := range steps {
			switch step >> 6 {
			case 0, 1:
				j := newJob(source(fmt.Sprintf("192.0.2.%d/32", step&7), string('a'+rune(step>>3&3))))
				if q.push(j) == nil {
					in[j] = true
				}
			case 2:
				delete(in, q.pop())
			case 3:
				for j := range in {
					q.remove(j)
					delete(in, j)
					break
				}
			}
			for j := range in {
				if j.place == nil {
					delete(in, j)
					if o := <-j.done; !errors.Is(o.err, ErrQueueFull) {
						t.Fatalf("got %v, want %v", o.err, ErrQueueFull)
					}
				}
			}
			if q.len != len(in) || q.len > 8 {
				t.Fatalf("got %d waiting, want %d", q.len, len(in))
			}
		}
		if n := len(popAll(&q)); n != len(in) {
			t.Errorf("got %d jobs, want %d", n, len(in))
		}
	})
}

// hold takes the places of hashes in this process, so that what is dispatched stays.
func hold(h *Hasher) (release func()) {
	for range cap(h.workers.places) {
		h.workers.places <- struct{}{}
	}
	return func() {
		for range cap(h.workers.places) {
			<-h.workers.places
		}
	}
}

func TestCancellationFreesThePlace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newTestHasher(t, Config{Concurrency: 1, QueueLimit: 1})
		release := hold(h)
		results := make(chan error, 3)
		start := func(ctx context.Context) {
			go func() {
				_, err := h.Verify(ctx, home, cheap, horse)
				results <- err
			}()
			synctest.Wait()
		}
		start(context.Background()) // runs
		ctx, cancel := context.WithCancel(context.Background())
		start(ctx) // waits
		start(context.Background())
		if err := <-results; !errors.Is(err, ErrQueueFull) {
			t.Errorf("full queue: got %v, want %v", err, ErrQueueFull)
		}
		cancel()
		if err := <-results; !errors.Is(err, context.Canceled) {
			t.Errorf("cancelled: got %v, want %v", err, context.Canceled)
		}
		synctest.Wait()
		if got := h.Status(); got.Waiting != 0 || got.Running != 1 {
			t.Errorf("got %+v, want 0 waiting and 1 running", got)
		}
		start(context.Background()) // waits in the place that was freed
		release()
		for range 2 {
			if err := <-results; err != nil {
				t.Error(err)
			}
		}
	})
}

// TestCancelledHashKeepsItsPlace: whoever gives up a hash that runs must not get another one on top of it.
func TestCancelledHashKeepsItsPlace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newTestHasher(t, Config{Concurrency: 1})
		release := hold(h)
		ctx, cancel := context.WithCancel(context.Background())
		cancelled := make(chan error)
		go func() {
			_, err := h.Verify(ctx, home, cheap, horse)
			cancelled <- err
		}()
		synctest.Wait()
		cancel()
		if err := <-cancelled; !errors.Is(err, context.Canceled) {
			t.Errorf("got %v, want %v", err, context.Canceled)
		}
		if got := h.Status(); got.Running != 1 {
			t.Errorf("got %d running, want 1", got.Running)
		}
		release()
		synctest.Wait()
		if got := h.Status(); got.Running != 0 {
			t.Errorf("got %d running, want 0", got.Running)
		}
	})
}

func TestCloseWaitsForWhatRuns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newTestHasher(t, Config{Concurrency: 1})
		release := hold(h)
		type verdict struct {
			Result Result
			Err    error
		}
		runs, waits := make(chan verdict, 1), make(chan verdict, 1)
		for _, to := range []chan verdict{runs, waits} {
			go func() {
				got, err := h.Verify(context.Background(), home, cheap, horse)
				to <- verdict{got, err}
			}()
			synctest.Wait()
		}
		closed := make(chan error, 1)
		go func() { closed <- h.Close() }()
		synctest.Wait()
		if got := <-waits; !errors.Is(got.Err, ErrClosed) {
			t.Errorf("what waits: got %+v, want %v", got, ErrClosed)
		}
		select {
		case <-closed:
			t.Error("closed while a hash ran")
		default:
		}
		release()
		if got := <-runs; got.Result != Match || got.Err != nil {
			t.Errorf("what runs: got %+v, want %v", got, Match)
		}
		if err := <-closed; err != nil {
			t.Error(err)
		}
		if _, err := h.Verify(context.Background(), home, cheap, horse); !errors.Is(err, ErrClosed) {
			t.Errorf("after Close: got %v, want %v", err, ErrClosed)
		}
	})
}

// TestCloseDoesNotWaitForEver: closing happens under Caddy's configuration lock.
func TestCloseDoesNotWaitForEver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := NewHasher(Config{Concurrency: 1, Now: time.Now})
		release := hold(h)
		go func() { _, _ = h.Verify(context.Background(), home, cheap, horse) }()
		synctest.Wait()
		began := time.Now()
		if err := h.Close(); !errors.Is(err, errStuck) || time.Since(began) != closePatience {
			t.Errorf("got %v after %v, want %v after %v", err, time.Since(began), errStuck, closePatience)
		}
		release()
	})
}

func TestSetConcurrencyStartsWhatWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newTestHasher(t, Config{Concurrency: 1})
		h.workers.places = make(chan struct{}, 3)
		release := hold(h)
		done := make(chan error, 4)
		for range 4 {
			go func() {
				_, err := h.Verify(context.Background(), home, cheap, horse)
				done <- err
			}()
		}
		synctest.Wait()
		for _, c := range []struct{ set, want int }{{1, 1}, {2, 2}, {9, 3}} {
			h.SetConcurrency(c.set)
			if got := h.Status().Running; got != c.want {
				t.Errorf("concurrency %d: got %d running, want %d", c.set, got, c.want)
			}
		}
		release()
		for range 4 {
			if err := <-done; err != nil {
				t.Error(err)
			}
		}
	})
}
