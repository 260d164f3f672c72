package caddymodule

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"iter"
	"maps"
	"net"
	"net/http"
	"slices"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"go.uber.org/zap"

	"github.com/caddy-matrix/caddy-matrix-auth/internal/auth"
	"github.com/caddy-matrix/caddy-matrix-auth/internal/mxid"
	"github.com/caddy-matrix/caddy-matrix-auth/store"
)

func init() { caddy.RegisterModule(adminAPI{}) }

// adminBase is where the API is on Caddy's admin endpoint.
const adminBase = "/matrix_auth"

// adminAPI is the API of the command line, on Caddy's admin endpoint: users, sessions, tokens, signing keys, status,
// doctor. Who reaches
// that endpoint controls Caddy; its host and origin checks apply, and every write is in the audit log.
//
// It holds nothing: Caddy keeps a router of a configuration that failed to load, so the app is looked up for each request.
type adminAPI struct{}

// CaddyModule returns the Caddy module information.
func (adminAPI) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "admin.api." + appName, New: func() caddy.Module { return adminAPI{} }}
}

// adminFunc answers a request. Nothing has been written yet if it returns an error.
type adminFunc func(c *adminCall) error

// adminRoutes are the paths below adminBase, each with its methods.
var adminRoutes = map[string]map[string]adminFunc{
	"/status":                       {"GET": serveStatus},
	"/doctor":                       {"GET": serveDoctor, "POST": serveDoctor},
	"/users":                        {"GET": listUsers, "POST": audited("add_user", addUser)},
	"/users/{localpart}":            {"GET": showUser},
	"/users/{localpart}/lock":       {"POST": audited("lock_user", lockUser)},
	"/users/{localpart}/unlock":     {"POST": audited("unlock_user", unlockUser)},
	"/users/{localpart}/deactivate": {"POST": audited("deactivate_user", deactivateUser)},
	"/users/{localpart}/reactivate": {"POST": audited("reactivate_user", reactivateUser)},
	"/users/{localpart}/password":   {"POST": audited("set_password", setPassword)},
	"/users/{localpart}/admin":      {"POST": audited("set_admin", setAdmin)},
	"/sessions":                     {"GET": listSessions},
	"/sessions/end":                 {"POST": audited("end_sessions", endSessions)},
	"/sessions/{id}/end":            {"POST": audited("end_session", endSession)},
	"/tokens":                       {"POST": audited("issue_token", issueToken)},
	"/keys":                         {"GET": listKeys},
	"/keys/rotate":                  {"POST": audited("rotate_keys", rotateKeys)},
}

// Routes implements caddy.AdminRouter.
func (adminAPI) Routes() []caddy.AdminRoute {
	routes := []caddy.AdminRoute{{Pattern: adminBase + "/", Handler: caddy.AdminHandlerFunc(adminNotFound)}}
	for path, methods := range adminRoutes {
		routes = append(routes, caddy.AdminRoute{Pattern: adminBase + path, Handler: adminMethods(methods)})
	}
	return routes
}

func adminNotFound(_ http.ResponseWriter, r *http.Request) error {
	return refusal(http.StatusNotFound, fmt.Errorf("there is nothing at %s", r.URL.Path))
}

// adminMethods serves one path.
type adminMethods map[string]adminFunc

// ServeHTTP implements caddy.AdminHandler.
func (m adminMethods) ServeHTTP(w http.ResponseWriter, r *http.Request) error {
	serve, ok := m[r.Method]
	if !ok {
		allow := strings.Join(slices.Sorted(maps.Keys(m)), ", ")
		w.Header().Set("Allow", allow)
		return refusal(http.StatusMethodNotAllowed, fmt.Errorf("%s takes %s", r.URL.Path, allow))
	}
	app, err := caddy.ActiveContext().AppIfConfigured(appName)
	if errors.Is(err, caddy.ErrNotConfigured) {
		return refusal(http.StatusNotFound, errors.New("this Caddy's configuration has no app matrix_auth (global option matrix_auth)"))
	}
	if err != nil {
		return refusal(http.StatusServiceUnavailable, err)
	}
	c := &adminCall{w: w, Request: r, app: app.(*App)}
	e, done, err := c.app.lease(r.Context())
	if err != nil {
		return refusal(http.StatusServiceUnavailable, err)
	}
	defer done()
	c.engine = e
	return adminError(serve(c))
}

// adminCall is a request with what it is about.
type adminCall struct {
	w http.ResponseWriter
	*http.Request
	app    *App
	engine *engine
	fields []zap.Field // of its line in the audit log
}

// service has the use cases.
func (c *adminCall) service() *auth.Service { return c.engine.service }

// note adds to the request's line in the audit log.
func (c *adminCall) note(fields ...zap.Field) { c.fields = append(c.fields, fields...) }

// audited writes a line about a write to the audit log, done or refused. What it has changed is in events of its own, with
// the rest of what happens; here is who asked for it.
func audited(action string, serve adminFunc) adminFunc {
	return func(c *adminCall) error {
		err := serve(c)
		client, _, splitErr := net.SplitHostPort(c.RemoteAddr)
		if splitErr != nil {
			client = "unix"
		}
		fields := append([]zap.Field{zap.String("action", action), zap.String("client_ip", client)}, c.fields...)
		if err != nil {
			fields = append(fields, zap.Error(err))
		}
		c.app.audit.Info("admin_request", fields...)
		return err
	}
}

// user reads whom a request is about: a localpart or a full user ID.
func (c *adminCall) user(name string) (mxid.Localpart, error) {
	if name == "" {
		return "", fmt.Errorf("%w: which user? localpart is missing", auth.ErrInvalid)
	}
	l, err := mxid.Resolve(name, c.engine.server)
	if errors.Is(err, mxid.ErrForeign) {
		return "", fmt.Errorf("%w: %q is a user of another server than %s", auth.ErrInvalid, name, c.engine.server)
	}
	if err != nil {
		return "", fmt.Errorf("%w: %q cannot be a user's name: it may hold a-z, 0-9 and . _ = - / +", auth.ErrInvalid, name)
	}
	if id, err := mxid.NewUserID(l, c.engine.server); err == nil {
		c.note(zap.String("user_id", string(id)))
	}
	return l, nil
}

// maxAdminBody bounds a request's body in bytes.
const maxAdminBody = 64 << 10

// readBody decodes a request's body strictly as one object: no unknown and no doubled member. An empty body is an empty
// object. No error quotes the body, which may hold a password.
func (c *adminCall) readBody(v any) error {
	b, err := io.ReadAll(http.MaxBytesReader(c.w, c.Body, maxAdminBody))
	if err != nil {
		return fmt.Errorf("%w: the body has more than %d bytes, or has broken off", auth.ErrInvalid, maxAdminBody)
	}
	if b = bytes.TrimSpace(b); len(b) == 0 {
		return nil
	}
	if jsontext.Value(b).Kind() != '{' {
		return fmt.Errorf("%w: the body is not a JSON object", auth.ErrInvalid)
	}
	err = json.Unmarshal(b, v, json.RejectUnknownMembers(true))
	se, semantic := errors.AsType[*json.SemanticError](err)
	switch {
	case err == nil:
		return nil
	case semantic && errors.Is(err, json.ErrUnknownName):
		return fmt.Errorf("%w: the body has a member that does not exist: %.100s", auth.ErrInvalid, se.JSONPointer)
	case semantic:
		return fmt.Errorf("%w: the body has a member of the wrong type: %.100s", auth.ErrInvalid, se.JSONPointer)
	}
	return fmt.Errorf("%w: the body is not valid JSON", auth.ErrInvalid)
}

// adminError gives an error of a use case its status and its text for people.
func adminError(err error) error {
	if err == nil {
		return nil
	}
	if _, ok := errors.AsType[caddy.APIError](err); ok {
		return err
	}
	for _, m := range [...]struct {
		is     error
		status int
	}{
		{auth.ErrInvalid, http.StatusBadRequest},
		{auth.ErrNotFound, http.StatusNotFound},
		{auth.ErrConflict, http.StatusConflict},
		{auth.ErrUserLocked, http.StatusConflict},
		{auth.ErrUnavailable, http.StatusServiceUnavailable},
		{auth.ErrHomeserver, http.StatusServiceUnavailable},
		{store.ErrUnavailable, http.StatusServiceUnavailable},
	} {
		if errors.Is(err, m.is) {
			return caddy.APIError{HTTPStatus: m.status, Err: err, Message: plainText(err, m.is)}
		}
	}
	return caddy.APIError{HTTPStatus: http.StatusInternalServerError, Err: err, Message: "internal error, see Caddy's log"}
}

// plainText is an error's text without the name of its class.
func plainText(err, class error) string {
	if class == auth.ErrUserLocked {
		return "the user is locked"
	}
	text := strings.ReplaceAll(err.Error(), "\n", ": ") // joined errors have one line each
	for _, name := range []string{class.Error(), auth.ErrConflict.Error()} {
		text = strings.TrimPrefix(text, name+": ")
	}
	return text
}

// refusal is an error with a status, whose text is for people.
func refusal(status int, err error) error { return caddy.APIError{HTTPStatus: status, Err: err} }

// writeJSON answers with one object.
func (c *adminCall) writeJSON(v any) error {
	line, err := encodeLine(v)
	if err != nil {
		return err
	}
	c.w.Header().Set("Content-Type", "application/json")
	c.w.Header().Set("Cache-Control", "no-store")
	_, _ = c.w.Write(line) // the client is gone
	return nil
}

// encodeLine encodes a value as a line. What came from a client may not be valid UTF-8.
func encodeLine(v any) ([]byte, error) {
	b, err := json.Marshal(v, jsontext.AllowInvalidUTF8(true))
	return append(b, '\n'), err
}

// writeLines answers with one object per line, written as they are read. Trouble on the way, when the status is out, becomes
// a last line with an error.
func writeLines[T any](c *adminCall, items iter.Seq2[T, error], wire func(*T) any) error {
	c.w.Header().Set("Content-Type", "application/x-ndjson")
	c.w.Header().Set("Cache-Control", "no-store")
	begun := false
	for item, err := range items {
		var line []byte
		if err == nil {
			line, err = encodeLine(wire(&item))
		}
		if err != nil && !begun {
			return err
		}
		if err != nil {
			c.app.log.Error("reading a list", zap.Error(err))
			line, _ = encodeLine(errorJSON{Error: "the list is not complete, see Caddy's log"})
			_, _ = c.w.Write(line)
			return nil
		}
		if _, err := c.w.Write(line); err != nil {
			return nil // the client is gone
		}
		begun = true
	}
	return nil
}

// Interface guard.
var _ caddy.AdminRouter = adminAPI{}
