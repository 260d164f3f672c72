package caddymodule

import (
	"errors"
	"fmt"
	"math"
	"strings"
	"time"

	"github.com/oklog/ulid/v2"
	"go.uber.org/zap"

	"github.com/caddy-matrix/caddy-matrix-auth/internal/auth"
	"github.com/caddy-matrix/caddy-matrix-auth/internal/mxid"
)

// endedByAdmin is the reason of an end that an administrator asked for.
const endedByAdmin = "admin"

// listSessions lists the live sessions of everybody, or of the user in the query.
func listSessions(c *adminCall) error {
	var l mxid.Localpart
	if q := c.URL.Query(); q.Has("localpart") {
		var err error
		if l, err = c.user(q.Get("localpart")); err != nil {
			return err
		}
	}
	return writeLines(c, c.service().Sessions(l), newSessionJSON)
}

func endSession(c *adminCall) error {
	if err := c.readBody(new(struct{})); err != nil {
		return err
	}
	id, err := ulid.ParseStrict(c.PathValue("id"))
	if err != nil {
		return fmt.Errorf("%w: %q is not the ID of a session", auth.ErrInvalid, c.PathValue("id"))
	}
	c.note(zap.String("session_id", id.String()))
	err = c.service().EndSession(c.Context(), id, endedByAdmin)
	if errors.Is(err, auth.ErrConflict) {
		return fmt.Errorf("%w: the session has ended already", auth.ErrConflict)
	}
	if err != nil {
		return err
	}
	return c.writeJSON(endedJSON{Ended: 1})
}

// endSessions ends every session of the user in the body.
func endSessions(c *adminCall) error {
	var body endSessionsJSON
	if err := c.readBody(&body); err != nil {
		return err
	}
	l, err := c.user(body.Localpart)
	if err != nil {
		return err
	}
	n, err := c.service().EndSessions(c.Context(), l, endedByAdmin)
	if err != nil {
		return err
	}
	c.note(zap.Int("sessions", n))
	return c.writeJSON(endedJSON{Ended: n})
}

func issueToken(c *adminCall) error {
	var body issueTokenJSON
	if err := c.readBody(&body); err != nil {
		return err
	}
	l, err := c.user(body.Localpart)
	if err != nil {
		return err
	}
	p := auth.IssueTokenParams{Localpart: l, Legacy: body.Legacy, Scope: strings.Fields(body.Scope)}
	if body.DeviceID != "" {
		if p.DeviceID, err = mxid.ParseDeviceID(body.DeviceID); err != nil {
			return fmt.Errorf("%w: a device ID has 1 to %d characters, none of them a control", auth.ErrInvalid, mxid.MaxDeviceID)
		}
	}
	if body.ExpiresIn < 0 || body.ExpiresIn > math.MaxInt64/int64(time.Second) {
		return fmt.Errorf("%w: expires_in is out of range", auth.ErrInvalid)
	}
	p.ExpiresIn = time.Duration(body.ExpiresIn) * time.Second
	c.note(zap.Bool("legacy", p.Legacy), zap.Strings("scope", p.Scope), zap.Duration("expires_in", p.ExpiresIn))
	t, err := c.service().IssueToken(c.Context(), p)
	if err != nil {
		return err
	}
	c.note(zap.String("session_id", t.SessionID.String()), zap.String("device_id", string(t.DeviceID)))
	return c.writeJSON(tokenJSON{
		AccessToken: t.AccessToken.Reveal(),
		SessionID:   t.SessionID.String(),
		UserID:      string(t.UserID),
		DeviceID:    string(t.DeviceID),
		Scope:       strings.Join(t.Scope, " "),
		ExpiresAt:   seconds(t.ExpiresAt),
	})
}
