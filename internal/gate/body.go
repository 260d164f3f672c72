package gate

import (
	"io"
	"net/http"
	"sync/atomic"
	"time"
)

// Bounds of reading what is left of a body around an answer of ours. Before it: enough for any JSON request, so that its connection
// lives on, and too little to keep a connection busy. After it, on a connection that ends: enough for what somebody sends who did
// not know of our limits.
const (
	drainBytes  = 64 << 10
	lingerBytes = 1 << 20
	drainTime   = 2 * time.Second // for each of them
)

// The states of a body.
const (
	bodyOpen uint32 = iota
	bodyEnded
	bodyTooLarge
)

// body is a request's body that knows whether it has been read to its end. One goroutine reads; any may ask.
type body struct {
	io.ReadCloser
	length int64 // as announced; -1: not
	limit  int64 // 0: none
	read   int64 // owned by the reader
	state  atomic.Uint32
}

// newBody wraps the body of a request, or returns nil if it has none: a server may give a request without a body a Body, but not a
// length. The wrapper may take the body's place, because the request is Caddy's copy, and net/http looks at the body of its own.
func newBody(r *http.Request, limit int64) *body {
	if r.ContentLength == 0 || r.Body == nil || r.Body == http.NoBody {
		return nil
	}
	return &body{ReadCloser: r.Body, length: r.ContentLength, limit: limit}
}

// Read implements io.Reader.
func (b *body) Read(p []byte) (int, error) {
	if b.tooLarge() {
		return 0, &http.MaxBytesError{Limit: b.limit}
	}
	n, err := b.ReadCloser.Read(p)
	b.read += int64(n)
	if b.limit > 0 && b.read > b.limit {
		b.state.Store(bodyTooLarge)
		return n - int(b.read-b.limit), &http.MaxBytesError{Limit: b.limit}
	}
	if err == io.EOF || b.read == b.length {
		b.state.Store(bodyEnded)
	}
	return n, err
}

func (b *body) ended() bool    { return b == nil || b.state.Load() == bodyEnded }
func (b *body) tooLarge() bool { return b != nil && b.state.Load() == bodyTooLarge }

// drain reads what is left of a body before an answer of ours and reports whether that was all. If not, the read deadline stays,
// so that nothing after the answer waits for this body either. A client that waits for 100 Continue is not asked to send, and one
// that announced more than would be read is answered at once.
func (g *Gate) drain(w http.ResponseWriter, r *http.Request, b *body) bool {
	if b.ended() {
		return true
	}
	c := http.NewResponseController(w)
	if c.SetReadDeadline(g.Now().Add(drainTime)) != nil || r.Header["Expect"] != nil || b.length-b.read > drainBytes {
		return false
	}
	_, _ = io.CopyN(io.Discard, b, drainBytes) // Asked below.
	if !b.ended() {
		return false
	}
	return c.SetReadDeadline(time.Time{}) == nil
}

// linger sends the last answer on a connection and reads on for a while (RFC 9112 §9.6). Closed while its client still sends, the
// connection would be reset, which can destroy an answer that was not read yet.
func (g *Gate) linger(w http.ResponseWriter, r *http.Request, b *body) {
	c := http.NewResponseController(w)
	if r.Header["Expect"] != nil || c.Flush() != nil || c.SetReadDeadline(g.Now().Add(drainTime)) != nil {
		return
	}
	_, _ = io.CopyN(io.Discard, b, lingerBytes) // The connection ends either way.
}

// EndBody runs a handler of ours so that its answer comes after the end of the request's body or ends the connection. A small rest of
// the body is read first, for a short time, and a larger one after the answer. Over HTTP/2 and 3 there is nothing to do.
func (g *Gate) EndBody(w http.ResponseWriter, r *http.Request, ours Next) error {
	if r.ProtoMajor != 1 {
		return ours(w, r)
	}
	b := newBody(r, 0)
	if b == nil {
		return ours(w, r)
	}
	x := newWriter(w, r, b)
	x.drain = func() bool { return g.drain(w, r, b) }
	r.Body = b
	err := ours(x, r)
	answered := x.state.Load() == answerSent
	if x.settle(); answered && x.last {
		g.linger(w, r, b)
	}
	return err
}
