package doctor

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"

	"github.com/go-json-experiment/json"
)

// signInPage fetches the page to sign in at through the public address, and compares its headers with those that we sent: a
// proxy that changes them makes people unable to sign in, or lets other sites do it for them.
func (p *patient) signInPage(ctx context.Context) []Check {
	const name = "sign_in_page"
	if p.SignInPage == nil {
		return nil
	}
	u := p.Issuer.JoinPath("login").String()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u, nil)
	if err != nil {
		return one(name, false, "%s: %v", u, err)
	}
	req.Header.Set("Accept", "text/html")
	a, err := do(p.public, req)
	if err != nil {
		return one(name, false, "%s: %s", u, noAnswer(err))
	}
	status, sent := p.SignInPage(req)
	if a.StatusCode != status {
		return one(name, false, "%s is not our page to sign in at: %s", u, a.describe())
	}
	if changes := changed(sent, a.Header); len(changes) > 0 {
		return one(name, false, "%s does not arrive as we send it, so a proxy or a directive between changes it: %s", u,
			strings.Join(changes, "; "))
	}
	return one(name, true, "%s arrives as we send it", u)
}

// unlike are headers that differ between two answers, or that a server on the way may change by right.
var unlike = []string{"Date", "Content-Length", "Vary", "Set-Cookie"}

// uninvited are headers that nobody else may add: each lets other sites do more, or breaks a page.
var uninvited = []string{
	"Content-Security-Policy", "X-Frame-Options", "Referrer-Policy", "Access-Control-Allow-Origin", "Access-Control-Allow-Credentials",
}

// changed says which headers of a page arrive otherwise than they were sent.
func changed(sent, arrived http.Header) (changes []string) {
	for _, name := range slices.Sorted(maps.Keys(sent)) {
		if got := arrived.Values(name); !slices.Contains(unlike, name) && !slices.Equal(got, sent[name]) {
			changes = append(changes, fmt.Sprintf("%s is %s, not %s", name, quoted(got), quoted(sent[name])))
		}
	}
	for _, name := range uninvited {
		if got := arrived.Values(name); len(got) > 0 && sent.Values(name) == nil {
			changes = append(changes, fmt.Sprintf("%s %s has been added", name, quoted(got)))
		}
	}
	got := withoutValues(arrived.Values("Set-Cookie"))
	for _, cookie := range withoutValues(sent.Values("Set-Cookie")) {
		if !slices.Contains(got, cookie) {
			changes = append(changes, fmt.Sprintf("the cookie %s arrives otherwise or not at all", quoted([]string{cookie})))
		}
	}
	return changes
}

// withoutValues is what cookies say but for their values, which differ each time and are secret.
func withoutValues(cookies []string) (list []string) {
	for _, c := range cookies {
		pair, attributes, _ := strings.Cut(c, ";")
		name, _, _ := strings.Cut(pair, "=")
		list = append(list, name+";"+attributes)
	}
	return list
}

func quoted(values []string) string {
	if len(values) == 0 {
		return "missing"
	}
	return fmt.Sprintf("%q", printable(strings.Join(values, ", ")))
}

// metadata fetches the provider document at its addresses (RFC 8414 §3, OpenID Connect Discovery 1.0 §4, Matrix CS
// §server-metadata-discovery). Clients compare its issuer with where they found it.
func (p *patient) metadata(ctx context.Context) []Check {
	const name = "metadata"
	var first []byte
	for _, u := range []string{
		p.Issuer.JoinPath(".well-known/openid-configuration").String(),
		p.Issuer.JoinPath(".well-known/oauth-authorization-server").String(),
		p.PublicBase.JoinPath("_matrix/client/v1/auth_metadata").String(),
	} {
		body, problem := p.document(ctx, u)
		if problem != "" {
			return one(name, false, "%s: %s", u, problem)
		}
		if first != nil && !bytes.Equal(first, body) {
			return one(name, false, "%s is another document than the others", u)
		}
		first = body
	}
	return one(name, true, "clients find the OAuth provider %s at its three addresses", p.Issuer)
}

func (p *patient) document(ctx context.Context, u string) (body []byte, problem string) {
	a, err := p.get(ctx, p.public, u)
	if err != nil {
		return nil, noAnswer(err)
	}
	var doc struct {
		Issuer string `json:"issuer"`
	}
	switch {
	case a.StatusCode != http.StatusOK:
		return nil, a.describe()
	case json.Unmarshal(a.body, &doc) != nil:
		return nil, "the answer is not JSON"
	case doc.Issuer != p.Issuer.String(): // byte for byte (RFC 8414 §3.3)
		return nil, fmt.Sprintf("its issuer is %q, ours is %s", printable(doc.Issuer), p.Issuer)
	}
	return a.body, ""
}

// publishedKeys fetches the key set, and looks for the keys that sign now: without them nobody can check an ID token.
func (p *patient) publishedKeys(ctx context.Context) []Check {
	const name = "keys"
	if len(p.Keys) == 0 {
		return one(name, false, "there are no signing keys: see the log of matrix_auth")
	}
	u := p.Issuer.JoinPath("oauth2/keys.json").String()
	a, err := p.get(ctx, p.public, u)
	if err != nil {
		return one(name, false, "%s: %s", u, noAnswer(err))
	}
	type key struct {
		ID string `json:"kid"`
	}
	var set struct {
		Keys []key `json:"keys"`
	}
	if a.StatusCode != http.StatusOK || json.Unmarshal(a.body, &set) != nil {
		return one(name, false, "%s is not a key set: %s", u, a.describe())
	}
	for _, id := range p.Keys {
		if !slices.Contains(set.Keys, key{id}) {
			return one(name, false, "%s does not have the key %s that signs now: a cache on the way has an old answer, or another service is there", u, id)
		}
	}
	return one(name, true, "%s has the %d keys that sign", u, len(p.Keys))
}
