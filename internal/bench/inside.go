package main

import (
	"context"
	"fmt"
)

// gate measures the gate alone, in process.
func (r *run) gate(ctx context.Context) ([]row, error) {
	found, err := goBench(ctx, "./internal/gate", "^BenchmarkGate", or(r, "2s", "10ms"))
	if err != nil {
		return nil, err
	}
	var rows []row
	for _, b := range []struct {
		name, what string
		target     bool
	}{
		{"GateForeignPath", "gate alone, a path that is not judged", true},
		{"GateForeign", "gate alone, a token that is not ours", true},
		{"GateHit", "gate alone, a live token", true},
		{"GateHitRead", "gate alone, a live token on a GET, watch included", false},
	} {
		f, err := found.get(b.name)
		if err != nil {
			return rows, err
		}
		ns, allocs := f["ns/op"], f["allocs/op"]
		if !b.target {
			rows = append(rows, shown(b.what, "%.0f ns, %.0f allocations", ns, allocs))
			continue
		}
		w := within(b.what, ns/1000, 1, "µs", "%.0f ns, %.0f allocations, of which there should be none", ns, allocs)
		w.holds = w.holds && allocs == 0
		rows = append(rows, w)
	}
	return rows, nil
}

// refresh compares the service's refresh with a durable transaction for each.
func (r *run) refresh(ctx context.Context) ([]row, error) {
	found, err := goBench(ctx, "./store", "^BenchmarkServiceRefresh$", or(r, "10x", "1x"))
	if err != nil {
		return nil, err
	}
	var rows []row
	for _, n := range []int{1, 16, 64} {
		f, err := found.get(fmt.Sprintf("ServiceRefresh/callers=%d", n))
		if err != nil {
			return rows, err
		}
		what, raw := fmt.Sprintf("auth.Refresh ÷ a transaction each, %d callers", n), fmt.Sprintf("%s ÷ %s per second", number(f["refreshes/s"]), number(f["plain/s"]))
		if n < 64 {
			rows = append(rows, shownRatio(what, f["ratio"], "%s", raw))
			continue
		}
		rows = append(rows, atLeast(what, f["ratio"], 4, "%s", raw))
	}
	more, err := r.refreshOverHTTP(ctx)
	return append(rows, more...), err
}

// age compares a session that has been refreshed very often with one that has not.
func (r *run) age(ctx context.Context) ([]row, error) {
	found, err := goBench(ctx, "./store", "^BenchmarkServiceAge$", or(r, "20x", "1x"))
	if err != nil {
		return nil, err
	}
	f, err := found.get("ServiceAge")
	if err != nil {
		return nil, err
	}
	return []row{
		atMost("a refresh, after 100,000 refreshes ÷ after 16", f["time-ratio"], 1.05, "%s ÷ %s µs", number(f["old-µs"]), number(f["young-µs"])),
		atMost("bytes of a session, after 100,000 refreshes ÷ after 16", f["old-bytes"]/f["young-bytes"], 1.05, "%.0f ÷ %.0f bytes", f["old-bytes"], f["young-bytes"]),
	}, nil
}

// lookup compares lookups in the store beside writers with lookups alone.
func (r *run) lookup(ctx context.Context) ([]row, error) {
	found, err := goBench(ctx, "./store", "^BenchmarkLookup$", or(r, "20x", "1x"))
	if err != nil {
		return nil, err
	}
	f, err := found.get("Lookup")
	if err != nil {
		return nil, err
	}
	return []row{atMost("lookup p50, four durable writers ÷ none", f["ratio"], 3, "%s ÷ %s µs", number(f["busy-ns"]/1000), number(f["idle-ns"]/1000))}, nil
}
