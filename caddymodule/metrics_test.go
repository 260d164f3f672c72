package caddymodule

import (
	"slices"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/caddy-matrix/caddy-matrix-auth/internal/authtest"
)

// measure reads one of our metrics without Caddy's prefix: its value, or what was summed up, and how many there were.
func measure(t *testing.T, name string, labels ...string) (value float64, count uint64) {
	t.Helper()
	registry := prometheus.NewPedanticRegistry()
	if err := registerMetrics(registry); err != nil {
		t.Fatal(err)
	}
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() != "caddy_matrix_auth_"+name {
			continue
		}
		for _, m := range f.GetMetric() {
			var values []string
			for _, l := range m.GetLabel() {
				values = append(values, l.GetValue())
			}
			if slices.Equal(values, labels) {
				return m.GetGauge().GetValue() + m.GetCounter().GetValue() + m.GetSummary().GetSampleSum(), m.GetSummary().GetSampleCount()
			}
		}
	}
	t.Fatalf("there is no metric %s %q", name, labels)
	return 0, 0
}

// A job that waits for Synapse is seen in the metrics, with how long it has waited.
func TestMetricsOfJobs(t *testing.T) {
	e := newEdge(t)
	e.mustLoad(e.config("", ""))
	e.mustAddUser("alice")
	access, _ := e.mustLogin("alice", "PHONE")
	if age, _ := measure(t, "job_queue_age_seconds"); age != 0 {
		t.Errorf("without a job: got an age of %v", age)
	}
	e.synapse.Fail(authtest.Down)
	if a := e.request("POST", "/_matrix/client/v3/logout", access, "{}"); a.status != 200 {
		t.Fatalf("logout: got %d %s", a.status, a.body)
	}
	if n, _ := measure(t, "job_queue_length"); n != 1 {
		t.Errorf("got %v jobs, want 1", n)
	}
	first, _ := measure(t, "job_queue_age_seconds")
	eventually(t, "the job grows older", func() bool { later, _ := measure(t, "job_queue_age_seconds"); return later > first })
	e.synapse.Heal()
	eventually(t, "the job is done", func() bool { age, _ := measure(t, "job_queue_age_seconds"); return age == 0 })
}

// What the database does is seen in the metrics: operations by result, commits and the time they took, batches, trouble.
func TestMetricsOfTheStore(t *testing.T) {
	e := newEdge(t)
	e.mustLoad(e.config("", ""))
	committed, _ := measure(t, "store_operations_total", "committed")
	seconds, commits := measure(t, "store_commit_duration_seconds")
	e.mustAddUser("alice")
	if now, _ := measure(t, "store_operations_total", "committed"); now <= committed {
		t.Errorf("got %v operations before and %v after a user was added", committed, now)
	}
	if moreSeconds, more := measure(t, "store_commit_duration_seconds"); more <= commits || moreSeconds <= seconds {
		t.Errorf("got %d commits in %v s, then %d in %v s", commits, seconds, more, moreSeconds)
	}
	for name, want := range map[string]float64{"store_writable": 1, "store_queue_length": 0, "store_failed_commits_total": 0} {
		if got, _ := measure(t, name); got != want {
			t.Errorf("%s: got %v, want %v", name, got, want)
		}
	}
	if most, _ := measure(t, "store_largest_batch"); most < 1 {
		t.Errorf("got a largest batch of %v", most)
	}
	for _, result := range []string{"read_only", "refused", "abandoned", "lost"} {
		measure(t, "store_operations_total", result)
	}
}
