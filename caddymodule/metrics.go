package caddymodule

import (
	"errors"
	"strconv"
	"sync"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/caddy-matrix/caddy-matrix-auth/internal/auth"
	"github.com/caddy-matrix/caddy-matrix-auth/oidcprovider"
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

	sessions, inMemory, jobs, storeSize, buildInfo *prometheus.Desc
}

func newEngineCollector() *engineCollector {
	return &engineCollector{
		open: make(map[*engine]struct{}),
		sessions: prometheus.NewDesc("caddy_matrix_auth_sessions",
			"Live sessions, by kind, as of the last sweep, which is every minute.", []string{"kind"}, nil),
		inMemory: prometheus.NewDesc("caddy_matrix_auth_sessions_in_memory",
			"Sessions kept in memory because they are in use.", nil, nil),
		jobs: prometheus.NewDesc("caddy_matrix_auth_job_queue_length",
			"Users waiting to be reconciled with Synapse.", nil, nil),
		storeSize: prometheus.NewDesc("caddy_matrix_auth_store_size_bytes",
			"Size of the database on disk, by part.", []string{"part"}, nil),
		buildInfo: prometheus.NewDesc("caddy_matrix_auth_build_info",
			"Always 1, by version.", []string{"version"}, nil),
	}
}

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
	for _, d := range []*prometheus.Desc{c.sessions, c.inMemory, c.jobs, c.storeSize, c.buildInfo} {
		ch <- d
	}
}

// Collect implements prometheus.Collector. A closing engine may not be asked, so none closes meanwhile.
func (c *engineCollector) Collect(ch chan<- prometheus.Metric) {
	c.mu.Lock()
	defer c.mu.Unlock()
	total := auth.Status{Sessions: make(map[string]int)}
	sizes := make(map[string]int64)
	for e := range c.open {
		status := e.service.Status()
		total.LiveSessions += status.LiveSessions
		total.Jobs += status.Jobs
		for kind, n := range status.Sessions {
			total.Sessions[kind] += n
		}
		e.addSizes(sizes)
	}
	gauge := func(d *prometheus.Desc, v float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	for kind, n := range total.Sessions {
		gauge(c.sessions, float64(n), kind)
	}
	gauge(c.inMemory, float64(total.LiveSessions))
	gauge(c.jobs, float64(total.Jobs))
	for part, size := range sizes {
		gauge(c.storeSize, float64(size), part)
	}
	gauge(c.buildInfo, 1, version())
}

// addSizes adds what the engine's database takes on disk.
func (e *engine) addSizes(sizes map[string]int64) {
	s := e.db.Stats()
	sizes["tree"] += int64(s.TreeBytes)
	sizes["log"] += int64(s.LogBytes)
}
