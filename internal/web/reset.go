package web

import (
	"errors"
	"net/http"

	"github.com/caddy-matrix/caddy-matrix-auth/internal/auth"
	"github.com/caddy-matrix/caddy-matrix-auth/internal/browser"
	"github.com/caddy-matrix/caddy-matrix-auth/internal/token"
)

type resetView struct {
	frame
	Person  *person
	Problem string // names a text
	Wrong   bool
	Minutes int
	Proof   *proof
}

func (v *visit) showReset(status int, in *auth.SignedIn, view resetView, err error) error {
	view.frame, view.Person, view.Minutes = v.frame("reset.title"), v.person(in), v.retryAfter(err)
	view.Proof = v.proof(resetProof(in))
	return v.show(status, "reset", &view)
}

func resetProof(in *auth.SignedIn) browser.Proof {
	return browser.Proof{Form: "reset", Session: in.Session.ID.String()}
}

// reset lets the person's programs replace the encryption identity for ten minutes (MSC4312).
func (v *visit) reset(in *auth.SignedIn) error {
	if err := v.proven(resetProof(in)); err != nil {
		return err
	}
	err := v.Service.AllowCrossSigningReset(v.r.Context(), *in, token.NewSecret(v.form["password"]), v.from)
	switch {
	case err == nil:
		return v.show(http.StatusOK, "reset-done", &resetView{frame: v.frame("resetdone.title"), Person: v.person(in)})
	case errors.Is(err, auth.ErrBadCredentials):
		return v.showReset(http.StatusUnprocessableEntity, in, resetView{Problem: "password.wrong", Wrong: true}, nil)
	case errors.Is(err, auth.ErrRateLimited):
		return v.showReset(http.StatusTooManyRequests, in, resetView{Problem: "signin.limited"}, err)
	case errors.Is(err, auth.ErrUserLocked):
		return v.showReset(http.StatusForbidden, in, resetView{Problem: "signin.locked"}, nil)
	}
	v.note("allowing a reset of the encryption identity", err)
	return v.showReset(http.StatusServiceUnavailable, in, resetView{Problem: "reset.unavailable"}, nil)
}
