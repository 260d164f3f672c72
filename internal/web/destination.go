package web

import (
	"fmt"
	"net/url"

	"github.com/oklog/ulid/v2"

	"github.com/caddy-matrix/caddy-matrix-auth/internal/mxid"
)

// destination is where a person goes on after signing in: a kind from a closed list, and the ID of an object. It is never a
// URL, so that nobody can be sent elsewhere.
type destination struct{ kind, id string }

// The kinds.
const (
	toAccount    = "account"
	toConsent    = "consent" // id: of the grant
	toDevice     = "device"  // id: of the device grant's page
	toDeviceView = "session_view"
	toDeviceEnd  = "session_end"  // id of both: the Matrix device
	toGone       = "session_gone" // a session that nobody can name
	toEndOthers  = "end_others"
	toReset      = "cross_signing_reset"
)

// parseDestination reads a destination from a query.
func parseDestination(q params) (destination, error) {
	d := destination{q["kind"], q["id"]}
	switch d.kind {
	case "":
		return destination{kind: toAccount}, nil
	case toAccount, toGone, toEndOthers, toReset:
		d.id = ""
		return d, nil
	case toConsent, toDevice:
		id, err := ulid.ParseStrict(d.id)
		d.id = id.String()
		if err != nil {
			return d, fmt.Errorf("%w: %w", errBadForm, err)
		}
		return d, nil
	case toDeviceView, toDeviceEnd:
		if _, err := mxid.ParseDeviceID(d.id); err != nil {
			return d, fmt.Errorf("%w: %w", errBadForm, err)
		}
		return d, nil
	}
	return d, fmt.Errorf("%w: no such destination", errBadForm)
}

// path is the page itself.
func (d destination) path() string {
	switch d.kind {
	case toConsent:
		return "/consent/" + d.id
	case toDevice:
		return "/device/" + d.id
	case toDeviceView, toDeviceEnd:
		return withQuery("/account/", url.Values{"action": {d.kind}, "device_id": {d.id}})
	case toGone:
		return withNotice("gone")
	case toEndOthers:
		return pathEndOthers
	case toReset:
		return pathReset
	}
	return "/account/"
}

// signIn is the sign-in page that leads there.
func (d destination) signIn() string {
	q := url.Values{"kind": {d.kind}}
	if d.id != "" {
		q.Set("id", d.id)
	}
	return withQuery("/login", q)
}

// object names the destination in the proof of a sign-in form.
func (d destination) object() string { return d.kind + "/" + d.id }
