package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"github.com/caddy-matrix/caddy-matrix-auth/internal/e2e/rig"
	"github.com/caddy-matrix/caddy-matrix-auth/internal/mxid"
)

// A code verifier and its challenge (RFC 7636 appendix B). The same for every flow: it is the edge that is measured.
const (
	verifier  = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"
	challenge = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"
)

// authorizePath is where a client sends a browser.
func authorizePath(scope string) string {
	return "/authorize?" + url.Values{
		"response_type": {"code"}, "client_id": {oauthClient}, "redirect_uri": {oauthRedirect}, "scope": {scope}, "state": {"s"},
		"code_challenge": {challenge}, "code_challenge_method": {"S256"},
	}.Encode()
}

// codeFlow is a browser and a client that sign in again and again: the authorization endpoint, the page of the consent and its
// form, or its redirection if nobody has to be asked, and the token endpoint.
type codeFlow struct {
	host, cookies string
	devices       string // begins the ID of each new device; empty: the scope is openid, which is remembered
	step          []byte // request of the next step; nil: begin
	at            *url.URL
	redeeming     bool
	flows         int // that led to tokens
}

func (f *codeFlow) scope() string {
	if f.devices == "" {
		return "openid"
	}
	device, _, _ := mxid.DeviceID(fmt.Sprintf("%s%06d", f.devices, f.flows)).Scopes()
	return mxid.ScopeAPI + " " + device
}

func (f *codeFlow) next() []byte {
	if f.step == nil {
		f.visit("GET", authorizePath(f.scope()), "")
	}
	return f.step
}

// visit makes a page the next step.
func (f *codeFlow) visit(method, path, body string) {
	f.step = request(method, f.host, path, "", body, "Cookie: "+f.cookies)
}

func (f *codeFlow) take(status int, body []byte) error {
	switch {
	case f.redeeming:
		return f.tokens(status, body)
	case status == http.StatusOK && f.at != nil:
		return f.allow(string(body))
	case status != http.StatusSeeOther:
		return fmt.Errorf("a step of a sign-in: got status %d and %.300q", status, body)
	}
	to, err := url.Parse(string(body))
	if err != nil {
		return err
	}
	code := to.Query().Get("code")
	if code == "" {
		f.at = to
		f.visit("GET", to.Path, "")
		return nil
	}
	f.redeeming = true
	f.step = request("POST", f.host, "/oauth2/token", "", url.Values{
		"grant_type": {"authorization_code"}, "client_id": {oauthClient}, "redirect_uri": {oauthRedirect}, "code": {code}, "code_verifier": {verifier},
	}.Encode())
	return nil
}

// allow says yes on the page of the consent.
func (f *codeFlow) allow(page string) error {
	to, form, err := rig.Page{URL: f.at, HTML: page}.Fill(url.Values{"decision": {"allow"}})
	if err != nil {
		return err
	}
	f.visit("POST", to.Path, form.Encode())
	return nil
}

// tokens takes the answer of the token endpoint, and begins anew.
func (f *codeFlow) tokens(status int, body []byte) error {
	var answer struct {
		RefreshToken string `json:"refresh_token"`
		IDToken      string `json:"id_token"`
	}
	err := json.Unmarshal(body, &answer)
	if err != nil || status != http.StatusOK || answer.RefreshToken == "" || (answer.IDToken == "") != (f.devices != "") {
		return fmt.Errorf("token endpoint: got status %d and %s", status, body)
	}
	f.step, f.at, f.redeeming = nil, nil, false
	f.flows++
	return nil
}

// signIn signs a person in, who says yes to the client, and returns the browser's cookies for its later requests.
func (e *edge) signIn(ctx context.Context, user string) (cookies string, err error) {
	browser, err := rig.NewBrowser(oauthRedirect)
	if err != nil {
		return "", err
	}
	origin, err := url.Parse("http://" + e.issuerHost())
	if err != nil {
		return "", err
	}
	at, err := browser.Open(ctx, origin.String()+authorizePath("openid"))
	for _, typed := range []url.Values{{"username": {user}, "password": {rightPassword}}, {"decision": {"allow"}}} {
		if err == nil {
			at, err = browser.Submit(ctx, at, typed)
		}
	}
	if err != nil {
		return "", err
	}
	if at.URL.Query().Get("code") == "" {
		return "", fmt.Errorf("signing in led to %s: %.1500s", at.URL, at.HTML)
	}
	var all []string
	for _, c := range browser.Cookies(origin) {
		all = append(all, c.Name+"="+c.Value)
	}
	return strings.Join(all, "; "), nil
}
