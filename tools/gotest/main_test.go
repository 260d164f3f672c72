package main

import (
	"strings"
	"testing"
)

func TestReport(t *testing.T) {
	for _, c := range []struct {
		name, events, want string
		ok                 bool
	}{
		{"pass", `{"Action":"run","Package":"p","Test":"T"}
{"Action":"output","Package":"p","Test":"T","Output":"noise\n"}
{"Action":"pass","Package":"p","Test":"T","Elapsed":0.1}
{"Action":"pass","Package":"p","Elapsed":0.2}`, "ok     200ms  p\n1 passed, 0 failed, 0 skipped\n", true},
		{"fail", `{"Action":"output","Package":"p","Test":"T","Output":"=== RUN   T\n"}
{"Action":"output","Package":"p","Test":"T","Output":"    t.go:1: got 1, want 2\n"}
{"Action":"fail","Package":"p","Test":"T"}
{"Action":"fail","Package":"p"}`, "    t.go:1: got 1, want 2\nFAIL      0s  p\n0 passed, 1 failed, 0 skipped\n", true},
		{"skip", `{"Action":"skip","Package":"p","Test":"T"}
{"Action":"pass","Package":"p"}`, "ok        0s  p\nSKIP p T\n0 passed, 0 failed, 1 skipped\n", false},
		{"no tests", `{"Action":"skip","Package":"p"}`, "0 passed, 0 failed, 0 skipped\n", false},
		{"build", `{"Action":"build-output","ImportPath":"p","Output":"p.go:1: broken\n"}
{"Action":"fail","Package":"p"}`, "p.go:1: broken\nFAIL      0s  p\n0 passed, 0 failed, 0 skipped\n", false},
	} {
		t.Run(c.name, func(t *testing.T) {
			var b strings.Builder
			r := report{w: &b, output: map[string][]string{}}
			if err := r.read(strings.NewReader(c.events)); err != nil {
				t.Fatal(err)
			}
			if err := r.verdict(); (err == nil) != c.ok {
				t.Errorf("got error %v, want ok=%t", err, c.ok)
			}
			if got := b.String(); got != c.want {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
}
