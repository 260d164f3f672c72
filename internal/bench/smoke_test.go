package main

import (
	"os"
	"strings"
	"testing"
)

// TestMain lets the test binary serve as the program's children.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && !strings.HasPrefix(os.Args[1], "-test.") {
		main()
		return
	}
	os.Exit(m.Run())
}

// The parts that have a server of their own work, whatever their figures are worth.
func TestShortRun(t *testing.T) {
	for _, p := range parts {
		switch p.name {
		case "introspect", "proxy", "start":
			rows, err := p.measure(&run{short: true, dir: t.TempDir()}, t.Context())
			if err != nil || len(rows) == 0 {
				t.Errorf("%s: got %v, %v", p.name, rows, err)
			}
		}
	}
}
