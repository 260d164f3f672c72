// Package homeserver is the client of the API that Synapse offers to its authentication service (Synapse
// rest/synapse/mas/*): users, devices, display names.
//
// Policy. Every call is idempotent and bounded: in time (Config.Timeout, retries included), in the size of the answer, in
// the number of connections. An answer counts only if it is what Synapse would say; anything else (HTML, a redirect, bad
// JSON, a status of 500 or more) says nothing about the user and is classed with silence, so that no login is refused and
// no job is dropped because of a proxy's error page. The bearer secret goes to the configured host only: no proxy of the
// environment, no redirect is followed, and no error text holds it.
//
// The package decides nothing: when to call, whether to try again later and what a person is told is up to package auth,
// whose Homeserver interface Client implements without importing it.
package homeserver

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/go-json-experiment/json"
	"go.uber.org/zap"
	"golang.org/x/time/rate"
)

// DefaultTimeout bounds a call if Config does not say otherwise.
const DefaultTimeout = 10 * time.Second

const (
	maxBody     = 64 << 10 // bytes of an answer that are read; Synapse's longest here is a few hundred
	maxAttempts = 3        // requests per call
	maxConns    = 64       // to Synapse at once: it works on one request at a time, more only queue there
	dialTimeout = 3 * time.Second
)

// retryDelays are the pauses before the second and the third request of a call.
var retryDelays = [maxAttempts - 1]time.Duration{100 * time.Millisecond, 400 * time.Millisecond}

// logInterval is how often unreachability is logged at most.
const logInterval = time.Minute

// Config says where Synapse is and how to talk to it.
type Config struct {
	// URL is Synapse's base address: http or https, a path is kept, a trailing slash does not matter.
	URL string
	// Secret is matrix_authentication_service.secret of homeserver.yaml (a token.Secret).
	Secret interface{ Reveal() string }
	// Timeout bounds each call, retries included. 0: DefaultTimeout.
	Timeout time.Duration
	// Transport replaces the HTTP transport, in tests. nil: one of our own, closed by Close.
	Transport http.RoundTripper
	// Log gets at most one line a minute while Synapse is unreachable, one when it is back, and one if it is too old. nil: nobody
	// is told.
	Log *zap.Logger
	// Observe is told the outcome of each request: the operation and its status code, or "timeout" or "error" if there was
	// no answer. nil: nobody is told.
	Observe func(op, code string)
}

// Client calls Synapse. It is safe for concurrent use.
type Client struct {
	base    *url.URL
	secret  string
	timeout time.Duration
	http    http.Client
	log     *zap.Logger
	observe func(op, code string)

	logSometimes rate.Sometimes
	failures     atomic.Int64 // calls without an answer since the last logged line
	down         atomic.Bool  // a failure has been logged and no answer has come since
	old          atomic.Bool  // it has been logged that Synapse is too old, and no other one has answered since
}

// New makes a client. It contacts nobody.
func New(c Config) (*Client, error) {
	base, err := parseURL(c.URL)
	if err != nil {
		return nil, err
	}
	if c.Secret == nil || c.Secret.Reveal() == "" {
		return nil, errors.New("the secret shared with synapse is empty")
	}
	cl := &Client{
		base:         base,
		secret:       c.Secret.Reveal(),
		timeout:      c.Timeout,
		log:          c.Log,
		observe:      c.Observe,
		logSometimes: rate.Sometimes{Interval: logInterval},
	}
	cl.http = http.Client{
		Transport:     c.Transport,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	cl.setDefaults()
	return cl, nil
}

func (c *Client) setDefaults() {
	if c.timeout <= 0 {
		c.timeout = DefaultTimeout
	}
	if c.http.Transport == nil {
		c.http.Transport = newTransport()
	}
	if c.log == nil {
		c.log = zap.NewNop()
	}
	if c.observe == nil {
		c.observe = func(string, string) {}
	}
}

// newTransport makes a transport that connects to Synapse itself, whatever HTTP_PROXY says.
func newTransport() *http.Transport {
	return &http.Transport{
		DialContext:            (&net.Dialer{Timeout: dialTimeout}).DialContext,
		TLSHandshakeTimeout:    dialTimeout,
		MaxConnsPerHost:        maxConns,
		MaxIdleConnsPerHost:    maxConns,
		IdleConnTimeout:        time.Minute,
		MaxResponseHeaderBytes: maxBody,
		DisableCompression:     true,
	}
}

func parseURL(s string) (*url.URL, error) {
	u, err := url.Parse(s)
	if err != nil {
		return nil, errors.New("synapse's URL is malformed") // The parser's text would quote it, password and all.
	}
	switch {
	case u.Scheme != "http" && u.Scheme != "https":
		return nil, fmt.Errorf("synapse's URL has to begin with http:// or https://, not %q", u.Scheme)
	case u.Hostname() == "":
		return nil, errors.New("synapse's URL has no host")
	case u.User != nil:
		return nil, errors.New("synapse's URL must not hold a user name or password")
	case u.RawQuery != "" || u.ForceQuery || u.Fragment != "":
		return nil, errors.New("synapse's URL must not have a query or a fragment")
	}
	return u.JoinPath(), nil
}

// Close closes idle connections. Calls under way go on.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// request is one call: what is sent and what is expected.
type request struct {
	op     string
	method string
	query  url.Values
	body   any    // nil: none
	answer answer // nil: any JSON object will do
}

// answer is what a good answer is decoded to.
type answer interface{ complete() bool }

// call makes the requests of one call: again after a connection failure or a proxy's 502, 503 or 504, as all calls are
// idempotent, within one timeout.
func (c *Client) call(ctx context.Context, r request) error {
	caller := ctx
	ctx, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	var payload []byte
	if r.body != nil {
		var err error
		if payload, err = json.Marshal(r.body); err != nil {
			return fmt.Errorf("encoding %s: %w", r.op, err)
		}
	}
	for attempt := 0; ; attempt++ {
		failure := c.attempt(ctx, r, payload)
		if failure == nil || !failure.retryable() || attempt == len(retryDelays) || !sleep(ctx, retryDelays[attempt]) {
			return c.finish(caller, failure)
		}
	}
}

// finish reports the outcome of a call. A caller who went away says nothing about Synapse.
func (c *Client) finish(caller context.Context, failure *Error) error {
	if failure == nil {
		c.reportBack()
		return nil
	}
	switch {
	case errors.Is(caller.Err(), context.Canceled):
	case failure.Unreachable():
		c.reportFailure(failure)
	default:
		c.reportBack()
	}
	return failure
}

func (c *Client) reportFailure(failure *Error) {
	c.failures.Add(1)
	c.logSometimes.Do(func() {
		c.down.Store(true)
		c.log.Error("synapse is unreachable",
			zap.String("op", failure.Op),
			zap.Int("status", failure.Status),
			zap.String("reason", failure.Reason()),
			zap.Int64("failed_calls", c.failures.Swap(0)))
	})
}

func (c *Client) reportBack() {
	if c.down.Load() && c.down.CompareAndSwap(true, false) {
		c.log.Info("synapse answers again")
	}
}

// sleep waits for d and reports whether ctx was still alive at the end.
func sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return ctx.Err() == nil
	case <-ctx.Done():
		return false
	}
}

// attempt makes one request.
func (c *Client) attempt(ctx context.Context, r request, payload []byte) *Error {
	u := c.base.JoinPath("_synapse/mas", r.op)
	u.RawQuery = r.query.Encode()
	req, err := http.NewRequestWithContext(ctx, r.method, u.String(), bytes.NewReader(payload))
	if err != nil {
		return &Error{Op: r.op, Kind: KindRefused, cause: err}
	}
	req.Header.Set("Authorization", "Bearer "+c.secret)
	req.Header.Set("Accept", "application/json")
	req.Header.Set("User-Agent", "caddy-matrix-auth")
	if payload != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	resp, body, err := c.roundTrip(req)
	if err != nil {
		return c.silence(r.op, err)
	}
	c.observe(r.op, strconv.Itoa(resp.StatusCode))
	c.noteVersion(resp.Header)
	return c.classify(r, resp, body)
}

// roundTrip sends a request and reads its answer to the end, or up to one byte more than it may have.
func (c *Client) roundTrip(req *http.Request) (*http.Response, []byte, error) {
	resp, err := c.http.Do(req)
	if err != nil {
		return nil, nil, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxBody+1))
	return resp, body, err
}

// silence is the error of a request that got no answer.
func (c *Client) silence(op string, err error) *Error {
	var ue *url.Error
	if errors.As(err, &ue) {
		err = ue.Err // The address is known, and the query names a user.
	}
	var ne net.Error
	if errors.Is(err, context.DeadlineExceeded) || errors.As(err, &ne) && ne.Timeout() {
		c.observe(op, "timeout")
		return &Error{Op: op, Kind: KindTimeout, cause: err}
	}
	c.observe(op, "error")
	return &Error{Op: op, Kind: KindConnection, cause: err}
}

// redact takes our secret out of a text that came from outside, and bounds it.
func (c *Client) redact(s string) string {
	const maxText = 200
	s = strings.ReplaceAll(s, c.secret, "[secret]")
	return truncate(strings.ToValidUTF8(s, ""), maxText)
}
