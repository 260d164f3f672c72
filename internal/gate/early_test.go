package gate

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// talk sends bytes on a connection of its own and reads answers until the connection ends.
func (b *bench) talk(t *testing.T, request string) []reply {
	t.Helper()
	c, err := net.Dial("tcp", b.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(20 * time.Second)) // A bug must not hang the test.
	go func() { _, _ = io.WriteString(c, request) }()   // Fails when the edge closes early.
	var answers []reply
	for in := bufio.NewReader(c); ; {
		res, err := http.ReadResponse(in, nil)
		if err != nil {
			var timeout net.Error
			if errors.As(err, &timeout) && timeout.Timeout() {
				t.Fatalf("got no end of the connection after %+v", answers)
			}
			return answers
		}
		body, _ := io.ReadAll(res.Body)
		answers = append(answers, reply{res.Proto, res.StatusCode, res.Header, string(body), res.Close})
	}
}

const smuggled = "GET /smuggled HTTP/1.1\r\nHost: x\r\n\r\n"

// smuggle is a request whose body consists of requests.
func smuggle(size int, headers ...string) string {
	body := strings.Repeat(smuggled, size/len(smuggled)+1)
	return fmt.Sprintf("POST %s HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n%s\r\n\r\n%s", whoami, len(body),
		strings.Join(headers, "\r\n"), body)
}

func smuggleChunked(size int, headers ...string) string {
	body := strings.Repeat(smuggled, size/len(smuggled)+1)
	return fmt.Sprintf("POST %s HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n%s\r\n\r\n%x\r\n%s\r\n0\r\n\r\n", whoami,
		strings.Join(headers, "\r\n"), len(body), body)
}

const last = "GET /last HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"

// wantOneAnswer sends a request of each size in both framings, several times, each with another one behind it. It wants one answer
// that ends the connection, or one for each if the body was read to its end.
func wantOneAnswer(t *testing.T, b *bench, status int, headers ...string) {
	t.Helper()
	var stray, lasts atomic.Int32
	inner := b.Config.Handler
	b.Config.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/smuggled":
			stray.Add(1)
		case "/last":
			lasts.Add(1)
			return
		}
		inner.ServeHTTP(w, r)
	})
	for range 4 {
		for _, size := range []int{300 << 10, 3 << 20} {
			for _, request := range []string{smuggle(size, headers...), smuggleChunked(size, headers...)} {
				lasts.Store(0)
				answers := b.talk(t, request+last)
				if want := 1 + int(lasts.Load()); len(answers) != want || answers[0].Status != status {
					t.Errorf("got %d answers, want %d, the first %d: %.300v", len(answers), want, status, answers)
				} else if answers[0].Close != (want == 1) {
					t.Errorf("got close %v and %d answers, want the end announced", answers[0].Close, want)
				}
			}
		}
	}
	if n := stray.Load(); n != 0 {
		t.Errorf("got %d smuggled requests, want none", n)
	}
}

// RFC 9112 §9.3: a body that was not read is not the next request, whoever answers.
func TestGate_EarlyAnswerEndsTheConnection(t *testing.T) {
	t.Run("of the gate", func(t *testing.T) {
		b := newBench(t)
		wantOneAnswer(t, b, 401, bearerHeader(b.dead))
	})
	t.Run("of the gate, unread", func(t *testing.T) {
		b := newBench(t)
		wantOneAnswer(t, b, 401, bearerHeader(b.dead), "Expect: 100-continue")
	})
	t.Run("of the homeserver", func(t *testing.T) {
		b := newBench(t)
		b.synapse.handle = func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusBadRequest) }
		wantOneAnswer(t, b, 400, bearerHeader(b.live))
	})
	t.Run("of the homeserver, which resets", func(t *testing.T) {
		b := newBench(t)
		b.synapse.handle = func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }
		wantOneAnswer(t, b, 502, bearerHeader(b.live))
	})
	t.Run("of a handler that closes the body", func(t *testing.T) {
		b := newBench(t)
		b.next = func(w http.ResponseWriter, r *http.Request) error {
			r.Body.Close()
			w.WriteHeader(http.StatusTeapot)
			return nil
		}
		wantOneAnswer(t, b, 418, bearerHeader(b.live))
	})
	t.Run("of a handler that closes the body and fails", func(t *testing.T) {
		b := newBench(t)
		b.next = func(_ http.ResponseWriter, r *http.Request) error {
			r.Body.Close()
			return errors.New("no upstream")
		}
		wantOneAnswer(t, b, 502, bearerHeader(b.live))
	})
	t.Run("of nobody", func(t *testing.T) {
		b := newBench(t)
		b.next = func(_ http.ResponseWriter, r *http.Request) error { return r.Body.Close() }
		wantOneAnswer(t, b, 200, bearerHeader(b.live))
	})
	t.Run("of an endpoint of ours", func(t *testing.T) {
		b := newBench(t)
		b.ours(func(w http.ResponseWriter, r *http.Request) error {
			r.Body.Close()
			w.WriteHeader(http.StatusTeapot)
			return nil
		})
		wantOneAnswer(t, b, 418)
	})
	t.Run("of an endpoint of ours that fails", func(t *testing.T) {
		b := newBench(t)
		b.ours(func(_ http.ResponseWriter, r *http.Request) error {
			r.Body.Close()
			return errors.New("broken")
		})
		wantOneAnswer(t, b, 502)
	})
}

// ours serves every request by h, as an endpoint of our own.
func (b *bench) ours(h Next) {
	b.Config.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		r.Body = struct{ io.ReadCloser }{r.Body}
		if err := b.gate.EndBody(w, r, h); err != nil {
			http.Error(w, err.Error(), http.StatusBadGateway)
		}
	})
}

// A small body is read before an answer of ours, and the connection lives on.
func TestGate_EarlyAnswerReadsASmallBody(t *testing.T) {
	second := "GET " + whoami + " HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
	t.Run("of the gate", func(t *testing.T) {
		b := newBench(t)
		for _, first := range []string{smuggle(40<<10, bearerHeader(b.dead)), smuggleChunked(40<<10, bearerHeader(b.dead))} {
			if answers := b.talk(t, first+second); len(answers) != 2 || answers[0].Status != 401 || answers[1].Status != 200 {
				t.Errorf("got %+v, want 401 and 200", answers)
			}
		}
	})
	t.Run("of an endpoint of ours", func(t *testing.T) {
		b := newBench(t)
		b.ours(func(w http.ResponseWriter, _ *http.Request) error {
			w.WriteHeader(http.StatusTeapot)
			return nil
		})
		if answers := b.talk(t, smuggle(40<<10)+second); len(answers) != 2 {
			t.Errorf("got %+v, want two answers", answers)
		}
	})
}

// A larger one is not worth it.
func TestGate_EarlyAnswerReadsNoLargeBody(t *testing.T) {
	b := newBench(t)
	answers := b.talk(t, smuggle(drainBytes+1, bearerHeader(b.dead))+last)
	if len(answers) != 1 || answers[0].Status != 401 || !answers[0].Close {
		t.Errorf("got %d answers, want one that ends the connection", len(answers))
	}
}

// An answer before the end of a body that is not much larger can be read by a client that sends all of it first, and its connection
// ends without a reset (RFC 9112 §9.6), whatever keeps net/http from seeing to that.
func TestGate_EarlyAnswerLingers(t *testing.T) {
	for what, bench := range map[string]func(t *testing.T) (b *bench, header string, status int){
		"of the gate": func(t *testing.T) (*bench, string, int) {
			b := newBench(t)
			return b, bearerHeader(b.dead), 401
		},
		"of an endpoint of ours": func(t *testing.T) (*bench, string, int) {
			b := newBench(t)
			b.ours(func(w http.ResponseWriter, _ *http.Request) error {
				w.WriteHeader(http.StatusTeapot)
				return nil
			})
			return b, "X: y", 418
		},
	} {
		t.Run(what, func(t *testing.T) {
			b, header, status := bench(t)
			for _, size := range []int{drainBytes + 1, 4 * drainBytes, 6 * drainBytes, drainBytes + lingerBytes/2} {
				for _, more := range []string{"Connection: close", "Connection: keep-alive"} {
					for _, request := range []string{smuggle(size, header, more), smuggleChunked(size, header, more)} {
						answer, err := b.sendFirst(t, request)
						if err != nil || strings.Count(answer, "HTTP/1.1 ") != 1 || !strings.HasPrefix(answer, fmt.Sprint("HTTP/1.1 ", status)) {
							t.Errorf("%d bytes, %s: got %.300q and then %v, want one %d and the end", size, more, answer, err, status)
						}
					}
				}
			}
		})
	}
}

// sendFirst sends all of a request before it reads to the end of the connection.
func (b *bench) sendFirst(t *testing.T, request string) (answer string, err error) {
	t.Helper()
	c, err := net.Dial("tcp", b.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(20 * time.Second)) // A bug must not hang the test.
	if _, err := io.WriteString(c, request); err != nil {
		return "", err
	}
	all, err := io.ReadAll(c)
	return string(all), err
}

// A client that announced a large body and waits is answered at once; here what is read of it has an hour.
func TestGate_EarlyAnswerComesFirst(t *testing.T) {
	b := newBench(t)
	b.gate.Now = func() time.Time { return time.Now().Add(time.Hour) }
	c, err := net.Dial("tcp", b.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(20 * time.Second)) // A bug must not hang the test.
	if _, err := io.WriteString(c, smuggle(8*drainBytes, bearerHeader(b.dead))[:4<<10]); err != nil {
		t.Fatal(err)
	}
	res, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if body, err := io.ReadAll(res.Body); err != nil || res.StatusCode != 401 || !res.Close {
		t.Errorf("got %d %s, %v, close %v, want a whole 401 that ends the connection", res.StatusCode, body, err, res.Close)
	}
}

// A client that does not send its body is not waited for; here the two seconds are over at once.
func TestGate_EarlyAnswerDoesNotWait(t *testing.T) {
	b := newBench(t)
	b.gate.Now = func() time.Time { return time.Now().Add(-drainTime) }
	request := smuggle(10<<10, bearerHeader(b.dead))
	answers := b.talk(t, request[:len(request)-1])
	if len(answers) != 1 || answers[0].Status != 401 {
		t.Errorf("got %+v, want one 401", answers)
	}
}

// A client that waits for 100 Continue is answered without it, and is not asked to send.
func TestGate_EarlyAnswerToAnExpectation(t *testing.T) {
	b := newBench(t)
	b.gate.Now = func() time.Time { return time.Now().Add(-drainTime) }
	head, _, _ := strings.Cut(smuggle(10<<10, bearerHeader(b.dead), "Expect: 100-continue"), "\r\n\r\n")
	answers := b.talk(t, head+"\r\n\r\n")
	if len(answers) != 1 || answers[0].Status != 401 || !answers[0].Close {
		t.Errorf("got %+v, want one 401 that ends the connection", answers)
	}
}

// deadlines records the read deadlines that are set.
type deadlines struct {
	http.ResponseWriter
	set []time.Time
}

func (d *deadlines) SetReadDeadline(at time.Time) error {
	d.set = append(d.set, at)
	return nil
}

// The deadline of the drain is taken back after a whole body, and stays for what net/http reads after a broken one.
func TestGate_DrainDeadline(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	g := New(Config{Now: func() time.Time { return now }})
	for _, c := range []struct {
		body  string
		whole bool
		want  []time.Time
	}{
		{"0123456789", true, []time.Time{now.Add(drainTime), {}}},
		{"01234", false, []time.Time{now.Add(drainTime)}},
	} {
		r := httptest.NewRequest("POST", whoami, io.MultiReader(strings.NewReader(c.body), broken{}))
		r.ContentLength = 10
		w := &deadlines{ResponseWriter: httptest.NewRecorder()}
		if whole := g.drain(w, r, newBody(r, 0)); whole != c.whole {
			t.Errorf("%q: got whole %v, want %v", c.body, whole, c.whole)
		}
		if diff := cmp.Diff(c.want, w.set); diff != "" {
			t.Errorf("%q: deadlines (-want +got):\n%s", c.body, diff)
		}
	}
}

type broken struct{}

func (broken) Read([]byte) (int, error) { return 0, io.ErrUnexpectedEOF }

// A body that was read to its end costs no connection.
func TestGate_ReadBodyKeepsTheConnection(t *testing.T) {
	b := newBench(t)
	for _, first := range []string{smuggle(3<<20, bearerHeader(b.live)), smuggleChunked(3<<20, bearerHeader(b.live))} {
		answers := b.talk(t, first+"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
		if len(answers) != 2 || answers[0].Close {
			t.Errorf("got %d answers, want two: %+v", len(answers), answers)
		}
	}
}
