// Package doctor looks at a running service from the outside, as its users and Synapse see it, and says in words what is
// wrong and what to do about it.
//
// Policy. Every check is one real request, or one fact handed in: it tries what a client or Synapse would do, through the
// same addresses, and changes nothing. No message holds a secret, and the shared secret is sent only to Synapse, to our own
// internal site, and to an endpoint of a homeserver.yaml that holds the same secret already. Checks run at the same time,
// each bounded in time.
//
// It also reads the parts of Synapse's homeserver.yaml that have to do with delegation. The file is on the operator's
// machine, so reading and judging are apart: Read makes a Delegation without secrets, which can be sent to the service.
//
// The package repairs nothing, and decides nothing for the running service.
package doctor

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/caddy-matrix/caddy-matrix-auth/internal/homeserver"
	"github.com/caddy-matrix/caddy-matrix-auth/internal/mxid"
	"github.com/caddy-matrix/caddy-matrix-auth/internal/token"
)

const (
	patience = 5 * time.Second // for one request
	maxBody  = 64 << 10        // bytes of an answer that are read
)

// Check is the outcome of one check.
type Check struct {
	Name    string `json:"check"`
	OK      bool   `json:"ok"`
	Message string `json:"message"`
}

// Config is what is known of the service.
type Config struct {
	ServerName mxid.ServerName
	Issuer     *url.URL // ends in "/"
	PublicBase *url.URL // ends in "/"
	SynapseURL string   // ends in "/"
	Secret     token.Secret
	Homeserver *homeserver.Client
	Endpoints  []string // where Synapse probably reaches the internal site: URLs that end in "/"
	Unserved   []string // what no site serves, in words
	Store      Store
	Jobs       int           // users waiting to be reconciled
	OldestJob  time.Duration // since when
	Reread     func() error  // reads the shared secret again, and says if it is another one now; nil: it cannot change
	Delegation *Delegation   // of homeserver.yaml; nil: not given
	Keys       []string      // IDs of the keys that sign ID tokens
	Now        func() time.Time

	// SignInPage answers a request for the page to sign in at, inside the service; nil: no site serves it.
	SignInPage func(*http.Request) (status int, header http.Header)

	// Transports in tests. Nil: the network, with the proxy of the environment for Public only.
	Public, Internal http.RoundTripper
}

// Store is the state of the database.
type Store struct {
	Writable bool
	Reason   string // why not
	Bytes    uint64 // on disk
}

// patient is a Config with what its checks share.
type patient struct {
	Config
	public, internal *http.Client
}

// Run makes all checks. Their order is that of the result.
func Run(ctx context.Context, c Config) []Check {
	p := &patient{Config: c, public: client(c.Public, true), internal: client(c.Internal, false)}
	checks := []func(context.Context) []Check{
		p.sites, p.issuer, p.login, p.clientAPI, p.wellKnownClient, p.wellKnownServer,
		p.metadata, p.publishedKeys, p.signInPage,
		p.synapse, p.synapseSecret, p.introspection, p.secretFile, p.clock, p.disk, p.jobs,
	}
	if c.Delegation != nil {
		checks = append(checks, p.delegation)
	}
	results := make([][]Check, len(checks))
	var wg sync.WaitGroup
	for i, check := range checks {
		wg.Go(func() { results[i] = check(ctx) })
	}
	wg.Wait()
	p.public.CloseIdleConnections()
	p.internal.CloseIdleConnections()
	var all []Check
	for _, r := range results {
		all = append(all, r...)
	}
	return all
}

// client makes an HTTP client that follows no redirect: where one leads is for people to see.
func client(transport http.RoundTripper, proxied bool) *http.Client {
	if transport == nil {
		t := &http.Transport{
			DialContext:           (&net.Dialer{Timeout: patience}).DialContext,
			TLSHandshakeTimeout:   patience,
			ForceAttemptHTTP2:     true,
			ResponseHeaderTimeout: patience,
		}
		if proxied {
			t.Proxy = http.ProxyFromEnvironment
		}
		transport = t
	}
	return &http.Client{
		Transport:     transport,
		Timeout:       patience,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// answer is a response with its body read.
type answer struct {
	*http.Response
	body []byte
}

func (p *patient) get(ctx context.Context, c *http.Client, u string) (answer, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u, nil)
	if err != nil {
		return answer{}, err
	}
	return do(c, req)
}

func do(c *http.Client, req *http.Request) (answer, error) {
	if req.Header.Get("Accept") == "" {
		req.Header.Set("Accept", "application/json")
	}
	req.Header.Set("User-Agent", "caddy-matrix-auth doctor")
	resp, err := c.Do(req)
	if err != nil {
		return answer{}, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxBody))
	return answer{resp, body}, err
}

// noAnswer says why a request had no answer.
func noAnswer(err error) string {
	var ue *url.Error
	if errors.As(err, &ue) {
		err = ue.Err // The address is in the message already.
	}
	if ce, ok := errors.AsType[*tls.CertificateVerificationError](err); ok {
		return fmt.Sprintf("this machine does not trust its certificate: %v (with Caddy's internal CA: caddy trust)", ce.Err)
	}
	if de, ok := errors.AsType[*net.DNSError](err); ok {
		if de.IsNotFound {
			return fmt.Sprintf("the name %s does not exist in DNS, as seen from this machine", de.Name)
		}
		return fmt.Sprintf("the name %s cannot be looked up: %s", de.Name, de.Err)
	}
	var ne net.Error
	switch {
	case errors.Is(err, syscall.ECONNREFUSED):
		return "connection refused: nothing listens there"
	case errors.Is(err, context.DeadlineExceeded), errors.As(err, &ne) && ne.Timeout():
		return fmt.Sprintf("no answer within %s", patience)
	}
	return err.Error()
}

// one makes the result of a function with one check.
func one(name string, ok bool, format string, args ...any) []Check {
	return []Check{{Name: name, OK: ok, Message: fmt.Sprintf(format, args...)}}
}

// warning is how the message of a check begins that found nothing wrong for certain.
const warning = "warning: "

// sameURL compares base URLs, which may end in a slash or not.
func sameURL(a, b string) bool {
	return strings.EqualFold(strings.TrimRight(a, "/"), strings.TrimRight(b, "/"))
}
