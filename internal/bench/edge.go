package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/caddy-matrix/caddy-matrix-auth/internal/e2e/rig"
)

// secret is what the homeserver and the edge share.
const secret = "shared-by-bench-and-edge"

// edge is a Caddy with two sites to compare with, over a store of its own, before the instant homeserver.
type edge struct {
	*rig.Edge
	seeded
	public, internal string // host:port
	stock            string // a plain reverse_proxy to the same upstream
	drain            string // a handler that only reads
	upstream         *child
}

// newEdge makes one with legacy sessions.
func (r *run) newEdge(ctx context.Context, users, sessions int, options ...string) (*edge, error) {
	return r.newEdgeOf(ctx, (*seeder).addSession, users, sessions, options...)
}

// newEdgeOf seeds a store and configures an edge over it, with the homeserver running. Nothing else runs before Start.
func (r *run) newEdgeOf(ctx context.Context, add sessionKind, users, sessions int, options ...string) (*edge, error) {
	dir, err := os.MkdirTemp(r.dir, "edge")
	if err != nil {
		return nil, err
	}
	ports, err := rig.FreePorts(6)
	if err != nil {
		return nil, err
	}
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	at := func(i int) string { return fmt.Sprintf("127.0.0.1:%d", ports[i]) }
	e := &edge{public: at(0), internal: at(1), stock: at(3), drain: at(4), Edge: &rig.Edge{
		Binary: self, Dir: dir, ServerName: serverName, Port: ports[0], InternalPort: ports[1], AdminPort: ports[2],
		Synapse: "http://" + at(5), SecretFile: filepath.Join(dir, "secret"),
		Options: strings.Join(append(options, "rate_limit login off"), "\n"),
	}}
	if err := e.configure(at(5)); err != nil {
		return nil, err
	}
	s, err := fill(ctx, e.DataDir(), users, sessions, add)
	if err != nil {
		return nil, fmt.Errorf("seeding: %w", err)
	}
	e.seeded = *s
	if e.upstream, err = startChild("bench-upstream", at(5)); err != nil {
		return nil, err
	}
	return e, reachable(at(5))
}

func (e *edge) configure(upstream string) error {
	if err := errors.Join(e.Configure(), os.WriteFile(e.SecretFile, []byte(secret), 0o600)); err != nil {
		return err
	}
	f, err := os.OpenFile(e.Caddyfile(), os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(f, "http://%s {\n\tbind 127.0.0.1\n\treverse_proxy %s\n}\nhttp://%s {\n\tbind 127.0.0.1\n\troute {\n\t\tbench_drain\n\t}\n}\n",
		e.stock, upstream, e.drain)
	return errors.Join(err, f.Close())
}

// close ends everything. Its errors are about what has been measured already, and worth a line.
func (e *edge) close() {
	if err := errors.Join(e.Stop(), e.upstream.stop()); err != nil {
		fmt.Fprintln(os.Stderr, "bench: stopping:", err)
	}
}

// startEdge is newEdge and Start.
func (r *run) startEdge(ctx context.Context, users, sessions int, options ...string) (*edge, error) {
	return r.startEdgeOf(ctx, (*seeder).addSession, users, sessions, options...)
}

// startEdgeOf is newEdgeOf and Start.
func (r *run) startEdgeOf(ctx context.Context, add sessionKind, users, sessions int, options ...string) (*edge, error) {
	e, err := r.newEdgeOf(ctx, add, users, sessions, options...)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	if err := e.Start(ctx); err != nil {
		e.close()
		return nil, err
	}
	return e, nil
}

// perCPU measures requests per second of the server's processor time.
func (e *edge) perCPU(l load) arm {
	return func(d time.Duration) (float64, error) {
		before, err := cpuTime(e.Process().PID())
		if err != nil {
			return 0, err
		}
		n, err := l.run(d)
		if err != nil {
			return 0, err
		}
		after, err := cpuTime(e.Process().PID())
		return float64(n) / max(after-before, tick).Seconds(), err
	}
}

// compare compares two ways of being asked by what they cost the edge.
func (e *edge) compare(ctx context.Context, r *run, ours, theirs load) (comparison, error) {
	return alternate(ctx, or(r, 30, 2), or(r, time.Second, 100*time.Millisecond), e.perCPU(ours), e.perCPU(theirs))
}
