package web

import (
	"errors"
	"io"
	"net/http"
	"net/url"
	"time"

	"go.uber.org/zap"

	"github.com/caddy-matrix/caddy-matrix-auth/internal/auth"
	"github.com/caddy-matrix/caddy-matrix-auth/internal/browser"
	"github.com/caddy-matrix/caddy-matrix-auth/internal/mxid"
	"github.com/caddy-matrix/caddy-matrix-auth/internal/route"
)

// Config is what a Handler needs. All fields are required but those of Brand.
type Config struct {
	Service *auth.Service
	// Issuer is the issuer's URL as published, without a path. Links and redirects are made from it and never from a header.
	Issuer     *url.URL
	ServerName mxid.ServerName
	Brand      Brand
	// From says who asks, as the web server determined it.
	From func(*http.Request) auth.From
	Now  func() time.Time
	Rand io.Reader
	// Log may drop lines: anybody can make requests that are refused.
	Log *zap.Logger
}

// Brand is what an operator says about the service.
type Brand struct {
	Name      string // shown on every page; empty: the server name
	PolicyURI string // empty: no link
	TOSURI    string // empty: no link
	Imprint   string // empty: no link
	CSS       string // a style sheet that the pages load after their own; empty: none
}

// Handler serves the pages. It is safe for concurrent use.
type Handler struct {
	Config
	cookies   browser.Cookies
	origin    browser.Origin
	languages []*language
	matcher   matcher
	assets    map[string]asset // :: name → what the operator has added
	style     string           // where the operator's style sheet is; empty: there is none
}

// New makes a Handler.
func New(c Config) (*Handler, error) {
	if c.Issuer.Path != "" && c.Issuer.Path != "/" {
		return nil, errors.New("the issuer has to be without a path")
	}
	if c.Brand.Name == "" {
		c.Brand.Name = string(c.ServerName)
	}
	languages, err := loadLanguages()
	if err != nil {
		return nil, err
	}
	h := &Handler{
		Config:    c,
		cookies:   browser.NewCookies(c.Issuer),
		origin:    browser.NewOrigin(c.Issuer),
		languages: languages,
		matcher:   newMatcher(languages),
	}
	if c.Brand.CSS != "" {
		a := newAsset("brand.css", []byte(c.Brand.CSS))
		h.assets, h.style = map[string]asset{a.name: a}, a.path()
	}
	return h, nil
}

// page is one of our pages.
type page struct {
	get, post func(*visit) error
}

var pages = map[route.Endpoint]page{
	route.HomePage:    {get: (*visit).home},
	route.SignInPage:  {get: (*visit).signInPage, post: (*visit).signIn},
	route.SignOutPage: {get: (*visit).signOutPage, post: (*visit).signOut},
	route.ConsentPage: {get: (*visit).consentPage, post: (*visit).consent},
	route.LinkPage:    {get: (*visit).linkPage, post: (*visit).link},
	route.DevicePage:  {get: (*visit).devicePage, post: (*visit).device},
	route.AccountPage: {get: (*visit).accountPage, post: (*visit).account},
}

// ServeEndpoint answers a request for a page or for what pages load. Paths are package route's business, up to the last
// segments that a page reads.
func (h *Handler) ServeEndpoint(w http.ResponseWriter, r *http.Request, e route.Endpoint) {
	p, known := pages[e]
	switch {
	case e == route.Asset:
		h.serveAsset(w, r)
	case !known:
		http.NotFound(w, r)
	case !h.origin.Here(r):
		h.origin.Redirect(w, r)
	default:
		h.serve(w, r, p)
	}
}

func (h *Handler) serve(w http.ResponseWriter, r *http.Request, p page) {
	v := h.newVisit(w, r)
	serve := p.get
	switch r.Method {
	case http.MethodGet:
	case http.MethodHead: // Without effect: no cookie, no decision.
		v.headers(http.StatusOK)
		return
	case http.MethodPost:
		serve = p.post
	default:
		serve = nil
	}
	if serve == nil {
		w.Header().Set("Allow", p.allow())
		v.headers(http.StatusMethodNotAllowed)
		return
	}
	err := v.open()
	if err == nil {
		err = serve(v)
	}
	if err != nil {
		v.fail(err)
	}
}

func (p page) allow() string {
	if p.post == nil {
		return "GET, HEAD"
	}
	return "GET, HEAD, POST"
}

func (v *visit) home() error { return v.redirect("/account/") }
