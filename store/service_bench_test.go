package store_test

import (
	"context"
	"crypto/rand"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/oklog/ulid/v2"

	"github.com/caddy-matrix/caddy-matrix-auth/internal/auth"
	"github.com/caddy-matrix/caddy-matrix-auth/internal/authtest"
	"github.com/caddy-matrix/caddy-matrix-auth/internal/mxid"
	"github.com/caddy-matrix/caddy-matrix-auth/internal/token"
	"github.com/caddy-matrix/caddy-matrix-auth/store"
)

// The benchmarks in this file stand here because only this package knows Badger, with which they compare the service.

const (
	slice     = time.Second
	untilNext = 5 * time.Minute // from one refresh of a session to the next: the life of its access tokens
)

// service is a service on disk and the mint of its tokens.
type service struct {
	*authtest.Kit
	mint *token.Mint
	user ulid.ULID
}

func newService(b *testing.B) *service {
	k := authtest.NewService(b, authtest.Options{
		Idle:  true,
		Store: store.Options{Dir: b.TempDir()},
		Settings: func(s *auth.Settings) {
			s.CompatTTL, s.AccessTTL, s.Emit = untilNext, untilNext, func(auth.Event) {}
			s.Clients = map[string]auth.Client{clientID: {Static: true, Client: store.Client{ID: clientID}}}
		},
	})
	return &service{k, token.NewMint(k.DB.TokenKey(), rand.Reader), k.MustAddUser(b, "alice").ID}
}

// clientID is the OAuth client's.
const clientID = "bench"

// client is a session and its current refresh token.
type client struct {
	service *service
	id      ulid.ULID
	token   string
	bytes   []byte // to commit
}

// clients starts sessions without the cost of a password for each.
func (s *service) clients(b *testing.B, n int) []*client {
	return s.clientsOf(b, n, token.CompatAccess, token.CompatRefresh, func(sess *store.Session) { sess.Kind = store.SessionCompat })
}

// oauthClients starts sessions of the OAuth client.
func (s *service) oauthClients(b *testing.B, n int) []*client {
	return s.clientsOf(b, n, token.Access, token.Refresh, func(sess *store.Session) {
		stable, _, _ := sess.DeviceID.Scopes()
		sess.Kind, sess.ClientID, sess.Scope = store.SessionOAuth2, clientID, []string{"openid", mxid.ScopeAPI, stable}
	})
}

func (s *service) clientsOf(b *testing.B, n int, accessKind, refreshKind token.Kind, kind func(*store.Session)) []*client {
	b.Helper()
	all := make([]*client, n)
	for i := range all {
		access, refresh := must(s.mint.Handle())(b), must(s.mint.Handle())(b)
		first, next := must(s.mint.New(accessKind, access))(b), must(s.mint.New(refreshKind, refresh))(b)
		sess := store.Session{
			ID: ulid.Make(), UserID: s.user, DeviceID: must(mxid.NewDeviceID(rand.Reader))(b),
			AccessHandle: access, RefreshHandle: refresh, CreatedAt: s.Now(), Generation: 1, Refresh: next.Hash(),
			Access: []store.AccessToken{{Hash: first.Hash(), ExpiresAt: s.Now().Add(untilNext), Generation: 1}},
		}
		kind(&sess)
		if err := s.DB.Update(b.Context(), func(tx *store.Tx) error { return tx.InsertSession(sess) }); err != nil {
			b.Fatal(err)
		}
		all[i] = &client{service: s, id: sess.ID, token: next.Reveal()}
	}
	return all
}

func must[T any](v T, err error) func(b *testing.B) T {
	return func(b *testing.B) T {
		if err != nil {
			b.Fatal(err)
		}
		return v
	}
}

func (c *client) refresh() error {
	pair, err := c.service.Refresh(context.Background(), c.token, token.CompatRefresh, auth.From{})
	c.token = pair.RefreshToken.Reveal()
	return err
}

// grant is refresh at the token endpoint.
func (c *client) grant() error {
	pair, err := c.service.RefreshOAuth(context.Background(), auth.RefreshParams{Text: c.token, ClientID: clientID})
	c.token = pair.RefreshToken.Reveal()
	return err
}

// commit has the writer commit the client's bytes, which it does not look at.
func (c *client) commit() error {
	return c.service.DB.Update(context.Background(), func(tx *store.Tx) error {
		store.PutBytes(tx, c.id.String(), c.bytes)
		return nil
	})
}

// update has the writer write the client's session anew.
func (c *client) update() error {
	return c.service.DB.Update(context.Background(), c.touch)
}

// write writes the client's session anew, as a refresh does, in a transaction of its own.
func (c *client) write(revision uint64) error { return c.service.DB.PlainUpdate(revision, c.touch) }

func (c *client) touch(tx *store.Tx) error {
	s, err := tx.Session(c.id)
	if err != nil {
		return err
	}
	s.RefreshedAt = s.RefreshedAt.Add(time.Microsecond) // always something to write
	return tx.UpdateSession(s)
}

// perSecond runs fn for every client at once, again and again, and returns how often that was done in a second. All clients
// wait for the clock together, so that each session looks as it does with five minutes between its refreshes.
func (s *service) perSecond(b *testing.B, all []*client, fn func(*client) error) float64 {
	b.Helper()
	var done atomic.Int64
	var wg sync.WaitGroup
	begin := time.Now()
	for _, c := range all {
		wg.Go(func() {
			for time.Since(begin) < slice {
				if err := fn(c); err != nil {
					b.Error(err)
					return
				}
				if done.Add(1)%int64(len(all)) == 0 {
					s.Clock.Advance(untilNext)
				}
			}
		})
	}
	wg.Wait()
	return float64(done.Load()) / time.Since(begin).Seconds()
}

// BenchmarkServiceRefresh compares the service's refresh with writing the same record in a durable transaction each, in slices
// that alternate.
func BenchmarkServiceRefresh(b *testing.B) {
	for _, callers := range []int{1, 16, 64} {
		b.Run(fmt.Sprintf("callers=%d", callers), func(b *testing.B) {
			s := newService(b)
			all := s.clients(b, callers)
			var refreshes, plain []float64
			for b.Loop() {
				refreshes = append(refreshes, s.perSecond(b, all, (*client).refresh))
				var revision atomic.Uint64
				revision.Store(s.DB.Revision())
				plain = append(plain, s.perSecond(b, all, func(c *client) error { return c.write(revision.Add(1)) }))
				s.DB.SetRevision(revision.Load() + 1)
			}
			b.ReportMetric(median(refreshes), "refreshes/s")
			b.ReportMetric(median(plain), "plain/s")
			b.ReportMetric(median(refreshes)/median(plain), "ratio")
		})
	}
}

// BenchmarkServiceGrant compares the refresh grant with nothing but the commit of as many bytes as its record has: by as many
// callers, made durable in groups by the same writer, in slices that alternate. Beside it, the same records are read and written
// by the writer without a decision.
func BenchmarkServiceGrant(b *testing.B) {
	for _, callers := range []int{1, 16, 64} {
		b.Run(fmt.Sprintf("callers=%d", callers), func(b *testing.B) {
			s := newService(b)
			all := s.oauthClients(b, callers)
			var grants, commits, writes, ratios []float64
			for b.Loop() {
				grants = append(grants, s.perSecond(b, all, (*client).grant))
				for _, c := range all {
					c.bytes = make([]byte, int(s.bytes(b, c)))
					rand.Read(c.bytes)
				}
				commits = append(commits, s.perSecond(b, all, (*client).commit))
				writes = append(writes, s.perSecond(b, all, (*client).update))
				ratios = append(ratios, grants[len(grants)-1]/commits[len(commits)-1])
			}
			b.ReportMetric(median(grants), "grants/s")
			b.ReportMetric(median(commits), "commits/s")
			b.ReportMetric(median(writes), "writes/s")
			b.ReportMetric(median(ratios), "ratio")
			b.ReportMetric(s.bytes(b, all[0]), "session-bytes")
		})
	}
}

// BenchmarkServiceAge compares refreshes of a session that has had very many with those of sessions that have had few, in
// slices that alternate, and the bytes of their records.
func BenchmarkServiceAge(b *testing.B) {
	const few, many = 16, 100_000
	s := newService(b)
	old, young := s.clients(b, 1), s.clients(b, 500)
	s.refreshAll(b, young, few)
	youngBytes := s.bytes(b, young[0])
	s.refreshAll(b, old, many)
	oldBytes := s.bytes(b, old[0])
	var oldTimes, youngTimes []float64
	for b.Loop() {
		oldTimes = append(oldTimes, s.oneByOne(b, old))
		youngTimes = append(youngTimes, s.oneByOne(b, young))
	}
	ratios := make([]float64, len(oldTimes))
	for i := range ratios {
		ratios[i] = oldTimes[i] / youngTimes[i]
	}
	b.ReportMetric(median(oldTimes), "old-µs")
	b.ReportMetric(median(youngTimes), "young-µs")
	b.ReportMetric(median(ratios), "time-ratio")
	b.ReportMetric(oldBytes, "old-bytes")
	b.ReportMetric(youngBytes, "young-bytes")
}

func (s *service) refreshAll(b *testing.B, all []*client, times int) {
	b.Helper()
	for range times {
		for _, c := range all {
			if err := c.refresh(); err != nil {
				b.Fatal(err)
			}
		}
		s.Clock.Advance(untilNext)
	}
}

// oneByOne refreshes one session after the other for a slice and returns the median time of one, in microseconds.
func (s *service) oneByOne(b *testing.B, all []*client) float64 {
	b.Helper()
	var times []float64
	for begin, i := time.Now(), 0; time.Since(begin) < slice; i++ {
		start := time.Now()
		if err := all[i%len(all)].refresh(); err != nil {
			b.Fatal(err)
		}
		times = append(times, float64(time.Since(start).Nanoseconds())/1000)
		if (i+1)%len(all) == 0 {
			s.Clock.Advance(untilNext)
		}
	}
	return median(times)
}

func (s *service) bytes(b *testing.B, c *client) float64 {
	b.Helper()
	var sess store.Session
	err := s.DB.View(func(tx *store.Tx) (err error) { sess, err = tx.Session(c.id); return err })
	if err != nil {
		b.Fatal(err)
	}
	return float64(must(store.EncodedSize(sess))(b))
}

func median(values []float64) float64 {
	sorted := slices.Sorted(slices.Values(values))
	return sorted[len(sorted)/2]
}
