package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"html"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"regexp"
	"strings"
	"time"
)

// The OAuth client of the configuration, and its redirect URI, which nobody listens at.
const (
	oauthClient   = "bench"
	oauthRedirect = "http://127.0.0.1:1/callback"
)

// oauthOptions configure the client, and no limits for its one address.
const oauthOptions = "client " + oauthClient + " {\nredirect_uri " + oauthRedirect + "\n}\nrate_limit authorize off"

// A code verifier and its challenge (RFC 7636 appendix B). The same for every flow: it is the edge that is measured.
const (
	verifier  = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"
	challenge = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"
)

// issuerHost is the authority that the edge calls itself: only there are there pages.
func (e *edge) issuerHost() string { return fmt.Sprintf("localhost:%d", e.Port) }

// grant compares the refresh grant with durable commits in groups, and counts it through Caddy.
func (r *run) grant(ctx context.Context) ([]row, error) {
	found, err := goBench(ctx, "./store", "^BenchmarkServiceGrant$", or(r, "10x", "1x"))
	if err != nil {
		return nil, err
	}
	var rows []row
	for _, n := range []int{1, 16, 64} {
		f, err := found.get(fmt.Sprintf("ServiceGrant/callers=%d", n))
		if err != nil {
			return rows, err
		}
		what, raw := fmt.Sprintf("refresh grant ÷ bare commits in groups, %d clients", n), fmt.Sprintf("%s ÷ %s per second", number(f["refreshes/s"]), number(f["grouped/s"]))
		if n < 64 {
			rows = append(rows, shownRatio(what, f["ratio"], "%s", raw))
			continue
		}
		rows = append(rows, atLeast(what, f["ratio"], .5, "%s", raw),
			shown("bytes of an OAuth session", "%.0f bytes of a live one, its indices besides", f["session-bytes"]))
	}
	e, err := r.startEdgeOf(ctx, (*seeder).addOAuthSession, 64, 1+16+64, oauthOptions, shortGrace)
	if err != nil {
		return rows, err
	}
	defer e.close()
	more, err := r.refreshes(ctx, e, e.issuerHost(), "refresh grant over HTTP", true)
	return append(rows, more...), err
}

// oauthMemory is sessionMemory with sessions of an OAuth client.
func (r *run) oauthMemory(ctx context.Context) ([]row, error) {
	return r.memoryOfSessions(ctx, "OAuth sessions", (*seeder).addOAuthSession, oauthOptions)
}

// documents compares what every client fetches with the least that a Caddy handler answers.
func (r *run) documents(ctx context.Context) ([]row, error) {
	e, err := r.startEdge(ctx, 1, 1)
	if err != nil {
		return nil, err
	}
	defer e.close()
	var rows []row
	for _, d := range []struct{ what, path string }{
		{"discovery", "/.well-known/openid-configuration"},
		{"auth_metadata", "/_matrix/client/v1/auth_metadata"},
		{"keys", "/oauth2/keys.json"},
	} {
		ours, err1 := dial(e.public, cycles(connections, [][]byte{request("GET", e.issuerHost(), d.path, "", "")})...)
		theirs, err2 := dial(e.drain, cycles(connections, [][]byte{request("GET", e.drain, d.path, "", "")})...)
		if err := errors.Join(err1, err2); err != nil {
			return rows, err
		}
		c, err := e.compare(ctx, r, ours, theirs)
		if err = errors.Join(err, ours.close(), theirs.close()); err != nil {
			return rows, err
		}
		rows = append(rows, atLeast(d.what+" ÷ a handler that answers {}", c.ratio(), .5, "%s; requests per CPU second", c))
	}
	return rows, nil
}

// code counts sign-ins of people whose browser has signed in before, and who have said yes to the client before: from the
// authorization request to the tokens.
func (r *run) code(ctx context.Context) ([]row, error) {
	const people = 16
	e, err := r.startEdge(ctx, people, 0, oauthOptions)
	if err != nil {
		return nil, err
	}
	defer e.close()
	var flows []*codeFlow
	var callers []caller
	for i := range people {
		cookies, err := e.signIn(ctx, localpart(i))
		if err != nil {
			return nil, err
		}
		flows = append(flows, &codeFlow{host: e.issuerHost(), cookies: cookies})
		callers = append(callers, flows[i])
	}
	var rows []row
	for _, n := range []int{1, people} {
		l, err := dial(e.public, callers[:n]...)
		if err != nil {
			return rows, err
		}
		if _, err := l.run(or(r, time.Second, 50*time.Millisecond)); err != nil {
			return rows, err
		}
		before := flowsOf(flows)
		took, cpu, _, err := e.timed(l, or(r, 5*time.Second, 200*time.Millisecond))
		if err = errors.Join(err, l.close()); err != nil {
			return rows, err
		}
		done := float64(flowsOf(flows) - before)
		rows = append(rows, shown(fmt.Sprintf("code flow, %d at once", n), "%s per second, %s ms of processor each",
			number(done/took.Seconds()), number(1000*cpu.Seconds()/done)))
	}
	return rows, ctx.Err()
}

func flowsOf(all []*codeFlow) (n int) {
	for _, f := range all {
		n += f.flows
	}
	return n
}

// authorizePath asks for an ID token's worth of scope: for more, people are asked each time.
func authorizePath() string {
	return "/authorize?" + url.Values{
		"response_type": {"code"}, "client_id": {oauthClient}, "redirect_uri": {oauthRedirect}, "scope": {"openid"}, "state": {"s"},
		"code_challenge": {challenge}, "code_challenge_method": {"S256"},
	}.Encode()
}

// codeFlow signs in again and again: /authorize, /consent/, where nothing is asked, and the token endpoint.
type codeFlow struct {
	host, cookies string
	consent       string // path to go to next
	code          string // to redeem next
	flows         int    // that led to tokens
}

func (f *codeFlow) next() []byte {
	switch {
	case f.code != "":
		form := url.Values{"grant_type": {"authorization_code"}, "client_id": {oauthClient}, "redirect_uri": {oauthRedirect},
			"code": {f.code}, "code_verifier": {verifier}}
		return request("POST", f.host, "/oauth2/token", "", form.Encode())
	case f.consent != "":
		return f.visit(f.consent)
	}
	return f.visit(authorizePath())
}

func (f *codeFlow) visit(path string) []byte {
	return []byte(strings.Replace(string(request("GET", f.host, path, "", "")), "\r\n\r\n", "\r\nCookie: "+f.cookies+"\r\n\r\n", 1))
}

func (f *codeFlow) take(status int, body []byte) error {
	if f.code != "" {
		f.code = ""
		var answer struct {
			IDToken string `json:"id_token"`
		}
		if err := json.Unmarshal(body, &answer); err != nil || status != http.StatusOK || answer.IDToken == "" {
			return fmt.Errorf("token endpoint: got status %d and %s", status, body)
		}
		f.flows++
		return nil
	}
	to, err := url.Parse(string(body))
	if err != nil || status != http.StatusSeeOther {
		return fmt.Errorf("a step of a sign-in: got status %d and %.300q, want a redirection", status, body)
	}
	f.code, f.consent = to.Query().Get("code"), ""
	if f.code == "" {
		f.consent = to.Path
	}
	return nil
}

// signIn signs a person in, who says yes to the client, and returns the browser's cookies for its later requests.
func (e *edge) signIn(ctx context.Context, user string) (cookies string, err error) {
	jar, err := cookiejar.New(nil)
	if err != nil {
		return "", err
	}
	browser := &http.Client{Jar: jar, CheckRedirect: func(req *http.Request, _ []*http.Request) error {
		if strings.HasPrefix(req.URL.String(), oauthRedirect) {
			return http.ErrUseLastResponse
		}
		return nil
	}}
	origin := "http://" + e.issuerHost()
	at, page, err := fetch(ctx, browser, http.MethodGet, origin+authorizePath(), nil)
	for _, typed := range []url.Values{{"username": {user}, "password": {rightPassword}}, {"decision": {"allow"}}} {
		if err != nil {
			return "", err
		}
		target, form, problem := fillForm(at, page, typed)
		if problem != nil {
			return "", problem
		}
		at, page, err = fetch(ctx, browser, http.MethodPost, target, form)
	}
	if err == nil && at.Query().Get("code") == "" {
		err = fmt.Errorf("signing in led to %s: %.1500s", at, page)
	}
	if err != nil {
		return "", err
	}
	site, err := url.Parse(origin)
	if err != nil {
		return "", err
	}
	var all []string
	for _, c := range jar.Cookies(site) {
		all = append(all, c.Name+"="+c.Value)
	}
	return strings.Join(all, "; "), nil
}

// fetch loads a page, and says where it is, or leads to if that is the client.
func fetch(ctx context.Context, browser *http.Client, method, target string, form url.Values) (at *url.URL, page string, err error) {
	req, err := http.NewRequestWithContext(ctx, method, target, strings.NewReader(form.Encode()))
	if err != nil {
		return nil, "", err
	}
	if form != nil {
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	resp, err := browser.Do(req)
	if err != nil {
		return nil, "", err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if to, problem := resp.Location(); problem == nil {
		return to, "", err
	}
	return resp.Request.URL, string(text), err
}

var (
	firstForm = regexp.MustCompile(`(?s)<form method="post"(?: action="([^"]*)")?[^>]*>(.*?)</form>`)
	hiddenTag = regexp.MustCompile(`<input type="hidden" name="([^"]*)" value="([^"]*)"`)
)

// fillForm fills in the first form of a page, which is the one that says yes.
func fillForm(at *url.URL, page string, typed url.Values) (target string, form url.Values, err error) {
	found := firstForm.FindStringSubmatch(page)
	if found == nil {
		return "", nil, fmt.Errorf("%s has no form: %.500s", at, page)
	}
	to, err := at.Parse(html.UnescapeString(found[1]))
	if err != nil {
		return "", nil, err
	}
	for _, field := range hiddenTag.FindAllStringSubmatch(found[2], -1) {
		typed.Add(html.UnescapeString(field[1]), html.UnescapeString(field[2]))
	}
	return to.String(), typed, nil
}
