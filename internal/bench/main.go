// Command bench measures what this repository promises of its speed and memory, and prints one table of ratios that mean the
// same on any machine. `make bench` builds and runs it; ONLY=gate,refresh picks rows, and SHORT=1 takes so little time that
// the figures mean nothing, to see whether it works.
//
// Policy. What is near 1 is the median over alternating slices, by the processor time of the server's process per request.
// The server is this very program, started again as a Caddy with the repository's modules and one handler to compare with;
// the homeserver and the floods are processes of their own. Where a benchmark has to see the inside of a package it stands
// in that package's tests, and is run from here by the go command.
//
// The program reads the clock and makes randomness, as the edge does. It owns no code of the edge, judges nothing but its own
// figures, and leaves nothing behind. It needs Linux: figures of processes come from /proc.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"time"

	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	_ "github.com/caddyserver/caddy/v2/modules/standard"

	_ "github.com/caddy-matrix/caddy-matrix-auth/caddymodule"
)

// children are the other programs that this one can be. With any other argument it is Caddy.
var children = map[string]func(args []string) error{
	"bench-upstream": serveUpstream,
	"bench-flood":    flood,
	"bench-argon2id": hashFor,
}

func main() {
	if len(os.Args) > 1 {
		child, ok := children[os.Args[1]]
		if !ok {
			caddycmd.Main()
			return
		}
		exitOn(child(os.Args[2:]))
		return
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	exitOn(measure(ctx, os.Getenv("ONLY"), set(os.Getenv("SHORT"))))
}

func exitOn(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func set(v string) bool { return v != "" && v != "0" }

// run is one run of the program.
type run struct {
	short bool
	dir   string // of everything that is written; removed at the end
}

// parts are the table's parts by the names that ONLY takes, in their order.
var parts = []struct {
	name    string
	measure func(*run, context.Context) ([]row, error)
}{
	{"introspect", (*run).introspect},
	{"proxy", (*run).proxy},
	{"gate", (*run).gate},
	{"refresh", (*run).refresh},
	{"age", (*run).age},
	{"login", (*run).login},
	{"flood", (*run).flood},
	{"lookup", (*run).lookup},
	{"memory", (*run).memory},
	{"start", (*run).start},
	{"grant", (*run).grant},
	{"code", (*run).code},
	{"documents", (*run).documents},
	{"oauthmemory", (*run).oauthMemory},
}

func measure(ctx context.Context, only string, short bool) error {
	wanted, err := choose(only)
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "bench")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	r := &run{short: short, dir: dir}
	table := []row{}
	var failed error
	for _, p := range parts {
		if !wanted(p.name) || ctx.Err() != nil {
			continue
		}
		fmt.Fprintf(os.Stderr, "%s measuring %s\n", time.Now().Format(time.TimeOnly), p.name)
		rows, err := p.measure(r, ctx)
		table = append(table, rows...)
		if err != nil {
			failed = errors.Join(failed, fmt.Errorf("%s: %w", p.name, err))
		}
	}
	printTable(os.Stdout, machine(short), table)
	return errors.Join(failed, ctx.Err())
}

// choose reads a list of the parts' names; an empty one is all of them.
func choose(only string) (func(name string) bool, error) {
	var known, names []string
	for _, p := range parts {
		known = append(known, p.name)
	}
	for name := range strings.SplitSeq(only, ",") {
		if name == "" {
			continue
		}
		if !slices.Contains(known, name) {
			return nil, fmt.Errorf("ONLY=%s: there is no %q; there are %s", only, name, strings.Join(known, ", "))
		}
		names = append(names, name)
	}
	return func(name string) bool { return names == nil || slices.Contains(names, name) }, nil
}

// or returns the second value in a short run.
func or[T any](r *run, value, short T) T {
	if r.short {
		return short
	}
	return value
}
