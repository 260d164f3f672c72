package gate

import (
	"context"
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

// passWhile passes a request with an active token on while its session lives. At the end, if no header has been sent, it is answered
// as the next request with this token would be; else its connection is cut.
func (g *Gate) passWhile(life auth.Life, w http.ResponseWriter, r *http.Request, next Next, text string) error {
	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()
	b := newBody(r, g.MaxBody)
	x := newWriter(w, r, b)
	x.cancel, x.watch.End = cancel, x
	if !life.Watch(&x.watch) {
		x.End()
		return g.finish(x, r, nil, text)
	}
	defer life.Leave(&x.watch)
	r2 := r.WithContext(ctx)
	if b != nil {
		r2.Body = b
	}
	return g.finish(x, r, x.call(r2, next), text)
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
		matrixerr.Write(x.ResponseWriter, r, f.status, f.code, f.text, f.extra...)
		return nil
	case answerCut:
		panic(http.ErrAbortHandler)
	default:
		return err
	}
}
