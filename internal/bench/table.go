package main

import (
	"fmt"
	"io"
	"runtime"
	"strings"
	"unicode/utf8"
)

// row is a line of the table.
type row struct {
	what   string
	figure string // the ratio, or what has a target of its own
	target string // empty: none
	holds  bool
	raw    string // what the figure is made of
}

// atLeast is a ratio that should not be lower.
func atLeast(what string, ratio, target float64, raw string, args ...any) row {
	return row{what, number(ratio), "≥ " + number(target), ratio >= target, fmt.Sprintf(raw, args...)}
}

// atMost is a ratio that should not be higher.
func atMost(what string, ratio, target float64, raw string, args ...any) row {
	return row{what, number(ratio), "≤ " + number(target), ratio <= target, fmt.Sprintf(raw, args...)}
}

// within is a quantity that should not be higher.
func within(what string, quantity, target float64, unit, raw string, args ...any) row {
	r := atMost(what, quantity, target, raw, args...)
	r.figure, r.target = r.figure+" "+unit, r.target+" "+unit
	return r
}

// shown is a line without a target.
func shown(what, raw string, args ...any) row {
	return row{what: what, raw: fmt.Sprintf(raw, args...), holds: true}
}

// shownRatio is a ratio without a target.
func shownRatio(what string, ratio float64, raw string, args ...any) row {
	return row{what: what, figure: number(ratio), raw: fmt.Sprintf(raw, args...), holds: true}
}

// number shows a figure with three digits or so.
func number(v float64) string {
	switch {
	case v >= 100 || v == float64(int(v)):
		return fmt.Sprintf("%.0f", v)
	case v >= 10:
		return fmt.Sprintf("%.1f", v)
	}
	return fmt.Sprintf("%.2f", v)
}

func (r row) verdict() string {
	switch {
	case r.target == "":
		return ""
	case r.holds:
		return "holds"
	}
	return "falls short"
}

// printTable writes the table with its columns aligned.
func printTable(w io.Writer, machine string, table []row) {
	lines := [][]string{{"what", "ratio", "target", "", "raw figures"}}
	for _, r := range table {
		lines = append(lines, []string{r.what, r.figure, r.target, r.verdict(), r.raw})
	}
	var width [5]int
	for _, l := range lines {
		for i, cell := range l {
			width[i] = max(width[i], utf8.RuneCountInString(cell))
		}
	}
	fmt.Fprintf(w, "\n%s\n\n", machine)
	for _, l := range lines {
		var b strings.Builder
		for i, cell := range l {
			b.WriteString(cell + strings.Repeat(" ", width[i]-utf8.RuneCountInString(cell)+2))
		}
		fmt.Fprintln(w, strings.TrimRight(b.String(), " "))
	}
}

// machine says where the table comes from, and whether it can be believed.
func machine(short bool) string {
	s := fmt.Sprintf("%s %s/%s, %d cores, load average %s", runtime.Version(), runtime.GOOS, runtime.GOARCH, runtime.NumCPU(), loadAverage())
	if short {
		s += "; a short run: the figures mean nothing"
	}
	return s
}
