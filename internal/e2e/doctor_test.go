//go:build e2e

package e2e

import (
	"bufio"
	"encoding/json"
	"path/filepath"
	"strings"
	"testing"
)

// TestDoctor finds nothing wrong with a stack that works, the homeserver's own configuration included.
func TestDoctor(t *testing.T) {
	s := shared(t)
	homeserver := filepath.Join(s.synapse.Dir, "homeserver.yaml")
	for _, check := range diagnosis(t, s.command(t, "", "doctor", "--json", "--homeserver-yaml", homeserver)) {
		if !check.OK {
			t.Errorf("got %s: %s, want every check of a working stack to pass", check.Check, check.Message)
		}
	}
	out := s.command(t, "", "status")
	if strings.TrimSpace(out) == "" {
		t.Error("got nothing from status")
	}
}

// finding is a line of doctor --json.
type finding struct {
	Check   string `json:"check"`
	OK      bool   `json:"ok"`
	Message string `json:"message"`
}

func diagnosis(t *testing.T, out string) []finding {
	t.Helper()
	var all []finding
	lines := bufio.NewScanner(strings.NewReader(out))
	for lines.Scan() {
		var f finding
		if err := json.Unmarshal(lines.Bytes(), &f); err != nil || f.Check == "" {
			t.Fatalf("doctor: got line %q (%v), want a finding", lines.Text(), err)
		}
		all = append(all, f)
	}
	if len(all) < 5 {
		t.Fatalf("got %d findings, want several: %s", len(all), out)
	}
	return all
}
