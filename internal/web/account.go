package web

import (
	"net/http"
	"net/url"
	"strings"

	"github.com/oklog/ulid/v2"

	"github.com/caddy-matrix/caddy-matrix-auth/internal/auth"
	"github.com/caddy-matrix/caddy-matrix-auth/internal/mxid"
)

// The pages below /account/.
const (
	pathAccount   = "/account/"
	pathSessions  = "/account/sessions/" // + the ID of a session, and perhaps suffixEnd
	suffixEnd     = "/end"
	pathEndOthers = "/account/end-others"
	pathReset     = "/account/reset"
)

// accountPage shows one of the pages below /account/ to the person it belongs to.
func (v *visit) accountPage() error {
	path := v.r.URL.EscapedPath()
	if path == strings.TrimSuffix(pathAccount, "/") {
		return v.leave(v.origin.String() + withQuery(pathAccount, v.r.URL.Query()))
	}
	if err := v.tell(); err != nil {
		return err
	}
	in, done, err := v.arrived()
	if err != nil || done {
		return err
	}
	if in == nil {
		return v.redirect(v.afterSignIn(path).signIn())
	}
	switch path {
	case pathAccount:
		return v.accountAction(in)
	case pathEndOthers:
		return v.endOthersPage(in)
	case pathReset:
		return v.showReset(http.StatusOK, in, resetView{}, nil)
	}
	id, end, err := sessionOfPath(path)
	if err != nil {
		return err
	}
	return v.sessionPage(in, id, end)
}

// account takes a form of one of the pages below /account/.
func (v *visit) account() error {
	in, err := v.signedIn()
	if err != nil {
		return err
	}
	path := v.r.URL.EscapedPath()
	if in == nil {
		return v.redirect(v.afterSignIn(path).signIn())
	}
	switch path {
	case pathEndOthers:
		return v.endOthers(in)
	case pathReset:
		return v.reset(in)
	}
	id, end, err := sessionOfPath(path)
	if err != nil || !end {
		return errNoPage
	}
	return v.endSession(in, id)
}

// afterSignIn is where a person who has to sign in first goes on: what was asked for survives (MSC4191).
func (v *visit) afterSignIn(path string) destination {
	switch path {
	case pathEndOthers:
		return destination{kind: toEndOthers}
	case pathReset:
		return destination{kind: toReset}
	case pathAccount:
		return v.action()
	}
	return destination{kind: toAccount}
}

// action is what the query asks for (MSC4191, Matrix CS §account-management). Unknown actions lead to the list.
func (v *visit) action() destination {
	to := destination{kind: toAccount}
	switch strings.TrimPrefix(v.query["action"], "org.matrix.") {
	case "device_view", "session_view":
		to.kind = toDeviceView
	case "device_delete", "session_end":
		to.kind = toDeviceEnd
	case "cross_signing_reset":
		return destination{kind: toReset}
	default:
		return to
	}
	device, err := mxid.ParseDeviceID(v.query["device_id"])
	if err != nil { // None, or one that cannot be.
		return destination{kind: toGone}
	}
	to.id = string(device)
	return to
}

// accountAction goes to what the query asks for, or shows the list.
func (v *visit) accountAction(in *auth.SignedIn) error {
	to := v.action()
	switch to.kind {
	case toReset, toGone:
		return v.redirect(to.path())
	case toDeviceView, toDeviceEnd:
		return v.goToDevice(in, to)
	}
	notice := ""
	if n := v.query["notice"]; accountNotices[n] {
		notice = "account.notice." + n
	}
	return v.showAccount(in, notice)
}

// accountNotices says which notices the list can be shown with.
var accountNotices = map[string]bool{"ended": true, "others_ended": true, "gone": true}

// withNotice is the list with a notice.
func withNotice(n string) string { return withQuery(pathAccount, url.Values{"notice": {n}}) }

// sessionOfPath reads which session a page is about, and whether it is the one that ends it.
func sessionOfPath(path string) (id ulid.ULID, end bool, err error) {
	text, ok := strings.CutPrefix(path, pathSessions)
	if !ok {
		return id, false, errNoPage
	}
	text, end = strings.CutSuffix(text, suffixEnd)
	if id, err = ulid.ParseStrict(text); err != nil {
		return id, false, errNoPage
	}
	return id, end, nil
}
