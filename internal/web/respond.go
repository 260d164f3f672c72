package web

import (
	"fmt"
	"html"
	"html/template"
	"net/http"

	"github.com/caddy-matrix/caddy-matrix-auth/internal/authzresponse"
	"github.com/caddy-matrix/caddy-matrix-auth/internal/route"
	"github.com/caddy-matrix/caddy-matrix-auth/store"
)

// response begins the answer to an authorization request.
func response(g *store.Grant) authzresponse.Response {
	return authzresponse.Response{RedirectURI: g.RedirectURI, Mode: g.ResponseMode, State: g.State, HasState: g.HasState}
}

func refusal(g *store.Grant, why store.Failure) authzresponse.Response {
	r := response(g)
	r.Error, r.Description = why.Error, why.Description
	return r
}

// respond sends the browser back to the client.
func (v *visit) respond(r authzresponse.Response) error {
	r.Issuer = route.NewURLs(v.Issuer).Issuer()
	if location, ok := r.Location(); ok {
		return v.leave(location)
	}
	return v.formPost(r)
}

type formPostView struct {
	frame
	Host   string
	Action template.HTMLAttr
	Fields []authzresponse.Field
}

// FormPost answers with a page that posts an authorization response to its client (OAuth 2.0 Form Post Response Mode): a
// button, which a script presses. It is the one page with a script.
func (h *Handler) FormPost(w http.ResponseWriter, r *http.Request, response authzresponse.Response) {
	v := h.newVisit(w, r)
	if err := v.formPost(response); err != nil {
		v.fail(err)
	}
}

func (v *visit) formPost(r authzresponse.Response) error {
	where, host := returnTo(r.RedirectURI)
	if where == "return.app" {
		return fmt.Errorf("%w: a form cannot be posted to an app", errBadForm)
	}
	v.csp.RedirectURI, v.csp.Script = r.RedirectURI, true
	return v.show(http.StatusOK, "form-post", &formPostView{
		frame: v.frame("formpost.title"), Host: host, Action: actionOf(r.RedirectURI), Fields: r.Fields(),
	})
}

// actionOf is the attribute of a form that posts to a redirect URI, byte for byte as registered: as a value, the template would
// encode some of its characters anew. It is an http address.
func actionOf(redirectURI string) template.HTMLAttr {
	return template.HTMLAttr(`action="` + html.EscapeString(redirectURI) + `"`) //nolint:gosec // Escaped.
}
