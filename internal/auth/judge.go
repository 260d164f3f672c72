package auth

import (
	"context"
	"errors"
	"slices"
	"strings"
	"time"
	"unique"

	"github.com/oklog/ulid/v2"

	"github.com/caddy-matrix/caddy-matrix-auth/internal/mxid"
	"github.com/caddy-matrix/caddy-matrix-auth/internal/token"
	"github.com/caddy-matrix/caddy-matrix-auth/store"
)

// Admission is a judged request's hold on its live session. The zero value holds nothing.
type Admission struct {
	Verdict Verdict
	live    *liveSession
	state   *liveState
	admin   bool
}

// Judge judges an access token for the gate, and notes activity and first use. It does not allocate when the session is in
// memory. An error means that there is no verdict: storage trouble. Call Release when the request is over.
func (s *Service) Judge(ctx context.Context, text string, from From) (Admission, error) {
	t, err := token.Parse(text)
	if errors.Is(err, token.ErrForeign) {
		return Admission{Verdict: Foreign}, nil
	}
	if err != nil || t.Kind.IsRefresh() {
		return Admission{Verdict: Unknown}, nil
	}
	h, now := t.Hash(), s.now()
	a, err := s.admit(ctx, t, h, now)
	if a.state != nil && (a.state.user == nil || !a.state.api) { // not for the client-server API
		a.Release()
		return Admission{Verdict: Unknown}, err
	}
	a.note(h, now, from)
	return a, err
}

// admit finds the session of an access token and judges the token by it. With an Unknown verdict nothing is held.
func (s *Service) admit(ctx context.Context, t token.Token, h token.Hash, now time.Time) (Admission, error) {
	l := s.live.peek(t.Handle)
	if l == nil {
		if !s.mint.Authentic(t) {
			return Admission{Verdict: Unknown}, nil
		}
		var err error
		if l, err = s.live.acquire(ctx, t.Handle); err != nil {
			return Admission{}, unreadable(err)
		}
		if l == nil {
			return Admission{Verdict: Unknown}, nil
		}
	}
	st := l.state.Load()
	if v := s.verdict(st, t, h, now); v != Unknown {
		return Admission{Verdict: v, live: l, state: st, admin: s.mayAdminister(st)}, nil
	}
	l.unpin()
	return Admission{Verdict: Unknown}, nil
}

// verdict judges a token by its session's state. The MAC tells a token that we made and no longer keep from an invented one.
func (s *Service) verdict(st *liveState, t token.Token, h token.Hash, now time.Time) Verdict {
	if st.id.IsZero() || st.ended || (st.user != nil && st.user.deactivated.Load()) {
		return Unknown
	}
	kept := st.find(h)
	if kept == nil && !s.mint.Authentic(t) {
		return Unknown
	}
	if kept == nil || !kept.Live(now) || s.suspended(st) {
		return Expired
	}
	if st.user != nil && st.user.locked.Load() {
		return Locked
	}
	return Active
}

// suspended reports whether a session's client has been taken out of the configuration, perhaps by mistake: nothing is called
// dead for that, and put back it lives again.
func (s *Service) suspended(st *liveState) bool {
	client := st.client.Value()
	if st.registered || client == "" {
		return false
	}
	_, there := s.settings.Load().Clients[client]
	return !there
}

func (st *liveState) find(h token.Hash) *store.AccessToken {
	for i := range st.access {
		if st.access[i].Hash == h {
			return &st.access[i]
		}
	}
	return nil
}

// Life is the session's; nil if nothing is held.
func (a Admission) Life() Life {
	if a.live == nil {
		return nil
	}
	return a.live
}

// Release lets the live session go. It is called once; what the Admission says of the session it says afterwards too.
func (a Admission) Release() {
	if a.live != nil {
		a.live.unpin()
	}
}

// UserID is the owner of the session; empty if nothing is held.
func (a Admission) UserID() mxid.UserID {
	if a.state == nil || a.state.user == nil {
		return ""
	}
	return a.state.user.userID
}

// DeviceID is the session's device; empty if it has none.
func (a Admission) DeviceID() mxid.DeviceID {
	if a.state == nil {
		return ""
	}
	return a.state.device
}

// ClientID is the OAuth client of the session; empty for legacy ones.
func (a Admission) ClientID() string {
	if a.state == nil {
		return ""
	}
	return a.state.client.Value()
}

// SessionID identifies the session; zero if nothing is held.
func (a Admission) SessionID() ulid.ULID {
	if a.state == nil {
		return ulid.ULID{}
	}
	return a.state.id
}

// Admin reports whether the token carries the server admin scope and its user has the right to it now.
func (a Admission) Admin() bool {
	return a.admin && slices.Contains(a.state.scopes, mxid.ScopeAdmin)
}

// mayAdminister reports whether a session with admin scopes may have them now: by its user's right, or by that of the client
// whose own it is.
func (s *Service) mayAdminister(st *liveState) bool {
	switch {
	case !st.admin:
		return false
	case st.user == nil:
		return s.settings.Load().Clients[st.client.Value()].Admin
	}
	return st.user.admin.Load() || s.settings.Load().Admins[st.user.localpart]
}

// Introspect says what an access token is good for, with the leeway that the homeserver needs: it is active until
// store.StaleAccess past its end, since the homeserver must not see an end before the gate does.
//
// ErrTokenUnknown, ErrTokenExpired: inactive. ErrUserLocked: nothing that may be cached. Others: no answer. RFC 7662 §2.2,
// Synapse mas.py.
func (s *Service) Introspect(ctx context.Context, text string) (Introspection, error) {
	t, err := token.Parse(text)
	if err != nil || t.Kind.IsRefresh() {
		return Introspection{}, ErrTokenUnknown
	}
	h, now := t.Hash(), s.now()
	a, err := s.admit(ctx, t, h, now)
	if err != nil {
		return Introspection{}, err
	}
	defer a.Release()
	switch a.Verdict {
	case Active:
	case Locked:
		return Introspection{}, ErrUserLocked
	case Expired:
		if err := s.stale(a.state, h, now); err != nil {
			a.note(h, now, From{})
			return Introspection{}, err
		}
	default:
		return Introspection{}, ErrTokenUnknown
	}
	a.live.note(a.state, h, now, From{})
	return a.introspection(h), nil
}

// stale judges an expired token with the homeserver's leeway: nil if it is still active.
func (s *Service) stale(st *liveState, h token.Hash, now time.Time) error {
	kept := st.find(h)
	switch {
	case s.suspended(st):
		return ErrClientRemoved
	case kept == nil || !kept.Live(now.Add(-store.StaleAccess)):
		return ErrTokenExpired
	case st.user != nil && st.user.locked.Load():
		return ErrUserLocked
	}
	return nil
}

func (a Admission) introspection(h token.Hash) Introspection {
	st := a.state
	i := Introspection{
		SessionID: st.id,
		DeviceID:  st.device,
		ClientID:  st.client.Value(),
		Scope:     strings.Join(st.scope(a.admin), " "),
		ExpiresAt: st.find(h).ExpiresAt,
	}
	if st.user != nil {
		i.Subject, i.Localpart = st.user.id, st.user.localpart
	}
	return i
}

// grant sets what a session's scope amounts to.
func (st *liveState) grant(s *store.Session) {
	stable, unstable, _ := st.device.Scopes()
	st.api = s.Kind == store.SessionCompat
	for _, sc := range s.Scope {
		switch sc {
		case mxid.ScopeAPI, mxid.ScopeAPIUnstable:
			st.api = true
		case stable, unstable:
		default:
			st.scopes = append(st.scopes, sc)
			st.admin = st.admin || mxid.IsAdminScope(sc)
		}
	}
}

// scope is what the homeserver is told: each Matrix scope in its stable and its unstable spelling (Synapse before 1.138 knows
// only the latter), admin scopes only with the right to them.
func (st *liveState) scope(admin bool) (all []string) {
	if st.api {
		all = append(all, mxid.ScopeAPI, mxid.ScopeAPIUnstable)
	}
	if stable, unstable, ok := st.device.Scopes(); ok {
		all = append(all, stable, unstable)
	}
	for _, sc := range st.scopes {
		if admin || !mxid.IsAdminScope(sc) {
			all = append(all, sc)
		}
	}
	return all
}

// note remembers that a token of a live session was presented. One past its end, kept or not, is activity too: its client is
// there, and about to refresh. But it is no first use, so that nobody's refresh token goes for something that bought nothing.
func (a Admission) note(h token.Hash, now time.Time, from From) {
	switch {
	case from.Unproven:
	case a.Verdict == Active:
		a.live.note(a.state, h, now, from)
	case a.Verdict == Expired:
		a.live.note(a.state, token.Hash{}, now, from)
	}
}

// note remembers activity, and the first use of the generation of the token (zero: none was used): from then on the refresh
// token before it is on its way out. Both reach the disk with the next batch.
func (l *liveSession) note(st *liveState, h token.Hash, now time.Time, from From) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.unsaved = true
	l.seenAt = now.UnixMicro()
	if from.Addr.IsValid() {
		l.addr = from.Addr
	}
	if agent := cut(from.UserAgent, maxAgentLen); agent != "" && agent != l.agent.Value() {
		l.agent = unique.Make(agent)
	}
	if st.unused == 0 {
		return
	}
	if t := st.find(h); t == nil || t.Generation != st.unused {
		return
	}
	if _, known := l.firstUse.of(st.unused); !known {
		l.firstUse = append(l.firstUse, firstUse{st.unused, now})
	}
}
