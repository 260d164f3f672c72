package web

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/oklog/ulid/v2"

	"github.com/caddy-matrix/caddy-matrix-auth/internal/auth"
	"github.com/caddy-matrix/caddy-matrix-auth/internal/browser"
	"github.com/caddy-matrix/caddy-matrix-auth/internal/mxid"
	"github.com/caddy-matrix/caddy-matrix-auth/store"
)

type linkView struct {
	frame
	Code    string
	Problem string // names a text
	Wrong   bool
	Minutes int
	Proof   *proof
}

type deviceView struct {
	frame
	Asking  *program
	Person  *person
	Code    string
	Addr    string
	Agent   string
	Asked   moment
	Facts   []fact
	Shown   string // the scope that the facts say
	Ends    *endedView
	Problem bool // the box was not ticked
	Proof   *proof
	Other   string
}

// decidedView says what became of the request of a device.
type decidedView struct {
	frame
	Allowed bool
	Asking  *program
}

var linkProof = browser.Proof{Form: "link"}

// linkPage asks for the code that a device shows. A code in the URL is only filled in: a link that somebody sent claims
// nothing (RFC 8628 §5.4).
func (v *visit) linkPage() error {
	if err := v.tell(); err != nil {
		return err
	}
	return v.showLink(http.StatusOK, linkView{Code: v.query["code"]}, nil)
}

func (v *visit) showLink(status int, view linkView, err error) error {
	view.frame, view.Proof, view.Minutes = v.frame("link.title"), v.proof(linkProof), v.retryAfter(err)
	if code := auth.NormalizeUserCode(view.Code); len(code) == store.DeviceUserCodeChars {
		view.Code = shownUserCode(code)
	}
	view.Code = oneLine(view.Code, maxShownCode)
	return v.show(status, "link", &view)
}

const maxShownCode = 64 // characters of a code that was typed

// link claims the request of a device for this browser.
func (v *visit) link() error {
	if err := v.proven(linkProof); err != nil {
		return err
	}
	view := linkView{Code: v.form["code"]}
	d, err := v.Service.ClaimDeviceGrant(v.r.Context(), view.Code, v.browser.Digest(), v.cookies.Session(v.r), v.from)
	switch {
	case errors.Is(err, auth.ErrRateLimited):
		view.Problem = "link.limited"
		return v.showLink(http.StatusTooManyRequests, view, err)
	case errors.Is(err, auth.ErrNotFound):
		view.Problem, view.Wrong = "link.wrong", true
		return v.showLink(http.StatusUnprocessableEntity, view, nil)
	case err != nil:
		return err
	}
	return v.redirect(destination{toDevice, d.ID.String()}.path())
}

// deviceOfPath reads the request of the page that the path names.
func (v *visit) deviceOfPath() (store.DeviceGrant, auth.Client, error) {
	id, err := ulid.ParseStrict(v.lastSegment())
	if err != nil {
		return store.DeviceGrant{}, auth.Client{}, errNoPage
	}
	return v.deviceGrant(id)
}

// devicePage asks whether a device may use the account.
func (v *visit) devicePage() error {
	d, c, err := v.deviceOfPath()
	if err != nil {
		return err
	}
	in, done, err := v.arrived()
	if err != nil || done {
		return err
	}
	if in == nil {
		return v.redirect(destination{toDevice, d.ID.String()}.signIn())
	}
	return v.showDevice(http.StatusOK, &d, &c, in)
}

func (v *visit) showDevice(status int, d *store.DeviceGrant, c *auth.Client, in *auth.SignedIn) error {
	if d.Status != store.GrantPending {
		return v.showDecided(d, c)
	}
	scope := auth.GrantableToDevice(d.Scope, c, in.Admin)
	view := deviceView{
		frame:   v.frame("device.title"),
		Asking:  v.program(c, ""),
		Person:  v.person(in),
		Code:    shownUserCode(d.UserCode),
		Addr:    d.Addr,
		Agent:   describeAgent(d.UserAgent),
		Asked:   v.moment(d.CreatedAt),
		Facts:   facts(scope),
		Shown:   strings.Join(scope, " "),
		Problem: status == http.StatusUnprocessableEntity,
		Proof:   v.proof(deviceProof(d.ID, in)),
		Other:   withParam(destination{toDevice, d.ID.String()}.signIn(), otherParam, "1"),
	}
	var err error
	if view.Ends, err = v.ends(in, c, d.Scope); err != nil {
		return err
	}
	return v.show(status, "device", &view)
}

func (v *visit) showDecided(d *store.DeviceGrant, c *auth.Client) error {
	view := decidedView{Allowed: d.Status != store.GrantDenied, Asking: v.program(c, "")}
	title := "device.denied.title"
	if view.Allowed {
		title = "device.allowed.title"
	}
	view.frame = v.frame(title)
	return v.show(http.StatusOK, "decided", &view)
}

// device takes the person's answer. The first one wins.
func (v *visit) device() error {
	d, c, err := v.deviceOfPath()
	if err != nil {
		return err
	}
	in, err := v.signedIn()
	if err != nil {
		return err
	}
	here := destination{toDevice, d.ID.String()}
	if in == nil {
		return v.redirect(here.signIn())
	}
	if err := v.proven(deviceProof(d.ID, in)); err != nil {
		return err
	}
	allow, err := v.deviceAnswer()
	if err != nil {
		return err
	}
	if d.Status == store.GrantPending && allow && v.form["mine"] != "yes" {
		return v.showDevice(http.StatusUnprocessableEntity, &d, &c, in)
	}
	var scope []string
	if allow {
		scope = auth.GrantableToDevice(d.Scope, &c, in.Admin)
		if needsFreshPassword(scope, in, v.Now()) {
			return v.redirect(here.signIn())
		}
		if d.Status == store.GrantPending && v.form["shown"] != strings.Join(scope, " ") { // A right that the person has got since.
			return v.redirect(here.path())
		}
	}
	err = v.Service.DecideDeviceGrant(v.r.Context(), auth.DecideDeviceParams{
		ID: d.ID, Browser: v.browser.Digest(), Cookie: v.cookies.Session(v.r), Approve: allow, Scope: scope, From: v.from,
	})
	switch {
	case errors.Is(err, auth.ErrSignInNeeded):
		return v.redirect(here.signIn())
	case err != nil && !errors.Is(err, auth.ErrDone):
		return err
	}
	return v.redirect(here.path())
}

func (v *visit) deviceAnswer() (allow bool, err error) {
	switch v.form["decision"] {
	case "allow":
		return true, nil
	case "cancel":
		return false, nil
	}
	return false, fmt.Errorf("%w: no decision", errBadForm)
}

// needsFreshPassword reports whether a scope has rights over the server and the password is not recent enough for them.
func needsFreshPassword(scope []string, in *auth.SignedIn, now time.Time) bool {
	return slices.ContainsFunc(scope, mxid.IsAdminScope) && now.Sub(in.Session.AuthenticatedAt) > auth.AdminAuthFor
}

func deviceProof(id ulid.ULID, in *auth.SignedIn) browser.Proof {
	return browser.Proof{Form: "device", Object: id.String(), Session: in.Session.ID.String()}
}
