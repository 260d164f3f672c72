package gate

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"sync/atomic"

	"github.com/caddy-matrix/caddy-matrix-auth/internal/auth"
)

// The states of an answer. Whoever wants to write it has to win the step from open.
const (
	answerOpen  uint32 = iota // no header has been sent
	answerSent                // the handler's answer has begun
	answerTaken               // the gate answers; what the handler writes is dropped
	answerCut                 // begun by the handler, and to be cut off
)

// errTaken is what a handler's write gets when the answer is no longer its own.
var errTaken = errors.New("the request has been answered")

// writer is the ResponseWriter of a handler whose request may be answered by the gate, or answered before its body has ended. The
// handler's goroutine alone writes to the client; others only change the state.
type writer struct {
	http.ResponseWriter
	state  atomic.Uint32
	http1  bool               // the body matters for the connection
	watch  auth.Watch         // of a session's end
	cancel context.CancelFunc // of the handler's request; nil: nothing is watched
	whole  bool               // cancel is of the whole connection
	body   *body              // nil: the request has none
	drain  func() bool        // reads the rest of the body before an answer of ours; nil: not ours
	last   bool               // the answer ends the connection, because the body has not ended
	before headerCopy         // the header before the handler touched it
}

// Unwrap lets http.ResponseController reach the connection: deadlines, full duplex.
func (x *writer) Unwrap() http.ResponseWriter { return x.ResponseWriter }

// WriteHeader implements http.ResponseWriter.
func (x *writer) WriteHeader(status int) {
	informational := status >= 100 && status < 200 && status != http.StatusSwitchingProtocols
	if informational && x.state.Load() != answerOpen {
		return
	}
	if informational || x.begin(status) {
		x.ResponseWriter.WriteHeader(status)
	}
}

// begin claims the answer for the handler and reports whether it is the handler's.
func (x *writer) begin(status int) bool {
	x.takeIfDue()
	if !x.state.CompareAndSwap(answerOpen, answerSent) {
		return x.state.Load() == answerSent
	}
	if status != http.StatusSwitchingProtocols {
		x.endConnection()
	}
	return true
}

// takeIfDue takes an answer that has not begun from its handler if the body is too large.
func (x *writer) takeIfDue() {
	if x.body.tooLarge() {
		x.state.CompareAndSwap(answerOpen, answerTaken)
	}
}

// endConnection makes the answer the last one on its connection if the body has not ended.
func (x *writer) endConnection() {
	if !x.http1 || x.body.ended() || (x.drain != nil && x.drain()) {
		return
	}
	x.last = true
	x.Header().Set("Connection", "close")
}

// start sends an implicit header and reports whether the handler may write.
func (x *writer) start() bool {
	if x.state.Load() == answerOpen {
		x.WriteHeader(http.StatusOK)
	}
	return x.state.Load() == answerSent
}

// Write implements http.ResponseWriter.
func (x *writer) Write(p []byte) (int, error) {
	if !x.start() {
		return 0, errTaken
	}
	return x.ResponseWriter.Write(p)
}

// ReadFrom implements io.ReaderFrom, so that files still go by sendfile.
func (x *writer) ReadFrom(src io.Reader) (int64, error) {
	if !x.start() {
		return 0, errTaken
	}
	return io.Copy(x.ResponseWriter, src)
}

// FlushError is what http.ResponseController calls.
func (x *writer) FlushError() error {
	if !x.start() {
		return errTaken
	}
	return http.NewResponseController(x.ResponseWriter).Flush()
}

// Flush implements http.Flusher.
func (x *writer) Flush() { _ = x.FlushError() }

// Hijack implements http.Hijacker: from then on the handler alone writes to the connection.
func (x *writer) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	x.state.CompareAndSwap(answerOpen, answerSent)
	if x.state.Load() != answerSent {
		return nil, nil, errTaken
	}
	return http.NewResponseController(x.ResponseWriter).Hijack()
}

// End is called when the session is over: the gate answers, or cuts the answer that has begun. It never writes, because the handler's
// goroutine may be doing so. Whoever ended the session is answered later: no answer begins after that.
func (x *writer) End() {
	if !x.state.CompareAndSwap(answerOpen, answerTaken) {
		x.state.CompareAndSwap(answerSent, answerCut)
	}
	x.cancel()
}

// settle is called when the handler has returned, and reports what has become of the answer. If the handler wrote none, its caller
// will (a handler's error becomes a page), with the header as it is here.
func (x *writer) settle() uint32 {
	x.takeIfDue()
	if x.state.CompareAndSwap(answerOpen, answerSent) {
		x.endConnection()
		return answerSent
	}
	return x.state.Load()
}

// headerCopy is a shallow copy of a header; there is room for Caddy's own (Server, Alt-Svc) without another allocation.
type headerCopy struct {
	fields []headerField
	room   [2]headerField
}

type headerField struct {
	name   string
	values []string
}

func (c *headerCopy) take(h http.Header) {
	c.fields = c.room[:0]
	for name, values := range h {
		c.fields = append(c.fields, headerField{name, values})
	}
}

func (c *headerCopy) restore(h http.Header) {
	clear(h)
	for _, f := range c.fields {
		h[f.name] = f.values
	}
}
