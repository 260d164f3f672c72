package caddymodule

import (
	"errors"
	"strconv"
	"sync"

	"github.com/caddyserver/caddy/v2"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/caddy-matrix/caddy-matrix-auth/internal/auth"
	"github.com/caddy-matrix/caddy-matrix-auth/oidcprovider"
	"github.com/caddy-matrix/caddy-matrix-auth/store"
)

// Collectors live as long as the process, so that a reload does not reset a counter; each configuration registers them with
// its own registry. None has a label for a user or a client.
var (
	requestsTotal = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "caddy_matrix_auth_requests_total",
		Help: "Requests answered by an endpoint of ours, by endpoint and status code.",
	}, []string{"endpoint", "code"})

	requestSeconds = prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name:    "caddy_matrix_auth_request_duration_seconds",
		Help:    "Time taken to answer, by endpoint.",
		Buckets: []float64{.0001, .0005, .001, .005, .01, .05, .1, .5, 1, 5, 10},
	}, []string{"endpoint"})

	loginsTotal = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "caddy_matrix_auth_logins_total",
		Help: "Logins, by method and result.",
	}, []string{"method", "result"})

	tokensIssuedTotal = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "caddy_matrix_auth_tokens_issued_total",
		Help: "Access tokens handed out, by grant.",
	}, []string{"grant"})

	introspectionsTotal = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "caddy_matrix_auth_introspections_total",
		Help: "Introspections by the homeserver, by result.",
	}, []string{"result"})

	synapseRequestsTotal = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "caddy_matrix_auth_synapse_requests_total",
		Help: "Calls to Synapse, by operation and status code, or timeout or error.",
	}, []string{"op", "code"})

	keyRotationsTotal = prometheus.NewCounter(prometheus.CounterOpts{
		Name: "caddy_matrix_auth_key_rotations_total",
		Help: "Rotations of the signing keys.",
	})

	jobsTotal = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "caddy_matrix_auth_jobs_total",
		Help: "Jobs run, by job and result.",
	}, []string{"job", "result"})

	opened = newEngineCollector()
)

// registerMetricsFor is the only place that uses Caddy's API for metrics, which is experimental.
func registerMetricsFor(ctx caddy.Context) error { return registerMetrics(ctx.GetMetricsRegistry()) }

// registerMetrics adds the collectors to a configuration's registry.
func registerMetrics(registry prometheus.Registerer) error {
	for _, c := range []prometheus.Collector{
		requestsTotal, requestSeconds, loginsTotal, tokensIssuedTotal, introspectionsTotal, synapseRequestsTotal, keyRotationsTotal,
		jobsTotal, opened,
	} {
		err := registry.Register(c)
		if _, ok := errors.AsType[prometheus.AlreadyRegisteredError](err); err != nil && !ok {
			return err
		}
	}
	return nil
}

func countSynapseRequest(op, code string) { synapseRequestsTotal.WithLabelValues(op, code).Inc() }

func countIntrospection(result oidcprovider.Result) {
	introspectionsTotal.WithLabelValues(string(result)).Inc()
}

// countEvent counts what only the use cases know.
func countEvent(e *auth.Event) {
	switch e.Name {
	case "login_succeeded":
		loginsTotal.WithLabelValues(e.Method, "success").Inc()
	case "login_failed":
		loginsTotal.WithLabelValues(e.Method, "failure").Inc()
	case "session_started":
		tokensIssuedTotal.WithLabelValues(e.Grant).Inc()
	case "key_rotated":
		keyRotationsTotal.Inc()
	case "reconciled":
		jobsTotal.WithLabelValues("reconcile", e.Reason).Inc()
	case "token_refreshed":
		tokensIssuedTotal.WithLabelValues("refresh_token").Inc()
	}
}

// statusCode is a status code as a label.
func statusCode(status int) string {
	if status == 0 {
		status = 200
	}
	return strconv.Itoa(status)
}

// engineCollector reports the state of the open engines, which is one but for the moment of a move, when it is asked.
type engineCollector struct {
	mu   sync.Mutex
	open map[*engine]struct{}
}

// What is read from the engines. Counts of the store start again when its data directory is opened.
var (
	sessionsDesc = prometheus.NewDesc("caddy_matrix_auth_sessions",
		"Live sessions, by kind, as of the last sweep, which is every minute.", []string{"kind"}, nil)
	inMemoryDesc = prometheus.NewDesc("caddy_matrix_auth_sessions_in_memory",
		"Sessions kept in memory because they are in use.", nil, nil)
	jobsDesc = prometheus.NewDesc("caddy_matrix_auth_job_queue_length",
		"Users waiting to be reconciled with Synapse.", nil, nil)
	oldestJobDesc = prometheus.NewDesc("caddy_matrix_auth_job_queue_age_seconds",
		"How long the first of them has waited.", nil, nil)
	storeSizeDesc = prometheus.NewDesc("caddy_matrix_auth_store_size_bytes",
		"Size of the database on disk, by part.", []string{"part"}, nil)
	writableDesc = prometheus.NewDesc("caddy_matrix_auth_store_writable",
		"1 if the database can be written to, else 0: the disk is low, or a commit has failed.", nil, nil)
	storeQueueDesc = prometheus.NewDesc("caddy_matrix_auth_store_queue_length",
		"Operations waiting to be written.", nil, nil)
	operationsDesc = prometheus.NewDesc("caddy_matrix_auth_store_operations_total",
		"Operations that had their turn at the database, by result: committed, read_only (nothing to write), refused, abandoned, or lost with a failed commit.",
		[]string{"result"}, nil)
	commitDesc = prometheus.NewDesc("caddy_matrix_auth_store_commit_duration_seconds",
		"Time taken by commits, each of a batch of operations.", nil, nil)
	failedCommitsDesc = prometheus.NewDesc("caddy_matrix_auth_store_failed_commits_total",
		"Commits that failed.", nil, nil)
	batchDesc = prometheus.NewDesc("caddy_matrix_auth_store_largest_batch",
		"The most operations in one commit so far.", nil, nil)
	buildInfoDesc = prometheus.NewDesc("caddy_matrix_auth_build_info",
		"Always 1, by version.", []string{"version"}, nil)
)

func newEngineCollector() *engineCollector { return &engineCollector{open: make(map[*engine]struct{})} }

func (c *engineCollector) add(e *engine) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.open[e] = struct{}{}
}

func (c *engineCollector) remove(e *engine) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.open, e)
}

// Describe implements prometheus.Collector.
func (c *engineCollector) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{
		sessionsDesc, inMemoryDesc, jobsDesc, oldestJobDesc, storeSizeDesc, writableDesc, storeQueueDesc, operationsDesc,
		commitDesc, failedCommitsDesc, batchDesc, buildInfoDesc,
	} {
		ch <- d
	}
}

// Collect implements prometheus.Collector. A closing engine may not be asked, so none closes meanwhile.
func (c *engineCollector) Collect(ch chan<- prometheus.Metric) {
	c.mu.Lock()
	defer c.mu.Unlock()
	service := auth.Status{Sessions: make(map[string]int)}
	var stats store.Stats
	health := store.Health{Writable: true}
	for e := range c.open {
		addService(&service, e.service.Status())
		addStore(&stats, &health, e.db)
	}
	collectService(ch, &service)
	collectStore(ch, &stats, &health)
	gauge(ch, buildInfoDesc, 1, version())
}

func addService(sum *auth.Status, s auth.Status) {
	sum.LiveSessions += s.LiveSessions
	sum.Jobs += s.Jobs
	sum.OldestJob = max(sum.OldestJob, s.OldestJob)
	for kind, n := range s.Sessions {
		sum.Sessions[kind] += n
	}
}

func addStore(sum *store.Stats, health *store.Health, db *store.DB) {
	s, h := db.Stats(), db.Health()
	sum.TreeBytes += s.TreeBytes
	sum.LogBytes += s.LogBytes
	sum.Commits += s.Commits
	sum.Committed += s.Committed
	sum.ReadOnly += s.ReadOnly
	sum.Failed += s.Failed
	sum.Abandoned += s.Abandoned
	sum.FailedCommits += s.FailedCommits
	sum.Unwritten += s.Unwritten
	sum.CommitTime += s.CommitTime
	sum.LargestBatch = max(sum.LargestBatch, s.LargestBatch)
	health.Queue += h.Queue
	health.Writable = health.Writable && h.Writable
}

func collectService(ch chan<- prometheus.Metric, s *auth.Status) {
	for kind, n := range s.Sessions {
		gauge(ch, sessionsDesc, float64(n), kind)
	}
	gauge(ch, inMemoryDesc, float64(s.LiveSessions))
	gauge(ch, jobsDesc, float64(s.Jobs))
	gauge(ch, oldestJobDesc, s.OldestJob.Seconds())
}

func collectStore(ch chan<- prometheus.Metric, s *store.Stats, h *store.Health) {
	gauge(ch, storeSizeDesc, float64(s.TreeBytes), "tree")
	gauge(ch, storeSizeDesc, float64(s.LogBytes), "log")
	writable := 0.0
	if h.Writable {
		writable = 1
	}
	gauge(ch, writableDesc, writable)
	gauge(ch, storeQueueDesc, float64(h.Queue))
	counter(ch, operationsDesc, s.Committed, "committed")
	counter(ch, operationsDesc, s.ReadOnly, "read_only")
	counter(ch, operationsDesc, s.Failed, "refused")
	counter(ch, operationsDesc, s.Abandoned, "abandoned")
	counter(ch, operationsDesc, s.Unwritten, "lost")
	ch <- prometheus.MustNewConstSummary(commitDesc, s.Commits, s.CommitTime.Seconds(), nil)
	counter(ch, failedCommitsDesc, s.FailedCommits)
	gauge(ch, batchDesc, float64(s.LargestBatch))
}

func gauge(ch chan<- prometheus.Metric, d *prometheus.Desc, v float64, labels ...string) {
	ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
}

func counter(ch chan<- prometheus.Metric, d *prometheus.Desc, v uint64, labels ...string) {
	ch <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(v), labels...)
}
