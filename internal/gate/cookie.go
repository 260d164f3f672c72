package gate

import (
	"net/http"
	"strings"
)

// dropCookies removes our cookies from a request for the homeserver. What is left stays byte for byte.
func dropCookies(h http.Header) {
	for _, v := range h["Cookie"] {
		if strings.Contains(v, "matrix_auth_") {
			filterCookies(h)
			return
		}
	}
}

func filterCookies(h http.Header) {
	var kept []string
	for _, v := range h["Cookie"] {
		if v = withoutOurs(v); v != "" {
			kept = append(kept, v)
		}
	}
	if kept == nil {
		delete(h, "Cookie")
		return
	}
	h["Cookie"] = kept
}

func withoutOurs(value string) string {
	var kept []string
	dropped := false
	for pair := range strings.SplitSeq(value, ";") {
		name, _, _ := strings.Cut(pair, "=")
		if isOurCookie(strings.TrimSpace(name)) {
			dropped = true
			continue
		}
		kept = append(kept, pair)
	}
	if !dropped {
		return value
	}
	return strings.TrimLeft(strings.Join(kept, ";"), " ")
}

func isOurCookie(name string) bool {
	return strings.HasPrefix(name, "__Host-matrix_auth_") || name == "matrix_auth_browser" || name == "matrix_auth_session"
}
