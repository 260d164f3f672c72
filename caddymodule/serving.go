package caddymodule

import (
	"context"
	"crypto/rand"
	"io"
	"net/http"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"github.com/caddy-matrix/caddy-matrix-auth/internal/auth"
	"github.com/caddy-matrix/caddy-matrix-auth/internal/compat"
	"github.com/caddy-matrix/caddy-matrix-auth/internal/gate"
	"github.com/caddy-matrix/caddy-matrix-auth/internal/matrixerr"
	"github.com/caddy-matrix/caddy-matrix-auth/internal/route"
	"github.com/caddy-matrix/caddy-matrix-auth/internal/token"
	"github.com/caddy-matrix/caddy-matrix-auth/internal/web"
	"github.com/caddy-matrix/caddy-matrix-auth/oidcprovider"
)

// serving is the handlers of one configuration over its engine.
type serving struct {
	compat   *compat.Handler
	provider *oidcprovider.Provider // for Synapse
	oauth    *oidcprovider.OAuth    // for clients and browsers
	pages    *web.Handler           // for people
}

func newServing(a *App) (s serving, err error) {
	if s.provider, err = a.newProvider(); err != nil {
		return s, err
	}
	if s.pages, err = a.newPages(); err != nil {
		return s, err
	}
	if s.oauth, err = a.newOAuth(s.pages); err != nil {
		return s, err
	}
	urls := route.NewURLs(a.conf.issuer)
	s.compat = compat.New(compat.Config{
		Service:    a.engine.service,
		ServerName: a.conf.server,
		BaseURL:    a.conf.publicBase,
		Issuer:     urls.Issuer(),
		Account:    urls.Account(),
		Metadata:   s.oauth.ServeMetadata,
		Support:    a.supportDocument(),
		From:       clientFrom,
		Now:        time.Now,
		Log:        a.bounded,
	})
	return s, nil
}

func (a *App) newProvider() (*oidcprovider.Provider, error) {
	return oidcprovider.New(oidcprovider.Config{
		Issuer:        a.conf.issuer.String(),
		Introspection: a.conf.someIntrospect(),
		Secrets:       []token.Secret{a.conf.secret},
		Introspect:    a.engine.service.Introspect,
		Now:           time.Now,
		Log:           a.log,
		Observe:       countIntrospection,
	})
}

func (a *App) newOAuth(pages *web.Handler) (*oidcprovider.OAuth, error) {
	return oidcprovider.NewOAuth(oidcprovider.OAuthConfig{
		Service:       a.engine.service,
		Issuer:        a.conf.issuer,
		Introspection: a.conf.someIntrospect(),
		From:          clientFrom,
		ErrorPage: func(w http.ResponseWriter, r *http.Request, p oidcprovider.Problem) {
			pages.Problem(w, r, p.Status, string(p.Kind), p.Reference)
		},
		FormPost: pages.FormPost,
		Now:      time.Now,
		Rand:     rand.Reader,
		Log:      a.bounded,
	})
}

func (a *App) newPages() (*web.Handler, error) {
	return web.New(web.Config{
		Service:    a.engine.service,
		Issuer:     a.conf.issuer,
		ServerName: a.conf.server,
		Brand:      a.conf.brand,
		From:       clientFrom,
		Now:        time.Now,
		Rand:       rand.Reader,
		Log:        a.bounded,
	})
}

// boundedLog is a log for what anybody can make happen: of each kind of line it takes the first ones of a while, and drops the
// others. So nobody fills the disk by asking.
func boundedLog(log *zap.Logger) *zap.Logger {
	const while, lines = 10 * time.Second, 30
	return log.WithOptions(zap.WrapCore(func(c zapcore.Core) zapcore.Core {
		return zapcore.NewSamplerWithOptions(c, while, lines, 0)
	}))
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

// answer answers a request for an endpoint of ours. internal: the site is the one that Synapse talks to, which asks at some
// paths that clients have as well.
func (a *App) answer(w http.ResponseWriter, r *http.Request, d route.Decision, internal bool) {
	if r.Method == http.MethodOptions && forBrowsers(d) && !internal {
		matrixerr.Preflight(w)
		return
	}
	e, done, err := a.lease(r.Context())
	if err != nil {
		answerNotReady(w, r, d)
		return
	}
	defer done()
	switch {
	case d.Endpoint == route.Health:
		e.serveHealth(w, r)
	case d.Endpoint == route.Introspect && internal:
		a.serve.provider.ServeIntrospection(w, r)
	case d.Endpoint == route.OpenIDConfiguration && internal:
		a.serve.provider.ServeConfiguration(w, r)
	case d.Group == route.Human, d.Group == route.Assets:
		a.serve.pages.ServeEndpoint(w, r, d.Endpoint)
	case d.Group == route.OAuth, d.Second == route.OAuth, d.Endpoint == route.OpenIDConfiguration, d.Endpoint == route.OAuthMetadata:
		a.serve.oauth.ServeEndpoint(w, r, d.Endpoint)
	default:
		a.serve.compat.ServeEndpoint(w, r, d.Endpoint)
	}
}

// forBrowsers reports whether scripts of other origins may call an endpoint. Their browsers ask first, which needs no engine.
func forBrowsers(d route.Decision) bool {
	public := func(g route.Group) bool { return g == route.Discovery || g == route.OAuth || g == route.Compat }
	return (public(d.Group) || public(d.Second)) && d.Endpoint != route.Authorize && d.Endpoint != route.Introspect
}

// notReadyRetry is when a client may try again.
const notReadyRetry = 2 * time.Second

// answerNotReady answers while there is no engine: nothing that looks like a verdict.
func answerNotReady(w http.ResponseWriter, r *http.Request, d route.Decision) {
	switch {
	case d.Endpoint == route.Refresh:
		matrixerr.RefreshTrouble(w)
	case d.Group == route.OAuth && d.Endpoint != route.Authorize:
		oidcprovider.NotReady(w, r, d.Endpoint)
	case d.Group == route.Human, d.Group == route.Assets, d.Endpoint == route.Authorize:
		w.Header().Set("Cache-Control", "no-store")
		w.Header().Set("Retry-After", "2")
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		w.WriteHeader(http.StatusServiceUnavailable)
		_, _ = io.WriteString(w, "Not available at the moment. Please try again.\n") // the person is gone
	default:
		matrixerr.Write(w, r, http.StatusServiceUnavailable, matrixerr.Unknown, "Service unavailable, try again",
			matrixerr.RetryAfter(notReadyRetry))
	}
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
		Log:      boundedLog(h.log),
	})
}
