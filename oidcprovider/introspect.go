package oidcprovider

import (
	"errors"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/go-json-experiment/json/jsontext"
	"go.uber.org/zap"

	"github.com/caddy-matrix/caddy-matrix-auth/internal/auth"
)

const (
	// deadline bounds an introspection, since Synapse would wait for ever and its client with it.
	deadline = 5 * time.Second
	// leeway is added to what Synapse is told of a token's remaining life: it fixes the end by its own clock and answers
	// soft_logout false past it. Only the gate enforces the end.
	leeway = 90 * time.Second
	// maxBody is the most bytes of a request that are read; a token of ours makes 80.
	maxBody = 64 << 10
)

// scratch holds what one introspection reads and writes. Nothing of it outlives the handler.
type scratch struct{ in, out []byte }

var scratches = sync.Pool{New: func() any { return &scratch{in: make([]byte, 0, 512), out: make([]byte, 0, 1024)} }}

// ServeIntrospection answers POST /oauth2/introspect (RFC 7662 §2; Synapse api/auth/mas.py _introspect_token).
func (p *Provider) ServeIntrospection(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodPost {
		p.observe(ResultInvalid)
		methodNotAllowed(w, http.MethodPost)
		return
	}
	if !p.authorized(r) {
		p.refuseCaller(w, r)
		return
	}
	s := scratches.Get().(*scratch)
	defer scratches.Put(s)
	text, problem := s.readToken(r)
	if problem != "" {
		p.observe(ResultInvalid)
		oauthError{"invalid_request", problem}.write(w, http.StatusBadRequest)
		return
	}
	ctx := &patience{Context: r.Context(), limit: deadline}
	defer ctx.release()
	found, err := p.introspect(ctx, text)
	p.answer(w, r, s, found, err)
}

// authorized reports whether the request carries a shared secret, in one Authorization header (RFC 6750 §2.1).
func (p *Provider) authorized(r *http.Request) bool {
	values := r.Header["Authorization"]
	if len(values) != 1 {
		return false
	}
	scheme, bearer, ok := strings.Cut(values[0], " ")
	return ok && strings.EqualFold(scheme, "Bearer") && p.accepts(bearer)
}

// refuseCaller answers 401. Synapse turns that into 503 for its clients, the same as for an outage: so the log has to say it.
func (p *Provider) refuseCaller(w http.ResponseWriter, r *http.Request) {
	p.observe(ResultUnauthorized)
	p.unauthorized.Add(1)
	p.logUnauthorized.Do(func() {
		p.log.Warn("introspection refused: the caller does not have the secret shared with synapse; is"+
			" matrix_authentication_service.secret in homeserver.yaml the secret configured here?",
			zap.String("remote_addr", r.RemoteAddr),
			zap.Int64("requests", p.unauthorized.Swap(0)))
	})
	w.Header().Set("WWW-Authenticate", "Bearer")
	oauthError{"invalid_token", "the bearer is not the secret shared with this server"}.write(w, http.StatusUnauthorized)
}

// answer maps a verdict to Synapse's terms.
func (p *Provider) answer(w http.ResponseWriter, r *http.Request, s *scratch, found auth.Introspection, err error) {
	switch {
	case err == nil:
		p.answerActive(w, r, s, &found)
	case errors.Is(err, auth.ErrTokenUnknown), errors.Is(err, auth.ErrTokenExpired):
		p.answerInactive(w)
	case errors.Is(err, auth.ErrUserLocked):
		p.observe(ResultLocked)
		oauthError{"temporarily_unavailable", "the user is locked"}.write(w, http.StatusServiceUnavailable)
	default:
		p.answerFailure(w, r, err)
	}
}

func (p *Provider) answerActive(w http.ResponseWriter, r *http.Request, s *scratch, found *auth.Introspection) {
	expiresIn := int64(0)
	if !found.ExpiresAt.IsZero() {
		if expiresIn = secondsLeft(found.ExpiresAt.Sub(p.now()) + leeway); expiresIn <= 0 {
			p.answerInactive(w)
			return
		}
	}
	body, err := appendActive(s.out[:0], found, expiresIn)
	if err != nil {
		p.answerFailure(w, r, err)
		return
	}
	s.out = body
	p.observe(ResultActive)
	writeJSON(w, http.StatusOK, body)
}

// secondsLeft rounds up.
func secondsLeft(d time.Duration) int64 {
	n := int64(d / time.Second)
	if d%time.Second > 0 {
		n++
	}
	return n
}

// answerInactive says nothing but that (RFC 7662 §2.2).
func (p *Provider) answerInactive(w http.ResponseWriter) {
	p.observe(ResultInactive)
	writeJSON(w, http.StatusOK, []byte(`{"active":false}`))
}

// answerFailure answers that there is no verdict. A caller who went away is not worth a line in the log.
func (p *Provider) answerFailure(w http.ResponseWriter, r *http.Request, err error) {
	p.observe(ResultError)
	if r.Context().Err() == nil {
		p.failed.Add(1)
		p.logFailure.Do(func() {
			p.log.Error("introspection failed", zap.Error(err), zap.Int64("requests", p.failed.Swap(0)))
		})
	}
	status := http.StatusInternalServerError
	if errors.Is(err, auth.ErrClientRemoved) {
		status = http.StatusServiceUnavailable // Nothing is broken.
	}
	oauthError{"server_error", "no verdict, try again"}.write(w, status)
}

// appendActive appends the answer for an active token. Types are exact, since Synapse reads them strictly (mas.py
// IntrospectionResponse): strings, one integer, and members without a value are left out.
func appendActive(b []byte, found *auth.Introspection, expiresIn int64) ([]byte, error) {
	b = append(b, `{"active":true,"token_type":"Bearer"`...)
	if expiresIn > 0 {
		b = append(b, `,"expires_in":`...)
		b = strconv.AppendInt(b, expiresIn, 10)
	}
	var err error
	for _, m := range [...]struct{ name, value string }{
		{`,"scope":`, found.Scope},
		{`,"client_id":`, found.ClientID},
		{`,"username":`, string(found.Localpart)},
		{`,"device_id":`, string(found.DeviceID)},
	} {
		if m.value == "" {
			continue
		}
		b = append(b, m.name...)
		if b, err = jsontext.AppendQuote(b, m.value); err != nil {
			return b, err
		}
	}
	if found.Localpart != "" { // A client's own token has no subject.
		b = append(append(append(b, `,"sub":"`...), found.Subject.String()...), '"')
	}
	return append(b, '}'), nil
}
