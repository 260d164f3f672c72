//go:build e2e

package e2e

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/caddy-matrix/caddy-matrix-auth/internal/e2e/rig"
)

// TestReloadUnderLoad loads the configuration again and again while clients sign in, refresh, sync and sign out over TLS with
// Caddy's own authority and HTTP/2. Not one request fails. The edge is the one built with the race detector.
//
// Synapse speaks HTTP/2 with the edge too, where it can: over HTTP/1.1 it may send a question on a connection that is just
// being closed, and answers its own client with 503 then. That is the one failure that is tried again, with such a Synapse.
func TestReloadUnderLoad(t *testing.T) {
	t.Parallel()
	s := newStack(t, func(s *stack) {
		binary, err := environment("E2E_RACE")
		if err != nil {
			t.Fatal(err)
		}
		known, err := s.synapse.KnowsHTTP2(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		s.edge.Binary, s.edge.TLS, s.edge.HTTP2, s.synapse.HTTP2 = binary, true, known, known
	})
	s.HTTP = s.trustingClient(t)
	life(t, s, s.newUser(t))

	const workers, reloads = 6, 12
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	var users [workers]user
	for i := range users {
		users[i] = s.newUser(t)
	}
	var requests, again atomic.Int64
	failed := make(chan error, workers)
	stop := make(chan struct{})
	var group sync.WaitGroup
	for i := range workers {
		group.Go(func() {
			w := worker{client: s.Client, user: users[i], requests: &requests, again: &again, http1: !s.synapse.HTTP2}
			if err := w.run(ctx, stop); err != nil {
				failed <- fmt.Errorf("worker %d: %w", i, err)
			}
		})
	}
	for i := range reloads {
		// Every reload changes something, so that it is one.
		s.edge.Options = fmt.Sprintf("rate_limit login off\ntokens {\n\tcompat_ttl %ds\n}", 300+i)
		if err := errors.Join(s.edge.Configure(), s.edge.Reload(ctx)); err != nil {
			t.Fatal(err)
		}
	}
	// A configuration that cannot work is refused, and nothing happens.
	s.edge.Options = "no_such_option"
	if err := s.edge.Configure(); err != nil {
		t.Fatal(err)
	}
	if err := s.edge.Reload(ctx); err == nil || !strings.Contains(err.Error(), "no_such_option") {
		t.Errorf("got error %v for a wrong configuration, want one that names the option", err)
	}
	close(stop)
	group.Wait()
	close(failed)
	for err := range failed {
		t.Error(err)
	}
	t.Logf("%d requests by %d workers over %d reloads, %d of them a second time", requests.Load(), workers, reloads, again.Load())
	if log, err := os.ReadFile(s.edge.LogFile()); err != nil || strings.Contains(string(log), "DATA RACE") {
		at := max(strings.Index(string(log), "WARNING: DATA RACE"), 0)
		t.Errorf("the race detector found something (%v):\n%s", err, log[at:min(at+6000, len(log))])
	}
}

// trustingClient trusts Caddy's authority and speaks HTTP/2.
func (s *stack) trustingClient(t *testing.T) *http.Client {
	t.Helper()
	pem, err := os.ReadFile(s.edge.RootCertificate())
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(pem) {
		t.Fatal("no certificate in Caddy's root.crt")
	}
	transport := &http.Transport{
		ForceAttemptHTTP2: true,
		TLSClientConfig:   &tls.Config{RootCAs: roots},
		DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "tcp4", addr)
		},
	}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport}
}

// worker is a client that lives session after session.
type worker struct {
	client   rig.Client
	user     user
	requests *atomic.Int64
	again    *atomic.Int64
	http1    bool // between Synapse and the edge
}

func (w *worker) run(ctx context.Context, stop <-chan struct{}) error {
	for n := 0; ; n++ {
		select {
		case <-stop:
			return nil
		default:
		}
		if err := w.session(ctx, fmt.Sprintf("D%d", n)); err != nil {
			return err
		}
	}
}

// session is one login with everything that follows.
func (w *worker) session(ctx context.Context, device string) error {
	login, err := w.ok(ctx, w.client, http.MethodPost, loginPath, w.user.loginBody(device, true))
	if err != nil {
		return err
	}
	c, refresh := w.client.With(login.Text("access_token")), login.Text("refresh_token")
	for range 3 {
		if _, err := w.ok(ctx, c, http.MethodGet, whoamiPath, nil); err != nil {
			return err
		}
		r, err := w.ok(ctx, w.client, http.MethodPost, refreshPath, map[string]string{"refresh_token": refresh})
		if err != nil {
			return err
		}
		c, refresh = w.client.With(r.Text("access_token")), r.Text("refresh_token")
		if _, err := w.ok(ctx, c, http.MethodGet, "/_matrix/client/v3/sync?timeout=100", nil); err != nil {
			return err
		}
	}
	_, err = w.ok(ctx, c, http.MethodPost, logoutPath, nil)
	return err
}

// ok makes a request that has to succeed. A *new* connection that is reset is tried again: Linux drops what waits in the
// accept queue of the old configuration's socket, before anything of ours sees it (as for every Caddy).
func (w *worker) ok(ctx context.Context, c rig.Client, method, path string, body any) (rig.Reply, error) {
	for {
		w.requests.Add(1)
		r, err := c.Do(ctx, method, path, body)
		lost := w.http1 && r.Status == http.StatusServiceUnavailable && strings.Contains(r.Text("error"), "introspect")
		if lost || errors.Is(err, syscall.ECONNRESET) {
			w.again.Add(1)
			continue
		}
		if err == nil && r.Status != http.StatusOK {
			err = fmt.Errorf("got %s", r)
		}
		if err != nil {
			return r, fmt.Errorf("%s %s: %w", method, path, err)
		}
		return r, nil
	}
}
