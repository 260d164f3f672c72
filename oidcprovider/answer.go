package oidcprovider

import (
	"bytes"
	"net/http"
	"strconv"
	"strings"

	"github.com/go-json-experiment/json"

	"github.com/caddy-matrix/caddy-matrix-auth/internal/matrixerr"
)

// answer is a response that is held back until the guard has seen the whole of it. Answers are small.
type answer struct {
	header http.Header
	status int
	body   bytes.Buffer
}

func newAnswer() *answer { return &answer{header: make(http.Header)} }

// Header implements http.ResponseWriter.
func (a *answer) Header() http.Header { return a.header }

// WriteHeader implements http.ResponseWriter.
func (a *answer) WriteHeader(status int) {
	if a.status == 0 {
		a.status = status
	}
}

// Write implements http.ResponseWriter.
func (a *answer) Write(b []byte) (int, error) {
	a.WriteHeader(http.StatusOK)
	return a.body.Write(b)
}

// fail replaces whatever is there.
func (a *answer) fail(status int, code, description string) {
	a.header, a.status = make(http.Header), status
	a.body.Reset()
	a.body.Write(errorBody(code, description))
}

// oauthFailure is an error object (RFC 6749 §5.2).
type oauthFailure struct {
	Code        string `json:"error"`
	Description string `json:"error_description,omitempty"`
}

func errorBody(code, description string) []byte {
	b, _ := json.Marshal(oauthFailure{code, printable(description)}) // Two strings of ASCII.
	return b
}

// printable keeps what an error description may hold (RFC 6749 §5.2), and not much of it: the library puts into it what a client
// sent.
func printable(s string) string {
	const most = 200
	s = strings.Map(func(r rune) rune {
		switch {
		case r == '"':
			return '\''
		case r < 0x20 || r > 0x7e || r == '\\' || r == '<' || r == '>':
			return '?'
		}
		return r
	}, s)
	return s[:min(len(s), most)]
}

// settle brings an error of the library into its final form: its text within the alphabet, `state` not in it, and
// `invalid_client` as 401 where the library says 400 (RFC 6749 §5.2).
func (a *answer) settle() {
	if a.status < 400 || a.status >= 500 {
		return
	}
	var e oauthFailure
	if json.Unmarshal(a.body.Bytes(), &e) != nil || e.Code == "" {
		e = oauthFailure{Code: errInvalidRequest}
	}
	status, header := a.status, a.header
	if e.Code == errInvalidClient {
		status = http.StatusUnauthorized
	}
	a.fail(status, e.Code, e.Description)
	for _, kept := range []string{"Www-Authenticate", "Allow", "Retry-After"} {
		if v := header.Get(kept); v != "" {
			a.header.Set(kept, v)
		}
	}
}

// send writes the answer out.
func (a *answer) send(w http.ResponseWriter, cors bool) {
	h := w.Header()
	for name, values := range a.header {
		h[name] = values
	}
	if cors {
		matrixerr.CORS(h)
	}
	noStore(h)
	h.Set("Content-Type", "application/json")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Content-Length", strconv.Itoa(a.body.Len()))
	w.WriteHeader(a.status)
	w.Write(a.body.Bytes()) //nolint:errcheck // The client is gone: nobody is left to tell.
}

// trouble answers where nothing was decided: an empty body, because any JSON is a logout for some client.
func trouble(w http.ResponseWriter, cors bool) {
	w.Header().Set("Retry-After", "2")
	empty(w, http.StatusServiceUnavailable, cors)
}

// empty answers with a status alone.
func empty(w http.ResponseWriter, status int, cors bool) {
	h := w.Header()
	if cors {
		matrixerr.CORS(h)
	}
	noStore(h)
	h.Set("Content-Length", "0")
	w.WriteHeader(status)
}

// noStore keeps an answer out of every cache (RFC 6749 §5.1).
func noStore(h http.Header) {
	h.Set("Cache-Control", "no-store")
	h.Set("Pragma", "no-cache")
}
