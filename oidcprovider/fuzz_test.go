package oidcprovider

import (
	"encoding/json"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/caddy-matrix/caddy-matrix-auth/internal/auth"
	"github.com/caddy-matrix/caddy-matrix-auth/internal/authzresponse"
	"github.com/caddy-matrix/caddy-matrix-auth/internal/mxid"
	"github.com/caddy-matrix/caddy-matrix-auth/internal/token"
	"github.com/caddy-matrix/caddy-matrix-auth/store"
)

// FuzzParseScope: what is granted was asked for, each once; it has at most one device, and never without the API.
func FuzzParseScope(f *testing.F) {
	for _, seed := range []string{
		"", "openid", "urn:matrix:client:api:* urn:matrix:client:device:AAAAAAAAAA", "urn:matrix:org.matrix.msc2967.client:api:* urn:matrix:org.matrix.msc2967.client:device:B",
		"  openid\t\nopenid  x", "urn:matrix:client:device:", "urn:matrix:client:device:a\"b urn:matrix:client:api:*", "urn:synapse:admin:* urn:mas:admin offline_access",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		got, err := parseScope(text)
		if err != nil {
			if _, ok := isScopeError(err); !ok || got != nil {
				t.Fatalf("got %v, %v", got, err)
			}
			return
		}
		api, device := 0, 0
		for i, sc := range got {
			if !slices.Contains(strings.Fields(text), sc) || slices.Contains(got[:i], sc) || strings.ContainsAny(sc, " \t\n\"\\") {
				t.Fatalf("got %q of %q", got, text)
			}
			switch {
			case sc == mxid.ScopeAPI || sc == mxid.ScopeAPIUnstable:
				api++
			case strings.HasPrefix(sc, "urn:matrix:"):
				device++
			}
		}
		if len(got) == 0 || api != device || api > 1 {
			t.Fatalf("got %q of %q", got, text)
		}
		if again, err := parseScope(strings.Join(got, " ")); err != nil || !slices.Equal(again, got) {
			t.Fatalf("%q: got %q again, %v", got, again, err)
		}
	})
}

// FuzzParseMetadata: what is taken is canonical, and within the bounds.
func FuzzParseMetadata(f *testing.F) {
	for _, seed := range []string{
		`{}`, `{"client_uri":"https://example.com","redirect_uris":["https://example.com/cb"]}`,
		`{"client_uri":"https://example.com","redirect_uris":["com.example:/cb","http://[::1]/"],"application_type":"native","client_name#de":"x","jwks":null}`,
		`{"client_uri":"https://example.com","grant_types":["urn:ietf:params:oauth:grant-type:device_code"],"tos_uri":"https://a.example.com"}`,
		`{"jwks":{"keys":[{"kty":"EC","crv":"P-256","x":"MKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6KPAqv7D4","y":"4Etl6SRW2YiLUrN5vfvVHuhp7x8PxltmWWlbbM4IFyM"}]}}`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		c, err := parseMetadata(body)
		if err != nil {
			if _, ok := err.(*metadataError); !ok {
				t.Fatalf("got %v", err)
			}
			return
		}
		host, ok := webHost(c.URI)
		if !ok || isPublicSuffix(host) || len(c.RedirectURIs) > maxRedirects || len(c.Localized) > maxLocalized || c.Name != "" && !isName(c.Name) {
			t.Fatalf("got %+v", c)
		}
		for _, uri := range c.RedirectURIs {
			if u, err := url.Parse(uri); err != nil || u.User != nil || u.Fragment != "" || strings.Contains(uri, "#") || u.Scheme == "javascript" {
				t.Fatalf("got redirect URI %q", uri)
			}
		}
		reply, err := registrationReply(&c, token.Secret{})
		if err != nil {
			t.Fatal(err)
		}
		again, err := parseMetadata(reply)
		if err != nil {
			t.Fatalf("%s is not canonical: %v", reply, err)
		}
		a, _ := c.MetadataDigest()
		b, _ := again.MetadataDigest()
		if a != b {
			t.Fatalf("got %+v, then %+v", c, again)
		}
	})
}

// FuzzAuthorize: whatever is sent, the answer is a page, an error at the registered address, or a grant that holds what was
// checked.
func FuzzAuthorize(f *testing.F) {
	good := url.Values{
		"response_type": {"code"}, "client_id": {"c"}, "redirect_uri": {"https://app.example.com/cb"}, "scope": {"openid"}, "state": {"s"},
		"code_challenge": {"E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"}, "code_challenge_method": {"S256"},
	}
	f.Add(good.Encode())
	f.Add(good.Encode() + "&response_mode=fragment&prompt=none&max_age=5&login_hint=mxid:@a:example.org")
	f.Add(good.Encode() + "&response_mode=form_post&state=%00")
	f.Add(good.Encode() + "&scope=&scope=x&max_age=-1")
	client := auth.Client{Client: store.Client{ID: "c", GrantTypes: []string{auth.GrantTypeAuthorizationCode}}}
	f.Fuzz(func(t *testing.T, query string) {
		p, err := parseParams(query)
		if err != nil {
			return
		}
		az := &authorization{params: p}
		back := authzresponse.Response{Mode: p.Get("response_mode"), State: p.Get("state"), RedirectURI: "https://app.example.com/cb"}
		why := checkMode(&back)
		code, _ := az.check(&client)
		prompt, ok := parsePrompt(p.Get("prompt"))
		if code == "" && (p.fault() != "" || p.Get("code_challenge_method") != "S256" || len(p.Get("code_challenge")) != 43 || p.Has("request")) {
			t.Fatalf("%q is taken", query)
		}
		if why == "" && !slices.Contains(responseModes, back.Mode) {
			t.Fatalf("got mode %q", back.Mode)
		}
		if ok && len(prompt) > 1 && slices.Contains(prompt, "none") {
			t.Fatalf("got prompt %q", prompt)
		}
		for name, list := range az.Values {
			if len(list) != 1 || list[0] == "" {
				t.Fatalf("%q: got %q", name, list)
			}
		}
		if _, err := json.Marshal(az.forLibrary()); err != nil {
			t.Fatal(err)
		}
	})
}
