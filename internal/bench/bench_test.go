package main

import (
	"bytes"
	"context"
	"errors"
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestQuantile(t *testing.T) {
	values := []float64{5, 1, 4, 2, 3}
	for q, want := range map[float64]float64{0: 1, .25: 2, .5: 3, .75: 4, 1: 5} {
		if got := quantile(values, q); got != want {
			t.Errorf("%v: got %v, want %v", q, got, want)
		}
	}
	if values[0] != 5 {
		t.Error("the values have been moved")
	}
}

// Each slice is paired with its neighbour, and the arms take turns in being first.
func TestAlternate(t *testing.T) {
	var order []byte
	figure := func(name byte, v float64) arm {
		return func(time.Duration) (float64, error) { order = append(order, name); return v, nil }
	}
	c, err := alternate(t.Context(), 3, time.Second, figure('a', 3), figure('b', 2))
	if err != nil || string(order) != "baabbaab" || c.ratio() != 1.5 {
		t.Errorf("got %s, %v, %v", order, c.ratio(), err)
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(errors.ErrUnsupported)
	if _, err := alternate(ctx, 3, time.Second, figure('a', 3), figure('b', 2)); !errors.Is(err, errors.ErrUnsupported) {
		t.Errorf("got %v, want the cause", err)
	}
}

func TestParseBench(t *testing.T) {
	got := parseBench([]byte(`goos: linux
BenchmarkLookup-2   	       5	2000972502 ns/op	      12.5 ratio	       0 B/op	       0 allocs/op
BenchmarkRefresh/callers=64-2 	       2	2015655254 ns/op	      6351 plain/s
BenchmarkNothing
PASS
`))
	want := results{
		"Lookup":             {"ns/op": 2000972502, "ratio": 12.5, "B/op": 0, "allocs/op": 0},
		"Refresh/callers=64": {"ns/op": 2015655254, "plain/s": 6351},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if _, err := got.get("Other"); err == nil {
		t.Error("got figures of a benchmark that did not run")
	}
}

func TestChoose(t *testing.T) {
	all, err := choose("")
	if err != nil || !all("gate") || !all("start") {
		t.Errorf("got %v, want all", err)
	}
	some, err := choose("gate,refresh")
	if err != nil || !some("gate") || !some("refresh") || some("start") {
		t.Errorf("got %v, want two", err)
	}
	if _, err := choose("gate,nonsense"); err == nil || !strings.Contains(err.Error(), "introspect") {
		t.Errorf("got %v, want what there is", err)
	}
}

func TestTable(t *testing.T) {
	var out bytes.Buffer
	printTable(&out, "a machine", []row{
		atLeast("one", .751, .75, "%d ÷ 4", 3), atMost("other", 1.06, 1.05, ""), within("memory", 123.4, 120, "MB", ""), shown("shown", "raw"),
	})
	want := []string{
		"a machine", "",
		"what    ratio   target               raw figures",
		"one     0.75    ≥ 0.75  holds        3 ÷ 4",
		"other   1.06    ≤ 1.05  falls short",
		"memory  123 MB  ≤ 120 MB  falls short",
	}
	got := strings.Split(strings.TrimSpace(out.String()), "\n")
	for i, line := range want {
		if !slices.Equal(strings.Fields(got[i]), strings.Fields(line)) {
			t.Errorf("got %q, want %q", got[i], line)
		}
	}
}

// What /proc says of this very process.
func TestProc(t *testing.T) {
	m, err := memoryOf(os.Getpid())
	if err != nil || m.anonymous < 1 || m.resident < m.anonymous {
		t.Errorf("got %v, %v", m, err)
	}
	before, err := cpuTime(os.Getpid())
	for start := used(t); used(t)-start < 100*time.Millisecond; {
	}
	after, err2 := cpuTime(os.Getpid())
	if err := errors.Join(err, err2); err != nil || after-before < 3*tick {
		t.Errorf("got %v, %v after a tenth of a second's work", after-before, err)
	}
}

// used is the processor time of this process, however busy the machine is.
func used(t *testing.T) time.Duration {
	t.Helper()
	var r syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &r); err != nil {
		t.Fatal(err)
	}
	return time.Duration(r.Utime.Nano() + r.Stime.Nano())
}
