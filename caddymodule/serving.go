package caddymodule

import (
	"context"
	"net/http"
	"time"

	"github.com/caddy-matrix/caddy-matrix-auth/internal/auth"
	"github.com/caddy-matrix/caddy-matrix-auth/internal/compat"
	"github.com/caddy-matrix/caddy-matrix-auth/internal/gate"
	"github.com/caddy-matrix/caddy-matrix-auth/internal/matrixerr"
	"github.com/caddy-matrix/caddy-matrix-auth/internal/route"
	"github.com/caddy-matrix/caddy-matrix-auth/internal/token"
	"github.com/caddy-matrix/caddy-matrix-auth/oidcprovider"
)

// serving is the handlers of one configuration over its engine.
type serving struct {
	compat   *compat.Handler
	provider *oidcprovider.Provider
}

func newServing(a *App) (serving, error) {
	provider, err := oidcprovider.New(oidcprovider.Config{
		Issuer:     a.conf.issuer.String(),
		Secrets:    []token.Secret{a.conf.secret},
		Introspect: a.engine.service.Introspect,
		Now:        time.Now,
		Log:        a.log,
		Observe:    countIntrospection,
	})
	if err != nil {
		return serving{}, err
	}
	return serving{
		provider: provider,
		compat: compat.New(compat.Config{
			Service:    a.engine.service,
			ServerName: a.conf.server,
			BaseURL:    a.conf.publicBase,
			Support:    a.supportDocument(),
			From:       clientFrom,
			Now:        time.Now,
			Log:        a.log,
		}),
	}, nil
}

func (a *App) supportDocument() compat.Support {
	var s compat.Support
	if a.Support == nil {
		return s
	}
	s.Page = a.Support.Page
	for _, c := range a.Support.Contacts {
		s.Contacts = append(s.Contacts, compat.Contact{Role: c.Role, MatrixID: c.MatrixID, Email: c.EmailAddress})
	}
	return s
}

// lease waits for the app to start and takes its engine, which stays open until done is called.
func (a *App) lease(ctx context.Context) (e *engine, done func(), err error) {
	if err := a.started(ctx); err != nil {
		return nil, nil, err
	}
	if !a.engine.leases.take() {
		return nil, nil, errClosing
	}
	return a.engine, a.engine.leases.release, nil
}

// answer answers a request for an endpoint of ours.
func (a *App) answer(w http.ResponseWriter, r *http.Request, d route.Decision) {
	e, done, err := a.lease(r.Context())
	if err != nil {
		answerNotReady(w, r, d)
		return
	}
	defer done()
	switch d.Endpoint {
	case route.Introspect:
		a.serve.provider.ServeIntrospection(w, r)
	case route.OpenIDConfiguration:
		a.serve.provider.ServeConfiguration(w, r)
	case route.Health:
		e.serveHealth(w, r)
	default:
		a.serve.compat.ServeEndpoint(w, r, d.Endpoint)
	}
}

// answerNotReady answers while there is no engine: nothing that looks like a verdict.
func answerNotReady(w http.ResponseWriter, r *http.Request, d route.Decision) {
	if d.Endpoint == route.Refresh {
		matrixerr.RefreshTrouble(w)
		return
	}
	matrixerr.Write(w, r, http.StatusServiceUnavailable, matrixerr.Unknown, "Service unavailable, try again",
		matrixerr.RetryAfter(2*time.Second))
}

// Judge implements gate.Judge. The lease ends with the verdict: an admission is in memory, and a request under way for long
// does not keep the database open.
func (a *App) Judge(ctx context.Context, text string, from auth.From) (auth.Admission, error) {
	e, done, err := a.lease(ctx)
	if err != nil {
		return auth.Admission{}, err
	}
	defer done()
	return e.service.Judge(ctx, text, from)
}

// newGate makes a handler's gate.
func newGate(h *Handler) *gate.Gate {
	return gate.New(gate.Config{
		Judge:    h.app,
		From:     clientFrom,
		Admitted: admitted,
		MaxBody:  h.maxBody(),
		Now:      time.Now,
		Log:      h.log,
	})
}
