package caddymodule

import (
	"context"
	"errors"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"go.uber.org/zap"

	"github.com/caddy-matrix/caddy-matrix-auth/internal/auth"
	"github.com/caddy-matrix/caddy-matrix-auth/internal/gate"
	"github.com/caddy-matrix/caddy-matrix-auth/internal/matrixerr"
	"github.com/caddy-matrix/caddy-matrix-auth/internal/route"
)

// readyPatience is how long a request waits for the app to start: Caddy may start its listeners first.
const readyPatience = 10 * time.Second

// Trouble that a client may wait for.
var (
	errNotReady = errors.New("the app matrix_auth has not started yet")
	errClosing  = errors.New("the app matrix_auth has been removed from the configuration")
)

// ServeHTTP serves what is ours, refuses what nobody may reach, judges what goes to the homeserver, and passes the rest on.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request, next caddyhttp.Handler) error {
	path := r.URL.EscapedPath()
	d := route.Match(path)
	switch {
	case r.URL.Opaque != "": // A proxy would forward that instead of the path.
		return h.refuse(w, r)
	case d.Kind == route.Ours && h.serves(d):
		return h.serve(w, r, d)
	case h.WellKnownOnly:
		return next.ServeHTTP(w, r)
	case d.Kind == route.Refused && !(d.Endpoint == route.Admin && h.mayAdminister(r)) && !h.leaves(path, d):
		return h.refuse(w, r)
	case h.onlyInternal():
		return h.refuse(w, r)
	}
	h.noteQueryToken(r)
	err := h.gate.ServeHTTP(w, r, path, h.behind(path, next))
	if err == nil || !strings.HasPrefix(path, "/_matrix/") && !strings.HasPrefix(path, "/_synapse/") {
		return err
	}
	return h.answerFailure(w, r, d, err)
}

// behind is the handler behind the gate. The proxy gets what clients and other servers need of a homeserver (Synapse
// docs/reverse_proxy.md), in the one spelling that the gate lets through.
func (h *Handler) behind(path string, next caddyhttp.Handler) gate.Next {
	if h.proxy == nil || !strings.HasPrefix(path, "/_matrix/") && !strings.HasPrefix(path, "/_synapse/client/") &&
		!(h.AdminAPI != nil && strings.HasPrefix(path, "/_synapse/admin/")) {
		return next.ServeHTTP
	}
	return func(w http.ResponseWriter, r *http.Request) error { return h.proxy.ServeHTTP(w, r, next) }
}

// serves reports whether an endpoint is in one of the groups of this site.
func (h *Handler) serves(d route.Decision) bool {
	if h.WellKnownOnly {
		return d.Endpoint == route.WellKnownClient || d.Endpoint == route.WellKnownServer || d.Endpoint == route.WellKnownSupport
	}
	return slices.Contains(h.groups, d.Group) || d.Second != "" && slices.Contains(h.groups, d.Second)
}

// leaves reports whether a misspelt path is left to the handlers behind: it resembles a path that this site does not serve,
// and nothing takes it for one of Synapse's.
func (h *Handler) leaves(path string, d route.Decision) bool {
	return (d.Group == route.OAuth || d.Group == route.Human || d.Group == route.Assets) && !h.serves(d) && !route.Gated(path)
}

// onlyInternal reports whether the site is for Synapse alone: then nothing is passed on, because the next handler would be
// Caddy's empty 200.
func (h *Handler) onlyInternal() bool {
	return len(h.groups) == 1 && h.groups[0] == route.Internal
}

// mayAdminister reports whether the client may reach Synapse's admin API.
func (h *Handler) mayAdminister(r *http.Request) bool {
	addr := clientAddr(r)
	return slices.ContainsFunc(h.admins, func(p netip.Prefix) bool { return p.Contains(addr) })
}

func (h *Handler) refuse(w http.ResponseWriter, r *http.Request) error {
	return h.gate.EndBody(w, r, func(w http.ResponseWriter, r *http.Request) error {
		matrixerr.NotRecognized(w, r)
		return nil
	})
}

// serve answers a request for an endpoint of ours, and counts it.
func (h *Handler) serve(w http.ResponseWriter, r *http.Request, d route.Decision) error {
	start := time.Now()
	replacer(r).Set("http.matrix_auth.endpoint", d.Endpoint.String())
	status := &statusWriter{ResponseWriter: w}
	err := h.gate.EndBody(status, r, func(w http.ResponseWriter, r *http.Request) error {
		h.app.answer(w, r, d, slices.Contains(h.groups, route.Internal))
		return nil
	})
	requestSeconds.WithLabelValues(d.Endpoint.String()).Observe(time.Since(start).Seconds())
	requestsTotal.WithLabelValues(d.Endpoint.String(), statusCode(status.status)).Inc()
	return err
}

// answerFailure turns the error of a later handler, usually a proxy whose upstream is down, into what a Matrix client
// understands; Caddy's empty body without CORS headers would be a network error to a browser.
func (h *Handler) answerFailure(w http.ResponseWriter, r *http.Request, d route.Decision, err error) error {
	status := http.StatusInternalServerError
	if he, ok := errors.AsType[caddyhttp.HandlerError](err); ok && he.StatusCode != 0 {
		status = he.StatusCode
	}
	if status < 400 || status == statusClientGone {
		return err
	}
	if status >= 500 {
		h.logFailure.Do(func() { h.log.Error("passing on a request", zap.Int("status", status), zap.Error(err)) })
	}
	if d.Endpoint == route.Refresh {
		matrixerr.RefreshTrouble(w)
		return nil
	}
	code, text := failureText(status)
	matrixerr.Write(w, r, status, code, text)
	return nil
}

// statusClientGone is what reverse_proxy says when the client has hung up.
const statusClientGone = 499

// failureText is the errcode and the message for the status of another handler's error.
func failureText(status int) (matrixerr.Code, string) {
	switch status {
	case http.StatusForbidden:
		return matrixerr.Forbidden, "Forbidden"
	case http.StatusNotFound, http.StatusMethodNotAllowed:
		return matrixerr.Unrecognized, "Unrecognized request"
	case http.StatusRequestEntityTooLarge:
		return matrixerr.TooLarge, "Request body is too large"
	case http.StatusTooManyRequests:
		return matrixerr.LimitExceeded, "Too many requests"
	case http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		return matrixerr.Unknown, "The homeserver is not available, try again"
	}
	return matrixerr.Unknown, http.StatusText(status)
}

// noteQueryToken warns once that a client sends its token in the query, where Caddy's access log has it before any handler
// runs (Matrix CS §using-access-tokens deprecates it).
func (h *Handler) noteQueryToken(r *http.Request) {
	if !h.logged || r.URL.RawQuery == "" || h.app.warned.Load() || !strings.Contains(r.URL.RawQuery, "access_token=") {
		return
	}
	if h.app.warned.CompareAndSwap(false, true) {
		h.log.Warn("a client sends its access token in the query string: make sure that the access log filters it" +
			" (see Caddyfile.example)")
	}
}

// admitted sets the placeholders of a request whose token is good.
func admitted(r *http.Request, a auth.Admission) {
	replacer(r).Map(func(key string) (any, bool) {
		switch key {
		case "http.auth.user.id":
			return string(a.UserID()), true
		case "http.auth.user.device_id":
			return string(a.DeviceID()), true
		case "http.auth.user.client_id":
			return a.ClientID(), true
		case "http.auth.user.session_id":
			return a.SessionID().String(), true
		}
		return nil, false
	})
}

func replacer(r *http.Request) *caddy.Replacer {
	return r.Context().Value(caddy.ReplacerCtxKey).(*caddy.Replacer)
}

// clientFrom says who asks.
func clientFrom(r *http.Request) auth.From {
	return auth.From{Addr: clientAddr(r), UserAgent: r.UserAgent(), Unproven: earlyData(r)}
}

// clientAddr is the client's address as Caddy determined it: trusted_proxies and client_ip_headers are its options.
func clientAddr(r *http.Request) netip.Addr {
	ip, _ := caddyhttp.GetVar(r.Context(), caddyhttp.ClientIPVarKey).(string)
	addr, err := netip.ParseAddr(ip)
	if err != nil {
		return netip.Addr{}
	}
	return addr.Unmap()
}

// earlyData reports whether a request came before its handshake was complete, here or at a proxy before us (RFC 8446 §2.3,
// RFC 8470 §5.1).
func earlyData(r *http.Request) bool {
	return r.TLS != nil && !r.TLS.HandshakeComplete || r.Header.Get("Early-Data") == "1"
}

// statusWriter remembers the status of an answer.
type statusWriter struct {
	http.ResponseWriter
	status int
}

// Unwrap lets http.ResponseController reach the connection.
func (s *statusWriter) Unwrap() http.ResponseWriter { return s.ResponseWriter }

// WriteHeader implements http.ResponseWriter.
func (s *statusWriter) WriteHeader(status int) {
	if s.status == 0 && status >= 200 {
		s.status = status
	}
	s.ResponseWriter.WriteHeader(status)
}

// ready waits until the app has started.
func (a *App) started(ctx context.Context) error {
	select {
	case <-a.ready:
		return nil
	default:
	}
	timer := time.NewTimer(readyPatience)
	defer timer.Stop()
	select {
	case <-a.ready:
		return nil
	case <-timer.C:
	case <-ctx.Done():
	case <-a.ctx.Done():
	}
	return errNotReady
}
