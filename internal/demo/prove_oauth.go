package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"
)

func (p *proof) byBrowser() []step {
	return []step{
		{"client registered", p.registered},
		{"sign in by browser", p.signIn},
		{"consent", p.consent},
		{"whoami", p.whoami},
		{"page reloaded", p.reload},
		{"revoke", p.revoke},
		{"token dead at once", p.dead},
	}
}

func (p *proof) byDevice() []step {
	return []step{
		{"sign in by device", p.ask},
		{"link opened", p.allow},
		{"tokens for device", p.collect},
		{"whoami", p.whoami},
		{"revoke", p.revoke},
		{"token dead at once", p.dead},
	}
}

func (p *proof) registered(context.Context) (string, error) {
	if p.app.id == "" {
		return "", errors.New("the answer has no client_id")
	}
	return p.app.id + ", by itself", nil
}

// signIn follows an authorize link and enters name and password.
func (p *proof) signIn(ctx context.Context) (said string, err error) {
	if p.landed, err = p.browser.Open(ctx, p.app.link()); err != nil {
		return "", err
	}
	p.landed, err = p.browser.Submit(ctx, p.landed, url.Values{"username": {"demo"}, "password": {p.password}})
	return "from the authorize link to the password, to consent", err
}

// consent agrees, which leads back to the app: it exchanges the code and asks Synapse who it is.
func (p *proof) consent(ctx context.Context) (said string, err error) {
	if p.landed, err = p.browser.Submit(ctx, p.landed, url.Values{"decision": {"allow"}}); err != nil {
		return "", err
	}
	tokens, err := p.app.redeem(ctx, p.landed.URL.Query())
	if err != nil {
		return "", fmt.Errorf("at %s: %w", p.landed.URL, err)
	}
	if err := p.keep(tokens); err != nil {
		return "", err
	}
	p.device = deviceOf(tokens.Text("scope"))
	return "the app got its code and tokens, for device " + p.device, p.shows()
}

// deviceOf is the device among granted scopes.
func deviceOf(scope string) string {
	_, device, _ := strings.Cut(scope, "urn:matrix:client:device:")
	device, _, _ = strings.Cut(device, " ")
	return device
}

// shows checks what the app's page says: what Synapse told it.
func (p *proof) shows() error {
	if want := fmt.Sprintf("you are %s, on device %s.", p.userID, p.device); !strings.Contains(p.landed.HTML, want) {
		return fmt.Errorf("at %s: got %s, want %q", p.landed.URL, p.landed.HTML, want)
	}
	return nil
}

func (p *proof) reload(ctx context.Context) (said string, err error) {
	if p.landed, err = p.browser.Open(ctx, p.landed.URL.String()); err != nil {
		return "", err
	}
	return "it still says who is signed in", p.shows()
}

// revoke signs out as clients of OAuth do (RFC 7009).
func (p *proof) revoke(ctx context.Context) (string, error) {
	r, err := p.app.post(ctx, "revocation_endpoint", url.Values{"token": {p.refresh}, "token_type_hint": {"refresh_token"}})
	if err == nil && r.Status != http.StatusOK {
		err = fmt.Errorf("got %s, want status 200", r)
	}
	return "session ended", err
}

// ask asks for a device's sign-in, as one that shows a QR code does (RFC 8628 §3.1), and polls before the yes.
func (p *proof) ask(ctx context.Context) (said string, err error) {
	p.asked, err = p.app.post(ctx, "device_authorization_endpoint", url.Values{"scope": {newScope()}})
	if err == nil && p.asked.Status != http.StatusOK {
		err = fmt.Errorf("got %s, want a code", p.asked)
	}
	if err != nil {
		return "", err
	}
	if err := p.poll(ctx, http.StatusBadRequest, "authorization_pending"); err != nil {
		return "", err
	}
	return fmt.Sprintf("the code is %s, the token endpoint says authorization_pending", p.asked.Text("user_code")), nil
}

// poll asks for the device's tokens (RFC 8628 §3.4), and checks the error in the answer, if any is due.
func (p *proof) poll(ctx context.Context, status int, failure string) error {
	p.polled = time.Now()
	r, err := p.app.post(ctx, "token_endpoint", url.Values{"grant_type": {deviceGrant}, "device_code": {p.asked.Text("device_code")}})
	if err != nil {
		return err
	}
	if r.Status != status || r.Text("error") != failure {
		return fmt.Errorf("got %s, want status %d %s", r, status, failure)
	}
	if failure != "" {
		return nil
	}
	p.device = deviceOf(r.Text("scope"))
	return p.keep(r)
}

// allow opens the link of the device in the browser, which is signed in, compares the code and says yes.
func (p *proof) allow(ctx context.Context) (said string, err error) {
	if p.landed, err = p.browser.Open(ctx, p.asked.Text("verification_uri_complete")); err != nil {
		return "", err
	}
	for _, typed := range []url.Values{{"code": {p.asked.Text("user_code")}}, {"mine": {"yes"}, "decision": {"allow"}}} {
		if p.landed, err = p.browser.Submit(ctx, p.landed, typed); err != nil {
			return "", err
		}
	}
	return "the same code, allowed in the browser", nil
}

// collect polls when the interval is over.
func (p *proof) collect(ctx context.Context) (string, error) {
	interval, _ := p.asked.Get("interval").(float64)
	select {
	case <-ctx.Done():
		return "", ctx.Err()
	case <-time.After(time.Until(p.polled.Add(time.Duration(interval) * time.Second))):
	}
	err := p.poll(ctx, http.StatusOK, "")
	return "by the second poll, for device " + p.device, err
}
