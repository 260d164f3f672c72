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

// A part with a server of its own works, whatever its figures are worth.
func TestShortRun(t *testing.T) {
	rows, err := (&run{short: true, dir: t.TempDir()}).introspect(t.Context())
	if err != nil || len(rows) == 0 {
		t.Errorf("got %v, %v", rows, err)
	}
}
