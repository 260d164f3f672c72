package oidcprovider

import (
	"encoding/base32"
	"io"
	"net/http"
	"strings"

	"go.uber.org/zap"

	"github.com/caddy-matrix/caddy-matrix-auth/internal/auth"
)

// Problem is why an authorization request goes no further, for the page that says so. Nothing of the request is in it.
type Problem struct {
	Status    int
	Kind      ProblemKind
	Reference string // names a line of the log; empty if the log was spared one
}

// ProblemKind is one of a closed set.
type ProblemKind string

// The kinds that a request to the authorization endpoint can have.
const (
	UnknownClient   ProblemKind = "unknown_client"
	BadRedirect     ProblemKind = "bad_redirect"
	BadRequest      ProblemKind = "bad_request"
	TooManyRequests ProblemKind = "too_many_requests"
	Unavailable     ProblemKind = "unavailable"
)

// showProblem shows the page, and notes what a developer or an operator needs to find the cause.
func (o *OAuth) showProblem(w http.ResponseWriter, r *http.Request, p Problem, from auth.From, fields ...zap.Field) {
	if line := o.Log.Check(zap.InfoLevel, "an authorization request goes no further"); line != nil {
		var random [5]byte
		if _, err := io.ReadFull(o.Rand, random[:]); err == nil {
			p.Reference = base32.StdEncoding.EncodeToString(random[:])
		}
		line.Write(append(fields,
			zap.String("kind", string(p.Kind)), zap.String("reference", p.Reference), zap.Stringer("addr", from.Addr))...)
	}
	noStore(w.Header())
	o.ErrorPage(w, r, p)
}

// logged cuts a text that a client sent to what belongs into a log: never a query, which may hold secrets.
func logged(s string) string {
	s, _, _ = strings.Cut(s, "?")
	return s[:min(len(s), 128)]
}
