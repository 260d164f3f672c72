//go:build e2e

package e2e

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/caddy-matrix/caddy-matrix-auth/internal/e2e/rig"
)

const mebibyte = 1 << 20

// maxBody is Synapse's own limit, and the edge's default.
const maxBody = 50 * mebibyte

// TestMedia uploads and downloads a file that no buffer would hold unnoticed.
func TestMedia(t *testing.T) {
	s := shared(t)
	phone := s.login(t, s.newUser(t), "")
	file := bytes.Repeat([]byte("0123456789abcdef"), 40*mebibyte/16)
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, s.Base+"/_matrix/media/v3/upload?filename=big", bytes.NewReader(file))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+phone.Token)
	req.Header.Set("Content-Type", "application/octet-stream")
	r, err := s.Send(req)
	if err != nil {
		t.Fatal(err)
	}
	want(t, r, http.StatusOK, "")
	id := strings.TrimPrefix(r.Text("content_uri"), "mxc://")
	r = call(t, phone.Client, http.MethodGet, "/_matrix/client/v1/media/download/"+id, nil)
	if r.Status != http.StatusOK || sha256.Sum256(r.Body) != sha256.Sum256(file) {
		t.Fatalf("got status %d with %d bytes, want 200 with the %d bytes that were sent", r.Status, len(r.Body), len(file))
	}
}

// TestTooLarge sends more than Synapse takes: Synapse would reset the connection, the edge says why.
func TestTooLarge(t *testing.T) {
	s := shared(t)
	phone := s.login(t, s.newUser(t), "")
	for _, c := range []struct {
		name   string
		header string
	}{
		{"announced", fmt.Sprintf("Content-Length: %d", maxBody+1)},
		{"chunked", "Transfer-Encoding: chunked"},
	} {
		for _, path := range []string{"/_matrix/media/v3/upload", "/_matrix/client/v3/createRoom"} {
			t.Run(c.name+" "+path, func(t *testing.T) {
				r := tooLarge(t, s.Base, path, c.header, phone.Token)
				wantMatrixError(t, r, http.StatusRequestEntityTooLarge, "M_TOO_LARGE")
			})
		}
	}
	phone.alive(t)
}

// tooLarge writes a body without an end until there is an answer.
func tooLarge(t *testing.T, base, path, header, token string) rig.Reply {
	t.Helper()
	conn, err := net.Dial("tcp", strings.TrimPrefix(base, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(callTimeout)); err != nil {
		t.Fatal(err)
	}
	go func() {
		fmt.Fprintf(conn, "POST %s HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nAuthorization: Bearer %s\r\n%s\r\n\r\n", path, token, header)
		chunk := strings.Repeat("x", mebibyte)
		if strings.HasPrefix(header, "Transfer-Encoding") {
			chunk = fmt.Sprintf("%x\r\n%s\r\n", len(chunk), chunk)
		}
		for range maxBody/mebibyte + 8 {
			if _, err := io.WriteString(conn, chunk); err != nil {
				return
			}
		}
	}()
	return readReply(t, conn)
}

// slowBackend is a homeserver that shows what arrives: it says when the first half of a request's body is there, and ends
// its answer only when it is told to.
type slowBackend struct {
	request chan *http.Request
	half    chan string
	finish  chan struct{}
}

func (b slowBackend) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	half := make([]byte, len("half"))
	if _, err := io.ReadFull(r.Body, half); err != nil {
		half = []byte(err.Error())
	}
	b.request <- r
	b.half <- string(half)
	rest, _ := io.ReadAll(r.Body)
	fmt.Fprint(w, "first;")
	w.(http.Flusher).Flush()
	select {
	case <-b.finish:
		fmt.Fprintf(w, "second after %q", rest)
	case <-r.Context().Done():
	}
}

// TestProxyIsTransparent lets bodies flow in both directions before they end, and looks at the path and the address that
// arrive at the homeserver.
func TestProxyIsTransparent(t *testing.T) {
	t.Parallel()
	backend := slowBackend{request: make(chan *http.Request, 1), half: make(chan string, 1), finish: make(chan struct{})}
	server := httptest.NewServer(backend)
	defer server.Close()
	s, err := layout("transparent", nil)
	if err != nil {
		t.Fatal(err)
	}
	s.logs(t)
	s.edge.Synapse = server.URL
	ctx, cancel := context.WithTimeout(t.Context(), startTimeout)
	defer cancel()
	if err := errors.Join(s.edge.Configure(), s.edge.Start(ctx)); err != nil {
		t.Fatal(err)
	}
	defer s.edge.Stop()

	body, send := io.Pipe()
	const path = "/_matrix/client/v3/rooms/!a%2Fb%20c:hs.test/send/m.x/%2e%25?x=%2F&y=a+b"
	req, err := http.NewRequestWithContext(ctx, http.MethodPut, s.Base+path, body)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("X-Forwarded-For", "203.0.113.7")
	go func() {
		io.WriteString(send, "half")
		if half := <-backend.half; half != "half" {
			t.Errorf("got %q at the homeserver while the request goes on, want half", half)
		}
		io.WriteString(send, " and half")
		send.Close()
	}()
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	first := make([]byte, len("first;"))
	if _, err := io.ReadFull(resp.Body, first); err != nil || string(first) != "first;" {
		t.Fatalf("got %q, %v while the answer goes on, want its first half", first, err)
	}
	close(backend.finish)
	rest, err := io.ReadAll(resp.Body)
	if want := `second after " and half"`; err != nil || string(rest) != want {
		t.Errorf("got %q, %v, want %q", rest, err, want)
	}

	got := <-backend.request
	if got.RequestURI != path {
		t.Errorf("got request URI %q, want %q as it was sent", got.RequestURI, path)
	}
	if xff := got.Header.Values("X-Forwarded-For"); len(xff) != 1 || xff[0] != "127.0.0.1" {
		t.Errorf("got X-Forwarded-For %q, want the client's address alone", xff)
	}
}
