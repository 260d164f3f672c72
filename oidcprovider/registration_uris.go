package oidcprovider

import (
	"net/netip"
	"net/url"
	"slices"
	"strings"

	"golang.org/x/net/publicsuffix"

	"github.com/caddy-matrix/caddy-matrix-auth/internal/auth"
)

// Bounds of addresses.
const (
	maxRedirects = 10
	maxURI       = 2048 // bytes
)

// checkURIs checks the client's own addresses (Matrix CS §client-metadata): https, and all at the host of client_uri or below.
func checkURIs(m *clientMetadata) error {
	host, ok := webHost(m.URI)
	switch {
	case m.URI == "":
		return badMetadata("client_uri is missing")
	case !ok:
		return badMetadata("client_uri has to be an https address without user, fragment and odd characters")
	case isPublicSuffix(host):
		return badMetadata("the host of client_uri is a public suffix")
	}
	for _, uri := range []string{m.LogoURI, m.TOSURI, m.PolicyURI} {
		if uri == "" {
			continue
		}
		if err := checkRelated(m.URI, uri); err != nil {
			return err
		}
	}
	return nil
}

// checkRelated checks an address that has to belong to the client's host.
func checkRelated(clientURI, uri string) error {
	client, _ := webHost(clientURI)
	host, ok := webHost(uri)
	if !ok || !isSameOrBelow(host, client) {
		return badMetadata("logo_uri, tos_uri and policy_uri have to be https addresses at the host of client_uri or below")
	}
	return nil
}

// webHost is the host of an https address, in lower case. It is not ok for an address that two programs could read in two
// ways.
func webHost(uri string) (host string, ok bool) {
	u, ok := plainURI(uri)
	if !ok || !strings.EqualFold(u.Scheme, "https") || u.Opaque != "" || !isHost(u) {
		return "", false
	}
	return strings.ToLower(u.Hostname()), true
}

// plainURI parses an absolute URI of visible ASCII without user, fragment and backslash (RFC 3986; browsers take a backslash for
// a slash).
func plainURI(uri string) (*url.URL, bool) {
	if uri == "" || len(uri) > maxURI {
		return nil, false
	}
	for i := range len(uri) {
		if c := uri[i]; c <= ' ' || c > '~' || strings.IndexByte(`\#"<>^{|}`+"`", c) >= 0 {
			return nil, false
		}
	}
	u, err := url.Parse(uri)
	if err != nil || u.Scheme == "" || u.User != nil || strings.Contains(authority(uri), "@") {
		return nil, false
	}
	return u, true
}

// authority is the part between // and what follows (RFC 3986 §3.2).
func authority(uri string) string {
	_, after, found := strings.Cut(uri, "://")
	if !found {
		return ""
	}
	if i := strings.IndexAny(after, "/?#"); i >= 0 {
		after = after[:i]
	}
	return after
}

// isHost reports whether the URL has a host in its usual form: a name of letters, digits, hyphens and dots, or an address, and
// perhaps a port.
func isHost(u *url.URL) bool {
	host := u.Hostname()
	if strings.HasSuffix(u.Host, ":") || host == "" || len(host) > 253 {
		return false
	}
	if strings.HasPrefix(u.Host, "[") {
		_, err := netip.ParseAddr(host)
		return err == nil
	}
	for label := range strings.SplitSeq(strings.ToLower(host), ".") {
		if label == "" || len(label) > 63 || strings.Trim(label, "abcdefghijklmnopqrstuvwxyz0123456789-_") != "" {
			return false
		}
	}
	return true
}

// isPublicSuffix reports whether strangers share the host (publicsuffix.org).
func isPublicSuffix(host string) bool {
	if _, err := netip.ParseAddr(host); err == nil {
		return false
	}
	suffix, _ := publicsuffix.PublicSuffix(host)
	return suffix == host
}

// isSameOrBelow reports whether a host is another or a subdomain of it.
func isSameOrBelow(host, above string) bool {
	if host == above {
		return true
	}
	_, err := netip.ParseAddr(above)
	return err != nil && strings.HasSuffix(host, "."+above)
}

// checkRedirects checks where the client wants its answers (Matrix CS §redirect-uri-validation).
func checkRedirects(m *clientMetadata) error {
	if len(m.RedirectURIs) == 0 && !slices.Contains(m.GrantTypes, auth.GrantTypeAuthorizationCode) {
		m.RedirectURIs = nil
		return nil
	}
	if len(m.RedirectURIs) == 0 {
		return badRedirect("redirect_uris is missing")
	}
	if len(m.RedirectURIs) > maxRedirects {
		return badRedirect("more than ten redirect_uris")
	}
	client, _ := webHost(m.URI)
	for _, uri := range m.RedirectURIs {
		if !mayRedirect(m.ApplicationType, client, uri) {
			return badRedirect("a redirect URI does not belong to client_uri and application_type")
		}
	}
	slices.Sort(m.RedirectURIs)
	m.RedirectURIs = slices.Compact(m.RedirectURIs)
	return nil
}

// mayRedirect reports whether a client of this kind and host may register a redirect URI.
func mayRedirect(application, client, uri string) bool {
	if host, ok := webHost(uri); ok {
		return isSameOrBelow(host, client)
	}
	if application != applicationNative {
		return false
	}
	if _, rest, ok := auth.CutLoopback(uri); ok {
		_, plain := plainURI(uri)
		return plain && !strings.HasPrefix(rest, ":")
	}
	return isPrivateUse(client, uri)
}

// isPrivateUse reports whether a URI has a scheme that is the client's host backwards, or begins so, and no authority (RFC 8252
// §7.1): com.example.app:/callback for https://example.com.
func isPrivateUse(client, uri string) bool {
	u, ok := plainURI(uri)
	if !ok || !strings.Contains(u.Scheme, ".") {
		return false
	}
	rest := uri[len(u.Scheme)+1:]
	if rest == "" || strings.HasPrefix(rest, "//") {
		return false
	}
	labels := strings.Split(client, ".")
	slices.Reverse(labels)
	backwards := strings.Join(labels, ".")
	scheme := strings.ToLower(u.Scheme)
	return scheme == backwards || strings.HasPrefix(scheme, backwards+".")
}
