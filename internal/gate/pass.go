package gate

import (
	"context"
	"net"
	"net/http"

	"github.com/caddy-matrix/caddy-matrix-auth/internal/auth"
	"github.com/caddy-matrix/caddy-matrix-auth/internal/matrixerr"
)

// pass passes a request on. One without a body, and over HTTP/2 and 3 one of known length, needs no wrappers.
func (g *Gate) pass(w http.ResponseWriter, r *http.Request, next Next, limit int64) error {
	b := newBody(r, limit)
	if b == nil || (r.ProtoMajor != 1 && (limit == 0 || b.length >= 0)) {
		return next(w, r)
	}
	x := newWriter(w, r, b)
	r.Body = b
	return g.finish(x, r, x.call(r, next), "")
}

// connection is the key of what cancels the requests of a connection.
type connection struct{}

// ConnContext is for http.Server: with it, a read over HTTP/1.1 needs no context of its own to be cancelled with its session. The
// connection has no other request at that time, and ends. So do all contexts of this request, also those of handlers in front of
// the gate: one that asks somebody else after the answer needs context.WithoutCancel.
func ConnContext(ctx context.Context, _ net.Conn) context.Context {
	if ctx.Value(connection{}) != nil {
		return ctx
	}
	ctx, cancel := context.WithCancel(ctx)
	return context.WithValue(ctx, connection{}, cancel)
}

// passWhile passes a request with an active token on while its session lives. At the end, if no header has been sent, it is answered
// as the next request with this token would be; else its connection is cut.
func (g *Gate) passWhile(life auth.Life, w http.ResponseWriter, r *http.Request, next Next, text string) error {
	b := newBody(r, g.MaxBody)
	x := newWriter(w, r, b)
	r2 := r
	if cancel, ok := r.Context().Value(connection{}).(context.CancelFunc); ok && x.http1 && r.Context().Done() != nil {
		x.cancel, x.whole = cancel, true
	} else {
		ctx, cancel := context.WithCancel(r.Context())
		defer cancel()
		r2, x.cancel = r.WithContext(ctx), cancel
	}
	if b != nil {
		r2.Body = b
	}
	return g.finish(x, r, x.callWhile(life, r2, next), text)
}

// callWhile is call for a request that ends with its session. After it the session's end does nothing more, so that the connection
// is cancelled only if it is to be closed.
func (x *writer) callWhile(life auth.Life, r *http.Request, next Next) error {
	x.watch.End = x
	if !life.Watch(&x.watch) {
		x.End()
		return nil
	}
	defer life.Leave(&x.watch)
	return x.call(r, next)
}

func newWriter(w http.ResponseWriter, r *http.Request, b *body) *writer {
	x := &writer{ResponseWriter: w, http1: r.ProtoMajor == 1, body: b}
	x.before.take(w.Header())
	return x
}

// call runs the next handler. A proxy whose answer was taken away aborts, as it does when its client has gone; that is over here.
func (x *writer) call(r *http.Request, next Next) error {
	defer func() {
		if x.state.Load() != answerTaken {
			return
		}
		if v := recover(); v != nil && v != http.ErrAbortHandler {
			panic(v)
		}
	}()
	return next(x, r)
}

// finish answers or cuts a request whose handler has returned and whose answer was taken from it.
func (g *Gate) finish(x *writer, r *http.Request, err error, text string) error {
	switch x.settle() {
	case answerTaken:
		f := tooLarge
		if !x.body.tooLarge() {
			f = g.judgeAgain(r, text)
		}
		x.before.restore(x.Header())
		x.endConnection()
		if x.whole {
			x.Header().Set("Connection", "close")
		}
		matrixerr.Write(x.ResponseWriter, r, f.status, f.code, f.text, f.extra...)
		return nil
	case answerCut:
		panic(http.ErrAbortHandler)
	default:
		return err
	}
}
