package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"time"

	"github.com/caddy-matrix/caddy-matrix-auth/store"
)

// memory measures what the edge holds: idle, with many sessions, and after many logins.
func (r *run) memory(ctx context.Context) ([]row, error) {
	var rows []row
	for _, measure := range []func(context.Context) ([]row, error){r.idleMemory, r.sessionMemory, r.loginMemory} {
		more, err := measure(ctx)
		rows = append(rows, more...)
		if err != nil {
			return rows, err
		}
	}
	return rows, nil
}

func (r *run) idleMemory(ctx context.Context) ([]row, error) {
	e, err := r.startEdge(ctx, 1, 0)
	if err != nil {
		return nil, err
	}
	defer e.close()
	m, err := e.memoryAfter(ctx, or(r, 10*time.Second, 100*time.Millisecond))
	return []row{within("memory, idle", m.anonymous, 60, "MB", "%s", m)}, err
}

// sessionMemory measures with many sessions in the store, after a sweep has been through them, and when all of them have been
// used within a minute or so, as after a restart.
func (r *run) sessionMemory(ctx context.Context) ([]row, error) {
	return r.memoryOfSessions(ctx, "sessions", (*seeder).addSession)
}

// memoryOfSessions is sessionMemory for one kind of them.
func (r *run) memoryOfSessions(ctx context.Context, what string, add sessionKind, options ...string) ([]row, error) {
	sessions := or(r, 100_000, 1000)
	e, err := r.startEdgeOf(ctx, add, sessions/10, sessions, options...)
	if err != nil {
		return nil, err
	}
	defer e.close()
	atFirst, err1 := e.memoryAfter(ctx, 0)
	stored, err2 := e.memoryAfter(ctx, or(r, 75*time.Second, 0))
	l, err3 := dial(e.internal, cycles(connections, introspections(e.internal, e.access))...)
	if err := errors.Join(err1, err2, err3); err != nil {
		return nil, err
	}
	if err := l.runTimes(sessions); err != nil {
		return nil, err
	}
	used, err1 := e.memoryAfter(ctx, 0)
	saved, err2 := e.memoryAfter(ctx, or(r, 75*time.Second, 0))
	size, err3 := e.bytesOfSessions(ctx)
	return []row{
		within(fmt.Sprintf("memory, %d %s in the store", sessions, what), stored.anonymous, 120, "MB", "%s; at first %s", stored, atFirst),
		within(fmt.Sprintf("memory, all %s in use", what), max(used.anonymous, saved.anonymous), 120, "MB", "%s; saved a minute later, %s", used, saved),
		shown(fmt.Sprintf("live bytes of each of the %s", what), "%s", size),
	}, errors.Join(err1, err2, err3)
}

// bytesOfSessions stops the edge and says what its store holds for each session.
func (e *edge) bytesOfSessions(ctx context.Context) (string, error) {
	if err := e.Stop(); err != nil {
		return "", err
	}
	report, err := store.VerifyDir(ctx, store.Options{Dir: e.DataDir(), Now: time.Now, Rand: rand.Reader})
	if err != nil {
		return "", err
	}
	sessions, seen := report.Tables["sessions"], report.Tables["last seen"]
	each := func(bytes uint64) float64 { return float64(bytes) / float64(max(1, sessions.Records)) }
	return fmt.Sprintf("%.0f bytes with keys and indices, and %.0f of when it was last seen", each(sessions.Bytes), each(seen.Bytes)), nil
}

func (r *run) loginMemory(ctx context.Context) ([]row, error) {
	const users = 200
	n := or(r, 10_000, 100)
	e, err := r.startEdge(ctx, users, 0)
	if err != nil {
		return nil, err
	}
	defer e.close()
	l, err := dial(e.public, cycles(waiting, logins(e.public, rightPassword, users))...)
	if err != nil {
		return nil, err
	}
	if err := l.runTimes(n); err != nil {
		return nil, err
	}
	at, err1 := e.memoryAfter(ctx, 0)
	later, err2 := e.memoryAfter(ctx, or(r, 40*time.Second, 0))
	return []row{within(fmt.Sprintf("memory, 40 s after %d logins", n), later.anonymous, 100, "MB",
		"%s; at their end, with the hasher, %s", later, at)}, errors.Join(err1, err2)
}

// memoryAfter lets the edge be for a while and reads its memory.
func (e *edge) memoryAfter(ctx context.Context, d time.Duration) (memory, error) {
	select {
	case <-time.After(d):
	case <-ctx.Done():
		return memory{}, context.Cause(ctx)
	}
	return memoryOf(e.Process().PID())
}

// start measures from the start of the edge's process to the answer to a login.
func (r *run) start(ctx context.Context) ([]row, error) {
	few, err := r.starts(ctx, or(r, 15, 1), 0)
	if err != nil {
		return nil, err
	}
	sessions := or(r, 100_000, 1000)
	many, err := r.starts(ctx, or(r, 5, 1), sessions)
	if err != nil {
		return nil, err
	}
	return []row{within("start to first login", median(few), .3, "s", "median of %d, the longest %.2f s; with %d sessions %.2f s",
		len(few), quantile(few, 1), sessions, median(many))}, nil
}

func (r *run) starts(ctx context.Context, n, sessions int) ([]float64, error) {
	e, err := r.newEdge(ctx, 100, sessions)
	if err != nil {
		return nil, err
	}
	defer e.close()
	var times []float64
	for range n {
		took, err := e.startAndLogIn(ctx)
		if err = errors.Join(err, e.Stop()); err != nil {
			return times, err
		}
		times = append(times, took.Seconds())
	}
	return times, nil
}

// startAndLogIn tries to log in from the moment at which the process is started.
func (e *edge) startAndLogIn(ctx context.Context) (time.Duration, error) {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	login := &cycle{requests: logins(e.public, rightPassword, 1)}
	begin := time.Now()
	up := make(chan error, 1)
	go func() { up <- e.Start(ctx) }()
	for {
		l, err := dial(e.public, login)
		if err == nil {
			err = errors.Join(l.runTimes(1), l.close())
		}
		if err == nil {
			took := time.Since(begin)
			return took, <-up
		}
		select {
		case <-time.After(time.Millisecond):
		case <-ctx.Done():
			return 0, fmt.Errorf("%w: %w", context.Cause(ctx), errors.Join(err, <-up))
		}
	}
}
