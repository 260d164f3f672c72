package caddymodule

import (
	"io"
	"strings"
	"text/tabwriter"
	"time"
	"unicode"
)

// table prints rows of cells for people.
type table struct{ *tabwriter.Writer }

func newTable(w io.Writer, heading ...string) table {
	t := table{tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)}
	if len(heading) > 0 {
		t.row(heading...)
	}
	return t
}

func (t table) row(cells ...string) {
	fit := make([]string, len(cells))
	for i, c := range cells {
		fit[i] = cell(c)
	}
	_, _ = io.WriteString(t, strings.Join(fit, "\t")+"\n") // Flush has the error
}

// maxCell is how many characters of a cell are shown; a user agent can be long.
const maxCell = 120

// cell makes a text fit for a table.
func cell(s string) string {
	if s == "" {
		return "-"
	}
	s = printableLine(s)
	n := 0
	for i := range s {
		if n == maxCell {
			return s[:i] + "…"
		}
		n++
	}
	return s
}

// printableLine makes a text fit for a terminal: much of it comes from clients, who could send control sequences.
func printableLine(s string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return unicode.ReplacementChar
	}, s)
}

// instant is a time in a table.
func instant(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format(time.RFC3339)
}

func yesNo(b bool) string {
	if b {
		return "yes"
	}
	return "no"
}
