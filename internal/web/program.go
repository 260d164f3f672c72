package web

import (
	"maps"
	"net/url"
	"slices"
	"strings"

	"golang.org/x/net/idna"

	"github.com/caddy-matrix/caddy-matrix-auth/internal/auth"
)

const maxProgramName = 100 // characters of a name that a program gives itself

// program is who asks to use an account.
type program struct {
	Name    string
	Mark    string
	Vouched bool   // the operator configured it; else it says all of this about itself
	Named   bool   // it gave itself its name
	Return  string // names a text: where the person goes back to
	Host    string // in ASCII: of the redirect URI, or its scheme
	Policy  string // https only
	TOS     string
}

// program describes a client in the page's language. redirectURI is where it wants the answer; empty: nowhere.
func (v *visit) program(c *auth.Client, redirectURI string) *program {
	p := &program{Vouched: c.Static}
	p.Name, p.Named = v.nameOf(c)
	p.Return, p.Host = returnTo(redirectURI)
	if p.Name == "" {
		p.Name = p.Host
	}
	if p.Name == "" {
		p.Name = c.ID
	}
	p.Mark = mark(p.Name)
	p.Policy = secureLink(localized(c, "policy_uri", c.PolicyURI, v.lang.Code))
	p.TOS = secureLink(localized(c, "tos_uri", c.TOSURI, v.lang.Code))
	return p
}

// nameOf is what a program is called in the page's language; empty if it has no name. own: it gave itself that name.
func (v *visit) nameOf(c *auth.Client) (name string, own bool) {
	name = oneLine(localized(c, "client_name", c.Name, v.lang.Code), maxProgramName)
	return name, name != "" && !c.Static
}

// localized is a client's value in a language, or the one for all (RFC 7591 §2.2): name#de before name#de-AT.
func localized(c *auth.Client, name, value, lang string) string {
	for _, key := range slices.Sorted(maps.Keys(c.Localized)) {
		field, tag, _ := strings.Cut(key, "#")
		base, _, _ := strings.Cut(tag, "-")
		if field == name && strings.EqualFold(base, lang) && c.Localized[key] != "" {
			return c.Localized[key]
		}
	}
	return value
}

func secureLink(uri string) string {
	u, err := url.Parse(uri)
	if err != nil || u.Scheme != "https" || u.Host == "" {
		return ""
	}
	return u.String()
}

// returnTo says where a redirect URI leads: a website, a program on this computer, or an app that the scheme stands for.
func returnTo(redirectURI string) (text, host string) {
	if redirectURI == "" {
		return "", ""
	}
	u, err := url.Parse(redirectURI)
	if err != nil {
		return "return.app", oneLine(redirectURI, maxProgramName)
	}
	switch {
	case u.Scheme == "http":
		return "return.computer", asciiHost(u)
	case u.Scheme == "https":
		return "return.site", asciiHost(u)
	}
	scheme, _, _ := strings.Cut(redirectURI, ":")
	return "return.app", oneLine(scheme, maxProgramName)
}

// wayBack leads to the website that a program is; an app has to be opened by hand.
func wayBack(p *program) way {
	if p.Return != "return.site" {
		return way{Asking: p}
	}
	return way{"https://" + p.Host + "/", "button.back_site", p}
}

// asciiHost is the host of a URL in letters that cannot be mistaken (RFC 5891), with its port.
func asciiHost(u *url.URL) string {
	host, err := idna.Punycode.ToASCII(strings.ToLower(u.Hostname()))
	if err != nil || strings.ContainsFunc(host, func(r rune) bool { return r <= ' ' || r > '~' }) {
		host = url.PathEscape(u.Hostname())
	}
	if strings.Contains(host, ":") {
		host = "[" + host + "]"
	}
	if u.Port() != "" {
		host += ":" + u.Port()
	}
	return host
}
