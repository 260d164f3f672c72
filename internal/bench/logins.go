package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/crypto/argon2"
)

// waiting is how many people log in at once.
const waiting = 64

// logins are login requests of the first n users.
func logins(addr, password string, n int) [][]byte {
	all := make([][]byte, n)
	for i := range all {
		all[i] = request("POST", addr, "/_matrix/client/v3/login", "", fmt.Sprintf(
			`{"type":"m.login.password","identifier":{"type":"m.id.user","user":%q},"password":%q,"refresh_token":true}`, localpart(i), password))
	}
	return all
}

// login compares logins with nothing but their hashes on all cores.
func (r *run) login(ctx context.Context) ([]row, error) {
	const users = 200
	e, err := r.startEdge(ctx, users, 0)
	if err != nil {
		return nil, err
	}
	defer e.close()
	l, err := dial(e.public, cycles(waiting, logins(e.public, rightPassword, users))...)
	if err != nil {
		return nil, err
	}
	rate := func(d time.Duration) (float64, error) { return steadyRate(l, d) }
	c, err := alternate(ctx, or(r, 20, 1), or(r, 3*time.Second, 500*time.Millisecond), rate, rawHashes)
	if err != nil {
		return nil, err
	}
	return []row{atLeast("logins ÷ bare argon2id on all cores", c.ratio(), .95, "%s; per second, %d at once", c, waiting)}, nil
}

// steadyRate is how many answers came in a second while all connections were busy: from the first answer to the time's end.
func steadyRate(l load, d time.Duration) (float64, error) {
	var mu sync.Mutex
	var at []time.Time
	timed := make(load, len(l))
	for i, c := range l {
		noted := *c
		noted.caller = &noting{c.caller, func() { mu.Lock(); at = append(at, time.Now()); mu.Unlock() }}
		timed[i] = &noted
	}
	end := time.Now().Add(d)
	if _, err := timed.run(d); err != nil {
		return 0, err
	}
	last, _ := slices.BinarySearchFunc(at, end, time.Time.Compare)
	if last < 2 {
		return 0, errors.New("too few answers within the slice")
	}
	return float64(last-1) / at[last-1].Sub(at[0]).Seconds(), nil
}

// noting is a caller whose answers are noted.
type noting struct {
	caller
	note func()
}

func (n *noting) take(status int, body []byte) error {
	n.note()
	return n.caller.take(status, body)
}

// rawHashes is argon2id with the parameters of the edge and nothing beside it, in a process of its own.
func rawHashes(d time.Duration) (float64, error) {
	self, err := os.Executable()
	if err != nil {
		return 0, err
	}
	out, err := exec.Command(self, "bench-argon2id", d.String()).Output()
	if err != nil {
		return 0, err
	}
	return strconv.ParseFloat(strings.TrimSpace(string(out)), 64)
}

// hashFor hashes on all cores for the duration given and prints how many hashes a second were made.
func hashFor(args []string) error {
	d, err := time.ParseDuration(args[0])
	if err != nil {
		return err
	}
	rates := make([]float64, runtime.GOMAXPROCS(0))
	var wg sync.WaitGroup
	for i := range rates {
		wg.Go(func() {
			start, n := time.Now(), 0
			for ; time.Since(start) < d; n++ {
				argon2.IDKey([]byte(rightPassword), []byte("sixteen-byte-salt"), 2, 19456, 1, 32)
			}
			rates[i] = float64(n) / time.Since(start).Seconds()
		})
	}
	wg.Wait()
	sum := 0.0
	for _, v := range rates {
		sum += v
	}
	fmt.Println(sum)
	return nil
}

// floodSize is how many wrong passwords wait at once, and floodUsers whose.
const floodSize, floodUsers = 500, 200

// flood is a process that sends wrong passwords on many connections until it is ended. The argument is the address.
func flood(args []string) error {
	go untilOrphaned()
	callers := cycles(floodSize, logins(args[0], "wrong", floodUsers))
	for _, c := range callers {
		c.(*cycle).status = http.StatusForbidden
	}
	l, err := dial(args[0], callers...)
	if err != nil {
		return err
	}
	_, err = l.run(time.Hour)
	return err
}

// flood measures how long introspections take while wrong passwords wait, and while none do.
func (r *run) flood(ctx context.Context) ([]row, error) {
	e, err := r.startEdge(ctx, floodUsers, 1000)
	if err != nil {
		return nil, err
	}
	defer e.close()
	const clients = 4
	l, err := dial(e.internal, cycles(clients, introspections(e.internal, e.access))...)
	if err != nil {
		return nil, err
	}
	p50, p99 := comparison{}, comparison{}
	slice := or(r, 8*time.Second, 500*time.Millisecond)
	for range or(r, 5, 1) {
		quiet, err := l.latencies(slice)
		if err != nil {
			return nil, err
		}
		busy, err := e.latenciesInFlood(l, slice)
		if err != nil {
			return nil, err
		}
		p50.ours, p50.theirs = append(p50.ours, quantile(busy, .5)), append(p50.theirs, quantile(quiet, .5))
		p99.ours, p99.theirs = append(p99.ours, quantile(busy, .99)), append(p99.theirs, quantile(quiet, .99))
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
	}
	return []row{
		atMost(fmt.Sprintf("introspection p50, %d wrong passwords waiting ÷ none", floodSize), p50.ratio(), 1.5, "%s; µs, %d clients every 10 ms", p50, clients),
		atMost("the same, p99", p99.ratio(), 4, "%s; µs", p99),
	}, nil
}

func (e *edge) latenciesInFlood(l load, d time.Duration) ([]float64, error) {
	f, err := startChild("bench-flood", e.public)
	if err != nil {
		return nil, err
	}
	time.Sleep(2 * time.Second) // for its connections, and for the hasher to start
	busy, err := l.latencies(d)
	err = errors.Join(err, f.stop())
	time.Sleep(time.Second) // for what was being hashed
	return busy, err
}

// latencies asks on each connection every 10 ms and returns how long each answer took, in microseconds.
func (l load) latencies(d time.Duration) ([]float64, error) {
	const pause = 10 * time.Millisecond
	times, errs := make([][]float64, len(l)), make([]error, len(l))
	var wg sync.WaitGroup
	for i, c := range l {
		wg.Go(func() {
			time.Sleep(time.Duration(i) * pause / time.Duration(len(l)))
			tick := time.NewTicker(pause)
			defer tick.Stop()
			for end := time.Now().Add(d); time.Now().Before(end) && errs[i] == nil; <-tick.C {
				start := time.Now()
				errs[i] = c.ask()
				times[i] = append(times[i], float64(time.Since(start).Nanoseconds())/1000)
			}
		})
	}
	wg.Wait()
	return slices.Concat(times...), errors.Join(errs...)
}
