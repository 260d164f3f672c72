package web

import (
	"encoding/base32"
	"errors"
	"io"
	"net/http"
	"strconv"
	"time"

	"go.uber.org/zap"

	"github.com/caddy-matrix/caddy-matrix-auth/internal/auth"
)

// The kinds of problem that have a page: each has a title, a text and perhaps a way on in the catalogue.
const (
	problemUnknownClient   = "unknown_client"
	problemBadRedirect     = "bad_redirect"
	problemExpired         = "expired"
	problemOtherBrowser    = "other_browser"
	problemTooManyRequests = "too_many_requests"
	problemUnavailable     = "unavailable"
	problemBadRequest      = "bad_request"
	problemNoCookie        = "no_cookie"
	problemStale           = "stale"
	problemNotFound        = "not_found"
)

// problems lists the kinds, so that nothing else is looked up in the catalogue.
var problems = map[string]bool{
	problemUnknownClient: true, problemBadRedirect: true, problemExpired: true, problemOtherBrowser: true,
	problemTooManyRequests: true, problemUnavailable: true, problemBadRequest: true, problemNoCookie: true,
	problemStale: true, problemNotFound: true,
}

type problemPage struct {
	frame
	Kind      string
	On        way // where it goes on
	Reference string
	Time      moment
	Minutes   int // until it is worth trying again; 0: unknown
}

// Problem answers with a page about what is wrong with an authorization request. kind is unknown_client, bad_redirect, expired,
// other_browser, too_many_requests, unavailable or bad_request; reference is in the log, or empty.
func (h *Handler) Problem(w http.ResponseWriter, r *http.Request, status int, kind, reference string) {
	if !problems[kind] {
		kind = problemBadRequest
	}
	v := h.newVisit(w, r)
	seconds, _ := strconv.Atoi(w.Header().Get("Retry-After"))
	v.problem(status, problemPage{Kind: kind, Reference: reference, Minutes: minutes(time.Duration(seconds) * time.Second)})
}

func (v *visit) problem(status int, p problemPage) {
	p.On = v.wayOn(p.Kind)
	p.frame, p.Time = v.frame("problem."+p.Kind+".title"), v.moment(v.Now())
	if err := v.show(status, "problem", &p); err != nil {
		v.Log.Error("showing a problem", zap.Error(err))
		http.Error(v.w, http.StatusText(status), status)
	}
}

// wayOn is where a person goes on from a problem: to the same again, where that may help; to where a request can be made anew;
// or to the account, which is there for everybody.
func (v *visit) wayOn(kind string) way {
	switch kind {
	case problemTooManyRequests, problemUnavailable, problemStale:
		return way{URL: v.here(), Text: "button.again"}
	case problemExpired:
		if v.restart.URL != "" {
			return v.restart
		}
	}
	return way{pathAccount, "button.account", v.restart.Asking}
}

// verdicts say which page an error gets.
var verdicts = []struct {
	err    error
	status int
	kind   string
}{
	{errNoCookie, http.StatusBadRequest, problemNoCookie},
	{errStale, http.StatusForbidden, problemStale},
	{errBadForm, http.StatusBadRequest, problemBadRequest},
	{errTooLarge, http.StatusRequestEntityTooLarge, problemBadRequest},
	{errTooLong, http.StatusRequestURITooLong, problemBadRequest},
	{errReplay, http.StatusTooEarly, problemStale},
	{errNoPage, http.StatusNotFound, problemNotFound},
	{auth.ErrOtherBrowser, http.StatusBadRequest, problemOtherBrowser},
	{auth.ErrExpired, http.StatusGone, problemExpired},
	{auth.ErrNotFound, http.StatusNotFound, problemExpired},
	{auth.ErrDone, http.StatusGone, problemExpired},
	{auth.ErrClientUnknown, http.StatusBadRequest, problemUnknownClient},
	{auth.ErrRedirectUnknown, http.StatusBadRequest, problemBadRedirect},
	{auth.ErrRateLimited, http.StatusTooManyRequests, problemTooManyRequests},
}

// fail answers with the page of an error.
func (v *visit) fail(err error) {
	status, p := http.StatusServiceUnavailable, problemPage{Kind: problemUnavailable}
	for _, known := range verdicts {
		if errors.Is(err, known.err) {
			status, p.Kind = known.status, known.kind
			break
		}
	}
	level, message := zap.InfoLevel, "a page was refused"
	switch {
	case v.r.Context().Err() != nil: // Nobody is left to tell.
		level, message = zap.DebugLevel, "a page was not waited for"
	case p.Kind == problemUnavailable:
		level, message = zap.ErrorLevel, "a page failed"
		v.w.Header().Set("Retry-After", "2")
	case p.Kind == problemTooManyRequests:
		p.Minutes = v.retryAfter(err)
	}
	if line := v.Log.Check(level, message); line != nil { // What the person can tell is there to be found.
		p.Reference = v.reference()
		line.Write(zap.String("reference", p.Reference), zap.String("page", oneLine(v.r.URL.Path, maxLoggedPath)),
			zap.String("problem", p.Kind), zap.Stringer("remote_ip", v.from.Addr), zap.Error(err))
	}
	v.problem(status, p)
}

const maxLoggedPath = 128 // characters

// retryAfter tells the browser how long to wait, and returns it for the person.
func (v *visit) retryAfter(err error) int {
	limited := new(auth.RateLimitError)
	if !errors.As(err, &limited) {
		return 0
	}
	v.w.Header().Set("Retry-After", strconv.Itoa(int((limited.RetryAfter+time.Second-1)/time.Second)))
	return minutes(limited.RetryAfter)
}

func minutes(d time.Duration) int { return int((d + time.Minute - 1) / time.Minute) }

// reference names a line of the log.
func (v *visit) reference() string {
	var b [5]byte
	if _, err := io.ReadFull(v.Rand, b[:]); err != nil {
		return ""
	}
	return base32.StdEncoding.EncodeToString(b[:])
}

// note logs a failure that the page itself tells of.
func (v *visit) note(doing string, err error) {
	v.Log.Error("a page failed", zap.String("doing", doing), zap.String("page", v.r.URL.Path), zap.Error(err))
}
