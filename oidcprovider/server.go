package oidcprovider

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"time"

	"github.com/zitadel/oidc/v3/pkg/oidc"
	"github.com/zitadel/oidc/v3/pkg/op"

	"github.com/caddy-matrix/caddy-matrix-auth/internal/auth"
	"github.com/caddy-matrix/caddy-matrix-auth/internal/token"
	"github.com/caddy-matrix/caddy-matrix-auth/store"
)

// The error codes that are not only the library's (RFC 6749 §5.2, RFC 7591 §3.2.2).
const (
	errInvalidRequest        = "invalid_request"
	errInvalidClient         = "invalid_client"
	errInvalidScope          = "invalid_scope"
	errInvalidRedirectURI    = "invalid_redirect_uri"
	errInvalidClientMetadata = "invalid_client_metadata"
)

// server is what the library asks. Each method calls one use case of package auth, which is one Update. A method that is not
// here is a grant or an endpoint that we do not have.
type server struct {
	op.UnimplementedServer
	o *OAuth
}

var _ op.Server = (*server)(nil)

// CodeExchange implements op.Server (RFC 6749 §4.1.3, RFC 7636 §4.5).
func (s *server) CodeExchange(ctx context.Context, r *op.ClientRequest[oidc.AccessTokenRequest]) (*op.Response, error) {
	c, call := r.Client.(*client), callOf(ctx)
	if !isVerifier(r.Data.CodeVerifier) {
		return nil, oidc.ErrInvalidGrant().WithDescription("code_verifier is missing or malformed")
	}
	keys, err := s.o.Service.Keys(ctx) // Before the code is consumed: an id token may be due.
	if err != nil {
		return nil, s.trouble(ctx, err)
	}
	out, err := s.o.Service.Redeem(ctx, auth.RedeemParams{
		Code: token.NewSecret(r.Data.Code), ClientID: c.of.ID, RedirectURI: r.Data.RedirectURI, Verifier: r.Data.CodeVerifier,
		Assertion: call.assertion, Arrived: call.arrived, From: call.from,
	})
	if err != nil {
		return nil, s.tokenError(ctx, err)
	}
	return s.redeemed(ctx, &c.of, &keys, &out)
}

// RefreshToken implements op.Server (RFC 6749 §6).
func (s *server) RefreshToken(ctx context.Context, r *op.ClientRequest[oidc.RefreshTokenRequest]) (*op.Response, error) {
	c, call := r.Client.(*client), callOf(ctx)
	p := auth.RefreshParams{Text: r.Data.RefreshToken, ClientID: c.of.ID, Assertion: call.assertion, From: call.from}
	if text := r.Form.Get("scope"); text != "" {
		p.Scope = splitScope(text)
	}
	out, err := s.o.Service.RefreshOAuth(ctx, p)
	if err != nil {
		return nil, s.tokenError(ctx, err)
	}
	return s.tokens(&out, ""), nil
}

// ClientCredentialsExchange implements op.Server (RFC 6749 §4.4).
func (s *server) ClientCredentialsExchange(ctx context.Context, r *op.ClientRequest[oidc.ClientCredentialsRequest]) (*op.Response, error) {
	c, call := r.Client.(*client), callOf(ctx)
	out, err := s.o.Service.ClientCredentials(ctx, auth.ClientCredentialsParams{
		Client: c.of, Scope: splitScope(r.Form.Get("scope")), Assertion: call.assertion, From: call.from,
	})
	if err != nil {
		return nil, s.tokenError(ctx, err)
	}
	call.spent = true
	return s.tokens(&out, ""), nil
}

// DeviceToken implements op.Server (RFC 8628 §3.4).
func (s *server) DeviceToken(ctx context.Context, r *op.ClientRequest[oidc.DeviceAccessTokenRequest]) (*op.Response, error) {
	c, call := r.Client.(*client), callOf(ctx)
	keys, err := s.o.Service.Keys(ctx)
	if err != nil {
		return nil, s.trouble(ctx, err)
	}
	out, err := s.o.Service.RedeemDevice(ctx, auth.RedeemDeviceParams{
		DeviceCode: token.NewSecret(r.Data.DeviceCode), ClientID: c.of.ID, Assertion: call.assertion, From: call.from,
	})
	if err != nil {
		return nil, s.tokenError(ctx, err)
	}
	return s.redeemed(ctx, &c.of, &keys, &out)
}

// DeviceAuthorization implements op.Server (RFC 8628 §3.1, §3.2).
func (s *server) DeviceAuthorization(ctx context.Context, r *op.ClientRequest[oidc.DeviceAuthorizationRequest]) (*op.Response, error) {
	c, call := r.Client.(*client), callOf(ctx)
	if !c.of.May(auth.GrantTypeDeviceCode) {
		return nil, oidc.ErrUnauthorizedClient().WithDescription("the client is not registered for this grant")
	}
	scope, err := deviceScope(r.Form.Get("scope"))
	if text, bad := isScopeError(err); bad {
		return nil, oidc.ErrInvalidScope().WithDescription("%s", text)
	}
	d, code, err := s.o.Service.StartDeviceGrant(ctx, auth.StartDeviceParams{
		ClientID: c.of.ID, Scope: scope, Assertion: call.assertion, From: call.from,
	})
	if err != nil {
		return nil, s.tokenError(ctx, err)
	}
	user := d.UserCode[:store.DeviceUserCodeChars/2] + "-" + d.UserCode[store.DeviceUserCodeChars/2:]
	return op.NewResponse(&oidc.DeviceAuthorizationResponse{
		DeviceCode:              code.Reveal(),
		UserCode:                user,
		VerificationURI:         s.o.urls.Link(),
		VerificationURIComplete: s.o.urls.Link() + "?code=" + user,
		ExpiresIn:               int(store.DeviceGrantFor / time.Second),
		Interval:                int(store.DevicePollInterval / time.Second),
	}), nil
}

// deviceScope is what is asked for a device: the scope names one (Matrix CS §device-authorization-flow).
func deviceScope(text string) ([]string, error) {
	scope, err := parseScope(text)
	if err == nil && !namesDevice(scope) {
		err = errScopeNoDevice
	}
	return scope, err
}

// Revocation implements op.Server (RFC 7009, MSC4254).
func (s *server) Revocation(ctx context.Context, r *op.ClientRequest[oidc.RevocationRequest]) (*op.Response, error) {
	if err := s.o.Service.Revoke(ctx, r.Data.Token, callOf(ctx).from); err != nil {
		return nil, s.trouble(ctx, err)
	}
	return op.NewResponse(struct{}{}), nil // A client that parses JSON fails on an empty body.
}

// redeemed answers with a new session's tokens, and an id token if openid was granted (OIDC Core §3.1.3.3).
func (s *server) redeemed(ctx context.Context, c *auth.Client, keys *auth.Keys, out *auth.Redeemed) (*op.Response, error) {
	callOf(ctx).spent = true
	idToken := ""
	for _, sc := range out.Scope {
		if sc != scopeOpenID {
			continue
		}
		var err error
		if idToken, err = s.idToken(c, keys, out); err != nil {
			return nil, s.trouble(ctx, err)
		}
	}
	return s.tokens(&out.Tokens, idToken), nil
}

// tokens is the answer of the token endpoint (RFC 6749 §5.1). What is left of the access token is told in whole seconds, never
// more than it is.
func (s *server) tokens(t *auth.Tokens, idToken string) *op.Response {
	return op.NewResponse(&oidc.AccessTokenResponse{
		AccessToken:  t.AccessToken.Reveal(),
		TokenType:    oidc.BearerToken,
		RefreshToken: t.RefreshToken.Reveal(),
		ExpiresIn:    uint64(max(1, t.ExpiresAt.Sub(s.o.Now())/time.Second)),
		IDToken:      idToken,
		Scope:        t.Scope,
	})
}

// tokenError is the verdict for a use case's error. What is no verdict is trouble.
func (s *server) tokenError(ctx context.Context, err error) error {
	var limited *auth.RateLimitError
	switch {
	case errors.Is(err, auth.ErrPending):
		return oidc.ErrAuthorizationPending().WithDescription("")
	case errors.Is(err, auth.ErrSlowDown):
		return oidc.ErrSlowDown().WithDescription("")
	case errors.Is(err, auth.ErrExpired):
		return oidc.ErrExpiredDeviceCode().WithDescription("")
	case errors.Is(err, auth.ErrDenied):
		return oidc.ErrAccessDenied().WithDescription("")
	case errors.Is(err, auth.ErrGrantInvalid), errors.Is(err, auth.ErrGrantReplayed), errors.Is(err, auth.ErrTokenUnknown):
		return oidc.ErrInvalidGrant()
	case errors.Is(err, auth.ErrScopeDenied):
		return oidc.ErrInvalidScope()
	case errors.Is(err, auth.ErrClientUnknown):
		return refuseClient("the client has not proved who it is")
	case errors.Is(err, auth.ErrClientNotAllowed):
		return oidc.ErrUnauthorizedClient()
	case errors.As(err, &limited):
		callOf(ctx).retryAfter = retryAfter(limited.RetryAfter)
		return op.NewStatusError(&oidc.Error{ErrorType: "temporarily_unavailable", Description: "too many requests"}, http.StatusTooManyRequests)
	}
	return s.trouble(ctx, err)
}

// trouble remembers what is no verdict, and has the guard answer so. Nothing of it leaves.
func (s *server) trouble(ctx context.Context, err error) error {
	callOf(ctx).err = err
	return oidc.ErrServerError()
}

// isVerifier reports whether a PKCE verifier has the form of RFC 7636 §4.1.
func isVerifier(v string) bool {
	return len(v) >= 43 && len(v) <= 128 && strings.Trim(v, unreserved) == ""
}

const unreserved = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~"
