package web

import (
	"slices"

	"github.com/caddy-matrix/caddy-matrix-auth/internal/auth"
	"github.com/caddy-matrix/caddy-matrix-auth/internal/mxid"
	"github.com/caddy-matrix/caddy-matrix-auth/store"
)

// next is what an authorization request needs.
type next uint8

const (
	askSignIn   next = iota + 1 // somebody, or somebody else, has to sign in
	askPassword                 // the person who is signed in has to enter the password again
	askConsent
	approve // nobody needs to be asked
	refuse  // with an error for the client
)

// decision is what decide found.
type decision struct {
	next   next
	code   string         // of refuse: OIDC Core §3.1.2.6
	text   string         // of refuse, for developers
	notice string         // of askSignIn: names a text
	hint   mxid.Localpart // who is expected
	scope  []string       // what this person can grant
}

// decide finds what a pending authorization request needs, given who is signed in (nil: nobody). It changes nothing, and the
// consent and sign-in pages both go by it: they never send a person back and forth.
func (v *visit) decide(g *store.Grant, c *auth.Client, in *auth.SignedIn) (decision, error) {
	d := decision{hint: mxid.Localpart(g.LoginHint)}
	expected := g.Subject
	if in != nil && expected == in.User.ID {
		d.hint = in.User.Localpart
	}
	if slices.Contains(g.Prompt, "none") {
		return v.decideSilently(d, g, c, in)
	}
	switch {
	case in == nil:
		d.next, d.notice = askSignIn, signInNotice(g)
		return d, nil
	case !expected.IsZero() && expected != in.User.ID:
		if v.signedInFor(g, in) { // Somebody else than the client asked for (OIDC Core §3.1.2.1, id_token_hint).
			return d.refuse("login_required", "another person signed in"), nil
		}
		d.next, d.notice = askSignIn, "signin.notice.expected"
		return d, nil
	case signInNotice(g) != "" && !v.signedInFor(g, in):
		d.next, d.notice = askSignIn, signInNotice(g)
		return d, nil
	case in.Session.AuthenticatedAt.Before(g.MinAuthTime):
		d.next = askPassword
		return d, nil
	}
	return v.decideScope(d, g, c, in)
}

// decideScope decides for somebody who is signed in as the request demands.
func (v *visit) decideScope(d decision, g *store.Grant, c *auth.Client, in *auth.SignedIn) (decision, error) {
	if d.scope = auth.Grantable(g.Scope, in.Admin); len(d.scope) == 0 {
		return d.refuse("invalid_scope", "this person cannot grant any of the scope"), nil
	}
	if needsFreshPassword(d.scope, in, v.Now()) {
		d.next = askPassword
		return d, nil
	}
	d.next = askConsent
	if slices.Contains(g.Prompt, "consent") {
		return d, nil
	}
	remembered, err := v.Service.ConsentRemembered(v.r.Context(), in.User.ID, c, d.scope)
	if remembered {
		d.next = approve
	}
	return d, err
}

// decideSilently decides where the person must not be asked anything (prompt=none).
func (v *visit) decideSilently(d decision, g *store.Grant, c *auth.Client, in *auth.SignedIn) (decision, error) {
	switch {
	case in == nil:
		return d.refuse("login_required", "nobody is signed in"), nil
	case !g.Subject.IsZero() && g.Subject != in.User.ID, d.hint != "" && d.hint != in.User.Localpart:
		return d.refuse("login_required", "another person is signed in"), nil
	case in.Session.AuthenticatedAt.Before(g.MinAuthTime):
		return d.refuse("login_required", "the sign-in is too old"), nil
	}
	d, err := v.decideScope(d, g, c, in)
	if err == nil && d.next != approve && d.next != refuse {
		d = d.refuse("consent_required", "the person has to be asked")
	}
	return d, err
}

func (d decision) refuse(code, text string) decision {
	d.next, d.code, d.text = refuse, code, text
	return d
}

// signedInFor reports whether somebody signed in since the request was made.
func (v *visit) signedInFor(g *store.Grant, in *auth.SignedIn) bool {
	return !in.Session.AuthenticatedAt.Before(g.CreatedAt)
}

// signInNotice names what is said on the sign-in page of a request that wants one (OIDC Core §3.1.2.1, Initiating User
// Registration 1.0).
func signInNotice(g *store.Grant) string {
	switch {
	case slices.Contains(g.Prompt, "create"):
		return "signin.notice.create"
	case slices.Contains(g.Prompt, "select_account"):
		return "signin.notice.select"
	}
	return ""
}
