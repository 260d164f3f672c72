package compat

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"runtime/debug"
	"time"

	"github.com/go-json-experiment/json"
	"go.uber.org/zap"

	"github.com/caddy-matrix/caddy-matrix-auth/internal/auth"
	"github.com/caddy-matrix/caddy-matrix-auth/internal/matrixerr"
	"github.com/caddy-matrix/caddy-matrix-auth/internal/mxid"
	"github.com/caddy-matrix/caddy-matrix-auth/internal/route"
)

// Config is what a Handler needs; every field but Support must be set. Without Metadata, Issuer and Account are not needed.
type Config struct {
	Service    *auth.Service
	ServerName mxid.ServerName
	BaseURL    *url.URL                      // where clients reach the homeserver; an absolute URL with a host
	Issuer     string                        // with a trailing slash
	Account    string                        // the account page (MSC4191)
	Metadata   http.HandlerFunc              // answers with the provider document; nil: there is no OAuth API
	Support    Support                       // zero: no such document
	From       func(*http.Request) auth.From // who asks, as the web server determined it
	Now        func() time.Time
	Log        *zap.Logger
}

// Handler serves the endpoints of the legacy API. It is safe for concurrent use.
type Handler struct {
	service   *auth.Service
	server    mxid.ServerName
	from      func(*http.Request) auth.From
	now       func() time.Time
	log       *zap.Logger
	endpoints map[route.Endpoint]endpoint
}

// endpoint is what one path does. A nil method is not allowed there.
type endpoint struct {
	name string // for the log
	get  http.HandlerFunc
	post func(*http.Request, auth.From) (reply any, err error)

	// refresh: what is not a verdict is answered by matrixerr.RefreshTrouble.
	refresh bool
}

// noStore keeps what may hold tokens out of every cache (RFC 6749 §5.1 asks for the same in OAuth).
const noStore = "no-store"

// New makes a Handler.
func New(c Config) *Handler {
	h := &Handler{service: c.Service, server: c.ServerName, from: c.From, now: c.Now, log: c.Log}
	h.endpoints = map[route.Endpoint]endpoint{
		route.Login:     {name: "login", get: h.flows, post: h.login},
		route.Logout:    {name: "logout", post: h.logout},
		route.LogoutAll: {name: "logout_all", post: h.logoutAll},
		route.Refresh:   {name: "refresh", post: h.refresh, refresh: true},

		route.WellKnownClient:  h.document("well_known_client", clientDocument(&c)),
		route.WellKnownServer:  h.document("well_known_server", serverDocument(c.BaseURL)),
		route.WellKnownSupport: h.supportDocument(c.Support),
	}
	if c.Metadata != nil { // Else 404 M_UNRECOGNIZED: how a server says so (Matrix CS §server-metadata-discovery, MSC2965).
		h.endpoints[route.AuthMetadata] = endpoint{name: "auth_metadata", get: c.Metadata}
		h.endpoints[route.AuthIssuer] = h.document("auth_issuer", issuerDocument{c.Issuer})
	}
	return h
}

// ServeEndpoint answers a request for one of the endpoints of the groups compat and discovery. Paths are route's business.
func (h *Handler) ServeEndpoint(w http.ResponseWriter, r *http.Request, e route.Endpoint) {
	ep, known := h.endpoints[e]
	switch {
	case r.Method == http.MethodOptions:
		matrixerr.Preflight(w)
	case !known:
		matrixerr.NotRecognized(w, r)
	case ep.get != nil && (r.Method == http.MethodGet || r.Method == http.MethodHead):
		ep.get(w, r)
	case ep.post != nil && r.Method == http.MethodPost:
		h.servePost(w, r, ep)
	default:
		matrixerr.WrongMethod(w, r, ep.allow())
	}
}

// allow lists an endpoint's methods for the Allow header (RFC 9110 §10.2.1).
func (ep endpoint) allow() string {
	switch {
	case ep.get == nil:
		return "POST, OPTIONS"
	case ep.post == nil:
		return "GET, HEAD, OPTIONS"
	}
	return "GET, HEAD, POST, OPTIONS"
}

// servePost calls a use case and answers with its result. Nothing is written before the use case has returned, so that even a
// panic gets a proper answer.
func (h *Handler) servePost(w http.ResponseWriter, r *http.Request, ep endpoint) {
	reply, err := h.call(r, ep)
	if err != nil {
		h.writeError(w, r, ep, err)
		return
	}
	h.writeReply(w, r, ep, noStore, reply)
}

// errPanic: a use case panicked; the text has the value and the stack.
var errPanic = errors.New("panic")

// call runs the use case of a POST. Early data can be replayed by anybody who saw it, so nothing that changes state is done
// for it (RFC 8470 §5.2).
func (h *Handler) call(r *http.Request, ep endpoint) (reply any, err error) {
	defer func() {
		p := recover()
		if p == nil {
			return
		}
		if p == http.ErrAbortHandler {
			panic(p)
		}
		reply, err = nil, fmt.Errorf("%w: %v\n%s", errPanic, p, debug.Stack())
	}()
	from := h.from(r)
	if from.Unproven {
		return nil, errTooEarly
	}
	return ep.post(r, from)
}

// writeReply answers 200 with an object.
func (h *Handler) writeReply(w http.ResponseWriter, r *http.Request, ep endpoint, cacheControl string, reply any) {
	object, err := json.Marshal(reply)
	if err != nil {
		h.writeError(w, r, ep, fmt.Errorf("encoding the reply: %w", err))
		return
	}
	matrixerr.WriteJSON(w, r, http.StatusOK, cacheControl, object)
}
