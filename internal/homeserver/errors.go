package homeserver

import (
	"fmt"
	"mime"
	"net/http"
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// Kind is a class of failures.
type Kind uint8

// The kinds. Those up to KindUnauthorized say nothing about the user that the call was for.
const (
	KindConnection   Kind = iota + 1 // no connection, or it broke
	KindTimeout                      // no answer in time
	KindBroken                       // 500 or more
	KindGarbage                      // not an answer of Synapse's: a redirect, HTML, bad JSON, too long
	KindUndelegated                  // the path is not there: delegation is off, or the URL leads elsewhere
	KindUnauthorized                 // the shared secrets differ
	KindNotFound                     // no such user or device
	KindConflict                     // the name is taken, malformed or reserved
	KindRefused                      // any other refusal
)

// Error is a call that failed. It never holds the shared secret.
type Error struct {
	Op      string // of the API: provision_user, upsert_device, …
	Kind    Kind
	Status  int    // HTTP status; 0: no answer
	Errcode string // Matrix error code, if the answer had one
	Message string // Synapse's own words, shortened; for operators
	cause   error
}

// Unreachable reports that there was no sensible answer, so that the call should be made again later.
//
// A wrong secret counts as that: it says nothing about the user, everything works again as soon as the operator has mended
// it, and until then a login has to fail as during an outage (503) rather than as refused, and a job has to be kept. So
// does a Synapse without delegation. Unauthorized and Reason tell the operator the difference.
func (e *Error) Unreachable() bool { return e.Kind <= KindUnauthorized }

// NotFound reports that Synapse has no such user (or, for update_device_display_name, no such device).
func (e *Error) NotFound() bool { return e.Kind == KindNotFound }

// Conflict reports that a user of that name cannot be made: taken, malformed, or reserved for an application service.
func (e *Error) Conflict() bool { return e.Kind == KindConflict }

// Taken reports that there is a user of that name, so that it can be taken over.
func (e *Error) Taken() bool { return e.Kind == KindConflict && e.Errcode == "M_USER_IN_USE" }

// Unauthorized reports that Synapse does not accept the shared secret.
func (e *Error) Unauthorized() bool { return e.Kind == KindUnauthorized }

// Unwrap returns what broke the connection, if that is what happened.
func (e *Error) Unwrap() error { return e.cause }

// Error implements error.
func (e *Error) Error() string { return "synapse " + e.Op + ": " + e.Reason() }

// Reason says in words what went wrong and, where there is one, what to do about it. It is for operators.
func (e *Error) Reason() string {
	switch e.Kind {
	case KindConnection:
		return fmt.Sprintf("no connection: %v", e.cause)
	case KindTimeout:
		return "no answer in time"
	case KindBroken:
		return fmt.Sprintf("answer %s, look into the log of synapse or of the proxy before it", e.answer())
	case KindGarbage:
		return fmt.Sprintf("answer %d is not one of synapse's: does the URL lead to synapse itself, without a redirect or an error page between?", e.Status)
	case KindUndelegated:
		return fmt.Sprintf("answer %d, the path /_synapse/mas/%s is not there: matrix_authentication_service is not enabled in"+
			" homeserver.yaml (or synapse has not been restarted since), synapse is older than 1.136, or the URL leads elsewhere", e.Status, e.Op)
	case KindUnauthorized:
		return fmt.Sprintf("answer %d, the shared secrets differ: matrix_authentication_service.secret in homeserver.yaml is"+
			" not the secret configured here", e.Status)
	case KindNotFound:
		return "not found at synapse: " + e.answer()
	case KindConflict:
		return "the name cannot be used: " + e.answer()
	}
	if e.cause != nil {
		return e.cause.Error()
	}
	return "refused: " + e.answer()
}

// answer is the answer in short: `400 M_USER_IN_USE "…"`.
func (e *Error) answer() string {
	s := fmt.Sprint(e.Status)
	if e.Errcode != "" {
		s += " " + e.Errcode
	}
	if e.Message != "" {
		s += fmt.Sprintf(" %q", e.Message)
	}
	return s
}

// retryable reports whether the same request may succeed in a moment: the connection failed, or a proxy had no Synapse.
func (e *Error) retryable() bool {
	switch e.Status {
	case http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		return true
	}
	return e.Kind == KindConnection
}

// matrixError is the body of a refusal (Matrix CS §standard error response).
type matrixError struct {
	Errcode string `json:"errcode"`
	Error   string `json:"error"`
}

// classify makes an error of an answer that is not what was asked for, and decodes one that is.
func (c *Client) classify(r request, resp *http.Response, body []byte) *Error {
	e := &Error{Op: r.op, Status: resp.StatusCode}
	isJSON := len(body) <= maxBody && isJSON(resp.Header)
	switch {
	case resp.StatusCode == http.StatusNoContent:
		return nil
	case resp.StatusCode == http.StatusOK || resp.StatusCode == http.StatusCreated:
		if isJSON && decode(body, r.answer) {
			return nil
		}
		e.Kind = KindGarbage
		return e
	}
	var m matrixError
	if isJSON && json.Unmarshal(body, &m) == nil {
		e.Errcode, e.Message = c.redact(m.Errcode), c.redact(m.Error)
	}
	e.Kind = kindOf(resp.StatusCode, m)
	return e
}

// kindOf classes a refusal. One without a Matrix error code did not come from a servlet of Synapse's.
func kindOf(status int, m matrixError) Kind {
	switch {
	case status >= 500:
		return KindBroken
	case status == http.StatusUnauthorized:
		return KindUnauthorized
	case status == http.StatusForbidden && strings.Contains(m.Error, "must only be called by MAS"): // Synapse mas/_base.py
		return KindUnauthorized
	case status == http.StatusNotFound && m.Errcode == "M_NOT_FOUND":
		return KindNotFound
	case status == http.StatusNotFound, status == http.StatusMethodNotAllowed:
		return KindUndelegated
	case m.Errcode == "" || status < 400:
		return KindGarbage
	case m.Errcode == "M_USER_IN_USE", m.Errcode == "M_INVALID_USERNAME", m.Errcode == "M_EXCLUSIVE":
		return KindConflict
	}
	return KindRefused
}

func isJSON(h http.Header) bool {
	mediaType, _, err := mime.ParseMediaType(h.Get("Content-Type"))
	return err == nil && mediaType == "application/json"
}

// decode decodes a JSON object into a, or only checks that it is one.
func decode(body []byte, a answer) bool {
	if a == nil {
		var object map[string]jsontext.Value
		return json.Unmarshal(body, &object) == nil && object != nil
	}
	return json.Unmarshal(body, a) == nil && a.complete()
}
