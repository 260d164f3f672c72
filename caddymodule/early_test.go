package caddymodule

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"net/http"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/quic-go/quic-go"
	"github.com/quic-go/quic-go/http3"

	"github.com/caddy-matrix/caddy-matrix-auth/internal/auth"
	"github.com/caddy-matrix/caddy-matrix-auth/internal/mxid"
)

// TestEarlyDataOverQUIC sends requests before the handshake is complete (RFC 9001 §4.6), which anybody who saw them can send
// again from anywhere: what they ask for is answered, but they count for nothing; and nothing that changes state is done for
// them (RFC 8470 §5.2).
func TestEarlyDataOverQUIC(t *testing.T) {
	e := newEdge(t)
	q := newQUICClient(t, e.dir)
	e.mustLoad(e.config("tokens {\nrefresh_grace 1ms\n}", fmt.Sprintf(
		"https://%s {\nbind 127.0.0.1\ntls %s %s\nlog\nmatrix_homeserver\n}", q.server, filepath.Join(e.dir, "cert"), filepath.Join(e.dir, "key"))))
	e.mustAddUser("alice")
	_, first := e.mustLogin("alice", "PHONE")
	refreshed := e.refresh(first)
	access, session := refreshed.text("access_token"), e.session("alice")
	q.get(t, "/_matrix/client/versions", "") // It brings the ticket.

	// Case 1: a GET that goes to Synapse. It is no activity, and no first use: the answer to the refresh may still be lost.
	if status := q.early(t, e, "GET", "/_matrix/client/v3/early", access); status != http.StatusTeapot {
		t.Errorf("GET: got %d, want Synapse's %d", status, http.StatusTeapot)
	}
	if seen := e.session("alice").LastSeen; seen != session.LastSeen {
		t.Errorf("GET: got activity %+v, want still %+v", seen, session.LastSeen)
	}
	if again := e.refresh(first); again.text("access_token") != access {
		t.Errorf("refreshing again after the GET: got %d %s, want the same token", again.status, again.body)
	}

	// Case 2: what is ours and changes state waits for the handshake.
	for _, path := range []string{"/_matrix/client/v3/login", "/_matrix/client/v3/refresh", "/_matrix/client/v3/logout", "/oauth2/token", "/oauth2/registration"} {
		if status := q.early(t, e, "POST", path, access); status != http.StatusTooEarly {
			t.Errorf("POST %s: got %d, want 425", path, status)
		}
	}

	// Case 3: the same GET after a handshake counts.
	q.get(t, "/_matrix/client/v3/early", access)
	if seen := e.session("alice").LastSeen; !seen.At.After(session.LastSeen.At) {
		t.Errorf("after a handshake: got activity %+v, want a later one than %+v", seen, session.LastSeen)
	}
	eventually(t, "the grace of the refresh token ends", func() bool { return e.refresh(first).status == http.StatusUnauthorized })
}

func (e *edge) refresh(token string) answer {
	e.t.Helper()
	return e.request("POST", "/_matrix/client/v3/refresh", "", fmt.Sprintf(`{"refresh_token":%q}`, token))
}

// session is a user's only session.
func (e *edge) session(name string) (only auth.SessionInfo) {
	e.t.Helper()
	for s, err := range e.app().engine.service.Sessions(mxid.Localpart(name)) {
		if err != nil {
			e.t.Fatal(err)
		}
		only = s
	}
	return only
}

// quicClient is an HTTP/3 client that remembers sessions of TLS.
type quicClient struct {
	server string // host:port
	tls    *tls.Config
}

// newQUICClient chooses an address for a server, and writes its certificate and key to the directory.
func newQUICClient(t *testing.T, dir string) *quicClient {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), DNSNames: []string{"localhost"}, NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	writeFile(t, filepath.Join(dir, "cert"), string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})))
	writeFile(t, filepath.Join(dir, "key"), string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private})))
	roots := x509.NewCertPool()
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	roots.AddCert(cert)
	return &quicClient{server: "localhost:" + port(freeAddr(t)), tls: &tls.Config{
		RootCAs: roots, ServerName: "localhost", NextProtos: []string{http3.NextProtoH3}, ClientSessionCache: tls.NewLRUClientSessionCache(10),
	}}
}

func (q *quicClient) request(t *testing.T, method, path, token string) *http.Request {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, "https://"+q.server+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("User-Agent", "HTTP/3")
	if token != "" {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	return r
}

// get makes a request after a handshake, and stays until the server has sent a ticket, which it may do after the answer.
func (q *quicClient) get(t *testing.T, path, token string) {
	t.Helper()
	transport := &http3.Transport{TLSClientConfig: q.tls, Dial: func(ctx context.Context, _ string, _ *tls.Config, c *quic.Config) (*quic.Conn, error) {
		return quic.DialAddr(ctx, "127.0.0.1:"+port(q.server), q.tls, c)
	}}
	defer transport.Close()
	resp, err := transport.RoundTrip(q.request(t, "GET", path, token))
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	eventually(t, "a ticket comes", func() bool { _, ok := q.tls.ClientSessionCache.Get(q.tls.ServerName); return ok })
}

// early makes a request before the handshake is complete: what the server says reaches the client only once the request has been
// answered, so that the client could not have completed it. The client waits for that as long as it takes; the server for 10 s.
func (q *quicClient) early(t *testing.T, e *edge, method, path, token string) (status int) {
	t.Helper()
	r := newRelay(t, "127.0.0.1:"+port(q.server))
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	conn, err := quic.DialAddrEarly(ctx, r.addr(), q.tls, &quic.Config{HandshakeIdleTimeout: time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.CloseWithError(0, "")
	stream, err := new(http3.Transport).NewClientConn(conn).OpenRequestStream(ctx)
	if err != nil {
		t.Fatal(err)
	}
	req := q.request(t, method, path+"?early", token)
	if err := stream.SendRequestHeader(req); err != nil {
		t.Fatal(err)
	}
	stream.Close()
	eventually(t, "the request is answered", func() bool {
		return e.logged(`"handled request"`, `"proto":"HTTP/3.0"`, fmt.Sprintf(`"method":%q`, method), fmt.Sprintf(`"uri":"%s?early"`, path))
	})
	r.release()
	resp, err := stream.ReadResponse()
	if err != nil {
		t.Fatal(err)
	}
	if !conn.ConnectionState().Used0RTT {
		t.Fatal("the server has not taken early data")
	}
	return resp.StatusCode
}

// relay passes on datagrams between a client and a server, those of the server only after release.
type relay struct {
	front, back *net.UDPConn

	mu       sync.Mutex
	client   net.Addr
	held     [][]byte
	released bool
}

func newRelay(t *testing.T, server string) *relay {
	t.Helper()
	front, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	to, err := net.ResolveUDPAddr("udp", server)
	if err != nil {
		t.Fatal(err)
	}
	back, err := net.DialUDP("udp", nil, to)
	if err != nil {
		t.Fatal(err)
	}
	r := &relay{front: front, back: back}
	t.Cleanup(func() { front.Close(); back.Close() })
	go r.forth()
	go r.backward()
	return r
}

func (r *relay) addr() string { return r.front.LocalAddr().String() }

func (r *relay) forth() {
	buf := make([]byte, 1<<16)
	for {
		n, from, err := r.front.ReadFrom(buf)
		if err != nil {
			return
		}
		r.mu.Lock()
		r.client = from
		r.mu.Unlock()
		_, _ = r.back.Write(buf[:n])
	}
}

func (r *relay) backward() {
	buf := make([]byte, 1<<16)
	for {
		n, err := r.back.Read(buf)
		if err != nil {
			return
		}
		r.mu.Lock()
		r.held = append(r.held, append([]byte(nil), buf[:n]...))
		r.flushLocked()
		r.mu.Unlock()
	}
}

func (r *relay) release() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.released = true
	r.flushLocked()
}

func (r *relay) flushLocked() {
	if !r.released {
		return
	}
	for _, b := range r.held {
		_, _ = r.front.WriteTo(b, r.client)
	}
	r.held = nil
}
