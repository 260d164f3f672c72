package gate

import (
	"net/http"
	"net/netip"
	"strings"

	"github.com/caddy-matrix/caddy-matrix-auth/internal/token"
)

// clean makes sure that the homeserver finds no other token in a request than token.FromRequest did, and nothing that was meant for
// us.
func clean(r *http.Request, addr netip.Addr) *http.Request {
	keepAuthorization(r.Header)
	hideForm(r)
	dropCookies(r.Header)
	return forwardedFor(r, addr)
}

// canonical makes an active token the one Authorization header and removes it from the query.
func canonical(r *http.Request, text string, source token.Source) {
	if source == token.Query {
		r.URL.RawQuery = token.StripQuery(r.URL.RawQuery)
		r.RequestURI = r.URL.RequestURI()
	}
	if v := r.Header["Authorization"]; len(v) != 1 || !isBearer(v[0], text) {
		r.Header["Authorization"] = []string{"Bearer " + text}
	}
}

// isBearer reports whether value is "Bearer " + text.
func isBearer(value, text string) bool {
	credentials, ok := strings.CutPrefix(value, "Bearer ")
	return ok && credentials == text
}

// keepAuthorization removes Authorization from the names that a proxy drops for Connection (RFC 9110 §7.6.1): without that header
// Synapse would read a token from somewhere else. Proxy-Connection is honoured in the same way by some.
func keepAuthorization(h http.Header) {
	for _, field := range [...]string{"Connection", "Proxy-Connection"} {
		if values := h[field]; namesAuthorization(values) {
			withoutAuthorization(h, field, values)
		}
	}
}

func namesAuthorization(values []string) bool {
	for _, v := range values {
		if containsFold(v, "authorization") {
			return true
		}
	}
	return false
}

func withoutAuthorization(h http.Header, field string, values []string) {
	var kept []string
	for _, v := range values {
		for name := range strings.SplitSeq(v, ",") {
			if name = strings.TrimSpace(name); name != "" && !strings.EqualFold(name, "authorization") {
				kept = append(kept, name)
			}
		}
	}
	if kept == nil {
		delete(h, field)
		return
	}
	h[field] = []string{strings.Join(kept, ", ")}
}

// hideForm gives a form another type, because Twisted merges the arguments of a form that is POSTed into those of the query, over
// them (Twisted http.py, requestReceived). Synapse takes JSON whatever its type; an upload keeps the type it is sent with, so there
// it becomes plain bytes. Of several Content-Type headers Twisted reads the first.
func hideForm(r *http.Request) {
	types := r.Header["Content-Type"]
	if len(types) == 0 {
		return
	}
	if len(types) > 1 {
		r.Header["Content-Type"] = types[:1:1]
	}
	if !mayBeForm(types[0]) {
		return
	}
	replacement := "application/json"
	if strings.HasPrefix(r.URL.Path, "/_matrix/media/") {
		replacement = "application/octet-stream"
	}
	r.Header["Content-Type"] = []string{replacement}
}

// mayBeForm reports whether Twisted could take a Content-Type for a form. Twisted asks Python's email package, which folds case,
// strips Latin-1's no-break space and decodes encoded words (=?utf-8?q?…?=), so no exact comparison will do: any type that holds the
// word does. Synapse refuses multipart/form-data by itself, but 1.136 only in this very spelling (Synapse http/site.py).
func mayBeForm(contentType string) bool {
	if strings.Contains(contentType, "=?") || containsFold(contentType, "x-www-form-urlencoded") {
		return true
	}
	return containsFold(contentType, "form-data") && !strings.Contains(contentType, "multipart/form-data")
}

// forwardedFor returns a request as if its client were the peer and had sent no X-Forwarded-For, so that a proxy tells the homeserver
// that address and no other: Synapse believes the first entry (Synapse http/site.py), and proxies append to what they got.
func forwardedFor(r *http.Request, addr netip.Addr) *http.Request {
	if !addr.IsValid() {
		return r
	}
	delete(r.Header, "X-Forwarded-For")
	if peer, err := netip.ParseAddrPort(r.RemoteAddr); err == nil && peer.Addr().Unmap() == addr.Unmap() {
		return r
	}
	r2 := r.WithContext(r.Context())
	r2.RemoteAddr = netip.AddrPortFrom(addr.Unmap(), 0).String()
	return r2
}

// containsFold is strings.Contains without regard to the case of ASCII letters. The second argument is lower case.
func containsFold(s, lower string) bool {
	for i := 0; i+len(lower) <= len(s); i++ {
		if strings.EqualFold(s[i:i+len(lower)], lower) {
			return true
		}
	}
	return false
}
