package compat

import (
	"context"
	"net/http"
	"time"

	"github.com/caddy-matrix/caddy-matrix-auth/internal/auth"
	"github.com/caddy-matrix/caddy-matrix-auth/internal/token"
)

// logoutTimeout bounds a logout that its client does not wait for. The use case answers within 2 s of its commit.
const logoutTimeout = 10 * time.Second

// tokensReply is the part of an answer that has the tokens (Matrix CS §login, §refresh). A client that did not ask for a refresh
// token gets none, and a token that does not expire: some log out when they get what they did not ask for.
type tokensReply struct {
	AccessToken  string `json:"access_token"`
	RefreshToken string `json:"refresh_token,omitzero"`
	ExpiresInMS  *int64 `json:"expires_in_ms,omitzero"`
}

// tokensReply says what is left of a token's life at the moment of answering.
func (h *Handler) tokensReply(t auth.Tokens) tokensReply {
	reply := tokensReply{AccessToken: t.AccessToken.Reveal(), RefreshToken: t.RefreshToken.Reveal()}
	if !t.ExpiresAt.IsZero() {
		reply.ExpiresInMS = new(max(0, t.ExpiresAt.Sub(h.now()).Milliseconds()))
	}
	return reply
}

// refreshRequest is the body of POST /refresh.
type refreshRequest struct {
	RefreshToken *string `json:"refresh_token"`
}

// refresh rotates a refresh token of the legacy API; those of OAuth are unknown here (Matrix CS §refresh, §api-usage). The
// access token is not asked for, and one that is sent is not looked at.
func (h *Handler) refresh(r *http.Request, from auth.From) (any, error) {
	q, err := decode[refreshRequest](r)
	if err != nil {
		return nil, err
	}
	if q.RefreshToken == nil {
		return nil, missing("refresh_token")
	}
	tokens, err := h.service.Refresh(r.Context(), *q.RefreshToken, token.CompatRefresh, from)
	if err != nil {
		return nil, err
	}
	return h.tokensReply(tokens), nil
}

// logout ends the token's session (Matrix CS §logout).
func (h *Handler) logout(r *http.Request, from auth.From) (any, error) {
	return endBy(r, from, h.service.Logout)
}

// logoutAll ends all sessions of the token's user (Matrix CS §logout/all).
func (h *Handler) logoutAll(r *http.Request, from auth.From) (any, error) {
	return endBy(r, from, h.service.LogoutAll)
}

// endBy calls a use case with the request's access token. The body means nothing. Who logs out often closes the page at once:
// what was asked for is done all the same.
func endBy(r *http.Request, from auth.From, use func(context.Context, string, auth.From) error) (any, error) {
	drainBody(r)
	text, source, err := token.FromRequest(r.Header, r.URL.RawQuery)
	if err != nil {
		return nil, errTokenTwice
	}
	if source == token.None {
		return nil, errTokenMissing
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(r.Context()), logoutTimeout)
	defer cancel()
	if err := use(ctx, text, from); err != nil {
		return nil, err
	}
	return struct{}{}, nil
}
