package main

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"html/template"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/caddy-matrix/caddy-matrix-auth/internal/e2e/rig"
)

// callbackPath is where the app takes its codes.
const callbackPath = "/callback"

// deviceGrant is the grant type of devices that show a code or a QR code (RFC 8628 §3.4).
const deviceGrant = "urn:ietf:params:oauth:grant-type:device_code"

// app is a native Matrix client that speaks OAuth (Matrix CS §oauth-20-api): it finds the provider, registers itself, sends
// browsers there, takes the codes that they come back with at a page of its own on loopback, and shows who it became.
//
// A browser gets nothing from that page but these words, so nothing binds a link to the browser that follows it: whoever
// copies this for a client with more to lose has to.
type app struct {
	edge     rig.Client
	provider rig.Reply // its metadata (RFC 8414)
	id       string    // client_id
	url      string    // of its own page, without a slash at its end; not the host of the edge, whose cookies stay away
	server   http.Server

	mu        sync.Mutex
	verifiers map[string]string    // by state: a link may be followed more than once
	sessions  map[string]rig.Reply // what the token endpoint answered, by code: a page may be reloaded, a code used once
}

// startApp registers a client and serves its page until stop.
func startApp(ctx context.Context, edge string, port int) (*app, error) {
	a := &app{
		edge: rig.Client{Base: edge}, url: fmt.Sprintf("http://127.0.0.1:%d", port),
		verifiers: map[string]string{}, sessions: map[string]rig.Reply{},
	}
	if err := a.register(ctx); err != nil {
		return nil, err
	}
	listener, err := net.Listen("tcp", strings.TrimPrefix(a.url, "http://"))
	if err != nil {
		return nil, err
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, a.link(), http.StatusSeeOther) })
	mux.HandleFunc("GET "+callbackPath, a.callback)
	a.server.Handler, a.server.ReadHeaderTimeout = mux, 10*time.Second
	go a.server.Serve(listener) // Until stop.
	return a, nil
}

func (a *app) stop() error {
	if a == nil {
		return nil
	}
	return a.server.Close()
}

// register finds the provider and makes itself known to it (RFC 7591).
func (a *app) register(ctx context.Context) (err error) {
	if a.provider, err = call(ctx, a.edge, http.StatusOK, http.MethodGet, "/_matrix/client/v1/auth_metadata", nil); err != nil {
		return err
	}
	r, err := call(ctx, a.edge.At(""), http.StatusCreated, http.MethodPost, a.provider.Text("registration_endpoint"), map[string]any{
		"client_name": "Demonstration", "client_uri": "https://github.com/caddy-matrix/caddy-matrix-auth", "application_type": "native",
		"redirect_uris":              []string{"http://127.0.0.1" + callbackPath}, // At any port (RFC 8252 §7.3).
		"token_endpoint_auth_method": "none", "response_types": []string{"code"},
		"grant_types": []string{"authorization_code", "refresh_token", deviceGrant},
	})
	a.id = r.Text("client_id")
	return err
}

// post sends a form to one of the provider's endpoints, as this client.
func (a *app) post(ctx context.Context, endpoint string, form url.Values) (rig.Reply, error) {
	form.Set("client_id", a.id)
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, a.provider.Text(endpoint), strings.NewReader(form.Encode()))
	if err != nil {
		return rig.Reply{}, err
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	return a.edge.Send(req)
}

// newScope asks for the client-server API, on a device that nobody has yet (Matrix CS §oauth-20-scopes).
func newScope() string {
	return "urn:matrix:client:api:* urn:matrix:client:device:DEMO" + rand.Text()[:8]
}

// link is an authorization request for a new device (RFC 6749 §4.1.1, RFC 7636 §4.3).
func (a *app) link() string {
	state, verifier := rand.Text(), rand.Text()+rand.Text()
	a.mu.Lock()
	a.verifiers[state] = verifier
	a.mu.Unlock()
	challenge := sha256.Sum256([]byte(verifier))
	return a.provider.Text("authorization_endpoint") + "?" + url.Values{
		"response_type": {"code"}, "client_id": {a.id}, "redirect_uri": {a.url + callbackPath}, "scope": {newScope()}, "state": {state},
		"code_challenge": {base64.RawURLEncoding.EncodeToString(challenge[:])}, "code_challenge_method": {"S256"},
	}.Encode()
}

// redeem makes a session of the answer to a link (RFC 6749 §4.1.3), or finds the one that it has made of it before.
func (a *app) redeem(ctx context.Context, answer url.Values) (tokens rig.Reply, err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	code, verifier := answer.Get("code"), a.verifiers[answer.Get("state")]
	tokens, done := a.sessions[code]
	switch {
	case verifier == "" || answer.Get("iss") != a.provider.Text("issuer"): // RFC 9207 §2.4
		return tokens, errors.New("this is no answer to a link of this demonstration")
	case answer.Has("error"):
		return tokens, fmt.Errorf("the answer is %s", answer.Get("error"))
	case done:
		return tokens, nil
	}
	tokens, err = a.post(ctx, "token_endpoint", url.Values{
		"grant_type": {"authorization_code"}, "code": {code}, "redirect_uri": {a.url + callbackPath}, "code_verifier": {verifier},
	})
	if err == nil && tokens.Status != http.StatusOK {
		err = fmt.Errorf("the code is answered %s", tokens)
	}
	if err == nil {
		a.sessions[code] = tokens
	}
	return tokens, err
}

// callback is where the browser comes back to.
func (a *app) callback(w http.ResponseWriter, r *http.Request) {
	ctx := context.WithoutCancel(r.Context()) // A reload must not lose what the code has bought.
	tokens, err := a.redeem(ctx, r.URL.Query())
	if err != nil {
		a.show(w, http.StatusBadRequest, appView{Title: "Not signed in", Text: "The reason: " + err.Error() + "."})
		return
	}
	me, err := a.edge.With(tokens.Text("access_token")).Do(ctx, http.MethodGet, whoamiPath, nil)
	switch {
	case err != nil:
		a.show(w, http.StatusBadGateway, appView{Title: "Nobody answers", Text: err.Error()})
	case me.Status != http.StatusOK:
		text := fmt.Sprintf("The access token, which was good for %v seconds, is now answered %s", tokens.Get("expires_in"), me)
		a.show(w, http.StatusOK, appView{Title: "No longer signed in", Text: text})
	default:
		text := fmt.Sprintf("Synapse says: you are %s, on device %s.", me.Text("user_id"), me.Text("device_id"))
		a.show(w, http.StatusOK, appView{Title: "Signed in", Text: text, Account: a.provider.Text("account_management_uri")})
	}
}

// appView is what the app's page says. Account is where the session can be ended, if there is one.
type appView struct{ Title, Text, Account string }

var appPage = template.Must(template.New("").Parse(`<!doctype html>
<html lang="en">
<meta charset="utf-8"><meta name="viewport" content="width=device-width"><meta name="color-scheme" content="light dark">
<title>{{.Title}}</title>
<h1>{{.Title}}</h1>
<p>{{.Text}}</p>
{{with .Account}}<p>End the session among <a href="{{.}}">your sessions</a> and reload this page: its token is dead at once.</p>
{{end}}<p><a href="/">Sign in on another device</a></p>
`))

func (a *app) show(w http.ResponseWriter, status int, view appView) {
	h := w.Header()
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Cache-Control", "no-store")
	h.Set("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'")
	h.Set("Referrer-Policy", "no-referrer") // The address has the code.
	w.WriteHeader(status)
	_ = appPage.Execute(w, view)
}

// explain says how a person uses the app, and how curl takes its place.
func (a *app) explain() string {
	return fmt.Sprintf(`  Sign in with OAuth in a browser, as often as you like:
      %[1]s
  or on a device without a browser, which is curl here. The last line asks for the tokens: again, once you have allowed it.
      answer=$(curl -sS -d client_id=%[2]s --data-urlencode 'scope=%[3]s' %[4]s)
      field() { printf %%s "$answer" | sed "s/.*\"$1\":\"\([^\"]*\)\".*/\1/"; }
      echo "Open $(field verification_uri_complete)"
      curl -sS -d client_id=%[2]s -d grant_type=%[5]s -d device_code="$(field device_code)" %[6]s; echo
`, a.link(), a.id, newScope(), a.provider.Text("device_authorization_endpoint"), deviceGrant, a.provider.Text("token_endpoint"))
}
