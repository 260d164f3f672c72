package matrixerr

import "net/http"

// preflightMaxAge is how long a browser may remember a preflight: an hour, in seconds. Without it each login is two requests.
const preflightMaxAge = "3600"

// CORS sets the headers of Matrix CS §web-browser-clients as Synapse sets them, and exposes Retry-After besides. It replaces what
// is there, so that each appears once, and never allows credentials.
func CORS(h http.Header) {
	h.Set("Access-Control-Allow-Origin", "*")
	h.Set("Access-Control-Allow-Methods", "GET, HEAD, POST, PUT, DELETE, OPTIONS")
	h.Set("Access-Control-Allow-Headers", "X-Requested-With, Content-Type, Authorization, Date")
	h.Set("Access-Control-Expose-Headers", "Synapse-Trace-Id, Server, Retry-After")
}

// Preflight answers OPTIONS on any path of the API without looking at the request (Matrix CS §web-browser-clients).
func Preflight(w http.ResponseWriter) {
	h := w.Header()
	CORS(h)
	h.Set("Access-Control-Max-Age", preflightMaxAge)
	w.WriteHeader(http.StatusNoContent)
}
