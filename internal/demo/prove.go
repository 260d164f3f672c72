package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/caddy-matrix/caddy-matrix-auth/internal/e2e/rig"
)

// proofTimeout bounds the whole proof; it takes well under a second.
const proofTimeout = time.Minute

// proof is the life of one session as a client sees it. Each step needs the ones before it.
type proof struct {
	client           rig.Client
	password         string
	device, refresh  string
	oldToken, userID string
}

// prove signs in, uses Synapse, refreshes and signs out, and prints a line for each.
func prove(ctx context.Context, url, password string) error {
	ctx, cancel := context.WithTimeout(ctx, proofTimeout)
	defer cancel()
	p := &proof{client: rig.Client{Base: url}, password: password}
	for _, step := range []struct {
		name string
		do   func(context.Context) (string, error)
	}{
		{"login", p.login},
		{"whoami", p.whoami},
		{"sync", p.sync},
		{"refresh", p.rotate},
		{"logout", p.logout},
		{"token dead at once", p.dead},
	} {
		said, err := step.do(ctx)
		if err != nil {
			return fmt.Errorf("proof failed at %s: %w", step.name, err)
		}
		fmt.Printf("ok  %-20s %s\n", step.name, said)
	}
	return nil
}

// call makes a request that has to be answered with the given status.
func (p *proof) call(ctx context.Context, status int, method, path string, body any) (rig.Reply, error) {
	r, err := p.client.Do(ctx, method, path, body)
	if err == nil && r.Status != status {
		err = fmt.Errorf("%s %s: got %s, want status %d", method, path, r, status)
	}
	return r, err
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
	p.userID, p.device, p.refresh = r.Text("user_id"), r.Text("device_id"), r.Text("refresh_token")
	p.client.Token = r.Text("access_token")
	if p.client.Token == "" || p.refresh == "" {
		return "", errors.New("the answer has no tokens")
	}
	return fmt.Sprintf("%s with a password, on device %s", p.userID, p.device), nil
}

func (p *proof) whoami(ctx context.Context) (string, error) {
	r, err := p.call(ctx, http.StatusOK, http.MethodGet, "/_matrix/client/v3/account/whoami", nil)
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
	r, err := p.call(ctx, http.StatusOK, http.MethodPost, "/_matrix/client/v3/refresh", map[string]string{"refresh_token": p.refresh})
	if err != nil {
		return "", err
	}
	p.oldToken, p.client.Token = p.client.Token, r.Text("access_token")
	if p.client.Token == "" || p.client.Token == p.oldToken || r.Text("refresh_token") == p.refresh {
		return "", errors.New("the answer has no new tokens")
	}
	if _, err := p.whoami(ctx); err != nil {
		return "", err
	}
	return "new tokens, the same device", nil
}

func (p *proof) logout(ctx context.Context) (string, error) {
	_, err := p.call(ctx, http.StatusOK, http.MethodPost, "/_matrix/client/v3/logout", nil)
	return "session ended, device gone from Synapse", err
}

func (p *proof) dead(ctx context.Context) (string, error) {
	for _, token := range []string{p.client.Token, p.oldToken} {
		p.client.Token = token
		r, err := p.call(ctx, http.StatusUnauthorized, http.MethodGet, "/_matrix/client/v3/account/whoami", nil)
		if err != nil {
			return "", err
		}
		if r.Errcode() != "M_UNKNOWN_TOKEN" {
			return "", fmt.Errorf("got %s, want M_UNKNOWN_TOKEN", r)
		}
	}
	return "both access tokens get 401 M_UNKNOWN_TOKEN", nil
}
