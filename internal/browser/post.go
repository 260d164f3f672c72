package browser

import (
	"crypto/hmac"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net/http"

	"github.com/caddy-matrix/caddy-matrix-auth/internal/auth"
)

// Proof is what a form's token is for: the form, the object it is about, and where it matters the sign-in it was shown to.
type Proof struct {
	Form    string
	Object  string // the ID of a grant, a session, …; empty: none
	Session string // the ID of the BrowserSession; empty: the form is not for one person
}

// tokenChars is the length of a token.
const tokenChars = (2*sha256.Size*8 + 5) / 6

// Token makes the token of a form that is shown in a browser. It is another one at each call, so that the length of a compressed
// page says nothing about it (BREACH).
func (p Proof) Token(b auth.Browser, random io.Reader) (string, error) {
	var token [2 * sha256.Size]byte // pad ‖ pad ⊕ MAC
	pad, masked := token[:sha256.Size], token[sha256.Size:]
	if _, err := io.ReadFull(random, pad); err != nil {
		return "", fmt.Errorf("reading randomness: %w", err)
	}
	subtle.XORBytes(masked, pad, p.mac(b))
	return base64.RawURLEncoding.EncodeToString(token[:]), nil
}

// Holds reports whether a token was made for this browser and this proof, in constant time.
func (p Proof) Holds(b auth.Browser, token string) bool {
	if len(token) != tokenChars { // The decoder would overlook the end of a line.
		return false
	}
	raw, err := base64.RawURLEncoding.Strict().DecodeString(token)
	if err != nil || len(raw) != 2*sha256.Size {
		return false
	}
	subtle.XORBytes(raw, raw[:sha256.Size], raw[sha256.Size:])
	return hmac.Equal(p.mac(b), raw[:sha256.Size])
}

// mac is what only we can make of the browser's secret and what the form is for.
func (p Proof) mac(b auth.Browser) []byte {
	mac := hmac.New(sha256.New, b.Secret[:])
	mac.Write([]byte("csrf"))
	for _, part := range []string{p.Form, p.Object, p.Session} {
		var length [4]byte
		binary.BigEndian.PutUint32(length[:], uint32(len(part)))
		mac.Write(length[:])
		mac.Write([]byte(part))
	}
	return mac.Sum(nil)
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
