package homeserver_test

import (
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/caddy-matrix/caddy-matrix-auth/internal/homeserver"
)

// transport answers without a network, so that a bubble's clock moves on.
type transport func(*http.Request) (*http.Response, error)

func (f transport) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

var errRefused = errors.New("connection refused")

func respond(status int, contentType, body string) (*http.Response, error) {
	return &http.Response{
		StatusCode: status,
		Header:     http.Header{"Content-Type": {contentType}},
		Body:       io.NopCloser(strings.NewReader(body)),
	}, nil
}

func respondOK() (*http.Response, error) { return respond(200, "application/json", `{}`) }

// TestRetry: a call survives a moment without Synapse, within its time.
func TestRetry(t *testing.T) {
	for _, tc := range []struct {
		name     string
		failures int
		status   int // 0: the connection fails
		requests int
		ok       bool
	}{
		{"connection fails once", 1, 0, 2, true},
		{"connection fails twice", 2, 0, 3, true},
		{"connection fails", 9, 0, 3, false},
		{"502 once", 1, 502, 2, true},
		{"503 twice", 2, 503, 3, true},
		{"504", 9, 504, 3, false},
		{"500 is not for a proxy to mend", 9, 500, 1, false},
		{"404", 9, 404, 1, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				requests := 0
				c := newClient(t, homeserver.Config{URL: "http://synapse.test", Transport: transport(func(r *http.Request) (*http.Response, error) {
					requests++
					if body, _ := io.ReadAll(r.Body); string(body) != `{"localpart":"alice"}` {
						t.Errorf("request %d: got body %q", requests, body)
					}
					switch {
					case requests > tc.failures:
						return respondOK()
					case tc.status == 0:
						return nil, errRefused
					}
					return respond(tc.status, "text/html", "<html>")
				})})
				start := time.Now()
				err := c.ReactivateUser(t.Context(), "alice")
				if (err == nil) != tc.ok || requests != tc.requests {
					t.Errorf("got %v after %d requests, want ok %v after %d", err, requests, tc.ok, tc.requests)
				}
				if d := time.Since(start); d > time.Second {
					t.Errorf("the call took %v", d)
				}
			})
		})
	}
}

// TestTimeout: a Synapse that hangs is given up, and the time is one for all attempts.
func TestTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		requests := 0
		c := newClient(t, homeserver.Config{URL: "http://synapse.test", Timeout: 2 * time.Second, Transport: transport(func(r *http.Request) (*http.Response, error) {
			if requests++; requests == 1 {
				return nil, errRefused
			}
			<-r.Context().Done()
			return nil, r.Context().Err()
		})})
		start := time.Now()
		e := mustError(t, c.ReactivateUser(t.Context(), "alice"))
		if e.Kind != homeserver.KindTimeout || !e.Unreachable() {
			t.Errorf("got %v, want a timeout", e)
		}
		if d := time.Since(start); d != 2*time.Second || requests != 2 {
			t.Errorf("got %d requests in %v, want 2 in 2 s", requests, d)
		}
	})
}

// TestSlowBody: the time covers the answer's body.
func TestSlowBody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newClient(t, homeserver.Config{URL: "http://synapse.test", Timeout: time.Second, Transport: transport(func(r *http.Request) (*http.Response, error) {
			body, w := io.Pipe()
			go func() {
				<-r.Context().Done()
				w.CloseWithError(r.Context().Err())
			}()
			return &http.Response{StatusCode: 200, Header: http.Header{}, Body: body}, nil
		})})
		if e := mustError(t, c.ReactivateUser(t.Context(), "alice")); e.Kind != homeserver.KindTimeout {
			t.Errorf("got %v, want a timeout", e)
		}
	})
}

// TestLog: an outage is one line a minute and one at its end, whatever the number of calls.
func TestLog(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		core, logs := observer.New(zap.InfoLevel)
		down := true
		c := newClient(t, homeserver.Config{URL: "http://synapse.test", Log: zap.New(core), Transport: transport(func(*http.Request) (*http.Response, error) {
			if down {
				return respond(403, "application/json", `{"errcode":"M_UNKNOWN","error":"This endpoint must only be called by MAS"}`)
			}
			return respond(404, "application/json", `{"errcode":"M_NOT_FOUND","error":"User not found"}`)
		})})
		call := func() { c.ReactivateUser(t.Context(), "alice") }
		for range 10 {
			call()
		}
		time.Sleep(61 * time.Second)
		call()
		down = false
		call()
		call()
		var got []string
		for _, e := range logs.All() {
			got = append(got, e.Message)
		}
		want := []string{"synapse is unreachable", "synapse is unreachable", "synapse answers again"}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Fatalf("log (-want +got):\n%s", diff)
		}
		fields := logs.All()[1].ContextMap()
		if fields["failed_calls"] != int64(10) || !strings.Contains(fields["reason"].(string), "the shared secrets differ") {
			t.Errorf("got %v, want 10 failed calls and the reason in words", fields)
		}
	})
}

// TestObserve: every request is counted by its outcome.
func TestObserve(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var got []string
		requests := 0
		c := newClient(t, homeserver.Config{
			URL:     "http://synapse.test",
			Timeout: time.Second,
			Observe: func(op, code string) { got = append(got, op+" "+code) },
			Transport: transport(func(r *http.Request) (*http.Response, error) {
				switch requests++; requests {
				case 1:
					return nil, errRefused
				case 2:
					return respond(503, "", "")
				case 3:
					return respondOK()
				}
				<-r.Context().Done()
				return nil, r.Context().Err()
			}),
		})
		c.ReactivateUser(t.Context(), "alice")
		c.DeleteDevice(t.Context(), "alice", "D")
		want := []string{"reactivate_user error", "reactivate_user 503", "reactivate_user 200", "delete_device timeout"}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("observed (-want +got):\n%s", diff)
		}
	})
}
