package caddymodule

import (
	"maps"
	"net/http"
	"slices"

	"github.com/caddy-matrix/caddy-matrix-auth/internal/auth"
	"github.com/caddy-matrix/caddy-matrix-auth/internal/route"
)

// signInPage answers a request for the page to sign in at, without Caddy around it. It changes nothing.
func (a *App) signInPage(r *http.Request) (status int, header http.Header) {
	w := &headerWriter{header: make(http.Header)}
	a.serve.pages.ServeEndpoint(w, r, route.SignInPage)
	return w.status, w.header
}

// headerWriter keeps an answer's status and header.
type headerWriter struct {
	status int
	header http.Header
}

// Header implements http.ResponseWriter.
func (w *headerWriter) Header() http.Header { return w.header }

// WriteHeader implements http.ResponseWriter.
func (w *headerWriter) WriteHeader(status int) {
	if w.status == 0 {
		w.status = status
	}
}

// Write implements http.ResponseWriter.
func (w *headerWriter) Write(b []byte) (int, error) {
	w.WriteHeader(http.StatusOK)
	return len(b), nil
}

// signingKeyIDs are the keys that sign now. Trouble with them is in the log, and for the doctor there are none.
func signingKeyIDs(k auth.Keys, err error) []string {
	if err != nil {
		return nil
	}
	var ids []string
	for _, alg := range slices.Sorted(maps.Keys(k.Signing)) {
		ids = append(ids, k.Signing[alg].ID)
	}
	return ids
}
