package browser

import (
	"net/http"
	"strings"
)

// Page says what a page may do beyond showing itself.
type Page struct {
	// RedirectURI is where a form of the page may lead in the end: its scheme is allowed. The host is not compared, because
	// browsers apply form-action to every redirect after a post, clients redirect on, and not every host can be written there
	// (CSP Level 3 §6.4.2, MAS#1865).
	RedirectURI string
	// Script: the page runs the script that we serve.
	Script bool
}

// SetHeaders sets the security headers of a page (RFC 9700 §4.16, CSP Level 3).
func (p Page) SetHeaders(h http.Header) {
	h.Set("Content-Security-Policy", p.policy())
	h.Set("X-Frame-Options", "DENY")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Referrer-Policy", "same-origin") // With no-referrer, browsers send our own forms with Origin: null.
	h.Set("Cache-Control", "no-store")
}

func (p Page) policy() string {
	var b strings.Builder
	b.WriteString("default-src 'none'; style-src 'self'; img-src 'self'; base-uri 'none'; frame-ancestors 'none'")
	if p.Script {
		b.WriteString("; script-src 'self'")
	}
	b.WriteString("; form-action 'self'")
	if scheme := schemeOf(p.RedirectURI); scheme != "" {
		b.WriteString(" " + scheme + ":")
	}
	return b.String()
}

// schemeOf is the scheme of a URI (RFC 3986 §3.1), or nothing.
func schemeOf(uri string) string {
	scheme, _, found := strings.Cut(uri, ":")
	if !found || scheme == "" {
		return ""
	}
	for i := range len(scheme) {
		c := scheme[i] | 0x20
		letter := 'a' <= c && c <= 'z'
		if !letter && (i == 0 || !strings.ContainsRune("0123456789+-.", rune(scheme[i]))) {
			return ""
		}
	}
	return strings.ToLower(scheme)
}
