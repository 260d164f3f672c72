package web

import (
	"errors"
	"net/http"
	"net/url"
	"strings"

	"github.com/caddy-matrix/caddy-matrix-auth/internal/auth"
	"github.com/caddy-matrix/caddy-matrix-auth/internal/browser"
)

// visit is one request for a page.
type visit struct {
	*Handler
	w       http.ResponseWriter
	r       *http.Request
	lang    *language
	query   params // parameters of the URL
	form    params // parameters of the body
	known   bool   // the browser told which one it is
	browser auth.Browser
	from    auth.From
	csp     browser.Page
	restart way // where a request that is over can be made anew; nowhere if nobody knows
}

// way is a link that leads on from a page.
type way struct {
	URL    string   // empty: there is none
	Text   string   // names a text
	Asking *program // whom the text is about
}

// The reasons why a request goes no further before package auth is asked.
var (
	errNoCookie = errors.New("the browser sent no cookie of ours: it keeps none, or is another one")
	errStale    = errors.New("the form is not one that we showed to this browser and person")
	errBadForm  = errors.New("malformed parameters")
	errTooLarge = errors.New("the form is too large")
	errTooLong  = errors.New("the URL is too long")
	errNoPage   = errors.New("no such page")
	errReplay   = errors.New("the request may be a replay")
)

func (h *Handler) newVisit(w http.ResponseWriter, r *http.Request) *visit {
	v := &visit{Handler: h, w: w, r: r, from: h.From(r)}
	v.browser, v.known = h.cookies.Browser(r)
	v.lang = h.languageFor(localesOf(r.URL.RawQuery), r)
	return v
}

// localesOf is the one parameter that is read before all are checked: the page that refuses them has a language too.
func localesOf(rawQuery string) string {
	q, _ := url.ParseQuery(rawQuery)
	return q.Get(localesParam)
}

// open reads the request: every page but HEAD.
func (v *visit) open() (err error) {
	if len(v.r.URL.RawQuery) > maxQuery {
		return errTooLong
	}
	if v.query, err = parseQuery(v.r.URL.RawQuery); err != nil {
		return err
	}
	if v.r.Method != http.MethodPost {
		return nil
	}
	if v.from.Unproven { // RFC 8470 §5.2.
		return errReplay
	}
	if v.form, err = readForm(v.r); err != nil {
		return err
	}
	if !v.known {
		return errNoCookie
	}
	if v.origin.CheckPost(v.r) != nil {
		return errStale
	}
	return nil
}

// tell makes sure that the browser knows which one it is.
func (v *visit) tell() (err error) {
	v.browser, err = v.cookies.Ensure(v.w, v.r, v.Rand)
	return err
}

// proof is a form's proof that the form is ours: a token that is made when the page is.
type proof struct {
	of browser.Proof
	v  *visit
}

func (v *visit) proof(of browser.Proof) *proof { return &proof{of, v} }

// Token is called by the page.
func (p *proof) Token() (string, error) { return p.of.Token(p.v.browser, p.v.Rand) }

// proven reports whether the form was one that we showed.
func (v *visit) proven(p browser.Proof) error {
	if !p.Holds(v.browser, v.form["proof"]) {
		return errStale
	}
	return nil
}

// signedIn is the sign-in of this browser; nil if there is none.
func (v *visit) signedIn() (*auth.SignedIn, error) {
	in, err := v.Service.BrowserSession(v.r.Context(), v.cookies.Session(v.r))
	if errors.Is(err, auth.ErrSignInNeeded) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return &in, nil
}

// arrived is signedIn for a page that people are sent to after a sign-in: a browser that has lost the cookie on the way is
// told so, because signing in again would not help. done: the answer has been given.
func (v *visit) arrived() (in *auth.SignedIn, done bool, err error) {
	in, err = v.signedIn()
	if err != nil || v.query[arrivedParam] == "" {
		return in, false, err
	}
	if in == nil {
		return nil, false, errNoCookie
	}
	q := v.r.URL.Query()
	q.Del(arrivedParam)
	return in, true, v.redirect(withQuery(v.r.URL.EscapedPath(), q))
}

const (
	arrivedParam = "signed_in"  // set by the redirect after a sign-in
	localesParam = "ui_locales" // OIDC Core §3.1.2.1: on every page of ours
)

// lastSegment is the parameter at the end of the path.
func (v *visit) lastSegment() string {
	path := v.r.URL.EscapedPath()
	return path[strings.LastIndexByte(path, '/')+1:]
}

// here is this page, to be asked for again, perhaps with another parameter. What was too long to be read is not repeated.
func (v *visit) here(change ...string) string {
	q := url.Values{}
	if len(v.r.URL.RawQuery) <= maxQuery {
		q = v.r.URL.Query()
	}
	for i := 0; i < len(change); i += 2 {
		q.Set(change[i], change[i+1])
	}
	return withQuery(v.r.URL.EscapedPath(), q)
}

// redirect sends the browser to another page of ours. It keeps the language that was chosen.
func (v *visit) redirect(target string) error {
	if l := v.query[localesParam]; l != "" {
		target = withParam(target, localesParam, l)
	}
	return v.leave(v.origin.String() + target)
}

// leave sends the browser to a URL. 303: what was posted stays here (RFC 9700 §4.12).
func (v *visit) leave(location string) error {
	v.csp.SetHeaders(v.w.Header())
	v.w.Header()["Location"] = []string{location}
	v.w.WriteHeader(http.StatusSeeOther)
	return nil
}

// withParam sets a parameter of a page of ours.
func withParam(target, name, value string) string {
	path, query, _ := strings.Cut(target, "?")
	q, _ := url.ParseQuery(query) // Made by us.
	q.Set(name, value)
	return withQuery(path, q)
}

func withQuery(path string, q url.Values) string {
	if len(q) == 0 {
		return path
	}
	return path + "?" + q.Encode()
}
