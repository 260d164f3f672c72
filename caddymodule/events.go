package caddymodule

import (
	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyevents"
	"github.com/oklog/ulid/v2"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"github.com/caddy-matrix/caddy-matrix-auth/internal/auth"
)

// eventsApp is Caddy's, whose API is experimental: only this file uses it.
type eventsApp = *caddyevents.App

func getEvents(ctx caddy.Context) (eventsApp, error) {
	app, err := ctx.App("events")
	if err != nil {
		return nil, err
	}
	return app.(eventsApp), nil
}

// authSettings is what the use cases read of a configuration.
func (a *App) authSettings() auth.Settings {
	return auth.Settings{
		Homeserver:      a.homeserver,
		AccessTTL:       a.conf.accessTTL,
		CompatTTL:       a.conf.compatTTL,
		RefreshGrace:    a.conf.refreshGrace,
		RefreshIdle:     a.conf.refreshIdle,
		PasswordEnabled: a.conf.passwordEnabled,
		Clients:         a.conf.clients,
		Admins:          a.conf.admins,
		LoginLimit:      a.conf.limits.login,
		AuthorizeLimit:  a.conf.limits.authorize,
		DeviceCodeLimit: a.conf.limits.deviceCode,
		RegisterLimit:   a.conf.limits.clientRegistration,
		Log:             a.log,
		Emit:            a.emit,
	}
}

// eventQueue is how many events may wait for Caddy's event handlers, which are anybody's code and may be slow.
const eventQueue = 1024

// emit is the one place where something that happened becomes a line in the audit log, a count, and an event of Caddy.
func (a *App) emit(e auth.Event) {
	countEvent(&e)
	if ce := a.auditLog(&e).Check(auditLevel(&e), e.Name); ce != nil {
		ce.Write(eventFields(&e)...)
	}
	if !a.events.ShouldEmit(e.Name) {
		return
	}
	select {
	case a.pending <- e:
	default:
		a.bounded.Warn("event dropped: the handlers of events are too slow", zap.String("event", e.Name))
	}
}

// auditLog is the log for an event. Passwords are only checked within limits, but an attempt that is turned away before costs
// nobody anything.
func (a *App) auditLog(e *auth.Event) *zap.Logger {
	if e.Name == "login_failed" && e.Reason != "bad_credentials" && e.Reason != "locked" {
		return a.bounded.Named("audit")
	}
	return a.audit
}

// auditLevel is debug for what happens all the time and says nothing about anybody's account.
func auditLevel(e *auth.Event) zapcore.Level {
	if e.Name == "token_refreshed" || e.Name == "reconciled" {
		return zapcore.DebugLevel
	}
	return zapcore.InfoLevel
}

// dispatchEvents hands events to Caddy until the configuration ends: one after the other, and never on the goroutine of a
// request or of the database's writer.
func (a *App) dispatchEvents() {
	for {
		select {
		case e := <-a.pending:
			a.events.Emit(a.ctx, e.Name, eventData(&e))
		case <-a.ctx.Done():
			return
		}
	}
}

// eventFields are an event's members in the audit log.
func eventFields(e *auth.Event) []zap.Field {
	var fields []zap.Field
	eachMember(e, func(key, value string) { fields = append(fields, zap.String(key, value)) })
	return fields
}

// eventData are an event's members as Caddy's event handlers see them: {event.data.user_id} and so on.
func eventData(e *auth.Event) map[string]any {
	data := make(map[string]any)
	eachMember(e, func(key, value string) { data[key] = value })
	return data
}

// eachMember calls fn for each member that has a value.
func eachMember(e *auth.Event, fn func(key, value string)) {
	addr := ""
	if e.Addr.IsValid() {
		addr = e.Addr.String()
	}
	for _, m := range [...]struct{ key, value string }{
		{"method", e.Method},
		{"grant", e.Grant},
		{"reason", e.Reason},
		{"user_id", string(e.UserID)},
		{"device_id", string(e.DeviceID)},
		{"session_id", shownID(e.SessionID)},
		{"grant_id", shownID(e.GrantID)},
		{"client_id", e.ClientID},
		{"client_ip", addr},
	} {
		if m.value != "" {
			fn(m.key, m.value)
		}
	}
}

// shownID is an ID as text; empty: there is none.
func shownID(id ulid.ULID) string {
	if id.IsZero() {
		return ""
	}
	return id.String()
}
