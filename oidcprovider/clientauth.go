package oidcprovider

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"strings"

	"github.com/zitadel/oidc/v3/pkg/oidc"
	"github.com/zitadel/oidc/v3/pkg/op"

	"github.com/caddy-matrix/caddy-matrix-auth/internal/auth"
	"github.com/caddy-matrix/caddy-matrix-auth/internal/route"
	"github.com/caddy-matrix/caddy-matrix-auth/internal/token"
)

// The ways in which a client proves itself (RFC 7591 §2, OIDC Core §9).
const (
	authNone          = "none"
	authSecretBasic   = "client_secret_basic"
	authSecretPost    = "client_secret_post"
	authPrivateKeyJWT = "private_key_jwt"
)

// VerifyClient implements op.Server: who asks at the token and the device authorization endpoint.
func (s *server) VerifyClient(ctx context.Context, r *op.Request[op.ClientCredentials]) (op.Client, error) {
	if callOf(ctx).endpoint == route.Revoke {
		return new(client), nil
	}
	c, err := s.authenticate(ctx, r.Data, r.Header, r.Form)
	if err != nil {
		return nil, err
	}
	return c, nil
}

// authenticate finds the client and has it prove itself in exactly the way it registered.
func (s *server) authenticate(ctx context.Context, cc *op.ClientCredentials, h http.Header, form url.Values) (*client, error) {
	used, err := methodUsed(h, form)
	if err != nil {
		return nil, err
	}
	id := cc.ClientID
	if id == "" {
		id = unverifiedIssuer(cc.ClientAssertion)
	}
	if claimed := form.Get("client_id"); claimed != "" && claimed != id {
		return nil, refuseClient("two clients are named")
	}
	found, err := s.o.Service.Client(ctx, id)
	switch {
	case errors.Is(err, auth.ErrClientUnknown):
		return nil, s.unknownClient(ctx, id, form)
	case err != nil:
		return nil, s.trouble(ctx, err)
	case found.AuthMethod != used:
		return nil, refuseClient("the client is registered for another way of authentication")
	}
	c := &client{of: found}
	switch used {
	case authSecretBasic, authSecretPost:
		_, err = s.o.Service.AuthenticateClient(ctx, id, token.NewSecret(cc.ClientSecret))
	case authPrivateKeyJWT:
		if call := callOf(ctx); call.assertion == nil { // Else the request is held, may have consumed it, and came when it was good.
			call.assertion, err = s.checkAssertion(&found, cc.ClientAssertion, call.arrived)
		}
	}
	switch {
	case errors.Is(err, auth.ErrClientUnknown):
		return nil, refuseClient("the client has not proved who it is")
	case err != nil:
		return nil, s.trouble(ctx, err)
	}
	return c, nil
}

// methodUsed tells in which way the client tries to prove itself. An Authorization header of another scheme is not meant for
// us: clients send the access token that they have everywhere.
func methodUsed(h http.Header, form url.Values) (string, error) {
	used := authNone
	n := 0
	headers := h["Authorization"]
	for _, v := range headers {
		if scheme, _, _ := strings.Cut(v, " "); strings.EqualFold(scheme, "Basic") {
			used, n = authSecretBasic, n+1
		}
	}
	if form.Has("client_secret") {
		used, n = authSecretPost, n+1
	}
	if form.Has("client_assertion") || form.Has("client_assertion_type") {
		used, n = authPrivateKeyJWT, n+1
	}
	if n > 1 || n == 1 && len(headers) > 1 {
		return "", oidc.ErrInvalidRequest().WithDescription("more than one way of client authentication")
	}
	if _, _, ok := (&http.Request{Header: h}).BasicAuth(); used == authSecretBasic && !ok {
		return "", refuseClient("the Authorization header is malformed")
	}
	return used, nil
}

// unknownClient answers for a client that does not exist. One of the configuration that has been taken out of it, perhaps by
// mistake, is not called dead while it has a session: the refresh token says so.
func (s *server) unknownClient(ctx context.Context, id string, form url.Values) error {
	if form.Get("grant_type") == auth.GrantTypeRefreshToken {
		of, err := s.o.Service.ClientOfRefresh(form.Get("refresh_token"))
		switch {
		case err == nil && of == id:
			return s.trouble(ctx, auth.ErrClientRemoved)
		case err != nil && !errors.Is(err, auth.ErrTokenUnknown):
			return s.trouble(ctx, err)
		}
	}
	return refuseClient("there is no such client")
}

func refuseClient(why string) error { return oidc.ErrInvalidClient().WithDescription("%s", why) }
