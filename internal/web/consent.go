package web

import (
	"errors"
	"net/http"
	"strings"

	"github.com/oklog/ulid/v2"

	"github.com/caddy-matrix/caddy-matrix-auth/internal/auth"
	"github.com/caddy-matrix/caddy-matrix-auth/internal/browser"
	"github.com/caddy-matrix/caddy-matrix-auth/internal/mxid"
	"github.com/caddy-matrix/caddy-matrix-auth/store"
)

type consentView struct {
	frame
	Asking *program
	Person *person
	Facts  []fact
	Shown  string     // the scope that the facts say
	Ends   *endedView // the session on the device asked for; nil: none
	Proof  *proof
	Other  string // the page on which another account can be used
}

// endedView is a session that a consent would end.
type endedView struct {
	Name   string // of its program; empty: it signed in with a password
	Named  bool   // the program gave itself that name
	Device mxid.DeviceID
	Seen   moment
}

// answeredView says that a request has been answered before.
type answeredView struct {
	frame
	Asking *program
	Proof  *proof // of a form that gives the answer again; nil: too late
}

// grant reads the authorization request of a page, and takes its language and its redirect URI for the page.
func (v *visit) grant(text string) (store.Grant, auth.Client, error) {
	if !v.known {
		return store.Grant{}, auth.Client{}, errNoCookie
	}
	id, err := ulid.ParseStrict(text)
	if err != nil {
		return store.Grant{}, auth.Client{}, errNoPage
	}
	g, c, err := v.Service.Grant(v.r.Context(), id, v.browser.Digest())
	if err == nil || errors.Is(err, auth.ErrExpired) {
		v.restart = wayBack(v.program(&c, g.RedirectURI))
	}
	if err != nil {
		return g, c, err
	}
	v.csp.RedirectURI = g.RedirectURI
	if v.query[localesParam] == "" {
		v.lang = v.languageFor(g.UILocales, v.r)
	}
	return g, c, nil
}

// consentPage is where an authorization request is decided: by a person, or without one if none is needed.
func (v *visit) consentPage() error {
	g, c, err := v.grant(v.lastSegment())
	if err != nil {
		return err
	}
	in, done, err := v.arrived()
	if err != nil || done {
		return err
	}
	d, err := v.decide(&g, &c, in)
	if err != nil {
		return err
	}
	if g.Status != store.GrantPending && (g.Status != store.GrantFulfilled || d.next != approve) {
		return v.answered(&g, &c, in) // A silent yes is said again if the browser asks again.
	}
	switch d.next {
	case askSignIn, askPassword:
		return v.redirect(destination{toConsent, g.ID.String()}.signIn())
	case refuse:
		return v.refuse(&g, &c, in, d)
	case approve:
		return v.approve(&g, &c, in, d.scope)
	}
	return v.showConsent(&g, &c, in, d.scope)
}

func (v *visit) showConsent(g *store.Grant, c *auth.Client, in *auth.SignedIn, scope []string) error {
	view := consentView{
		frame:  v.frame("consent.title"),
		Asking: v.program(c, g.RedirectURI),
		Person: v.person(in),
		Facts:  facts(scope),
		Shown:  strings.Join(scope, " "),
		Proof:  v.proof(consentProof(g.ID, in)),
		Other:  withParam(destination{toConsent, g.ID.String()}.signIn(), otherParam, "1"),
	}
	var err error
	if view.Ends, err = v.ends(in, c, scope); err != nil {
		return err
	}
	return v.show(http.StatusOK, "consent", &view)
}

// ends finds the live session of another client on the device asked for.
func (v *visit) ends(in *auth.SignedIn, c *auth.Client, scope []string) (*endedView, error) {
	device, err := mxid.DeviceOf(scope)
	if err != nil || device == "" {
		return nil, nil
	}
	info, err := v.Service.OwnSessionOn(v.r.Context(), *in, device)
	if errors.Is(err, auth.ErrNotFound) || err == nil && info.ClientID == c.ID {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	ended := &endedView{Device: device, Seen: v.moment(seenAt(&info))}
	ended.Name, ended.Named = v.sessionName(&info)
	return ended, nil
}

// answered shows what became of a request. A form gives the answer again while that is possible: an app may not have opened.
// Where nothing was asked, nothing is shown: the client gets its error again.
func (v *visit) answered(g *store.Grant, c *auth.Client, in *auth.SignedIn) error {
	if g.Status == store.GrantFailed {
		return v.respond(refusal(g, g.Failure))
	}
	view := answeredView{Asking: v.program(c, g.RedirectURI)}
	title := "answered.title"
	switch {
	case g.Status == store.GrantDenied:
		title = "denied.title"
		view.Proof = v.proof(cancelProof(g.ID))
	case in != nil && in.Session.ID == g.BrowserSessionID && g.Redeemable(v.Now()):
		view.Proof = v.proof(consentProof(g.ID, in))
	}
	view.frame = v.frame(title)
	if title == "denied.title" {
		return v.show(http.StatusOK, "denied", &view)
	}
	return v.show(http.StatusOK, "answered", &view)
}

// consent takes the person's answer.
func (v *visit) consent() error {
	g, c, err := v.grant(v.lastSegment())
	if err != nil {
		return err
	}
	in, err := v.signedIn()
	if err != nil {
		return err
	}
	switch v.form["decision"] {
	case "cancel":
		return v.cancel(&g, &c, in)
	case "allow":
		return v.allow(&g, &c, in)
	}
	return errBadForm
}

// cancel says no. It needs nobody to be signed in, and no sign-in page stands in its way.
func (v *visit) cancel(g *store.Grant, c *auth.Client, in *auth.SignedIn) error {
	err := v.proven(cancelProof(g.ID))
	if err != nil && in != nil {
		err = v.proven(consentProof(g.ID, in))
	}
	if err != nil {
		return err
	}
	p := auth.DenyParams{ID: g.ID, Browser: v.browser.Digest(), From: v.from}
	if in != nil {
		p.UserID = in.UserID
	}
	denied, err := v.Service.DenyGrant(v.r.Context(), p)
	if errors.Is(err, auth.ErrDone) {
		return v.answered(&denied, c, in)
	}
	if err != nil {
		return err
	}
	return v.respond(refusal(&denied, store.Failure{Error: "access_denied", Description: "the person said no"}))
}

// refuse ends a request with an error for its client. It stays ended: whoever comes back to the page, signed in or not, gets the
// same answer.
func (v *visit) refuse(g *store.Grant, c *auth.Client, in *auth.SignedIn, d decision) error {
	if v.from.Unproven {
		return errReplay
	}
	failed, err := v.Service.FailGrant(v.r.Context(), g.ID, v.browser.Digest(), store.Failure{Error: d.code, Description: d.text})
	if errors.Is(err, auth.ErrDone) {
		return v.answered(&failed, c, in)
	}
	if err != nil {
		return err
	}
	return v.respond(refusal(&failed, failed.Failure))
}

// allow says yes.
func (v *visit) allow(g *store.Grant, c *auth.Client, in *auth.SignedIn) error {
	if in == nil {
		return v.redirect(destination{toConsent, g.ID.String()}.signIn())
	}
	if err := v.proven(consentProof(g.ID, in)); err != nil {
		return err
	}
	if g.Status != store.GrantPending {
		return v.approve(g, c, in, g.Scope)
	}
	d, err := v.decide(g, c, in)
	switch {
	case err != nil:
		return err
	case d.next == askSignIn || d.next == askPassword:
		return v.redirect(destination{toConsent, g.ID.String()}.signIn())
	case d.next == refuse:
		return v.refuse(g, c, in, d)
	case v.form["shown"] != strings.Join(d.scope, " "): // The person has got or lost a right since, and has not said yes to that.
		return v.redirect(destination{toConsent, g.ID.String()}.path())
	}
	return v.approve(g, c, in, d.scope)
}

// approve fulfils a request and sends its code, or the same code again.
func (v *visit) approve(g *store.Grant, c *auth.Client, in *auth.SignedIn, scope []string) error {
	if v.from.Unproven {
		return errReplay
	}
	a, err := v.Service.ApproveGrant(v.r.Context(), auth.ApproveParams{
		ID: g.ID, Browser: v.browser, Cookie: v.cookies.Session(v.r), Scope: scope, From: v.from,
	})
	switch {
	case errors.Is(err, auth.ErrDone):
		return v.answered(&a.Grant, c, in)
	case errors.Is(err, auth.ErrSignInNeeded), errors.Is(err, auth.ErrScopeDenied): // Something has changed: decide anew.
		return v.redirect(destination{toConsent, g.ID.String()}.path())
	case err != nil:
		return err
	}
	r := response(&a.Grant)
	r.Code = a.Code.Reveal()
	return v.respond(r)
}

// consentProof is for one request and one sign-in: a page that was shown to Alice cannot approve as Bob.
func consentProof(id ulid.ULID, in *auth.SignedIn) browser.Proof {
	return browser.Proof{Form: "consent", Object: id.String(), Session: in.Session.ID.String()}
}

// cancelProof is for a request alone: it can only end it.
func cancelProof(id ulid.ULID) browser.Proof {
	return browser.Proof{Form: "cancel", Object: id.String()}
}
