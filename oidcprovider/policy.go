package oidcprovider

import (
	"context"
	"encoding/base64"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/caddy-matrix/caddy-matrix-auth/internal/auth"
	"github.com/caddy-matrix/caddy-matrix-auth/internal/authzresponse"
	"github.com/caddy-matrix/caddy-matrix-auth/internal/mxid"
	"github.com/caddy-matrix/caddy-matrix-auth/store"
)

// responseModes are the ways back to the client.
var responseModes = []string{authzresponse.Query, authzresponse.Fragment, authzresponse.FormPost}

// authzError is an error that the client is told (RFC 6749 §4.1.2.1).
type authzError struct{ response authzresponse.Response }

func (e *authzError) Error() string { return e.response.Error }

// grantFor checks an authorization request, whose client and redirect URI have been found, and makes a grant of it. All of our
// policy at the authorization endpoint is here.
//
// An *authzError: the client is told. Others: trouble.
func (o *OAuth) grantFor(ctx context.Context, c *call, cl *auth.Client) (store.Grant, error) {
	az := c.authorize
	back := authzresponse.Response{
		RedirectURI: az.Get("redirect_uri"), Mode: az.Get("response_mode"), Issuer: o.issuer, State: az.Get("state"), HasState: az.Has("state"),
	}
	refuse := func(code, description string) (store.Grant, error) {
		back.Error, back.Description = code, description
		return store.Grant{}, &authzError{back}
	}
	if why := checkMode(&back); why != "" {
		back.Mode = authzresponse.Query
		return refuse(errInvalidRequest, why)
	}
	if code, why := az.check(cl); code != "" {
		return refuse(code, why)
	}
	scope, err := parseScope(az.Get("scope"))
	if err != nil {
		return refuse(errInvalidScope, err.Error())
	}
	prompt, ok := parsePrompt(az.Get("prompt"))
	if !ok {
		return refuse(errInvalidRequest, "prompt has none and another value")
	}
	minAuthTime, ok := minAuthTime(c.arrived, prompt, az.Get("max_age"))
	if !ok {
		return refuse(errInvalidRequest, "max_age is not a number of seconds")
	}
	g := store.Grant{
		ClientID: cl.ID, RedirectURI: back.RedirectURI, ResponseMode: back.Mode, Scope: scope, State: back.State, HasState: back.HasState,
		Nonce: az.Get("nonce"), Challenge: az.Get("code_challenge"), Prompt: prompt, MinAuthTime: minAuthTime,
		LoginHint: o.hinted(az.Get("login_hint")), UILocales: short(az.Get("ui_locales")), ACR: az.Has("acr_values"),
	}
	if hint := az.Get("id_token_hint"); hint != "" {
		keys, err := o.Service.Keys(ctx)
		if err != nil {
			return g, err
		}
		g.Subject = o.subjectOfHint(&keys, hint)
	}
	b, err := o.cookies.Ensure(az.answer, az.request, o.Rand)
	g.Browser = b.Digest()
	return g, err
}

// checkMode says what is wrong with the response mode, or nothing.
func checkMode(back *authzresponse.Response) string {
	switch {
	case back.Mode == "":
		back.Mode = authzresponse.Query
	case !slices.Contains(responseModes, back.Mode):
		return "response_mode is not supported"
	case back.Mode != authzresponse.FormPost:
	case !strings.HasPrefix(back.RedirectURI, "https://") && !strings.HasPrefix(back.RedirectURI, "http://"):
		return "form_post needs an http address"
	case !authzresponse.Postable(back.State):
		return "a form cannot hold this state"
	}
	return ""
}

// check looks at the parameters one by one. An empty code is a yes.
func (az *authorization) check(cl *auth.Client) (code, why string) {
	fault := az.fault()
	switch {
	case fault != "":
		return errInvalidRequest, fault
	case az.Has("request"):
		return "request_not_supported", ""
	case az.Has("request_uri"):
		return "request_uri_not_supported", ""
	case az.Has("registration"):
		return "registration_not_supported", ""
	case !az.Has("response_type"):
		return errInvalidRequest, "response_type is missing"
	case az.Get("response_type") != "code":
		return "unsupported_response_type", ""
	case !cl.May(auth.GrantTypeAuthorizationCode):
		return "unauthorized_client", "the client is not registered for this grant"
	case !az.Has("code_challenge"):
		return errInvalidRequest, "code_challenge is missing"
	case az.Get("code_challenge_method") != "S256": // Without one, it would be plain.
		return errInvalidRequest, "code_challenge_method has to be S256"
	case !isChallenge(az.Get("code_challenge")):
		return errInvalidRequest, "code_challenge is malformed"
	}
	return "", ""
}

// isChallenge reports whether s is an S256 challenge (RFC 7636 §4.2).
func isChallenge(s string) bool {
	const sha256Chars = 43
	_, err := base64.RawURLEncoding.Strict().DecodeString(s)
	return err == nil && len(s) == sha256Chars
}

// parsePrompt returns the known values of prompt (OIDC Core §3.1.2.1, Matrix CS §user-registration). It is not ok for none with
// another one.
func parsePrompt(text string) (known []string, ok bool) {
	all := splitScope(text)
	for _, p := range all {
		switch p {
		case "none", "login", "consent", "select_account", "create":
			known = append(known, p)
		}
	}
	return known, len(all) < 2 || !slices.Contains(all, "none")
}

// longAge is an age that asks for nothing.
const longAge = 10 * 365 * 24 * time.Hour

// minAuthTime is when the person must have entered the password at the earliest. It is not ok if max_age is no number.
func minAuthTime(now time.Time, prompt []string, maxAge string) (at time.Time, ok bool) {
	if maxAge != "" && strings.Trim(maxAge, "0123456789") != "" {
		return at, false
	}
	if slices.Contains(prompt, "login") {
		return now, true
	}
	seconds, err := strconv.ParseInt(maxAge, 10, 64)
	if err != nil || seconds > int64(longAge/time.Second) { // Absent, or so large that it does not matter.
		return at, true
	}
	return now.Add(-time.Duration(seconds) * time.Second), true
}

// hinted is whom login_hint means, or nobody (MSC4198): a user of this server.
func (o *OAuth) hinted(hint string) string {
	l, err := mxid.Resolve(strings.TrimPrefix(hint, "mxid:"), o.Service.ServerName)
	if err != nil {
		return ""
	}
	return string(l)
}

// short keeps a text that is no longer than it can reasonably be.
func short(s string) string {
	if len(s) > 255 {
		return ""
	}
	return s
}
