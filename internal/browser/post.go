package browser

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"net/http"

	"github.com/caddy-matrix/caddy-matrix-auth/internal/auth"
)

// Proof is what a form's token is for: the form, the object it is about, and where it matters the sign-in it was shown to.
type Proof struct {
	Form    string
	Object  string // the ID of a grant, a session, …; empty: none
	Session string // the ID of the BrowserSession; empty: the form is not for one person
}

// Token makes the token of a form that is shown in a browser.
func (p Proof) Token(b auth.Browser) string {
	mac := hmac.New(sha256.New, b.Secret[:])
	mac.Write([]byte("csrf"))
	for _, part := range []string{p.Form, p.Object, p.Session} {
		var length [4]byte
		binary.BigEndian.PutUint32(length[:], uint32(len(part)))
		mac.Write(length[:])
		mac.Write([]byte(part))
	}
	return base64.RawURLEncoding.EncodeToString(mac.Sum(nil))
}

// Holds reports whether a token was made for this browser and this proof, in constant time.
func (p Proof) Holds(b auth.Browser, token string) bool {
	return hmac.Equal([]byte(p.Token(b)), []byte(token))
}

// ErrCrossSite: another site, or a script, sent the form.
var ErrCrossSite = errors.New("form not sent from our page")

// CheckPost judges by what the browser says about itself whether one of our own pages sent a form, by a person's hand (Fetch
// Metadata, RFC 6454). A browser that says nothing passes: the token decides.
func (o Origin) CheckPost(r *http.Request) error {
	site, mode, dest := r.Header.Get("Sec-Fetch-Site"), r.Header.Get("Sec-Fetch-Mode"), r.Header.Get("Sec-Fetch-Dest")
	origin := r.Header.Get("Origin")
	switch {
	case origin == "null",
		site != "" && site != "same-origin",
		mode != "" && mode != "navigate", // A script's fetch cannot press a button.
		dest != "" && dest != "document",
		site == "" && origin != "" && !o.is(origin):
		return ErrCrossSite
	}
	return nil
}
