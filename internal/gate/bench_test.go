package gate

import (
	"net/http"
	"net/netip"
	"net/url"
	"testing"

	"github.com/caddy-matrix/caddy-matrix-auth/internal/auth"
	"github.com/caddy-matrix/caddy-matrix-auth/internal/authtest"
)

// silent is a ResponseWriter that writes nothing.
type silent struct{ h http.Header }

func (s silent) Header() http.Header         { return s.h }
func (s silent) Write(p []byte) (int, error) { return len(p), nil }
func (s silent) WriteHeader(int)             {}

func benchGate(j Judge) *Gate {
	addr := netip.MustParseAddr("192.0.2.7")
	return New(Config{Judge: j, From: func(r *http.Request) auth.From {
		return auth.From{Addr: addr, UserAgent: r.Header.Get("User-Agent")}
	}})
}

func benchmark(b *testing.B, g *Gate, method, path, query, text string) {
	r := (&http.Request{Method: method, ProtoMajor: 1, RemoteAddr: "192.0.2.7:4711", URL: &url.URL{Path: path, RawQuery: query},
		Header: http.Header{"Authorization": {"Bearer " + text}, "User-Agent": {"Element"}, "Accept": {"*/*"}, "Connection": {"keep-alive"}},
	}).WithContext(ConnContext(b.Context(), nil))
	w := silent{http.Header{"Server": {"Caddy"}}}
	b.ReportAllocs()
	for b.Loop() {
		passed := false
		if err := g.ServeHTTP(w, r, r.URL.EscapedPath(), func(http.ResponseWriter, *http.Request) error { passed = true; return nil }); err != nil || !passed {
			b.Fatal("got no pass")
		}
	}
}

// BenchmarkGateForeignPath is a request that is none of the gate's business.
func BenchmarkGateForeignPath(b *testing.B) {
	benchmark(b, benchGate(nil), "GET", "/_matrix/federation/v1/version", "", "x")
}

const syncQuery = "since=s72594_4483_1934&timeout=30000"

// BenchmarkGateForeign is an application service's request.
func BenchmarkGateForeign(b *testing.B) {
	k := authtest.NewService(b, authtest.Options{Idle: true})
	benchmark(b, benchGate(k.Service), "GET", "/_matrix/client/v3/sync", syncQuery, foreign)
}

// BenchmarkGateHit is a request with an active token and without a body, judgement included.
func BenchmarkGateHit(b *testing.B) {
	text, k := benchToken(b)
	benchmark(b, benchGate(k.Service), "POST", "/_matrix/client/v3/join/x", "", text)
}

// BenchmarkGateHitRead adds what ends a read with its session: a wrapper, and over HTTP/2 and 3 a context.
func BenchmarkGateHitRead(b *testing.B) {
	text, k := benchToken(b)
	benchmark(b, benchGate(k.Service), "GET", "/_matrix/client/v3/sync", syncQuery, text)
}

func benchToken(b *testing.B) (string, *authtest.Kit) {
	k := authtest.NewService(b, authtest.Options{Idle: true})
	k.MustAddUser(b, "alice")
	return k.MustLogin(b, "alice", "PHONE").AccessToken.Reveal(), k
}
