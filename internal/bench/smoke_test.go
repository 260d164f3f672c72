package main

import (
	"context"
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

// Parts with a server of their own work, whatever their figures are worth.
func TestShortRun(t *testing.T) {
	for name, part := range map[string]func(*run, context.Context) ([]row, error){"introspect": (*run).introspect, "code": (*run).code} {
		rows, err := part(&run{short: true, dir: t.TempDir()}, t.Context())
		if err != nil || len(rows) == 0 {
			t.Errorf("%s: got %v, %v", name, rows, err)
		}
	}
}
