package auth_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/caddy-matrix/caddy-matrix-auth/internal/auth"
	"github.com/caddy-matrix/caddy-matrix-auth/internal/authtest"
	"github.com/caddy-matrix/caddy-matrix-auth/internal/mxid"
	"github.com/caddy-matrix/caddy-matrix-auth/internal/token"
	"github.com/caddy-matrix/caddy-matrix-auth/store"
)

const (
	modelTTL   = 5 * time.Minute
	modelGrace = time.Minute
)

// modelSession is a session as the rules describe it, without hashes, seals or records: every token in clear.
type modelSession struct {
	start   time.Time // of the service: for an hour what was noted before it has no age
	id      string
	client  string // of an OAuth session; empty: a legacy one
	ended   bool
	refresh []string          // by generation, all of them
	used    map[int]time.Time // generation → first use
	gone    map[int]bool      // generations whose grace was over at a write: a clock that is set back revives nothing
	access  []modelAccess     // newest first, as many as are kept
	old     []string          // access tokens that are not kept any more
	issued  string            // the access token of the newest pair, which is handed out again
}

type modelAccess struct {
	text string
	end  time.Time
	gen  int
}

func (m *modelSession) current() int { return len(m.refresh) - 1 }

func (m *modelSession) trusted(now time.Time) bool { return now.After(m.start.Add(time.Hour)) }

// inGrace: until the successor has been used, and for the grace after its first use.
func (m *modelSession) inGrace(gen int, now time.Time) bool {
	at, used := m.used[gen+1]
	doubtful := !m.trusted(now) && at.Before(m.start)
	return !m.gone[gen] && (!used || now.Sub(at) < modelGrace || doubtful)
}

// stands reports whether a consumed refresh token leads to the newest pair: all that came after it have to be in their grace too.
func (m *modelSession) stands(gen int, now time.Time) bool {
	for ; gen < m.current(); gen++ {
		if !m.inGrace(gen, now) {
			return false
		}
	}
	return true
}

func (m *modelSession) use(gen int, now time.Time) {
	if _, used := m.used[gen]; !used {
		m.used[gen] = now
	}
}

// drop forgets what is over.
func (m *modelSession) drop(now time.Time) {
	m.dropRefresh(now)
	m.dropAccess(now)
}

func (m *modelSession) dropRefresh(now time.Time) {
	for g := range m.current() {
		m.gone[g] = m.gone[g] || !m.inGrace(g, now)
	}
}

func (m *modelSession) dropAccess(now time.Time) {
	m.access = slices.DeleteFunc(m.access, func(a modelAccess) bool {
		over := !now.Before(a.end.Add(store.StaleAccess))
		if over {
			m.old = append(m.old, a.text)
		}
		return over
	})
}

// add keeps a new access token; those before it that still live, live on for a minute at least.
func (m *modelSession) add(text string, end, now time.Time) {
	m.drop(now)
	for i := range m.access {
		if a := &m.access[i]; now.Before(a.end) && a.end.Before(now.Add(time.Minute)) {
			a.end = now.Add(time.Minute)
		}
	}
	m.access = slices.Insert(m.access, 0, modelAccess{text, end, m.current()})
	for len(m.access) > store.MaxAccessTokens {
		m.old = append(m.old, m.access[len(m.access)-1].text)
		m.access = m.access[:len(m.access)-1]
	}
	m.issued = text
}

// waiting is how many consumed refresh tokens are in their grace.
func (m *modelSession) waiting(now time.Time) (n int) {
	for g := range m.current() {
		if m.inGrace(g, now) {
			n++
		}
	}
	return n
}

// TestSessionsAgainstTheModel does random things to real sessions and to the model, and compares every answer.
func TestSessionsAgainstTheModel(t *testing.T) {
	for seed := range uint64(12) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			w := &modelWorld{T: t, r: rand.New(rand.NewPCG(seed, 1)), k: provider(t)}
			w.start = w.k.Now()
			for range 1500 {
				w.step()
			}
		})
	}
}

type modelWorld struct {
	*testing.T
	r        *rand.Rand
	k        *authtest.Kit
	sessions []*modelSession
	locked   bool
	start    time.Time
}

func (w *modelWorld) step() {
	if len(w.sessions) < 3 || w.r.IntN(60) == 0 {
		w.login()
		return
	}
	m := w.sessions[max(0, len(w.sessions)-1-w.r.IntN(4))]
	switch n := w.r.IntN(100); {
	case n < 30:
		w.refresh(m)
	case n < 60:
		w.judge(m)
	case n < 85:
		w.wait()
	case n < 90:
		w.must("flush", w.k.Flush(w.Context()))
	case n < 93:
		w.must("sweep", w.k.Sweep(w.Context()))
		for _, m := range w.sessions {
			m.dropRefresh(w.k.Now())
			if m.trusted(w.k.Now()) {
				m.dropAccess(w.k.Now())
			}
		}
	case n < 97:
		w.must("flush", w.k.Flush(w.Context()))
		w.k.ForgetLive(false)
	case n < 98:
		w.logout(m)
	default:
		w.lock()
	}
}

func (w *modelWorld) must(doing string, err error) {
	w.Helper()
	if err != nil {
		w.Fatalf("%s: %v", doing, err)
	}
}

func (w *modelWorld) login() {
	if w.locked {
		w.lock()
	}
	var in auth.Tokens
	client := []string{"", staticID}[w.r.IntN(2)]
	if client == "" {
		in = w.k.MustLogin(w, "alice", "")
	} else {
		in = signIn(w.T, w.k, "alice").session(client, onDevice(mxid.DeviceID(fmt.Sprintf("DEVICE%04d", len(w.sessions))))).Tokens
	}
	m := &modelSession{start: w.start, id: in.SessionID.String(), client: client, refresh: []string{in.RefreshToken.Reveal()}, used: make(map[int]time.Time), gone: make(map[int]bool)}
	m.add(in.AccessToken.Reveal(), in.ExpiresAt, w.k.Now())
	w.sessions = append(w.sessions, m)
}

func (w *modelWorld) lock() {
	w.locked = !w.locked
	if w.locked {
		w.must("lock", w.k.Lock(w.Context(), "alice"))
		return
	}
	w.must("unlock", w.k.Unlock(w.Context(), "alice"))
}

func (w *modelWorld) wait() {
	steps := []time.Duration{time.Second, 20 * time.Second, 40 * time.Second, 70 * time.Second, 4 * time.Minute, time.Hour}
	if w.r.IntN(12) == 0 { // The clock is set back. Both it and the model go by it alone: see TestAClockStepDoesNotTouchAGrace.
		steps = []time.Duration{-time.Second, -50 * time.Second, -2 * time.Hour}
	}
	w.k.Clock.Advance(steps[w.r.IntN(len(steps))])
}

// refresh presents a refresh token: mostly the newest ones.
func (w *modelWorld) refresh(m *modelSession) {
	now := w.k.Now()
	gen := max(0, m.current()-w.r.IntN(3)*w.r.IntN(2))
	if w.r.IntN(50) == 0 {
		gen = w.r.IntN(len(m.refresh))
	}
	if !m.ended && w.r.IntN(10) == 0 {
		w.crossed(m, m.refresh[gen])
	}
	got, err := w.present(m, m.refresh[gen])
	if m.ended || !m.stands(gen, now) {
		if !errors.Is(err, auth.ErrTokenUnknown) {
			w.Fatalf("%s: refresh with generation %d of %d, ended %v: got %v, want an unknown token", m.id, gen, m.current(), m.ended, err)
		}
		m.ended = true
		return
	}
	w.must(fmt.Sprintf("%s: refresh with generation %d of %d", m.id, gen, m.current()), err)
	if gen == m.current() {
		m.use(gen, now)
		sealed := m.issued
		if m.waiting(now) < store.MaxConsumedTokens {
			m.refresh = append(m.refresh, got.RefreshToken.Reveal())
			sealed = got.AccessToken.Reveal()
		}
		m.add(got.AccessToken.Reveal(), got.ExpiresAt, now)
		m.issued = sealed
	} else if got.AccessToken.Reveal() != m.issued {
		if i := slices.IndexFunc(m.access, func(a modelAccess) bool { return a.text == m.issued }); i >= 0 && m.access[i].end.Sub(now) >= time.Minute {
			w.Fatalf("%s: a repeated refresh made a new access token although the old one lives on for %v", m.id, m.access[i].end.Sub(now))
		}
		m.add(got.AccessToken.Reveal(), got.ExpiresAt, now)
	}
	if got.RefreshToken.Reveal() != m.refresh[m.current()] {
		w.Fatalf("%s: refresh with generation %d of %d: got another refresh token", m.id, gen, m.current())
	}
	if left := got.ExpiresAt.Sub(now); left < time.Minute {
		w.Fatalf("%s: handed out an access token with %v left", m.id, left)
	}
}

// present is a refresh at the endpoint of the session's kind.
func (w *modelWorld) present(m *modelSession, text string) (auth.Tokens, error) {
	if m.client == "" {
		return w.k.Refresh(w.Context(), text, token.CompatRefresh, auth.From{})
	}
	return w.k.RefreshOAuth(w.Context(), auth.RefreshParams{Text: text, ClientID: m.client})
}

// crossed presents a refresh token as another client, or at the endpoint of the other kind: whatever the token, nothing changes.
func (w *modelWorld) crossed(m *modelSession, text string) {
	_, err := w.k.RefreshOAuth(w.Context(), auth.RefreshParams{Text: text, ClientID: "another"})
	if !errors.Is(err, auth.ErrGrantInvalid) && !errors.Is(err, auth.ErrTokenUnknown) {
		w.Fatalf("%s: refresh as another client: got %v", m.id, err)
	}
	if m.client == "" {
		return
	}
	if _, err := w.k.Refresh(w.Context(), text, token.CompatRefresh, auth.From{}); !errors.Is(err, auth.ErrTokenUnknown) {
		w.Fatalf("%s: a legacy refresh of an OAuth session: got %v", m.id, err)
	}
}

// judge presents an access token, kept or not.
func (w *modelWorld) judge(m *modelSession) {
	now := w.k.Now()
	text, end, gen := "", time.Time{}, -1
	if len(m.access) == 0 || len(m.old) > 0 && w.r.IntN(4) == 0 {
		text = m.old[w.r.IntN(len(m.old))]
	} else {
		a := m.access[min(w.r.IntN(3), len(m.access)-1)]
		text, end, gen = a.text, a.end, a.gen
	}
	want := auth.Expired
	switch {
	case m.ended:
		want = auth.Unknown
	case now.Before(end) && w.locked:
		want = auth.Locked
	case now.Before(end):
		want = auth.Active
		m.use(gen, now)
	}
	if got := w.k.MustVerdict(w, token.NewSecret(text)); got != want {
		w.Fatalf("%s: judging an access token of generation %d that ends in %v: got %v, want %v", m.id, gen, end.Sub(now), got, want)
	}
}

func (w *modelWorld) logout(m *modelSession) {
	texts := slices.Clone(m.old)
	for _, a := range m.access {
		texts = append(texts, a.text)
	}
	text := texts[w.r.IntN(len(texts))]
	if m.client != "" && w.r.IntN(2) == 0 {
		if w.r.IntN(2) == 0 {
			text = m.refresh[w.r.IntN(len(m.refresh))]
		}
		w.must("revoke", w.k.Revoke(w.Context(), text, auth.From{}))
		m.ended = true
		return
	}
	err := w.k.Logout(w.Context(), text, auth.From{})
	if m.ended != errors.Is(err, auth.ErrTokenUnknown) || err != nil && !m.ended {
		w.Fatalf("%s: logout of a session that is over: %v, got %v", m.id, m.ended, err)
	}
	m.ended = true
}
