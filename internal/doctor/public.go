package doctor

import (
	"context"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/go-json-experiment/json"
)

// issuer asks whether the public address leads anywhere, with a certificate that is good for it.
func (p *patient) issuer(ctx context.Context) []Check {
	const name = "issuer"
	a, err := p.get(ctx, p.public, p.Issuer.String())
	if err != nil {
		return one(name, false, "%s: %s", p.Issuer, noAnswer(err))
	}
	if a.TLS == nil {
		return one(name, true, "%s answers, without TLS: good for trying things out", p.Issuer)
	}
	return one(name, true, "%s answers, with a certificate that is good until %s",
		p.Issuer, a.TLS.PeerCertificates[0].NotAfter.UTC().Format(time.RFC3339))
}

// login asks for the login types through the public address: the answer has to be ours, not Synapse's (Matrix CS §login).
func (p *patient) login(ctx context.Context) []Check {
	const name = "login"
	u := p.PublicBase.JoinPath("_matrix/client/v3/login").String()
	a, err := p.get(ctx, p.public, u)
	if err != nil {
		return one(name, false, "%s: %s", u, noAnswer(err))
	}
	var flows struct {
		Flows *[]struct {
			Type string `json:"type"`
		} `json:"flows"`
	}
	switch {
	case strings.HasPrefix(a.Header.Get("Server"), "Synapse/"):
		return one(name, false, "%s is answered by Synapse (%d): the directive matrix_auth is missing there, or comes after the proxy",
			u, a.StatusCode)
	case a.StatusCode == http.StatusOK && json.Unmarshal(a.body, &flows) == nil && flows.Flows != nil:
	default:
		return one(name, false, "%s is not answered by us: %s", u, a.describe())
	}
	var types []string
	for _, f := range *flows.Flows {
		types = append(types, f.Type)
	}
	if len(types) == 0 {
		return one(name, true, "%s is ours, and offers no way to log in: passwords are switched off", u)
	}
	return one(name, true, "%s is ours, and offers %s", u, strings.Join(types, ", "))
}

// clientAPI asks whether the rest of the client API reaches Synapse.
func (p *patient) clientAPI(ctx context.Context) []Check {
	const name = "client_api"
	u := p.PublicBase.JoinPath("_matrix/client/versions").String()
	a, err := p.get(ctx, p.public, u)
	if err != nil {
		return one(name, false, "%s: %s", u, noAnswer(err))
	}
	var versions struct {
		Versions []string `json:"versions"`
	}
	if a.StatusCode == http.StatusOK && json.Unmarshal(a.body, &versions) == nil && len(versions.Versions) > 0 {
		return one(name, true, "%s reaches Synapse", u)
	}
	if a.StatusCode >= http.StatusInternalServerError {
		return one(name, false, "%s: the proxy does not reach Synapse: %s", u, a.describe())
	}
	return one(name, false, "%s does not reach Synapse, is the path proxied? %s", u, a.describe())
}

// wellKnownClient compares what clients find at the server name (Matrix CS §well-known-uris). Its absence is no error: a
// client can be told the address by hand.
func (p *patient) wellKnownClient(ctx context.Context) []Check {
	const name = "well_known_client"
	var doc struct {
		Homeserver struct {
			BaseURL string `json:"base_url"`
		} `json:"m.homeserver"`
	}
	u, problem := p.wellKnown(ctx, "client", &doc)
	switch {
	case problem != "":
		return one(name, true, warning+"clients do not find %s by the server name %s: %s: %s", p.PublicBase, p.ServerName, u, problem)
	case !sameURL(doc.Homeserver.BaseURL, p.PublicBase.String()):
		return one(name, false, "%s sends clients to %q, not to %s", u, printable(doc.Homeserver.BaseURL), p.PublicBase)
	}
	return one(name, true, "%s sends clients to %s", u, p.PublicBase)
}

// wellKnownServer compares what other homeservers find at the server name (Matrix SS §server-discovery).
func (p *patient) wellKnownServer(ctx context.Context) []Check {
	const name = "well_known_server"
	var doc struct {
		Server string `json:"m.server"`
	}
	want := p.PublicBase.Host
	if p.PublicBase.Port() == "" {
		want = net.JoinHostPort(p.PublicBase.Hostname(), "443")
	}
	u, problem := p.wellKnown(ctx, "server", &doc)
	switch {
	case problem != "":
		return one(name, true, warning+"other homeservers do not find %s by the server name %s, unless port 8448 or DNS leads"+
			" there: %s: %s", want, p.ServerName, u, problem)
	case !strings.EqualFold(doc.Server, want):
		return one(name, true, warning+"%s sends other homeservers to %q, not to %s", u, printable(doc.Server), want)
	}
	return one(name, true, "%s sends other homeservers to %s", u, want)
}

// wellKnown fetches a document of the server name's host, whose redirects clients follow.
func (p *patient) wellKnown(ctx context.Context, which string, doc any) (u, problem string) {
	host, _, err := net.SplitHostPort(string(p.ServerName))
	if err != nil {
		host = string(p.ServerName)
	}
	u = "https://" + host + "/.well-known/matrix/" + which
	if which == "server" {
		u = "https://" + string(p.ServerName) + "/.well-known/matrix/server"
	}
	follow := *p.public
	follow.CheckRedirect = nil
	a, err := p.get(ctx, &follow, u)
	switch {
	case err != nil:
		return u, noAnswer(err)
	case a.StatusCode != http.StatusOK:
		return u, a.describe()
	case json.Unmarshal(a.body, doc) != nil:
		return u, "the answer is not JSON"
	}
	return u, ""
}

// describe says in short what an answer is.
func (a *answer) describe() string {
	s := "answer " + a.Status
	if server := a.Header.Get("Server"); server != "" {
		s += " of " + printable(server)
	}
	if to := a.Header.Get("Location"); to != "" {
		s += ", a redirect to " + printable(withoutQuery(to))
	}
	if len(a.body) == 0 && a.StatusCode == http.StatusOK {
		s += ", empty: Caddy answers so for a host that no site has"
	}
	return s
}

func withoutQuery(s string) string {
	u, err := url.Parse(s)
	if err != nil {
		return "?"
	}
	u.RawQuery, u.User = "", nil
	return u.String()
}

// printable makes a foreign text fit for a message.
func printable(s string) string {
	const most = 200
	s = strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f || r >= 0x80 && r < 0xa0 {
			return -1
		}
		return r
	}, strings.ToValidUTF8(s, ""))
	if len(s) > most {
		s = strings.ToValidUTF8(s[:most], "") + "…"
	}
	return s
}
