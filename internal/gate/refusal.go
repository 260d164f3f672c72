package gate

import (
	"net/http"
	"time"

	"github.com/caddy-matrix/caddy-matrix-auth/internal/auth"
	"github.com/caddy-matrix/caddy-matrix-auth/internal/matrixerr"
)

// retryAfter is what a client is asked to wait when there was no verdict.
const retryAfter = 2 * time.Second

// refusal is an answer of the gate's own.
type refusal struct {
	status int
	code   matrixerr.Code
	text   string
	extra  []matrixerr.Member
}

var (
	unrecognized = refusal{status: http.StatusNotFound, code: matrixerr.Unrecognized, text: "Unrecognized request"}
	tokenTwice   = refusal{status: http.StatusUnauthorized, code: matrixerr.MissingToken, text: "More than one access token"}
	tooLarge     = refusal{status: http.StatusRequestEntityTooLarge, code: matrixerr.TooLarge, text: "Request body is too large"}
	notAdmin     = refusal{status: http.StatusForbidden, code: matrixerr.Forbidden, text: "You are not a server admin"}

	tokenUnknown = refusal{status: http.StatusUnauthorized, code: matrixerr.UnknownToken, text: "Token is not active",
		extra: []matrixerr.Member{matrixerr.SoftLogout(false)}}
	tokenExpired = refusal{status: http.StatusUnauthorized, code: matrixerr.UnknownToken, text: "Access token has expired",
		extra: []matrixerr.Member{matrixerr.SoftLogout(true)}}
	userLocked = refusal{status: http.StatusUnauthorized, code: matrixerr.UserLocked, text: "User account has been locked",
		extra: []matrixerr.Member{matrixerr.SoftLogout(true)}}
	unavailable = refusal{status: http.StatusServiceUnavailable, code: matrixerr.Unknown, text: "Service unavailable, try again",
		extra: []matrixerr.Member{matrixerr.RetryAfter(retryAfter)}}
)

// verdictRefusal is the answer to a token that does not let its request pass. Only what is dead for ever may say soft_logout false,
// because a client then destroys its keys (Matrix CS §soft-logout, §account-locking).
func verdictRefusal(v auth.Verdict) refusal {
	switch v {
	case auth.Unknown:
		return tokenUnknown
	case auth.Expired:
		return tokenExpired
	case auth.Locked:
		return userLocked
	default: // Locked and unlocked again while the request ran: a new request passes.
		return unavailable
	}
}

// refuse answers before the request was passed on.
func (g *Gate) refuse(w http.ResponseWriter, r *http.Request, f refusal) error {
	b := newBody(r, 0)
	last := b != nil && r.ProtoMajor == 1 && !g.drain(w, r, b)
	if last {
		w.Header().Set("Connection", "close")
	}
	matrixerr.Write(w, r, f.status, f.code, f.text, f.extra...)
	if last {
		g.linger(w, r, b)
	}
	return nil
}
