package oidcprovider

import (
	"context"
	"errors"
	"net/http"
	"net/url"

	"github.com/zitadel/oidc/v3/pkg/oidc"
	"github.com/zitadel/oidc/v3/pkg/op"
	"go.uber.org/zap"

	"github.com/caddy-matrix/caddy-matrix-auth/internal/auth"
	"github.com/caddy-matrix/caddy-matrix-auth/internal/authzresponse"
	"github.com/caddy-matrix/caddy-matrix-auth/internal/route"
)

// maxAuthorize is the most bytes of an authorization request's parameters.
const maxAuthorize = 16 << 10

// authorization is a request to the authorization endpoint, and what became of it: one of the last three, or trouble.
type authorization struct {
	params
	answer  *answer
	request *http.Request

	problem    *Problem
	retryAfter string
	location   string
	form       *authzresponse.Response
}

// serveAuthorize answers at the authorization endpoint (RFC 6749 §3.1): with a redirect or a page, never with JSON, and on the
// issuer's host alone.
func (o *OAuth) serveAuthorize(w http.ResponseWriter, r *http.Request) {
	if !o.origin.Here(r) {
		o.origin.Redirect(w, r)
		return
	}
	c := &call{endpoint: route.Authorize, from: o.From(r), arrived: o.Now()}
	switch r.Method {
	case http.MethodGet:
		o.serveAuthorizeGet(w, r, c)
	case http.MethodHead:
		empty(w, http.StatusOK, false)
	case http.MethodPost:
		o.serveAuthorizePost(w, r, c)
	default:
		w.Header().Set("Allow", "GET, HEAD, POST")
		empty(w, http.StatusMethodNotAllowed, false)
	}
}

// serveAuthorizePost makes a GET of a POST (OIDC Core §3.1.2.1): from another site it comes without our cookies.
func (o *OAuth) serveAuthorizePost(w http.ResponseWriter, r *http.Request, c *call) {
	bad := Problem{Status: http.StatusBadRequest, Kind: BadRequest}
	if mediaType(r) != "application/x-www-form-urlencoded" {
		o.showProblem(w, r, bad, c.from)
		return
	}
	body, refused := readBody(r, maxAuthorize, "")
	if refused != nil {
		bad.Status = max(refused.status, http.StatusBadRequest)
		o.showProblem(w, r, bad, c.from)
		return
	}
	values, err := url.ParseQuery(r.URL.RawQuery)
	var posted url.Values
	if err == nil {
		posted, err = url.ParseQuery(string(body))
	}
	if err != nil {
		o.showProblem(w, r, bad, c.from)
		return
	}
	for name, list := range posted {
		values[name] = append(values[name], list...)
	}
	redirect(w, o.urls.Authorize()+"?"+values.Encode())
}

func (o *OAuth) serveAuthorizeGet(w http.ResponseWriter, r *http.Request, c *call) {
	if len(r.URL.RawQuery) > maxAuthorize {
		o.showProblem(w, r, Problem{Status: http.StatusRequestURITooLong, Kind: BadRequest}, c.from)
		return
	}
	p, err := parseParams(r.URL.RawQuery)
	if err != nil {
		o.showProblem(w, r, Problem{Status: http.StatusBadRequest, Kind: BadRequest}, c.from)
		return
	}
	a := newAnswer()
	az := &authorization{params: p, answer: a, request: r}
	c.authorize = az
	o.serveInside(a, withForm(r, az.forLibrary()), c, o.callLibrary)
	o.finishAuthorize(w, r, c)
}

// forLibrary is the request as the library sees it: what it checks by itself, it would answer in its own way.
func (az *authorization) forLibrary() url.Values {
	form := url.Values{"response_type": {"code"}, "scope": {scopeOpenID}}
	for _, name := range []string{"client_id", "redirect_uri"} {
		if v := az.Get(name); v != "" {
			form.Set(name, v)
		}
	}
	return form
}

// finishAuthorize sends what the request has come to.
func (o *OAuth) finishAuthorize(w http.ResponseWriter, r *http.Request, c *call) {
	az := c.authorize
	for _, cookie := range az.answer.header["Set-Cookie"] {
		w.Header().Add("Set-Cookie", cookie)
	}
	switch {
	case az.location != "":
		redirect(w, az.location)
	case az.form != nil:
		o.FormPost(w, r, *az.form)
	default:
		p := Problem{Status: http.StatusServiceUnavailable, Kind: Unavailable}
		if az.problem != nil {
			p = *az.problem
		}
		if az.retryAfter != "" {
			w.Header().Set("Retry-After", az.retryAfter)
		}
		o.showProblem(w, r, p, c.from,
			zap.String("client_id", logged(az.Get("client_id"))), zap.String("redirect_uri", logged(az.Get("redirect_uri"))))
	}
}

// redirect sends a browser on with a GET, whatever it did here (RFC 9700 §4.12).
func redirect(w http.ResponseWriter, location string) {
	h := w.Header()
	h.Set("Location", location)
	h.Set("Referrer-Policy", "no-referrer")
	empty(w, http.StatusSeeOther, false)
}

// VerifyAuthRequest implements op.Server: the client and where it wants its answer. Without both there is nobody to redirect to
// (RFC 6749 §4.1.2.1).
func (s *server) VerifyAuthRequest(ctx context.Context, r *op.Request[oidc.AuthRequest]) (*op.ClientRequest[oidc.AuthRequest], error) {
	az := callOf(ctx).authorize
	found, err := s.o.Service.Client(ctx, az.Get("client_id"))
	switch {
	case errors.Is(err, auth.ErrClientUnknown):
		return nil, az.fail(http.StatusBadRequest, UnknownClient)
	case err != nil:
		callOf(ctx).err = err
		return nil, az.fail(http.StatusServiceUnavailable, Unavailable)
	case !found.ReturnsTo(az.Get("redirect_uri")):
		return nil, az.fail(http.StatusBadRequest, BadRedirect)
	}
	return &op.ClientRequest[oidc.AuthRequest]{Request: r, Client: &client{of: found, redirect: az.Get("redirect_uri")}}, nil
}

// fail has the guard show a page. The error is for the library, which has to stop.
func (az *authorization) fail(status int, kind ProblemKind) error {
	az.problem = &Problem{Status: status, Kind: kind}
	return oidc.ErrInvalidRequestRedirectURI()
}

// Authorize implements op.Server: it starts a grant and sends the person to the page that decides about it, or the client its
// error. Who is signed in does not matter here.
func (s *server) Authorize(ctx context.Context, r *op.ClientRequest[oidc.AuthRequest]) (*op.Redirect, error) {
	call := callOf(ctx)
	az := call.authorize
	g, err := s.o.grantFor(ctx, call, &r.Client.(*client).of)
	var refused *authzError
	switch {
	case errors.As(err, &refused):
		az.respond(refused.response)
		return op.NewRedirect(az.location), nil
	case err == nil:
		g, err = s.o.Service.StartGrant(ctx, g, call.from)
	}
	var limited *auth.RateLimitError
	switch {
	case errors.As(err, &limited):
		az.retryAfter = retryAfter(limited.RetryAfter)
		return nil, az.fail(http.StatusTooManyRequests, TooManyRequests)
	case err != nil:
		call.err = err
		return nil, az.fail(http.StatusServiceUnavailable, Unavailable)
	}
	az.location = s.o.urls.Consent(g.ID.String())
	return op.NewRedirect(az.location), nil
}

// respond has the guard send an authorization response.
func (az *authorization) respond(r authzresponse.Response) {
	location, ok := r.Location()
	if !ok {
		az.form = &r
		return
	}
	az.location = location
}
