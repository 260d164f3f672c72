package compat

import (
	"context"
	"errors"
	"net/http"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"github.com/caddy-matrix/caddy-matrix-auth/internal/auth"
	"github.com/caddy-matrix/caddy-matrix-auth/internal/matrixerr"
)

// retryAfter is how long a client is asked to stay away from a service in trouble.
const retryAfter = 2 * time.Second

// failure is an error as a client sees it, and how loud the log is about it.
type failure struct {
	status  int
	code    matrixerr.Code
	message string
	extra   []matrixerr.Member
	level   zapcore.Level
}

// Error implements error. Failures of the request itself, which never reach package auth, are returned as errors.
func (f *failure) Error() string { return f.message }

// badRequest makes a failure that is the client's own.
func badRequest(code matrixerr.Code, message string) *failure {
	return &failure{status: http.StatusBadRequest, code: code, message: message, level: zap.DebugLevel}
}

// The failures of requests (Matrix CS §standard-error-response).
var (
	errNotJSON = badRequest(matrixerr.NotJSON, "Content not JSON")
	errBadJSON = badRequest(matrixerr.BadJSON, "Content is not a JSON object of the expected form")

	errTooLarge = &failure{
		status: http.StatusRequestEntityTooLarge, code: matrixerr.TooLarge,
		message: "Request body too large", level: zap.DebugLevel,
	}
	// errTooEarly: a client repeats the request by itself once the connection is proven (RFC 8470 §5.2).
	errTooEarly = &failure{
		status: http.StatusTooEarly, code: matrixerr.Unknown,
		message: "Too early", level: zap.DebugLevel,
	}
	errTokenMissing = &failure{
		status: http.StatusUnauthorized, code: matrixerr.MissingToken,
		message: "Missing access token", level: zap.DebugLevel,
	}
	// errTokenTwice has the errcode of Synapse.
	errTokenTwice = &failure{
		status: http.StatusUnauthorized, code: matrixerr.MissingToken,
		message: "More than one access token", level: zap.DebugLevel,
	}
)

// errBodyBroken: the body ended before its end, or its connection was too slow.
var errBodyBroken = errors.New("reading the request body")

// failureOf is the one mapping of errors to replies. Unknown ones are internal, and say nothing.
func failureOf(err error) *failure {
	if f := (*failure)(nil); errors.As(err, &f) {
		return f
	}
	if limited := (*auth.RateLimitError)(nil); errors.As(err, &limited) {
		return rateLimited(limited.RetryAfter)
	}
	unauthorized := func(code matrixerr.Code, message string, soft bool, level zapcore.Level) *failure {
		return &failure{
			http.StatusUnauthorized, code, message, []matrixerr.Member{matrixerr.SoftLogout(soft)}, level,
		}
	}
	switch {
	case errors.Is(err, auth.ErrBadCredentials):
		return &failure{http.StatusForbidden, matrixerr.Forbidden, "Invalid username or password", nil, zap.DebugLevel}
	case errors.Is(err, auth.ErrUserLocked):
		return unauthorized(matrixerr.UserLocked, "User account has been locked", true, zap.InfoLevel)
	case errors.Is(err, auth.ErrRateLimited):
		return rateLimited(retryAfter)
	case errors.Is(err, auth.ErrTokenUnknown):
		return unauthorized(matrixerr.UnknownToken, "Token is not active", false, zap.DebugLevel)
	case errors.Is(err, auth.ErrTokenExpired):
		return unauthorized(matrixerr.UnknownToken, "Token has expired", true, zap.DebugLevel)
	case errors.Is(err, auth.ErrPasswordsDisabled):
		return errUnknownLogin
	case errors.Is(err, errBodyBroken):
		return badRequest(matrixerr.Unknown, "Request body could not be read")
	case errors.Is(err, context.Canceled): // The client has left.
		return unavailable(zap.DebugLevel)
	case errors.Is(err, auth.ErrUnavailable), errors.Is(err, context.DeadlineExceeded):
		return unavailable(zap.ErrorLevel)
	case errors.Is(err, auth.ErrHomeserver):
		return &failure{http.StatusBadGateway, matrixerr.Unknown, "The homeserver refused", nil, zap.ErrorLevel}
	}
	return &failure{http.StatusInternalServerError, matrixerr.Unknown, "Internal server error", nil, zap.ErrorLevel}
}

func rateLimited(wait time.Duration) *failure {
	return &failure{
		http.StatusTooManyRequests, matrixerr.LimitExceeded, "Too many login attempts",
		[]matrixerr.Member{matrixerr.RetryAfter(wait)}, zap.InfoLevel,
	}
}

func unavailable(level zapcore.Level) *failure {
	return &failure{
		http.StatusServiceUnavailable, matrixerr.Unknown, "Temporarily unavailable",
		[]matrixerr.Member{matrixerr.RetryAfter(retryAfter)}, level,
	}
}

// writeRefreshError answers a refresh: only a verdict on the request or its token is a Matrix error. Whatever else means that it
// has to be asked again, and has no body.
func writeRefreshError(w http.ResponseWriter, r *http.Request, err error, f *failure) {
	switch {
	case f.status == http.StatusTooEarly:
		matrixerr.NoBody(w, f.status)
	case f.status >= http.StatusInternalServerError, f.status == http.StatusTooManyRequests, errors.Is(err, errBodyBroken):
		matrixerr.RefreshTrouble(w)
	default:
		matrixerr.Write(w, r, f.status, f.code, f.message, f.extra...)
	}
}

// writeError answers with an error and logs what is not the client's business.
func (h *Handler) writeError(w http.ResponseWriter, r *http.Request, ep endpoint, err error) {
	f := failureOf(err)
	h.log.Log(f.level, "request failed",
		zap.String("endpoint", ep.name), zap.Int("status", f.status), zap.Error(err))
	if ep.refresh {
		writeRefreshError(w, r, err, f)
		return
	}
	matrixerr.Write(w, r, f.status, f.code, f.message, f.extra...)
}
