package oidcprovider

import (
	"errors"
	"io"
	"mime"
	"net/http"
	"net/url"
	"strings"
)

// maxRegistration is the most bytes of a client's metadata.
const maxRegistration = 8 << 10

// readForm reads a form. Parameters in the address do not count (RFC 6749 §3.2).
func readForm(r *http.Request) (*http.Request, *refusal) {
	if mediaType(r) != "application/x-www-form-urlencoded" {
		return nil, &refusal{http.StatusBadRequest, errInvalidRequest, "the body has to be application/x-www-form-urlencoded"}
	}
	body, bad := readBody(r, maxBody, errInvalidRequest)
	if bad != nil {
		return nil, bad
	}
	p, err := parseParams(string(body))
	if err != nil {
		return nil, &refusal{http.StatusBadRequest, errInvalidRequest, "the body is not a form"}
	}
	if fault := p.fault(); fault != "" {
		return nil, &refusal{http.StatusBadRequest, errInvalidRequest, fault}
	}
	return withForm(r, p.Values), nil
}

// withForm is a request whose parameters have been read.
func withForm(r *http.Request, form url.Values) *http.Request {
	in := r.Clone(r.Context())
	in.URL.RawQuery, in.Body = "", http.NoBody
	in.Form, in.PostForm = form, form
	return in
}

// readRevocation keeps of a revocation what counts: the token. Who asks does not, and whatever is said about it is overlooked:
// who holds a token may end it (RFC 7009 §5, MSC4254). The library wants a client, so it gets a name that is nobody's.
func readRevocation(r *http.Request) (*http.Request, *refusal) {
	in, bad := readForm(r)
	if bad != nil {
		return nil, bad
	}
	form := url.Values{"client_id": {anybody}}
	if t := in.Form.Get("token"); t != "" {
		form.Set("token", t)
	}
	in.Form, in.PostForm = form, form
	in.Header.Del("Authorization")
	return in, nil
}

const anybody = "-"

// readUserInfo reads a request for claims: its token is in the Authorization header, or in the form of a POST (RFC 6750 §2.1,
// §2.2). In the address it would be logged.
func readUserInfo(r *http.Request) (*http.Request, *refusal) {
	in := withForm(r, url.Values{})
	if r.Method == http.MethodPost && (r.ContentLength != 0 || r.Header.Get("Content-Type") != "") {
		var bad *refusal
		if in, bad = readForm(r); bad != nil {
			return nil, bad
		}
	}
	if n := len(r.Header["Authorization"]); n > 1 || n == 1 && in.Form.Has("access_token") {
		return nil, &refusal{http.StatusBadRequest, errInvalidRequest, "more than one access token"}
	}
	return in, nil
}

// readJSON reads a JSON body.
func readJSON(r *http.Request) (*http.Request, *refusal) {
	if mediaType(r) != "application/json" {
		return nil, &refusal{http.StatusBadRequest, errInvalidClientMetadata, "the body has to be application/json"}
	}
	body, bad := readBody(r, maxRegistration, errInvalidClientMetadata)
	if bad != nil {
		return nil, bad
	}
	in := withForm(r, nil)
	in.Body = io.NopCloser(strings.NewReader(string(body)))
	return in, nil
}

// mediaType is the type of a body without its parameters.
func mediaType(r *http.Request) string {
	t, _, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if err != nil && !errors.Is(err, mime.ErrInvalidMediaParameter) {
		return ""
	}
	return t
}

// readBody reads a body of at most so many bytes.
func readBody(r *http.Request, most int64, code string) ([]byte, *refusal) {
	tooLong := &refusal{http.StatusRequestEntityTooLarge, code, "the body is too long"}
	if r.ContentLength > most {
		return nil, tooLong
	}
	body, err := io.ReadAll(io.LimitReader(r.Body, most+1))
	switch {
	case err != nil: // The network's fault, perhaps: no verdict.
		return nil, &refusal{status: http.StatusInternalServerError}
	case int64(len(body)) > most:
		return nil, tooLong
	}
	return body, nil
}
