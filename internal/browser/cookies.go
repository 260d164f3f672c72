package browser

import (
	"encoding/base64"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"time"

	"github.com/caddy-matrix/caddy-matrix-auth/internal/auth"
	"github.com/caddy-matrix/caddy-matrix-auth/internal/token"
)

const (
	browserName = "matrix_auth_browser"
	sessionName = "matrix_auth_session"
	hostPrefix  = "__Host-" // RFC 6265bis §4.1.3.2: no other host can set it

	cookieFor     = 400 * 24 * time.Hour // the longest that browsers keep; what it is worth ends earlier, by our clock
	maxSessionLen = 128                  // bytes of a session cookie that are looked up
)

// Cookies reads and writes the two cookies.
type Cookies struct {
	prefix string
	secure bool
}

// NewCookies returns the cookies of an issuer.
func NewCookies(issuer *url.URL) Cookies {
	if issuer.Scheme == "http" { // On loopback only: the configuration refuses others.
		return Cookies{}
	}
	return Cookies{prefix: hostPrefix, secure: true}
}

// Names are the names under which browsers send the cookies.
func (c Cookies) Names() []string { return []string{c.prefix + browserName, c.prefix + sessionName} }

// Browser reads which browser this is. ok is false if it has not been told yet, or what it says is none of ours.
func (c Cookies) Browser(r *http.Request) (b auth.Browser, ok bool) {
	cookie, err := r.Cookie(c.prefix + browserName)
	if err != nil {
		return b, false
	}
	secret, err := base64.RawURLEncoding.Strict().DecodeString(cookie.Value)
	if err != nil || len(secret) != len(b.Secret) {
		return b, false
	}
	copy(b.Secret[:], secret)
	return b, true
}

// Ensure reads which browser this is, and tells a browser that does not know.
func (c Cookies) Ensure(w http.ResponseWriter, r *http.Request, random io.Reader) (auth.Browser, error) {
	if b, ok := c.Browser(r); ok {
		return b, nil
	}
	return c.Renew(w, random)
}

// Renew makes the browser another one: whatever it started before belongs to nobody now.
func (c Cookies) Renew(w http.ResponseWriter, random io.Reader) (auth.Browser, error) {
	var b auth.Browser
	if _, err := io.ReadFull(random, b.Secret[:]); err != nil {
		return b, fmt.Errorf("reading randomness: %w", err)
	}
	c.set(w, browserName, base64.RawURLEncoding.EncodeToString(b.Secret[:]), cookieFor)
	return b, nil
}

// Session reads the sign-in; empty if there is none.
func (c Cookies) Session(r *http.Request) token.Secret {
	cookie, err := r.Cookie(c.prefix + sessionName)
	if err != nil || len(cookie.Value) > maxSessionLen {
		return token.Secret{}
	}
	return token.NewSecret(cookie.Value)
}

// SetSession hands the browser a sign-in.
func (c Cookies) SetSession(w http.ResponseWriter, value token.Secret) {
	c.set(w, sessionName, value.Reveal(), cookieFor)
}

// ClearSession takes the sign-in away from the browser.
func (c Cookies) ClearSession(w http.ResponseWriter) { c.set(w, sessionName, "", -time.Second) }

func (c Cookies) set(w http.ResponseWriter, name, value string, age time.Duration) {
	http.SetCookie(w, &http.Cookie{
		Name: c.prefix + name, Value: value, Path: "/", MaxAge: int(age.Seconds()),
		HttpOnly: true, Secure: c.secure, SameSite: http.SameSiteLaxMode,
	})
}
