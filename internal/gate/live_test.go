package gate

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/caddy-matrix/caddy-matrix-auth/internal/auth"
)

// endable serves every request of the bench under one session, which the returned function ends.
func (b *bench) endable() (end func()) {
	life := new(fakeLife)
	b.Config.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		r.Body = struct{ io.ReadCloser }{r.Body}
		w.Header().Set("Server", "edge")
		if err := b.gate.passWhile(life, w, r, b.next, b.live); err != nil {
			http.Error(w, err.Error(), http.StatusBadGateway)
		}
	})
	return life.end
}

// fakeLife is a session's life that a test ends.
type fakeLife struct {
	mu      sync.Mutex
	over    bool
	watches []*auth.Watch
}

func (f *fakeLife) Watch(w *auth.Watch) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.watches = append(f.watches, w)
	return !f.over
}

func (f *fakeLife) Leave(w *auth.Watch) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.watches = slices.DeleteFunc(f.watches, func(o *auth.Watch) bool { return o == w })
}

func (f *fakeLife) end() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.over = true
	for _, w := range f.watches {
		w.End.End()
	}
}

// A long poll without a header gets what the next request would get.
func TestGate_EndAnswersALongPoll(t *testing.T) {
	for _, c := range []struct {
		name    string
		verdict auth.Verdict
		err     error
		status  int
		code    string
		soft    any
	}{
		{"ended", auth.Unknown, nil, 401, "M_UNKNOWN_TOKEN", false},
		{"locked", auth.Locked, nil, 401, "M_USER_LOCKED", true},
		{"locked and unlocked", auth.Active, nil, 503, "M_UNKNOWN", nil},
		{"storage trouble", auth.Unknown, errors.New("disk"), 503, "M_UNKNOWN", nil},
	} {
		for _, proto := range []string{"HTTP/1.1", "HTTP/2.0"} {
			t.Run(c.name+" "+proto, func(t *testing.T) {
				b := newBench(t)
				end := b.endable()
				if proto == "HTTP/2.0" {
					b.overHTTP2(t)
				}
				b.synapse.handle = func(_ http.ResponseWriter, r *http.Request) {
					b.judge.set(b.live, c.verdict)
					b.judge.mu.Lock()
					b.judge.err = c.err
					b.judge.mu.Unlock()
					end()
					<-r.Context().Done() // The upstream is let go.
				}
				got := b.do(t, b.request(t, "GET", "/_matrix/client/v3/sync?timeout=30000", ""))
				wantError(t, got, c.status, c.code, c.soft)
				if got.Proto != proto || got.Close != (proto == "HTTP/1.1") {
					t.Errorf("got the end of the connection %v over %s", got.Close, got.Proto)
				}
			})
		}
	}
}

// Over HTTP/2 the connection has other requests, which go on.
func TestGate_EndLeavesTheOthersOnTheConnection(t *testing.T) {
	b := newBench(t)
	end := b.endable()
	ending := b.Config.Handler
	b.Config.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != whoami {
			ending.ServeHTTP(w, r)
		} else if err := b.gate.passWhile(new(fakeLife), w, r, b.next, b.live); err != nil {
			t.Error(err)
		}
	})
	b.overHTTP2(t)
	arrived, ended := make(chan struct{}), make(chan struct{})
	b.synapse.handle = func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == whoami {
			close(arrived)
			<-ended
			_, _ = io.WriteString(w, "{}")
			return
		}
		end()
		<-r.Context().Done()
	}
	other := make(chan reply, 1)
	go func() { other <- b.do(t, b.request(t, "GET", whoami, "")) }()
	<-arrived
	if got := b.do(t, b.request(t, "GET", "/_matrix/client/v3/sync", "")); got.Proto != "HTTP/2.0" || got.Status == 200 {
		t.Errorf("the one that ends: got %d over %s", got.Status, got.Proto)
	}
	close(ended)
	if got := <-other; got.Proto != "HTTP/2.0" || got.Status != 200 {
		t.Errorf("the other: got %d %s over %s", got.Status, got.Body, got.Proto)
	}
}

// An end between a handler's return and its answer still gives up the connection that it has cancelled.
func TestGate_EndAtTheLastMoment(t *testing.T) {
	b := newBench(t)
	b.judge.set(b.live, auth.Unknown)
	b.Config.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		nothing := func(http.ResponseWriter, *http.Request) error { return nil }
		if err := b.gate.passWhile(new(endedLast), w, r, nothing, b.live); err != nil {
			t.Error(err)
		}
	})
	got := b.do(t, b.request(t, "GET", whoami, ""))
	wantError(t, got, 401, "M_UNKNOWN_TOKEN", false)
	if !got.Close {
		t.Error("got a connection that lives on")
	}
}

// endedLast is a life that ends just before its request leaves it.
type endedLast struct{ fakeLife }

func (e *endedLast) Leave(w *auth.Watch) {
	e.end()
	e.fakeLife.Leave(w)
}

// The proxy may have copied a header already, or answer for the cancelled request: nothing of that is seen.
func TestGate_EndDropsTheProxysAnswer(t *testing.T) {
	for name, finish := range map[string]func(http.ResponseWriter, *http.Request) error{
		"499": func(w http.ResponseWriter, _ *http.Request) error { w.WriteHeader(499); return nil },
		"body": func(w http.ResponseWriter, _ *http.Request) error {
			w.WriteHeader(200)
			if _, err := io.WriteString(w, "secret"); err == nil {
				return errors.New("got the write through, want an error")
			}
			panic(http.ErrAbortHandler)
		},
		"flush": func(w http.ResponseWriter, _ *http.Request) error {
			w.WriteHeader(http.StatusEarlyHints)
			return http.NewResponseController(w).Flush()
		},
		"copy": func(w http.ResponseWriter, _ *http.Request) error {
			_, err := w.(io.ReaderFrom).ReadFrom(strings.NewReader("secret"))
			return err
		},
		"error": func(http.ResponseWriter, *http.Request) error { return context.Canceled },
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t)
			end := b.endable()
			b.judge.set(b.live, auth.Unknown)
			b.next = func(w http.ResponseWriter, r *http.Request) error {
				w.Header().Set("X-Proxy", "1")
				w.Header().Add("Server", "upstream")
				end()
				<-r.Context().Done()
				return finish(w, r)
			}
			got := b.do(t, b.request(t, "GET", whoami, ""))
			wantError(t, got, 401, "M_UNKNOWN_TOKEN", false)
			if v := got.Header["Server"]; got.Header.Get("X-Proxy") != "" || len(v) != 1 || v[0] != "edge" {
				t.Errorf("got header %v, want the edge's", got.Header)
			}
		})
	}
}

// Whoever ended a session has been told so: no answer begins after that, however fast the homeserver is.
func TestGate_NoAnswerBeginsAfterTheEnd(t *testing.T) {
	for range 50 {
		b := newBench(t)
		end := b.endable()
		b.judge.set(b.live, auth.Unknown)
		b.next = func(w http.ResponseWriter, _ *http.Request) error {
			end()
			_, err := io.WriteString(w, "late")
			return err
		}
		wantError(t, b.do(t, b.request(t, "GET", whoami, "")), 401, "M_UNKNOWN_TOKEN", false)
		b.Close()
	}
}

// Another panic is not swallowed with the abort.
func TestWriter_OtherPanicsPass(t *testing.T) {
	defer func() {
		if v := recover(); v != "bug" {
			t.Errorf("got panic %v, want bug", v)
		}
	}()
	x := &writer{}
	x.state.Store(answerTaken)
	_ = x.call(nil, func(http.ResponseWriter, *http.Request) error { panic("bug") })
}

// Once a header is sent the connection is cut: over HTTP/1.1 and as a reset of the stream over HTTP/2.
func TestGate_EndCutsABegunAnswer(t *testing.T) {
	for _, proto := range []string{"HTTP/1.1", "HTTP/2.0"} {
		t.Run(proto, func(t *testing.T) {
			b := newBench(t)
			end := b.endable()
			if proto == "HTTP/2.0" {
				b.overHTTP2(t)
			}
			b.synapse.handle = func(w http.ResponseWriter, r *http.Request) {
				_, _ = io.WriteString(w, "begin")
				_ = http.NewResponseController(w).Flush()
				<-r.Context().Done()
			}
			res, err := b.Client().Transport.RoundTrip(b.request(t, "GET", "/_matrix/client/v1/media/download/x/y", ""))
			if err != nil {
				t.Fatal(err)
			}
			defer res.Body.Close()
			buf := make([]byte, 5)
			if _, err := io.ReadFull(res.Body, buf); err != nil || res.Proto != proto {
				t.Fatalf("got %q over %s, %v, want the beginning", buf, res.Proto, err)
			}
			end()
			if _, err := res.Body.Read(buf); err == nil || err == io.EOF {
				t.Errorf("got %v, want a cut", err)
			}
		})
	}
}

// overHTTP2 starts the bench's server anew with TLS.
func (b *bench) overHTTP2(t *testing.T) {
	h := b.Config.Handler
	b.Server.Close()
	b.Server = newHTTP2Server(h)
	t.Cleanup(b.Server.Close)
}

// The end of a session that nobody ends costs nothing: the answer is the upstream's.
func TestGate_LiveReadIsPlain(t *testing.T) {
	b := newBench(t)
	b.endable()
	for _, method := range []string{"GET", "HEAD"} {
		got := b.do(t, b.request(t, method, whoami, ""))
		if got.Status != 200 || (method == "GET" && got.Body != "{}") {
			t.Errorf("got %d %q, want the homeserver's answer", got.Status, got.Body)
		}
	}
}

// A WebSocket is hijacked through the wrapper, and ends with the session.
func TestGate_EndCutsAnUpgrade(t *testing.T) {
	b := newBench(t)
	end := b.endable()
	b.synapse.handle = func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Connection", "Upgrade")
		w.Header().Set("Upgrade", "echo")
		w.WriteHeader(http.StatusSwitchingProtocols)
		c, rw, err := http.NewResponseController(w).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		defer c.Close()
		_, _ = io.Copy(c, rw)
	}
	c, err := net.Dial("tcp", b.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_, _ = io.WriteString(c, "GET "+whoami+" HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n")
	in := bufio.NewReader(c)
	res, err := http.ReadResponse(in, nil)
	if err != nil || res.StatusCode != http.StatusSwitchingProtocols || res.Header.Get("Connection") != "Upgrade" {
		t.Fatalf("got %+v, %v, want 101", res, err)
	}
	_, _ = io.WriteString(c, "ping\n")
	if line, err := in.ReadString('\n'); line != "ping\n" {
		t.Fatalf("got %q, %v, want the echo", line, err)
	}
	end()
	if _, err := in.ReadByte(); err == nil {
		t.Error("got a byte, want the end")
	}
}

// Many reads at once while their session ends: each answer is whole, or a 401, or cut. For the race detector.
func TestGate_EndRaces(t *testing.T) {
	for range 10 {
		b := newBench(t)
		end := b.endable()
		b.judge.set(b.live, auth.Unknown)
		var group sync.WaitGroup
		for i := range 32 {
			group.Go(func() {
				res, err := b.Client().Transport.RoundTrip(b.request(t, "GET", whoami, ""))
				if i == 8 {
					end()
				}
				if err != nil {
					return // Cut before its header got out.
				}
				defer res.Body.Close()
				body, err := io.ReadAll(res.Body)
				whole := res.StatusCode == 200 && string(body) == "{}"
				if !whole && res.StatusCode != 401 && err == nil {
					t.Errorf("got %d %q", res.StatusCode, body)
				}
			})
		}
		group.Wait()
		b.Close()
	}
}
