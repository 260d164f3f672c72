package auth_test

import (
	"crypto/rand"
	"fmt"
	"runtime"
	"testing"
	"time"

	"github.com/oklog/ulid/v2"

	"github.com/caddy-matrix/caddy-matrix-auth/internal/auth"
	"github.com/caddy-matrix/caddy-matrix-auth/internal/authtest"
	"github.com/caddy-matrix/caddy-matrix-auth/internal/mxid"
	"github.com/caddy-matrix/caddy-matrix-auth/internal/token"
	"github.com/caddy-matrix/caddy-matrix-auth/store"
)

// heap is the bytes of what is in use.
func heap() float64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return float64(m.HeapAlloc)
}

// BenchmarkLiveSessionMemory is what a session in use takes in memory, of a user who has ten.
func BenchmarkLiveSessionMemory(b *testing.B) {
	const sessions, perUser = 20_000, 10
	const client = "01K00000000000000000BENCH0"
	for name, kind := range map[string]token.Kind{"legacy": token.CompatAccess, "oauth": token.Access} {
		for way, from := range map[string]auth.From{
			"introspected": {},
			"judged":       {Addr: authtest.Addr, UserAgent: "Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0"},
		} {
			b.Run(name+"/"+way, func(b *testing.B) {
				k := authtest.NewService(b, authtest.Options{RealClock: true, Idle: true})
				mint := token.NewMint(k.DB.TokenKey(), rand.Reader)
				var all []string
				var user ulid.ULID
				for n := range sessions {
					must(b, k.DB.Update(b.Context(), func(tx *store.Tx) error {
						if n == 0 {
							must(b, tx.InsertClient(store.Client{ID: client, AuthMethod: "none", CreatedAt: tx.Now()}))
						}
						if n%perUser == 0 {
							user = ulid.Make()
							must(b, tx.InsertUser(store.User{ID: user, Localpart: mxid.Localpart(fmt.Sprintf("user%d", n)), CreatedAt: tx.Now()}))
						}
						h, err := mint.Handle()
						must(b, err)
						sess := store.Session{
							ID: ulid.Make(), Kind: store.SessionCompat, UserID: user, DeviceID: mxid.DeviceID(fmt.Sprintf("DEVICE%05d", n)),
							AccessHandle: h, CreatedAt: tx.Now(),
						}
						if kind == token.Access {
							device, _, _ := sess.DeviceID.Scopes()
							sess.Kind, sess.ClientID, sess.Scope = store.SessionOAuth2, client, []string{mxid.ScopeAPI, device}
						}
						for range 2 {
							t, err := mint.New(kind, h)
							must(b, err)
							sess.AddAccess(store.AccessToken{Hash: t.Hash(), ExpiresAt: tx.Now().Add(time.Hour), Generation: 1})
							if len(sess.Access) == 2 {
								all = append(all, t.Reveal())
							}
						}
						return tx.InsertSession(sess)
					}))
				}
				for b.Loop() {
					for i := range all {
						var err error
						if way == "judged" {
							var a auth.Admission
							a, err = k.Judge(b.Context(), all[i], auth.From{Addr: from.Addr, UserAgent: string([]byte(from.UserAgent))})
							a.Release()
						} else {
							_, err = k.Introspect(b.Context(), all[i])
						}
						must(b, err)
					}
				}
				with := heap()
				k.ResetLive()
				b.ReportMetric((with-heap())/sessions, "B/session")
				runtime.KeepAlive(all)
			})
		}
	}
}

// BenchmarkCounterMemory is what the counters of limits take in memory in a flood of addresses and names.
func BenchmarkCounterMemory(b *testing.B) {
	limit := auth.Limit{Burst: 10, Window: time.Minute}
	for b.Loop() {
		k := authtest.NewService(b, authtest.Options{RealClock: true, Idle: true, Settings: func(s *auth.Settings) { s.LoginLimit = limit }})
		before := heap()
		for n := range auth.MaxCounters + 10 {
			name, addr := flood(n)
			must(b, k.CountFailure(name, addr))
			must(b, k.SpendEach(limit, addr))
		}
		all := heap() - before
		b.ReportMetric(all/1e6, "MB")
		b.ReportMetric(all/float64(len(k.Counters())*auth.MaxCounters), "B/counter")
	}
}
