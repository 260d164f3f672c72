package oidcprovider

import (
	"context"
	"errors"
	"net/http"
	"slices"

	"github.com/zitadel/oidc/v3/pkg/oidc"
	"github.com/zitadel/oidc/v3/pkg/op"

	"github.com/caddy-matrix/caddy-matrix-auth/internal/auth"
)

// userInfo are the claims about a user (OIDC Core §5.1). username is MAS's name of the localpart.
type userInfo struct {
	Subject           string `json:"sub"`
	Username          string `json:"username"`
	PreferredUsername string `json:"preferred_username,omitempty"`
	Name              string `json:"name,omitempty"`
}

// UserInfo implements op.Server (OIDC Core §5.3).
func (s *server) UserInfo(ctx context.Context, r *op.Request[oidc.UserInfoRequest]) (*op.Response, error) {
	c, err := s.o.Service.UserInfo(ctx, r.Data.AccessToken, callOf(ctx).from)
	switch {
	case errors.Is(err, auth.ErrTokenUnknown), errors.Is(err, auth.ErrTokenExpired):
		return nil, op.NewStatusError(&oidc.Error{ErrorType: "invalid_token"}, http.StatusUnauthorized)
	case errors.Is(err, auth.ErrScopeDenied):
		return nil, op.NewStatusError(&oidc.Error{ErrorType: "insufficient_scope"}, http.StatusForbidden)
	case err != nil: // A locked user's too: the session lives.
		return nil, s.trouble(ctx, err)
	}
	info := userInfo{Subject: c.Subject.String(), Username: string(c.Localpart)}
	if slices.Contains(c.Scope, scopeProfile) {
		info.PreferredUsername, info.Name = string(c.Localpart), c.DisplayName
	}
	return op.NewResponse(&info), nil
}

// introspected is what a client is told of an access token (RFC 7662 §2.2).
type introspected struct {
	Active    bool   `json:"active"`
	Scope     string `json:"scope,omitempty"`
	ClientID  string `json:"client_id,omitempty"`
	Username  string `json:"username,omitempty"`
	Subject   string `json:"sub,omitempty"`
	TokenType string `json:"token_type,omitempty"`
	ExpiresAt int64  `json:"exp,omitempty"`
	DeviceID  string `json:"device_id,omitempty"`
	Issuer    string `json:"iss,omitempty"`
}

// Introspect implements op.Server: for clients that the operator lets ask, and about access tokens alone. The homeserver asks
// elsewhere (Provider).
func (s *server) Introspect(ctx context.Context, r *op.Request[op.IntrospectionRequest]) (*op.Response, error) {
	c, err := s.authenticate(ctx, r.Data.ClientCredentials, r.Header, r.Form)
	if err != nil {
		return nil, err
	}
	if !c.of.Static || !c.of.Introspect {
		return nil, refuseClient("the client may not introspect")
	}
	if a := callOf(ctx).assertion; a != nil {
		if err := s.o.Service.UseAssertion(ctx, c.of.ID, *a); err != nil {
			return nil, s.tokenError(ctx, err)
		}
	}
	found, err := s.o.Service.Introspect(ctx, r.Data.Token)
	switch {
	case errors.Is(err, auth.ErrTokenUnknown), errors.Is(err, auth.ErrTokenExpired):
		return op.NewResponse(introspected{}), nil
	case err != nil:
		return nil, s.trouble(ctx, err)
	}
	return op.NewResponse(s.introspected(&found)), nil
}

// introspected keeps to the token's end: the leeway is the homeserver's alone.
func (s *server) introspected(i *auth.Introspection) introspected {
	if !i.ExpiresAt.IsZero() && !s.o.Now().Before(i.ExpiresAt) {
		return introspected{}
	}
	out := introspected{
		Active: true, Scope: i.Scope, ClientID: i.ClientID, Username: string(i.Localpart), TokenType: oidc.BearerToken,
		DeviceID: string(i.DeviceID), Issuer: s.o.issuer,
	}
	if i.Localpart != "" {
		out.Subject = i.Subject.String()
	}
	if !i.ExpiresAt.IsZero() {
		out.ExpiresAt = i.ExpiresAt.Unix()
	}
	return out
}
