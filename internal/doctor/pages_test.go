package doctor

import (
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
)

// public answers for the public address.
type public map[string]func(h http.Header) string // :: path → header and body; none: 404

func (p public) RoundTrip(r *http.Request) (*http.Response, error) {
	resp := &http.Response{StatusCode: 404, Status: "404 Not Found", Header: make(http.Header), Request: r}
	body := ""
	if answer, ok := p[r.URL.Path]; ok {
		resp.StatusCode, resp.Status, body = 200, "200 OK", answer(resp.Header)
	}
	resp.Body = io.NopCloser(strings.NewReader(body))
	return resp, nil
}

func text(s string) func(http.Header) string { return func(http.Header) string { return s } }

func newPatient(p public) *patient {
	issuer := &url.URL{Scheme: "https", Host: "matrix.example.org", Path: "/"}
	c := Config{Issuer: issuer, PublicBase: issuer, Keys: []string{"new"}}
	return &patient{Config: c, public: client(p, false)}
}

// page sets the headers of a page as we send it.
func page(h http.Header) {
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Content-Security-Policy", "default-src 'none'")
	h.Set("Referrer-Policy", "same-origin")
	h.Add("Set-Cookie", "__Host-matrix_auth_browser=secret-one; Path=/; Secure; HttpOnly; SameSite=Lax")
}

// TestSignInPage fails when something between changes what the page says about itself.
func TestSignInPage(t *testing.T) {
	for _, tc := range []struct {
		name   string
		change func(h http.Header)
		want   string // in the message; "": it is well
	}{
		{"as sent", func(http.Header) {}, ""},
		{"another value of the cookie, and one more", func(h http.Header) {
			h.Set("Set-Cookie", strings.Replace(h.Get("Set-Cookie"), "secret-one", "secret-two", 1))
			h.Add("Set-Cookie", "balancer=3; Path=/")
			h.Set("Date", "now")
			h.Set("Strict-Transport-Security", "max-age=1")
		}, ""},
		{"policy changed", func(h http.Header) { h.Set("Content-Security-Policy", "default-src *") }, `Content-Security-Policy is "default-src *", not "default-src 'none'"`},
		{"policy added", func(h http.Header) { h.Add("Content-Security-Policy", "form-action 'none'") }, "form-action"},
		{"referrer gone", func(h http.Header) { h.Del("Referrer-Policy") }, "Referrer-Policy is missing"},
		{"frames", func(h http.Header) { h.Set("X-Frame-Options", "SAMEORIGIN") }, "X-Frame-Options \"SAMEORIGIN\" has been added"},
		{"CORS", func(h http.Header) { h.Set("Access-Control-Allow-Origin", "*") }, "has been added"},
		{"cookie flags", func(h http.Header) {
			h.Set("Set-Cookie", "__Host-matrix_auth_browser=secret-two; Path=/; Secure; SameSite=None")
		}, "the cookie"},
		{"cookie gone", func(h http.Header) { h.Del("Set-Cookie") }, "the cookie"},
	} {
		p := newPatient(public{"/login": func(h http.Header) string {
			page(h)
			tc.change(h)
			return "<!doctype html>"
		}})
		p.SignInPage = func(*http.Request) (int, http.Header) {
			h := make(http.Header)
			page(h)
			return 200, h
		}
		got := p.signInPage(t.Context())[0]
		if got.OK != (tc.want == "") || !strings.Contains(got.Message, tc.want) || strings.Contains(got.Message, "secret-") {
			t.Errorf("%s: got %v %s", tc.name, got.OK, got.Message)
		}
	}
}

// TestSignInPageElsewhere: something else answers there.
func TestSignInPageElsewhere(t *testing.T) {
	p := newPatient(public{})
	p.SignInPage = func(*http.Request) (int, http.Header) { return 200, nil }
	if got := p.signInPage(t.Context())[0]; got.OK || !strings.Contains(got.Message, "404") {
		t.Errorf("got %v", got)
	}
}

// TestMetadata wants one document at three addresses.
func TestMetadata(t *testing.T) {
	const document = `{"issuer":"https://matrix.example.org/"}`
	all := func(third string) public {
		return public{
			"/.well-known/openid-configuration":       text(document),
			"/.well-known/oauth-authorization-server": text(document),
			"/_matrix/client/v1/auth_metadata":        text(third),
		}
	}
	if got := newPatient(all(document)).metadata(t.Context())[0]; !got.OK {
		t.Errorf("got %v", got)
	}
	for third, want := range map[string]string{
		`{"issuer":"https://matrix.example.org"}`:        "its issuer is",
		`{"issuer":"https://matrix.example.org/","x":1}`: "another document",
		`<html>`: "not JSON",
	} {
		if got := newPatient(all(third)).metadata(t.Context())[0]; got.OK || !strings.Contains(got.Message, want) {
			t.Errorf("%s: got %v, want %s", third, got, want)
		}
	}
	if got := newPatient(public{}).metadata(t.Context())[0]; got.OK || !strings.Contains(got.Message, "404") {
		t.Errorf("nothing there: got %v", got)
	}
}

// TestPublishedKeys wants the keys that sign to be in the set.
func TestPublishedKeys(t *testing.T) {
	for set, ok := range map[string]bool{
		`{"keys":[{"kid":"old"},{"kid":"new","kty":"EC"}]}`: true,
		`{"keys":[{"kid":"old"}]}`:                          false,
		`{}`:                                                false,
		`nonsense`:                                          false,
	} {
		if got := newPatient(public{"/oauth2/keys.json": text(set)}).publishedKeys(t.Context())[0]; got.OK != ok {
			t.Errorf("%s: got %v", set, got)
		}
	}
	p := newPatient(public{})
	p.Keys = nil
	if got := p.publishedKeys(t.Context())[0]; got.OK || !strings.Contains(got.Message, "no signing keys") {
		t.Errorf("none: got %v", got)
	}
}
