package caddymodule

import (
	"net/http"

	"github.com/caddy-matrix/caddy-matrix-auth/internal/matrixerr"
)

// serveHealth answers GET /health: 200 while everything works, 503 while nothing can be written.
func (e *engine) serveHealth(w http.ResponseWriter, r *http.Request) {
	switch {
	case r.Method != http.MethodGet && r.Method != http.MethodHead:
		matrixerr.WrongMethod(w, r, "GET, HEAD")
	case e.db.Health().Writable:
		matrixerr.WriteJSON(w, r, http.StatusOK, "no-store", []byte(`{"status":"ok"}`))
	default:
		matrixerr.WriteJSON(w, r, http.StatusServiceUnavailable, "no-store", []byte(`{"status":"read_only"}`))
	}
}
