package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"time"

	"github.com/caddy-matrix/caddy-matrix-auth/internal/e2e/rig"
)

// proofTimeout bounds the whole proof; it takes a few seconds, most of them between two polls.
const proofTimeout = time.Minute

const whoamiPath = "/_matrix/client/v3/account/whoami"

// proof is the life of sessions as a client sees it, one after the other. Each step needs the ones before it.
type proof struct {
	client   rig.Client
	app      *app
	browser  *rig.Browser
	password string

	userID, device, refresh string
	tokens                  []string // the session's access tokens so far
	landed                  rig.Page // where the browser is
	asked                   rig.Reply
	polled                  time.Time
}

// step does one thing and says what came of it.
type step struct {
	name string
	do   func(context.Context) (string, error)
}

// prove signs in, uses Synapse, refreshes and signs out: by password, by OAuth in a browser, and by OAuth on a device that has
// none. It prints a line for each step.
func prove(ctx context.Context, a *app, password string) error {
	ctx, cancel := context.WithTimeout(ctx, proofTimeout)
	defer cancel()
	b, err := rig.NewBrowser("")
	if err != nil {
		return err
	}
	p := &proof{client: a.edge, app: a, browser: b, password: password}
	for _, s := range slices.Concat(p.byPassword(), p.byBrowser(), p.byDevice()) {
		said, err := s.do(ctx)
		if err != nil {
			return fmt.Errorf("proof failed at %s: %w", s.name, err)
		}
		fmt.Printf("ok  %-20s %s\n", s.name, said)
	}
	return nil
}

func (p *proof) byPassword() []step {
	return []step{
		{"login", p.login},
		{"whoami", p.whoami},
		{"sync", p.sync},
		{"refresh", p.rotate},
		{"logout", p.logout},
		{"token dead at once", p.dead},
	}
}

// call makes a request that has to be answered with the given status.
func call(ctx context.Context, c rig.Client, status int, method, path string, body any) (rig.Reply, error) {
	r, err := c.Do(ctx, method, path, body)
	if err == nil && r.Status != status {
		err = fmt.Errorf("%s %s: got %s, want status %d", method, path, r, status)
	}
	return r, err
}

// call makes a request with the newest token.
func (p *proof) call(ctx context.Context, status int, method, path string, body any) (rig.Reply, error) {
	return call(ctx, p.client, status, method, path, body)
}

// keep takes the tokens of an answer, and remembers the access token: each has to die with the session.
func (p *proof) keep(r rig.Reply) error {
	p.client.Token, p.refresh = r.Text("access_token"), r.Text("refresh_token")
	if p.client.Token == "" || p.refresh == "" {
		return errors.New("the answer has no tokens")
	}
	p.tokens = append(p.tokens, p.client.Token)
	return nil
}

func (p *proof) login(ctx context.Context) (string, error) {
	r, err := p.call(ctx, http.StatusOK, http.MethodPost, "/_matrix/client/v3/login", map[string]any{
		"type":          "m.login.password",
		"identifier":    map[string]string{"type": "m.id.user", "user": "demo"},
		"password":      p.password,
		"refresh_token": true,
	})
	if err != nil {
		return "", err
	}
	p.userID, p.device = r.Text("user_id"), r.Text("device_id")
	return fmt.Sprintf("%s with a password, on device %s", p.userID, p.device), p.keep(r)
}

func (p *proof) whoami(ctx context.Context) (string, error) {
	r, err := p.call(ctx, http.StatusOK, http.MethodGet, whoamiPath, nil)
	if err != nil {
		return "", err
	}
	if r.Text("user_id") != p.userID || r.Text("device_id") != p.device {
		return "", fmt.Errorf("got %s, want user %s on device %s", r, p.userID, p.device)
	}
	return "Synapse says the same", nil
}

func (p *proof) sync(ctx context.Context) (string, error) {
	r, err := p.call(ctx, http.StatusOK, http.MethodGet, "/_matrix/client/v3/sync?timeout=0", nil)
	if err != nil {
		return "", err
	}
	if r.Text("next_batch") == "" {
		return "", errors.New("the answer has no next_batch")
	}
	return "from Synapse, batch " + r.Text("next_batch"), nil
}

func (p *proof) rotate(ctx context.Context) (string, error) {
	used, usedRefresh := p.client.Token, p.refresh
	r, err := p.call(ctx, http.StatusOK, http.MethodPost, "/_matrix/client/v3/refresh", map[string]string{"refresh_token": usedRefresh})
	if err != nil {
		return "", err
	}
	if err := p.keep(r); err != nil {
		return "", err
	}
	if p.client.Token == used || p.refresh == usedRefresh {
		return "", errors.New("the answer has no new tokens")
	}
	_, err = p.whoami(ctx)
	return "new tokens, the same device", err
}

func (p *proof) logout(ctx context.Context) (string, error) {
	_, err := p.call(ctx, http.StatusOK, http.MethodPost, "/_matrix/client/v3/logout", nil)
	return "session ended, device gone from Synapse", err
}

func (p *proof) dead(ctx context.Context) (string, error) {
	for _, p.client.Token = range p.tokens {
		r, err := p.call(ctx, http.StatusUnauthorized, http.MethodGet, whoamiPath, nil)
		if err != nil {
			return "", err
		}
		if r.Errcode() != "M_UNKNOWN_TOKEN" {
			return "", fmt.Errorf("got %s, want M_UNKNOWN_TOKEN", r)
		}
	}
	p.client.Token, p.tokens = "", nil
	return "each access token it had gets 401 M_UNKNOWN_TOKEN", nil
}
