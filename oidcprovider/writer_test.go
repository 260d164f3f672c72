package oidcprovider_test

import (
	"context"
	"net/url"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddy-matrix/caddy-matrix-auth/internal/auth"
	"github.com/caddy-matrix/caddy-matrix-auth/internal/authtest"
	"github.com/caddy-matrix/caddy-matrix-auth/store"
)

// TestSigningIsNotOnTheWriter: an RSA signature takes longer than a commit, and everybody waits for the store's writer. So an id
// token is signed after its session is on disk, and while the writer is busy with something else.
func TestSigningIsNotOnTheWriter(t *testing.T) {
	for name, grant := range map[string]struct {
		alg      string
		exchange func(t *testing.T, e *edge) func() reply
	}{
		"code":         {"RS256", codeExchange("RS256")},
		"code, ES256":  {"ES256", codeExchange("ES256")},
		"device grant": {"RS256", devicePoll},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var e *edge
				var release func()
				e = edgeOn(t, authtest.Options{Idle: true}, func(s *auth.Settings) {
					s.Emit = func(ev auth.Event) {
						if ev.Name == "session_started" { // It is on disk, and the answer is not made yet.
							release = occupyWriter(t, e.DB)
							e.Clock.Advance(time.Minute)
						}
					}
				})
				exchange := grant.exchange(t, e)
				p := exchange()
				if release == nil {
					t.Fatalf("no session: got %d %s", p.Code, p.Body)
				}
				release()
				p.want(t, 200, "")
				if iat := e.verify(t, p.str("id_token"), grant.alg)["iat"]; iat != float64(e.Now().Unix()) {
					t.Errorf("signed at %v, want %d: after the commit", iat, e.Now().Unix())
				}
			})
		})
	}
}

// codeExchange prepares the redemption of a code by a client with an algorithm of its own.
func codeExchange(alg string) func(t *testing.T, e *edge) func() reply {
	return func(t *testing.T, e *edge) func() reply {
		c := e.register(t, `{"client_uri":"https://example.com","redirect_uris":["`+redirect+`"],"token_endpoint_auth_method":"none",
			"id_token_signed_response_alg":"`+alg+`"}`).str("client_id")
		code := e.code(t, authorization(c, "openid "+fullScope))
		return func() reply { return e.form(t, "/oauth2/token", exchange(c, code)) }
	}
}

// devicePoll prepares the poll that gets the tokens.
func devicePoll(t *testing.T, e *edge) func() reply {
	c := e.client(t)
	d := e.form(t, "/oauth2/device", url.Values{"client_id": {c}, "scope": {"openid " + fullScope}})
	if err := e.decide(t, d.str("user_code"), true); err != nil {
		t.Fatal(err)
	}
	return func() reply { return e.poll(t, c, d.str("device_code")) }
}

// occupyWriter keeps the store's writer busy until it is released. Who waits for it meanwhile waits in vain.
func occupyWriter(t *testing.T, db *store.DB) (release func()) {
	busy, free, done := make(chan struct{}), make(chan struct{}), make(chan error, 1)
	go func() {
		done <- db.Update(context.Background(), func(*store.Tx) error {
			close(busy)
			<-free
			return nil
		})
	}()
	<-busy
	return func() {
		close(free)
		if err := <-done; err != nil {
			t.Errorf("keeping the writer busy: %v", err)
		}
	}
}
