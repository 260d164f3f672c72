package browser

import (
	"net/http"
	"net/url"
	"strings"
)

// Origin is where our pages live: the issuer's scheme and host.
type Origin struct{ scheme, host string }

// NewOrigin returns the origin of an issuer.
func NewOrigin(issuer *url.URL) Origin {
	scheme := strings.ToLower(issuer.Scheme)
	return Origin{scheme, withoutPort(scheme, issuer.Host)}
}

// String is the origin as browsers write it (RFC 6454 §6.2).
func (o Origin) String() string { return o.scheme + "://" + o.host }

func (o Origin) is(origin string) bool {
	scheme, host, found := strings.Cut(origin, "://")
	return found && scheme == o.scheme && withoutPort(scheme, host) == o.host
}

// Here reports whether a request was sent to the issuer's host. Pages and the authorization endpoint answer nowhere else: what
// they say and set must belong to one origin.
func (o Origin) Here(r *http.Request) bool { return withoutPort(o.scheme, r.Host) == o.host }

// Redirect answers a request that was sent to another host: GET goes on to the same page at the issuer's, anything else finds
// nothing.
func (o Origin) Redirect(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Cache-Control", "no-store")
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		w.WriteHeader(http.StatusNotFound)
		return
	}
	target := o.String() + "/" + strings.TrimPrefix(r.URL.EscapedPath(), "/")
	if r.URL.RawQuery != "" {
		target += "?" + r.URL.RawQuery
	}
	w.Header().Set("Location", target)
	w.WriteHeader(http.StatusSeeOther)
}

// withoutPort folds a host's case and drops the port that its scheme implies.
func withoutPort(scheme, host string) string {
	host = strings.ToLower(host)
	switch scheme {
	case "https":
		return strings.TrimSuffix(host, ":443")
	case "http":
		return strings.TrimSuffix(host, ":80")
	}
	return host
}
