package caddymodule

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// TestEarlyAnswer sends bodies full of requests to what answers before their end, over a bare connection: there is one answer,
// and then the connection is over. What is left of a body is never the next request (RFC 9112 §9.3).
func TestEarlyAnswer(t *testing.T) {
	e := newEdge(t)
	// Without an access log: Caddy's reads the number of the body's bytes while the proxy's transport may still read the body.
	e.mustLoad(strings.Replace(e.config("", ""), "\tlog\n\tmatrix_homeserver", "\tmatrix_homeserver", 1))
	smuggled := "GET /_matrix/client/versions HTTP/1.1\r\nHost: " + e.public + "\r\n\r\n"
	body := strings.Repeat(smuggled, 24<<20/len(smuggled)) // more than all buffers on the way take
	for _, tc := range []struct{ name, head, status string }{
		{"too large for login", "POST /_matrix/client/v3/login", "413"},
		{"no such login", "POST /_matrix/client/v3/login/", "404"},
		{"wrong method", "PUT /_matrix/client/v3/login", "405"},
		{"dead token", "POST /_matrix/client/v3/upload?access_token=mct_dead", "401"},
		{"forbidden", "POST /_synapse/mas/delete_device", "404"},
		{"early upstream", "POST /_matrix/client/v3/early", "418"},
	} {
		for _, chunked := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s chunked %v", tc.name, chunked), func(t *testing.T) {
				got := e.exchange(t, tc.head, body, chunked)
				if n := strings.Count(got, "HTTP/1.1 "); n != 1 || !strings.HasPrefix(got, "HTTP/1.1 "+tc.status) {
					t.Errorf("got %d answers, want one with %s: %.300q", n, tc.status, got)
				}
			})
		}
	}
}

// exchange sends a request over a connection of its own and returns all that comes back.
func (e *edge) exchange(t *testing.T, head, body string, chunked bool) string {
	t.Helper()
	conn, err := net.Dial("tcp", e.public)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(20 * time.Second))
	go func() {
		fmt.Fprintf(conn, "%s HTTP/1.1\r\nHost: %s\r\n", head, e.public)
		if chunked {
			fmt.Fprintf(conn, "Transfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n0\r\n\r\n", len(body), body)
			return
		}
		fmt.Fprintf(conn, "Content-Length: %d\r\n\r\n%s", len(body), body)
	}()
	answer, err := io.ReadAll(conn)
	if err, ok := err.(net.Error); ok && err.Timeout() {
		t.Errorf("the connection was not closed: %.300q", answer)
	}
	return string(answer) // A reset after the answer is an end like any other.
}

// TestTooLargeIsReadable sends somewhat more than an endpoint of ours takes, all of it before it reads: the whole 413 is there, and
// the connection ends without a reset (RFC 9112 §9.6). Caddy's access log keeps net/http from seeing to that.
func TestTooLargeIsReadable(t *testing.T) {
	e := newEdge(t)
	e.mustLoad(e.config("", ""))
	for _, c := range []struct{ path, mime string }{
		{"/oauth2/token", "application/x-www-form-urlencoded"},
		{"/oauth2/registration", "application/json"},
		{"/_matrix/client/v3/login", "application/json"},
		{"/login", "application/x-www-form-urlencoded"},
	} {
		for _, size := range []int{64<<10 + 1, 100 << 10, 200 << 10, 1 << 20} {
			for _, chunked := range []bool{false, true} {
				framed := fmt.Sprintf("Content-Length: %d\r\n\r\n%s", size, strings.Repeat("x", size))
				if chunked {
					framed = fmt.Sprintf("Transfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n0\r\n\r\n", size, strings.Repeat("x", size))
				}
				r, err := e.sendFirst(fmt.Sprintf("POST %s HTTP/1.1\r\nHost: %s\r\nContent-Type: %s\r\nConnection: close\r\n%s", c.path, e.public, c.mime, framed))
				if err != nil || r.StatusCode != http.StatusRequestEntityTooLarge || !r.Close {
					t.Errorf("%s, %d bytes, chunked %v: got %+v, %v", c.path, size, chunked, r, err)
				}
			}
		}
	}
}

// sendFirst sends all of a request over a connection of its own, and then reads one answer and the end.
func (e *edge) sendFirst(request string) (*http.Response, error) {
	e.t.Helper()
	conn, err := net.Dial("tcp", e.public)
	if err != nil {
		e.t.Fatal(err)
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(20 * time.Second))
	if _, err := io.WriteString(conn, request); err != nil {
		return nil, err
	}
	in := bufio.NewReader(conn)
	r, err := http.ReadResponse(in, nil)
	if err != nil {
		return nil, err
	}
	if _, err := io.Copy(io.Discard, r.Body); err != nil {
		return r, fmt.Errorf("the body: %w", err)
	}
	if rest, err := io.ReadAll(in); err != nil || len(rest) > 0 {
		return r, fmt.Errorf("the end: %v, %q", err, rest)
	}
	return r, nil
}

// TestReloadUnderLoad reloads while clients log in, ask and refresh over HTTP/2, which Caddy hands over without loss. Nobody
// gets an error.
func TestReloadUnderLoad(t *testing.T) {
	e := newEdge(t)
	config := strings.Replace(e.config("", ""), "\tgrace_period", "\tservers {\nprotocols h1 h2c\n}\n\tgrace_period", 1)
	e.mustLoad(config)
	e.mustAddUser("alice")
	engine := e.app().engine
	var done atomic.Bool
	var clients sync.WaitGroup
	var requests atomic.Int64
	for i := range 4 {
		clients.Go(func() {
			c := &loadClient{t: t, base: "http://" + e.public, requests: &requests}
			for !done.Load() && !t.Failed() {
				c.session(fmt.Sprintf("DEVICE%d", i))
			}
		})
	}
	for range 8 {
		e.mustLoad(config)
		before := requests.Load()
		eventually(t, "the clients go on", func() bool { return requests.Load() >= before+8 || t.Failed() })
	}
	done.Store(true)
	clients.Wait()
	if e.app().engine != engine || openEngines() != 1 {
		t.Errorf("the engine has been opened again")
	}
}

// loadClient is a client with connections of its own.
type loadClient struct {
	t        *testing.T
	base     string
	requests *atomic.Int64
	once     sync.Once
	http     *http.Transport
}

func (c *loadClient) session(device string) {
	login := c.do("POST", "/_matrix/client/v3/login", "", fmt.Sprintf(
		`{"type":"m.login.password","user":"alice","password":"correct horse battery staple","device_id":%q,"refresh_token":true}`, device))
	access, refresh := login.text("access_token"), login.text("refresh_token")
	for range 3 {
		c.do("GET", "/_matrix/client/v3/account/whoami", access, "")
		c.do("PUT", "/_matrix/client/v3/rooms/x/send/m/1", access, `{"body":"hello"}`)
		a := c.do("POST", "/_matrix/client/v3/refresh", "", `{"refresh_token":"`+refresh+`"}`)
		access, refresh = a.text("access_token"), a.text("refresh_token")
	}
}

// do makes a request, again if its connection could not be made: see fetch.
func (c *loadClient) do(method, path, bearer, body string) answer {
	c.once.Do(func() {
		c.http = &http.Transport{Protocols: new(http.Protocols)}
		c.http.Protocols.SetUnencryptedHTTP2(true)
	})
	for attempt := 0; ; attempt++ {
		a, err := roundTrip(c.http, method, c.base+path, bearer, body)
		if err != nil && attempt < 3 {
			continue
		}
		if err != nil || a.status != 200 {
			c.t.Errorf("%s %s: got %d %s %v", method, path, a.status, a.body, err)
		}
		c.requests.Add(1)
		return a
	}
}

// TestEncryptionKey keeps a database from being opened with another key than it was made with.
func TestEncryptionKey(t *testing.T) {
	e := newEdge(t)
	with := func(digit string) string { return e.config("encryption_key "+strings.Repeat(digit, 64), "") }
	e.mustLoad(with("a"))
	e.mustAddUser("alice")
	for _, other := range []string{with("b"), e.config("", "")} {
		if err := load(other); err == nil || !strings.Contains(err.Error(), "encryption_key: ") {
			t.Errorf("while it is open: got %v, want an error about encryption_key", err)
		}
	}
	if err := load(emptyConfig); err != nil {
		t.Fatal(err)
	}
	if err := load(with("b")); err == nil || !strings.Contains(err.Error(), "encryption_key: ") {
		t.Errorf("when it is closed: got %v, want an error about encryption_key", err)
	}
	e.mustLoad(with("a"))
	e.mustLogin("alice", "PHONE")
}

// emptyConfig is a Caddy without anything.
const emptyConfig = "{\nadmin off\npersist_config off\n}\n"
