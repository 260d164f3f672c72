package oidcprovider

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"runtime/debug"
	"strings"
	"sync/atomic"
	"time"

	"github.com/zitadel/oidc/v3/pkg/op"
	"go.uber.org/zap"
	"golang.org/x/time/rate"

	"github.com/caddy-matrix/caddy-matrix-auth/internal/auth"
	"github.com/caddy-matrix/caddy-matrix-auth/internal/authzresponse"
	"github.com/caddy-matrix/caddy-matrix-auth/internal/browser"
	"github.com/caddy-matrix/caddy-matrix-auth/internal/matrixerr"
	"github.com/caddy-matrix/caddy-matrix-auth/internal/route"
)

// OAuthConfig is what an OAuth needs. All fields are required but Introspection.
type OAuthConfig struct {
	Service *auth.Service
	// Issuer is the issuer's URL as published, with a trailing slash and neither path, query nor fragment.
	Issuer *url.URL
	// Introspection: some client may introspect, and the document says so.
	Introspection bool
	// From says who asks, as the web server determined it.
	From func(*http.Request) auth.From
	// ErrorPage shows a person why an authorization request goes no further. Its caller has set no header but Retry-After.
	ErrorPage func(http.ResponseWriter, *http.Request, Problem)
	// FormPost answers with a page that posts an authorization response to its client (OAuth 2.0 Form Post Response Mode).
	FormPost func(http.ResponseWriter, *http.Request, authzresponse.Response)
	Now      func() time.Time
	Rand     io.Reader // safe for concurrent use
	// Log may drop lines: anybody can make requests that are refused.
	Log *zap.Logger
}

// OAuth serves the endpoints of OAuth 2.0 and OpenID Connect to clients and browsers. It is safe for concurrent use.
type OAuth struct {
	OAuthConfig
	issuer   string
	urls     route.URLs
	origin   browser.Origin
	cookies  browser.Cookies
	document *published
	library  http.Handler
	keys     atomic.Pointer[keySet]

	logFailure rate.Sometimes // once a minute
	failed     atomic.Int64   // requests in trouble since the last logged line
}

// NewOAuth makes an OAuth.
func NewOAuth(c OAuthConfig) (*OAuth, error) {
	if c.Issuer.Path != "/" {
		return nil, errors.New("the issuer has to end in a slash and have no other path")
	}
	o := &OAuth{
		OAuthConfig: c,
		issuer:      c.Issuer.String(),
		urls:        route.NewURLs(c.Issuer),
		origin:      browser.NewOrigin(c.Issuer),
		cookies:     browser.NewCookies(c.Issuer),
		logFailure:  rate.Sometimes{Interval: logInterval},
	}
	document, err := makeDocument(o.issuer, c.Introspection)
	if err != nil {
		return nil, err
	}
	o.document = publish(document)
	o.library = newLibrary(o)
	return o, nil
}

// ServeMetadata answers with the provider document, at whatever address.
func (o *OAuth) ServeMetadata(w http.ResponseWriter, r *http.Request) { o.document.serve(w, r) }

// ServeEndpoint answers a request for one of the endpoints of the group oauth, or for a document of the provider. Paths are
// package route's business.
func (o *OAuth) ServeEndpoint(w http.ResponseWriter, r *http.Request, e route.Endpoint) {
	switch e {
	case route.OpenIDConfiguration, route.OAuthMetadata:
		o.document.serve(w, r)
	case route.Keys:
		o.serveKeys(w, r)
	case route.Authorize:
		o.serveAuthorize(w, r)
	default:
		if g, known := guards[e]; known {
			o.serveGuarded(w, r, &g)
			return
		}
		matrixerr.NotRecognized(w, r)
	}
}

// NotReady answers a client's request in the place of an OAuth that is not there yet, or no longer.
func NotReady(w http.ResponseWriter, r *http.Request, e route.Endpoint) {
	c := &call{endpoint: e}
	if e == route.Token && r.Method == http.MethodPost {
		if in, bad := readForm(r); bad == nil {
			c.form = in.Form
		}
	}
	c.trouble(w, true)
}

// guard is what stands in front of an endpoint.
type guard struct {
	endpoint route.Endpoint
	methods  string // as in Allow
	cors     bool
	read     func(r *http.Request) (*http.Request, *refusal)
	serve    func(o *OAuth, w http.ResponseWriter, r *http.Request)
}

// guards are the endpoints that answer with JSON. Introspection is not for browsers.
var guards = map[route.Endpoint]guard{
	route.Token:               {route.Token, "POST, OPTIONS", true, readForm, (*OAuth).callLibrary},
	route.DeviceAuthorization: {route.DeviceAuthorization, "POST, OPTIONS", true, readForm, (*OAuth).callLibrary},
	route.Revoke:              {route.Revoke, "POST, OPTIONS", true, readRevocation, (*OAuth).callLibrary},
	route.UserInfo:            {route.UserInfo, "GET, HEAD, POST, OPTIONS", true, readUserInfo, (*OAuth).callLibrary},
	route.Introspect:          {route.Introspect, "POST", false, readForm, (*OAuth).callLibrary},
	route.Registration:        {route.Registration, "POST, OPTIONS", true, readJSON, (*OAuth).register},
}

func (g *guard) allows(method string) bool {
	return method != "" && strings.Contains(", "+g.methods+", ", ", "+method+", ")
}

// refusal is why a request is not looked at.
type refusal struct {
	status            int
	code, description string
}

// apiDeadline bounds what a request may do. The use cases hold one in trouble for ten seconds.
const apiDeadline = 30 * time.Second

// serveGuarded answers a request for an endpoint of the API. Whatever goes wrong inside, what leaves is a verdict of OAuth, or
// an empty 503.
func (o *OAuth) serveGuarded(w http.ResponseWriter, r *http.Request, g *guard) {
	switch {
	case !g.allows(r.Method):
		a := newAnswer()
		a.fail(http.StatusMethodNotAllowed, errInvalidRequest, "method not allowed")
		a.header.Set("Allow", g.methods)
		a.send(w, g.cors)
		return
	case r.Method == http.MethodOptions:
		matrixerr.Preflight(w)
		return
	case r.Method == http.MethodHead:
		empty(w, http.StatusOK, g.cors)
		return
	}
	c := &call{endpoint: g.endpoint}
	a := newAnswer()
	o.serveInside(a, r, c, func(w http.ResponseWriter, r *http.Request) { o.serveRead(a, r, c, g) })
	o.finish(w, a, c, g)
}

// serveRead reads a request and serves it. At the token endpoint trouble is held, wherever it is: at the client too.
func (o *OAuth) serveRead(a *answer, r *http.Request, c *call, g *guard) {
	c.from, c.arrived = o.From(r), o.Now()
	if c.from.Unproven { // It may be a replay (RFC 8470 §5.2).
		a.fail(http.StatusTooEarly, "", "")
		return
	}
	in, bad := g.read(r)
	if bad != nil {
		a.fail(bad.status, bad.code, bad.description)
		return
	}
	c.form, c.authorization = in.Form, r.Header.Get("Authorization") != ""
	serve := func(w http.ResponseWriter, r *http.Request) { g.serve(o, w, r) }
	if c.endpoint != route.Token || c.polls() {
		serve(a, in)
		return
	}
	_ = o.Service.Hold(in.Context(), func(ctx context.Context) error {
		*a, c.err = *newAnswer(), nil
		o.attempt(a, in.WithContext(ctx), c, serve)
		if c.spent {
			return nil
		}
		return c.err
	})
}

// serveInside runs a handler within its deadline, and logs its trouble. A caller who went away is not worth a line.
func (o *OAuth) serveInside(a *answer, r *http.Request, c *call, serve http.HandlerFunc) {
	ctx, cancel := context.WithTimeout(context.WithValue(r.Context(), callKey{}, c), apiDeadline)
	defer cancel()
	o.attempt(a, r.WithContext(ctx), c, serve)
	if c.err != nil && !errors.Is(c.err, errPanic) && !errors.Is(ctx.Err(), context.Canceled) {
		o.note(c, c.err)
	}
}

var errPanic = errors.New("panic")

// attempt runs a handler. A panic is trouble, and the first of a request worth a line in any case.
func (o *OAuth) attempt(a *answer, r *http.Request, c *call, serve http.HandlerFunc) {
	defer func() {
		p := recover()
		if p == nil {
			return
		}
		if p == http.ErrAbortHandler {
			panic(p)
		}
		c.err = errPanic
		if !c.panicked {
			c.panicked = true
			o.note(c, fmt.Errorf("%w: %v\n%s", errPanic, p, debug.Stack()))
		}
		a.fail(http.StatusInternalServerError, "", "")
	}()
	serve(a, r)
}

// finish sends an answer in its final form.
func (o *OAuth) finish(w http.ResponseWriter, a *answer, c *call, g *guard) {
	a.settle()
	if c.retryAfter != "" {
		a.header.Set("Retry-After", c.retryAfter)
	}
	switch {
	case a.status >= 500 || a.status == 0:
		c.trouble(w, g.cors)
		return
	case a.status == http.StatusTooEarly:
		empty(w, a.status, g.cors)
		return
	case c.endpoint == route.UserInfo:
		challengeBearer(a)
	case a.status == http.StatusUnauthorized && c.authorization:
		a.header.Set("WWW-Authenticate", `Basic realm="client"`)
	}
	a.send(w, g.cors)
}

// challengeBearer adds what RFC 6750 §3 asks for.
func challengeBearer(a *answer) {
	switch {
	case a.status == http.StatusUnauthorized && a.header.Get("WWW-Authenticate") == "":
		a.header.Set("WWW-Authenticate", `Bearer error="invalid_token"`)
	case a.status == http.StatusForbidden:
		a.header.Set("WWW-Authenticate", `Bearer error="insufficient_scope", scope="openid"`)
	}
}

// callLibrary hands a request to the library.
func (o *OAuth) callLibrary(w http.ResponseWriter, r *http.Request) { o.library.ServeHTTP(w, r) }

// call is what is known of a request and does not fit through the library's interface.
type call struct {
	endpoint      route.Endpoint
	from          auth.From
	arrived       time.Time
	form          url.Values
	authorization bool // an Authorization header came
	retryAfter    string
	assertion     *auth.Assertion // by which the client proved itself; nil: not yet, or in another way
	err           error           // the trouble it is in
	panicked      bool
	spent         bool // a session has begun: to try again would find the code used, or begin another one

	authorize *authorization // of a request to the authorization endpoint
}

// trouble answers where nothing was decided. What polls ends on anything but a JSON object that tells it to come back (RFC 8628
// §3.5).
func (c *call) trouble(w http.ResponseWriter, cors bool) {
	if !c.polls() {
		trouble(w, cors)
		return
	}
	a := newAnswer()
	a.fail(http.StatusBadRequest, "slow_down", "")
	a.send(w, cors)
}

// polls reports whether a device asks if it has been let in.
func (c *call) polls() bool {
	return c.endpoint == route.Token && c.form.Get("grant_type") == auth.GrantTypeDeviceCode
}

type callKey struct{}

func callOf(ctx context.Context) *call {
	c, _ := ctx.Value(callKey{}).(*call)
	return c
}

// note logs trouble, once a minute.
func (o *OAuth) note(c *call, err error) {
	o.failed.Add(1)
	o.logFailure.Do(func() {
		o.Log.Error("an OAuth request failed", zap.Stringer("endpoint", c.endpoint), zap.Error(err), zap.Int64("requests", o.failed.Swap(0)))
	})
}

// newLibrary mounts the server of the library, without its CORS.
func newLibrary(o *OAuth) http.Handler {
	path := func(link string) *op.Endpoint {
		u, _ := url.Parse(link) // Made by route.
		return op.NewEndpoint(u.Path)
	}
	return op.RegisterServer(&server{o: o}, op.Endpoints{
		Authorization:       path(o.urls.Authorize()),
		Token:               path(o.urls.Token()),
		Introspection:       path(o.urls.Introspect()),
		Userinfo:            path(o.urls.UserInfo()),
		Revocation:          path(o.urls.Revoke()),
		DeviceAuthorization: path(o.urls.DeviceAuthorization()),
	}, op.WithServerCORSOptions(nil))
}
