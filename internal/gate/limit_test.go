package gate

import (
	"context"
	"io"
	"net/http"
	"strings"
	"testing"
)

// chunked hides the length of a body.
type chunked struct{ io.Reader }

// Synapse resets the connection above its limit; the gate answers before.
func TestGate_BodyLimit(t *testing.T) {
	for _, c := range []struct {
		name    string
		size    int
		chunked bool
		want    int
	}{
		{"at the limit", 1000, false, 200},
		{"above", 1001, false, 413},
		{"chunked at the limit", 1000, true, 200},
		{"chunked above", 1001, true, 413},
		{"chunked far above", 8 << 10, true, 413},
	} {
		for _, path := range []string{whoami, "/_matrix/federation/v1/send/1"} {
			for _, handler := range []string{"error", "answer"} {
				t.Run(c.name+" "+path+" "+handler, func(t *testing.T) {
					b := newBench(t)
					b.gate.MaxBody = 1000
					if handler == "answer" {
						b.next = answering(b.next)
					}
					r := b.request(t, "POST", path, strings.Repeat("x", c.size), bearerHeader(foreign))
					if c.chunked {
						r.Body, r.ContentLength = io.NopCloser(chunked{r.Body}), -1
					}
					got := b.do(t, r)
					if c.want == 413 {
						wantError(t, got, 413, "M_TOO_LARGE", nil)
						b.synapse.none(t)
						return
					}
					if seen := b.synapse.last(t); got.Status != 200 || len(seen.Body) != c.size {
						t.Errorf("got %d with %d bytes, want all of them", got.Status, len(seen.Body))
					}
				})
			}
		}
	}
}

// answering makes a proxy answer for its upstream by itself, as net/http's does.
func answering(next Next) Next {
	return func(w http.ResponseWriter, r *http.Request) error {
		if err := next(w, r); err != nil {
			w.Header().Set("X-Proxy", "1")
			w.WriteHeader(http.StatusBadGateway)
			_, _ = io.WriteString(w, "bad gateway")
		}
		return nil
	}
}

// What the proxy had set is not in the answer that replaces its own.
func TestGate_BodyLimitAnswerIsClean(t *testing.T) {
	b := newBench(t)
	b.gate.MaxBody = 1000
	b.next = answering(b.next)
	r := b.request(t, "POST", whoami, strings.Repeat("x", 4000), bearerHeader(foreign))
	r.Body, r.ContentLength = io.NopCloser(chunked{r.Body}), -1
	got := b.do(t, r)
	if got.Header.Get("X-Proxy") != "" || got.Header.Get("Server") != "edge" {
		t.Errorf("got header %v, want the edge's without the proxy's", got.Header)
	}
}

// Nothing is limited or wrapped for other sites behind the same handler.
func TestGate_BodyLimitIsTheHomeservers(t *testing.T) {
	b := newBench(t)
	b.gate.MaxBody = 10
	if got := b.do(t, b.request(t, "POST", "/other", strings.Repeat("x", 1000))); got.Status != 200 {
		t.Errorf("got %d, want 200", got.Status)
	}
}

// Uploads stream: the homeserver has the first bytes before the last are sent; so do downloads.
func TestGate_Streams(t *testing.T) {
	b := newBench(t)
	b.gate.MaxBody = 1 << 20
	b.synapse.handle = func(w http.ResponseWriter, r *http.Request) {
		c := http.NewResponseController(w)
		_ = c.EnableFullDuplex()
		buf := make([]byte, 1)
		for {
			if _, err := io.ReadFull(r.Body, buf); err != nil {
				return
			}
			_, _ = w.Write(buf)
			_ = c.Flush()
		}
	}
	b.EnableFullDuplex(t)
	in, out := io.Pipe()
	r := b.request(t, "PUT", "/_matrix/media/v3/upload/x/y", "", bearerHeader(b.live)).WithContext(context.Background())
	r.Body, r.ContentLength = in, -1
	res := make(chan *http.Response, 1)
	go func() {
		got, err := b.Client().Transport.RoundTrip(r)
		if err != nil {
			t.Error(err)
		}
		res <- got
	}()
	_, _ = out.Write([]byte("a"))
	got := <-res
	if got == nil {
		return
	}
	defer got.Body.Close()
	for _, want := range []string{"a", "b", "c"} {
		if want != "a" {
			_, _ = out.Write([]byte(want))
		}
		buf := make([]byte, 1)
		if _, err := io.ReadFull(got.Body, buf); err != nil || string(buf) != want {
			t.Fatalf("got %q, %v, want %q before the rest is sent", buf, err, want)
		}
	}
	out.Close()
}

// EnableFullDuplex lets net/http/1.1 write while it reads, as Caddy does on request. It shows that the wrapper unwraps.
func (b *bench) EnableFullDuplex(t *testing.T) {
	next := b.next
	b.next = func(w http.ResponseWriter, r *http.Request) error {
		if err := http.NewResponseController(w).EnableFullDuplex(); err != nil {
			t.Error(err)
		}
		return next(w, r)
	}
}
