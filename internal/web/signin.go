package web

import (
	"errors"
	"net/http"

	"github.com/oklog/ulid/v2"

	"github.com/caddy-matrix/caddy-matrix-auth/internal/auth"
	"github.com/caddy-matrix/caddy-matrix-auth/internal/browser"
	"github.com/caddy-matrix/caddy-matrix-auth/internal/mxid"
	"github.com/caddy-matrix/caddy-matrix-auth/internal/token"
	"github.com/caddy-matrix/caddy-matrix-auth/store"
)

// signInView is the sign-in page. With Person it asks the one who is signed in for the password again.
type signInView struct {
	frame
	Asking  *program // who it is for; nil: nobody but the person
	Person  *person  // re-authentication
	Notice  string   // names a text
	Problem string   // names a text
	Minutes int      // of a rate limit
	Name    string
	Wrong   wrong
	Server  mxid.ServerName
	Proof   *proof
	Other   string // the page on which another account can be used
	Cancel  *cancelForm
}

// wrong says which of the things typed were wrong. The first one has the focus.
type wrong struct{ Name, Password bool }

// cancelForm sends a person back to the program that asked, without signing in.
type cancelForm struct {
	Action string
	Proof  *proof
}

// otherParam asks for the sign-in page even though somebody is signed in.
const otherParam = "other"

// signInPage shows the form, unless it is not needed.
func (v *visit) signInPage() error {
	if err := v.tell(); err != nil {
		return err
	}
	view, done, err := v.signInView()
	if err != nil || done {
		return err
	}
	return v.show(http.StatusOK, "sign-in", view)
}

// signInView prepares the page for where it leads. done: it is not needed, and the person was sent on.
func (v *visit) signInView() (view *signInView, done bool, err error) {
	to, err := parseDestination(v.query)
	if err != nil {
		return nil, false, err
	}
	in, err := v.signedIn()
	if err != nil {
		return nil, false, err
	}
	view = &signInView{Server: v.ServerName, Proof: v.proof(signInProof(to))}
	needed := in == nil
	switch to.kind {
	case toConsent:
		needed, err = v.signInForGrant(view, to, in)
	case toDevice:
		needed, err = v.signInForDevice(view, to, in)
	}
	if err != nil {
		return nil, false, err
	}
	other := v.query[otherParam] != "" && v.r.Method == http.MethodGet
	if !needed && !other && v.r.Method == http.MethodGet {
		return nil, true, v.redirect(to.path())
	}
	title := "signin.title"
	if in != nil && needed && !other && view.Notice == "" {
		view.Person, view.Name, title = v.person(in), string(in.User.Localpart), "reauth.title"
		view.Other = withParam(to.signIn(), otherParam, "1")
	}
	view.frame = v.frame(title)
	return view, false, nil
}

// signInForGrant adds what an authorization request says, and decides whether it needs a sign-in.
func (v *visit) signInForGrant(view *signInView, to destination, in *auth.SignedIn) (needed bool, err error) {
	g, c, err := v.grant(to.id)
	if err != nil {
		return false, err
	}
	view.Asking = v.program(&c, g.RedirectURI)
	view.Cancel = &cancelForm{to.path(), v.proof(cancelProof(g.ID))}
	d, err := v.decide(&g, &c, in)
	if err != nil {
		return false, err
	}
	view.Name = string(d.hint)
	if d.next == askSignIn {
		view.Notice = d.notice
	}
	return g.Status == store.GrantPending && (d.next == askSignIn || d.next == askPassword), nil
}

// signInForDevice is signInForGrant for the request of a device.
func (v *visit) signInForDevice(view *signInView, to destination, in *auth.SignedIn) (needed bool, err error) {
	id, err := ulid.ParseStrict(to.id)
	if err != nil {
		return false, err
	}
	d, c, err := v.deviceGrant(id)
	if err != nil {
		return false, err
	}
	view.Asking = v.program(&c, "")
	stale := in != nil && d.Status == store.GrantPending && needsFreshPassword(auth.GrantableToDevice(d.Scope, &c, in.Admin), in, v.Now())
	return in == nil || stale, nil
}

func signInProof(to destination) browser.Proof {
	return browser.Proof{Form: "sign-in", Object: to.object()}
}

// signIn checks the password and sends the person on.
func (v *visit) signIn() error {
	to, err := parseDestination(v.query)
	if err != nil {
		return err
	}
	if err := v.proven(signInProof(to)); err != nil {
		return err
	}
	name := v.form["username"]
	p := auth.SignInParams{Name: name, Password: token.NewSecret(v.form["password"]), Cookie: v.cookies.Session(v.r), From: v.from}
	lp, err := mxid.Resolve(name, v.ServerName)
	if errors.Is(err, mxid.ErrForeign) {
		return v.signInAgain(http.StatusUnprocessableEntity, "signin.foreign", nil)
	}
	if err == nil {
		p.Localpart = lp
	}
	in, err := v.Service.SignIn(v.r.Context(), p)
	if status, text := signInProblem(err); text != "" {
		return v.signInAgain(status, text, err)
	}
	if err != nil {
		return err
	}
	v.cookies.SetSession(v.w, in.Cookie)
	return v.redirect(withParam(to.path(), arrivedParam, "1"))
}

// signInProblem names what to tell about a sign-in that failed.
func signInProblem(err error) (status int, text string) {
	switch {
	case errors.Is(err, auth.ErrBadCredentials):
		return http.StatusUnprocessableEntity, "signin.wrong" // Not 200: password managers would offer to keep it.
	case errors.Is(err, auth.ErrUserLocked):
		return http.StatusForbidden, "signin.locked"
	case errors.Is(err, auth.ErrPasswordsDisabled):
		return http.StatusForbidden, "signin.disabled"
	case errors.Is(err, auth.ErrRateLimited):
		return http.StatusTooManyRequests, "signin.limited"
	case errors.Is(err, auth.ErrUnavailable):
		return http.StatusServiceUnavailable, "signin.unavailable"
	}
	return 0, ""
}

// signInAgain shows the form with what was typed, but for the password.
func (v *visit) signInAgain(status int, problem string, err error) error {
	view, done, failed := v.signInView()
	if failed != nil || done {
		return failed
	}
	if status == http.StatusServiceUnavailable {
		v.note("signing in", err)
	}
	view.Problem, view.Name, view.Minutes = problem, oneLine(v.form["username"], maxShownName), v.retryAfter(err)
	if view.Person != nil && view.Name != view.Person.Localpart { // Somebody else tried.
		view.Person, view.Title = nil, "signin.title"
	}
	if problem == "signin.wrong" && view.Person != nil {
		view.Problem = "password.wrong"
	}
	view.Wrong = wrong{
		Name:     view.Problem == "signin.wrong" || view.Problem == "signin.foreign",
		Password: view.Problem == "signin.wrong" || view.Problem == "password.wrong",
	}
	return v.show(status, "sign-in", view)
}

const maxShownName = 255 // characters of a name that was typed

// person is somebody who is signed in.
type person struct {
	Name      string // display name, or the localpart
	Localpart string
	UserID    mxid.UserID
	Mark      string
}

func (v *visit) person(in *auth.SignedIn) *person {
	p := &person{Name: oneLine(in.User.DisplayName, maxProgramName), Localpart: string(in.User.Localpart), UserID: in.UserID}
	if p.Name == "" {
		p.Name = p.Localpart
	}
	p.Mark = mark(p.Name)
	return p
}

// deviceGrant reads the device grant of a page.
func (v *visit) deviceGrant(id ulid.ULID) (store.DeviceGrant, auth.Client, error) {
	if !v.known {
		return store.DeviceGrant{}, auth.Client{}, errNoCookie
	}
	v.restart = way{URL: "/link", Text: "button.other_code"}
	return v.Service.DeviceGrant(v.r.Context(), id, v.browser.Digest())
}
