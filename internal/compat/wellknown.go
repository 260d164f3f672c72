package compat

import (
	"net"
	"net/http"
	"net/url"
	"strings"

	"github.com/caddy-matrix/caddy-matrix-auth/internal/matrixerr"
)

// documentCache lets clients and other servers keep a document for ten minutes: long enough to spare a request per page, short
// enough to survive a move.
const documentCache = "public, max-age=600"

// Support says who answers for this server (Matrix CS §well-known-matrix-support, MSC1929).
type Support struct {
	Contacts []Contact `json:"contacts,omitempty"`
	Page     string    `json:"support_page,omitempty"`
}

// Contact is a person or a desk. It has a Matrix ID, an e-mail address, or both.
type Contact struct {
	Role     string `json:"role"`
	MatrixID string `json:"matrix_id,omitempty"`
	Email    string `json:"email_address,omitempty"`
}

type (
	// clientWellKnown is /.well-known/matrix/client (Matrix CS §well-known-uris).
	clientWellKnown struct {
		Homeserver struct {
			BaseURL string `json:"base_url"`
		} `json:"m.homeserver"`
		Authentication *clientAuthentication `json:"org.matrix.msc2965.authentication,omitempty"`
	}
	// clientAuthentication is what clients before Matrix 1.15 look for (MSC2965).
	clientAuthentication struct {
		Issuer  string `json:"issuer"`
		Account string `json:"account"`
	}
	// issuerDocument is auth_issuer, for the same clients (MSC2965).
	issuerDocument struct {
		Issuer string `json:"issuer"`
	}
	// serverWellKnown is /.well-known/matrix/server (Matrix SS §getwell-knownmatrixserver).
	serverWellKnown struct {
		Server string `json:"m.server"`
	}
)

// clientDocument tells clients where the homeserver is, and who signs people in.
func clientDocument(c *Config) (d clientWellKnown) {
	d.Homeserver.BaseURL = strings.TrimSuffix(c.BaseURL.String(), "/")
	if c.Metadata != nil {
		d.Authentication = &clientAuthentication{Issuer: c.Issuer, Account: c.Account}
	}
	return d
}

// serverDocument tells other homeservers where this one is. They speak TLS whatever the scheme of the clients' URL is, and would
// take a missing port for 8448.
func serverDocument(base *url.URL) serverWellKnown {
	port := base.Port()
	if port == "" {
		port = "443"
	}
	return serverWellKnown{Server: net.JoinHostPort(base.Hostname(), port)}
}

// document serves a value that does not change, as JSON.
func (h *Handler) document(name string, v any) endpoint {
	ep := endpoint{name: name}
	ep.get = func(w http.ResponseWriter, r *http.Request) { h.writeReply(w, r, ep, documentCache, v) }
	return ep
}

// supportDocument serves the contacts, or says that there are none.
func (h *Handler) supportDocument(s Support) endpoint {
	if len(s.Contacts) > 0 || s.Page != "" {
		return h.document("well_known_support", s)
	}
	return endpoint{get: func(w http.ResponseWriter, r *http.Request) {
		matrixerr.Write(w, r, http.StatusNotFound, matrixerr.NotFound, "No support contacts are published")
	}}
}
