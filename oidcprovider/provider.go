package oidcprovider

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"net/http"
	"strconv"
	"sync/atomic"
	"time"

	"go.uber.org/zap"
	"golang.org/x/time/rate"

	"github.com/caddy-matrix/caddy-matrix-auth/internal/auth"
	"github.com/caddy-matrix/caddy-matrix-auth/internal/token"
)

// Config is what a Provider needs. All fields but Observe are required.
type Config struct {
	// Issuer is the issuer's URL as published, with a trailing slash and no query.
	Issuer string
	// Introspection: some OAuth client may introspect, and the document says so.
	Introspection bool
	// Secrets are the bearer secrets that Synapse may show: one, or two while it is being changed.
	Secrets []token.Secret
	// Introspect says what a token is good for: Service.Introspect of package auth.
	Introspect func(ctx context.Context, text string) (auth.Introspection, error)
	// Now is the clock that tokens' ends are compared with.
	Now func() time.Time
	Log *zap.Logger
	// Observe is told the Result of each introspection.
	Observe func(Result)
}

// Result is how an introspection ended, for the metrics.
type Result string

// The results.
const (
	ResultActive       Result = "active"
	ResultInactive     Result = "inactive"
	ResultLocked       Result = "locked"
	ResultUnauthorized Result = "unauthorized" // no bearer secret, or a wrong one
	ResultInvalid      Result = "invalid"      // not an introspection request
	ResultError        Result = "error"        // no verdict
)

// Provider answers the homeserver. It is safe for concurrent use.
type Provider struct {
	secrets    [][sha256.Size]byte
	introspect func(ctx context.Context, text string) (auth.Introspection, error)
	now        func() time.Time
	log        *zap.Logger
	observe    func(Result)
	document   []byte

	logUnauthorized rate.Sometimes // once a minute
	unauthorized    atomic.Int64   // wrong bearers since the last logged line
	logFailure      rate.Sometimes // once a minute
	failed          atomic.Int64   // introspections without a verdict since the last logged line
}

// logInterval is how often the same trouble is logged at most.
const logInterval = time.Minute

// New makes a Provider.
func New(c Config) (*Provider, error) {
	document, err := makeDocument(c.Issuer, c.Introspection)
	if err != nil {
		return nil, err
	}
	p := &Provider{
		introspect:      c.Introspect,
		now:             c.Now,
		log:             c.Log,
		observe:         c.Observe,
		document:        document,
		logUnauthorized: rate.Sometimes{Interval: logInterval},
		logFailure:      rate.Sometimes{Interval: logInterval},
	}
	for _, s := range c.Secrets {
		if s.Empty() {
			return nil, errors.New("a secret shared with synapse is empty")
		}
		p.secrets = append(p.secrets, sha256.Sum256([]byte(s.Reveal())))
	}
	if len(p.secrets) == 0 {
		return nil, errors.New("no secret shared with synapse")
	}
	if p.observe == nil {
		p.observe = func(Result) {}
	}
	return p, nil
}

// ServeConfiguration answers GET /.well-known/openid-configuration. Synapse asks once and keeps the answer until it restarts.
func (p *Provider) ServeConfiguration(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		methodNotAllowed(w, "GET, HEAD")
		return
	}
	writeJSON(w, http.StatusOK, p.document)
}

// accepts reports whether bearer is one of the shared secrets. Its time depends on the length of bearer alone.
func (p *Provider) accepts(bearer string) bool {
	sum := sha256.Sum256([]byte(bearer))
	ok := 0
	for i := range p.secrets {
		ok |= subtle.ConstantTimeCompare(sum[:], p.secrets[i][:])
	}
	return ok == 1
}

// writeJSON sends a whole answer in one write: two segments without an acknowledgement between cost Synapse 40 ms.
func writeJSON(w http.ResponseWriter, status int, body []byte) {
	h := w.Header()
	h.Set("Content-Type", "application/json")
	h.Set("Content-Length", strconv.Itoa(len(body)))
	h.Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	w.Write(body) //nolint:errcheck // The homeserver is gone: nobody is left to tell.
}

// oauthError is an error body (RFC 6749 §5.2) whose texts need no escaping.
type oauthError struct{ code, description string }

func (e oauthError) write(w http.ResponseWriter, status int) {
	writeJSON(w, status, []byte(`{"error":"`+e.code+`","error_description":"`+e.description+`"}`))
}

func methodNotAllowed(w http.ResponseWriter, allow string) {
	w.Header().Set("Allow", allow)
	oauthError{"invalid_request", "method not allowed"}.write(w, http.StatusMethodNotAllowed)
}
