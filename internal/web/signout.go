package web

import (
	"net/http"

	"github.com/caddy-matrix/caddy-matrix-auth/internal/auth"
	"github.com/caddy-matrix/caddy-matrix-auth/internal/browser"
)

type signOutView struct {
	frame
	Person *person // nil: signed out
	Proof  *proof
}

func (v *visit) signOutPage() error {
	in, err := v.signedIn()
	if err != nil {
		return err
	}
	if in == nil {
		return v.show(http.StatusOK, "sign-out", &signOutView{frame: v.frame("signedout.title")})
	}
	if err := v.tell(); err != nil {
		return err
	}
	return v.show(http.StatusOK, "sign-out", &signOutView{
		frame: v.frame("signout.title"), Person: v.person(in), Proof: v.proof(signOutProof(in)),
	})
}

// signOut ends the sign-in, and makes the browser another one. The person's programs stay signed in.
func (v *visit) signOut() error {
	in, err := v.signedIn()
	if err != nil {
		return err
	}
	if in == nil {
		return v.redirect("/logout")
	}
	if err := v.proven(signOutProof(in)); err != nil {
		return err
	}
	if err := v.Service.SignOut(v.r.Context(), v.cookies.Session(v.r), v.from); err != nil {
		return err
	}
	v.cookies.ClearSession(v.w)
	if _, err := v.cookies.Renew(v.w, v.Rand); err != nil {
		return err
	}
	return v.redirect("/logout")
}

func signOutProof(in *auth.SignedIn) browser.Proof {
	return browser.Proof{Form: "sign-out", Session: in.Session.ID.String()}
}
