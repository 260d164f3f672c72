package matrixerr

import (
	"bytes"
	"net/http"
	"strconv"
	"time"

	"github.com/go-json-experiment/json/jsontext"
)

// Code is a Matrix errcode.
type Code string

// The codes this server answers with (Matrix CS §common-error-codes, §other-error-codes).
const (
	AppserviceLoginUnsupported Code = "M_APPSERVICE_LOGIN_UNSUPPORTED"
	BadJSON                    Code = "M_BAD_JSON"
	Forbidden                  Code = "M_FORBIDDEN"
	InvalidParam               Code = "M_INVALID_PARAM"
	LimitExceeded              Code = "M_LIMIT_EXCEEDED"
	MissingParam               Code = "M_MISSING_PARAM"
	MissingToken               Code = "M_MISSING_TOKEN"
	NotFound                   Code = "M_NOT_FOUND"
	NotJSON                    Code = "M_NOT_JSON"
	TooLarge                   Code = "M_TOO_LARGE"
	Unknown                    Code = "M_UNKNOWN"
	UnknownToken               Code = "M_UNKNOWN_TOKEN"
	Unrecognized               Code = "M_UNRECOGNIZED"
	UserLocked                 Code = "M_USER_LOCKED"
)

// Member is a further member of an error object.
type Member struct {
	name   string
	value  jsontext.Token
	header string // of Retry-After; empty: none
}

// SoftLogout tells a client whose token is refused whether its session lives, so that it keeps its keys (Matrix CS §soft-logout).
func SoftLogout(soft bool) Member {
	return Member{name: "soft_logout", value: jsontext.Bool(soft)}
}

// RetryAfter tells a limited client how long to wait: the header in whole seconds, rounded up, and retry_after_ms, because many
// clients know only that (Matrix CS §rate-limiting).
func RetryAfter(d time.Duration) Member {
	d = max(d, time.Millisecond)
	return Member{
		name:   "retry_after_ms",
		value:  jsontext.Int((d + time.Millisecond - 1).Milliseconds()),
		header: strconv.FormatInt(int64((d+time.Second-1)/time.Second), 10),
	}
}

// Write answers a request with an error. The message is for people and must hold nothing internal.
func Write(w http.ResponseWriter, r *http.Request, status int, code Code, message string, extra ...Member) {
	h := w.Header()
	for _, m := range extra {
		if m.header != "" {
			h.Set("Retry-After", m.header)
		}
	}
	WriteJSON(w, r, status, "no-store", body(code, message, extra))
}

// WriteJSON answers with an encoded JSON object and the headers every reply of the API has. It sets Cache-Control as given.
func WriteJSON(w http.ResponseWriter, r *http.Request, status int, cacheControl string, object []byte) {
	h := w.Header()
	CORS(h)
	h.Set("Content-Type", "application/json")
	h.Set("Content-Length", strconv.Itoa(len(object)))
	h.Set("Cache-Control", cacheControl)
	w.WriteHeader(status)
	if r.Method != http.MethodHead {
		_, _ = w.Write(object) // The client is gone if this fails.
	}
}

// body encodes an error object.
func body(code Code, message string, extra []Member) []byte {
	var b bytes.Buffer
	e := jsontext.NewEncoder(&b, jsontext.AllowInvalidUTF8(true))
	tokens := []jsontext.Token{
		jsontext.BeginObject,
		jsontext.String("errcode"), jsontext.String(string(code)),
		jsontext.String("error"), jsontext.String(message),
	}
	for _, m := range extra {
		tokens = append(tokens, jsontext.String(m.name), m.value)
	}
	for _, t := range append(tokens, jsontext.EndObject) {
		_ = e.WriteToken(t) // A buffer takes everything, and the tokens are in order.
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n"))
}

// NotRecognized answers for a path that this server does not know: 404 M_UNRECOGNIZED, which is how clients tell a missing
// endpoint from a missing thing (Matrix CS §api-standards).
func NotRecognized(w http.ResponseWriter, r *http.Request) {
	Write(w, r, http.StatusNotFound, Unrecognized, "Unrecognized request")
}

// WrongMethod answers for a known path and a method it has not: 405 M_UNRECOGNIZED (Matrix CS §api-standards). Allow lists the
// methods it has: "GET, POST".
func WrongMethod(w http.ResponseWriter, r *http.Request, allow string) {
	w.Header().Set("Allow", allow)
	Write(w, r, http.StatusMethodNotAllowed, Unrecognized, "Method not allowed")
}

// RefreshTrouble answers a refresh that could not be decided: 503 without a body. Anything with an errcode, and a 429, is a
// logout for some client; an empty 503 with Retry-After is a retry for all of them.
func RefreshTrouble(w http.ResponseWriter) {
	w.Header().Set("Retry-After", "2")
	NoBody(w, http.StatusServiceUnavailable)
}

// NoBody answers with a status alone, where an error object would be taken for a verdict.
func NoBody(w http.ResponseWriter, status int) {
	h := w.Header()
	CORS(h)
	h.Del("Content-Type")
	h.Set("Content-Length", "0")
	h.Set("Cache-Control", "no-store")
	w.WriteHeader(status)
}
