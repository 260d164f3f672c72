package gate

import (
	"mime/multipart"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/caddy-matrix/caddy-matrix-auth/internal/auth"
	"github.com/caddy-matrix/caddy-matrix-auth/internal/token"
)

// Ways to bring a dead token past a gate that Synapse 1.136 and 1.163 with Twisted read as a token. The first four were seen to be
// answered 200.
func TestGate_WalkArounds(t *testing.T) {
	form := func(b *bench) string { return `{"a":"&access_token=` + b.dead + `&"}` }
	for name, request := range map[string]func(*bench) *http.Request{
		"semicolon": func(b *bench) *http.Request {
			return b.request(t, "GET", whoami+"?x=1;access_token="+b.dead, "")
		},
		"encoded name": func(b *bench) *http.Request {
			return b.request(t, "GET", whoami+"?%61ccess_token="+b.dead, "")
		},
		"JSON as a form": func(b *bench) *http.Request {
			return b.request(t, "POST", whoami, form(b), "Content-Type: application/x-www-form-urlencoded")
		},
		"Connection": func(b *bench) *http.Request {
			return b.request(t, "GET", whoami+"?access_token="+b.dead, "", bearerHeader(b.live), "Connection: close, Authorization")
		},
		"Connection and a foreign header": func(b *bench) *http.Request {
			return b.request(t, "GET", whoami+"?access_token="+b.dead, "", bearerHeader(foreign), "Connection: aUTHORIZATION")
		},
		"Connection and a form": func(b *bench) *http.Request {
			return b.request(t, "POST", whoami, form(b), bearerHeader(foreign), "Connection: x , authorization",
				"Content-Type: application/x-www-form-urlencoded")
		},
		"Proxy-Connection and a form": func(b *bench) *http.Request {
			return b.request(t, "POST", whoami, form(b), bearerHeader(foreign), "Proxy-Connection: Authorization",
				"Content-Type: application/x-www-form-urlencoded")
		},
		"form behind an active token": func(b *bench) *http.Request {
			return b.request(t, "POST", whoami+"?access_token="+b.live, form(b), "Content-Type: application/x-www-form-urlencoded")
		},
		"form in capitals with a parameter": func(b *bench) *http.Request {
			return b.request(t, "POST", whoami, form(b), "Content-Type: Application/X-WWW-Form-URLEncoded ; charset=utf-8")
		},
		"form before JSON": func(b *bench) *http.Request {
			return b.request(t, "POST", whoami, form(b), "Content-Type: application/x-www-form-urlencoded", "Content-Type: application/json")
		},
		"form with a no-break space": func(b *bench) *http.Request {
			return b.request(t, "POST", whoami, form(b), "Content-Type: application/x-www-form-urlencoded\xa0")
		},
		"form as an encoded word": func(b *bench) *http.Request {
			return b.request(t, "POST", whoami, form(b), "Content-Type: =?utf-8?q?application/x-www-form-urlencode=64?=")
		},
		"upload of a form": func(b *bench) *http.Request {
			return b.request(t, "POST", "/_matrix/media/v3/upload", form(b), "Content-Type: application/x-www-form-urlencoded")
		},
		"multipart in capitals": func(b *bench) *http.Request {
			body, contentType := multipartBody(t, b.dead)
			return b.request(t, "POST", whoami, body, "Content-Type: "+strings.Replace(contentType, "form", "Form", 1))
		},
		"multipart": func(b *bench) *http.Request {
			body, contentType := multipartBody(t, b.dead)
			return b.request(t, "POST", whoami, body, "Content-Type: "+contentType)
		},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t)
			got := b.do(t, request(b))
			for _, seen := range b.synapse.got {
				if seen.Token == b.dead {
					t.Errorf("got the dead token through: %+v", seen)
				}
			}
			if got.Status != 401 && len(b.synapse.got) != 1 {
				t.Errorf("got %d, want 401 or a request without the token", got.Status)
			}
		})
	}
}

func multipartBody(t *testing.T, text string) (body, contentType string) {
	t.Helper()
	var b strings.Builder
	w := multipart.NewWriter(&b)
	if err := w.WriteField("access_token", text); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.String(), w.FormDataContentType()
}

// The bridge's own form is judged by its header and goes as JSON, body byte for byte.
func TestGate_ContentTypes(t *testing.T) {
	const urlencoded = "application/x-www-form-urlencoded"
	for _, c := range []struct {
		path string
		sent []string
		want []string
	}{
		{whoami, []string{urlencoded}, []string{"application/json"}},
		{whoami, []string{urlencoded + "; charset=utf-8"}, []string{"application/json"}},
		{"/_matrix/media/v3/upload", []string{urlencoded}, []string{"application/octet-stream"}},
		{"/_matrix/media/v3/upload", []string{"image/png"}, []string{"image/png"}},
		{whoami, []string{"application/json; charset=utf-8"}, []string{"application/json; charset=utf-8"}},
		{whoami, []string{"text/plain", urlencoded}, []string{"text/plain"}},
		{whoami, []string{urlencoded, "text/plain"}, []string{"application/json"}},
		{whoami, []string{"multipart/form-data; boundary=x"}, []string{"multipart/form-data; boundary=x"}},
		{whoami, []string{"Multipart/Form-Data; boundary=x"}, []string{"application/json"}},
		{whoami, nil, nil},
	} {
		b := newBench(t)
		headers := []string{bearerHeader(foreign)}
		for _, v := range c.sent {
			headers = append(headers, "Content-Type: "+v)
		}
		b.do(t, b.request(t, "POST", c.path, "a=1&b=2", headers...))
		seen := b.synapse.last(t)
		if diff := cmp.Diff(c.want, seen.Header["Content-Type"]); diff != "" {
			t.Errorf("%s %q: Content-Type (-want +got):\n%s", c.path, c.sent, diff)
		}
		if seen.Body != "a=1&b=2" {
			t.Errorf("got body %q, want it byte for byte", seen.Body)
		}
	}
}

// A client that asks for its Authorization to be dropped on the way is not heard: what was judged arrives.
func TestGate_ConnectionDoesNotDropAuthorization(t *testing.T) {
	b := newBench(t)
	b.talk(t, "GET "+whoami+" HTTP/1.1\r\nHost: x\r\n"+bearerHeader(b.live)+"\r\nConnection: close, Authorization\r\n\r\n")
	if seen := b.synapse.last(t); seen.Token != b.live {
		t.Errorf("got token %q at the homeserver, want the one that was judged", seen.Token)
	}
}

func TestKeepAuthorization(t *testing.T) {
	for _, c := range []struct{ sent, want []string }{
		{[]string{"keep-alive"}, []string{"keep-alive"}},
		{[]string{"close, Authorization"}, []string{"close"}},
		{[]string{"AUTHORIZATION"}, nil},
		{[]string{"Upgrade , authorization,x"}, []string{"Upgrade, x"}},
		{[]string{"authorization", "close"}, []string{"close"}},
		{[]string{"X-Authorization-Info"}, []string{"X-Authorization-Info"}},
		{[]string{",,\tAuthorization\t,"}, nil},
		{nil, nil},
	} {
		for _, field := range []string{"Connection", "Proxy-Connection"} {
			h := http.Header{}
			if c.sent != nil {
				h[field] = c.sent
			}
			keepAuthorization(h)
			if diff := cmp.Diff(c.want, h[field]); diff != "" {
				t.Errorf("%s %q (-want +got):\n%s", field, c.sent, diff)
			}
		}
	}
}

// Our cookies are no business of the homeserver; all others stay byte for byte.
func TestGate_OurCookiesAreRemoved(t *testing.T) {
	for _, c := range []struct{ sent, want []string }{
		{[]string{"a=1;b=2 ; c"}, []string{"a=1;b=2 ; c"}},
		{[]string{"a=1; matrix_auth_browser=x; b=2"}, []string{"a=1; b=2"}},
		{[]string{"matrix_auth_session=x; b=2;c=3"}, []string{"b=2;c=3"}},
		{[]string{"a=1; __Host-matrix_auth_browser=x"}, []string{"a=1"}},
		{[]string{"__Host-matrix_auth_session=x; matrix_auth_session=y"}, nil},
		{[]string{"matrix_auth_session=x", "a=1"}, []string{"a=1"}},
		{[]string{"a=matrix_auth_session; matrix_auth_other=2"}, []string{"a=matrix_auth_session; matrix_auth_other=2"}},
	} {
		for _, path := range []string{whoami, "/_matrix/federation/v1/version"} {
			b := newBench(t)
			r := b.request(t, "GET", path, "")
			r.Header["Cookie"] = c.sent
			b.do(t, r)
			if diff := cmp.Diff(c.want, b.synapse.last(t).Header["Cookie"]); diff != "" {
				t.Errorf("%s %q (-want +got):\n%s", path, c.sent, diff)
			}
		}
	}
}

// Elsewhere the next handler may be our own pages, which need them.
func TestGate_OurCookiesStayElsewhere(t *testing.T) {
	b := newBench(t)
	b.do(t, b.request(t, "GET", "/account/", "", "Cookie: matrix_auth_session=x"))
	if got := b.synapse.last(t).Header.Get("Cookie"); got != "matrix_auth_session=x" {
		t.Errorf("got %q, want the cookie", got)
	}
}

// Synapse believes the first entry, and proxies append the peer's address: the address that Caddy found is the peer's, and nothing
// else is there, whatever the client claims.
func TestForwardedFor(t *testing.T) {
	for _, c := range []struct {
		peer, addr string
		sent       []string
		want       string // the peer
	}{
		{"192.0.2.7:1", "192.0.2.7", nil, "192.0.2.7:1"},
		{"[::ffff:192.0.2.7]:1", "192.0.2.7", nil, "[::ffff:192.0.2.7]:1"},
		{"192.0.2.7:1", "192.0.2.7", []string{"10.0.0.1"}, "192.0.2.7:1"},
		{"127.0.0.1:1", "2001:db8::7", []string{"10.0.0.1, 2001:db8::7", "x"}, "[2001:db8::7]:0"},
		{"127.0.0.1:1", "192.0.2.7", nil, "192.0.2.7:0"},
		{"127.0.0.1:1", "::ffff:192.0.2.7", nil, "192.0.2.7:0"},
		{"@", "192.0.2.7", nil, "192.0.2.7:0"},
	} {
		r := httptest.NewRequest("GET", whoami, nil)
		r.RemoteAddr = c.peer
		if c.sent != nil {
			r.Header["X-Forwarded-For"] = c.sent
		}
		r2 := forwardedFor(r, netip.MustParseAddr(c.addr))
		if got := r2.RemoteAddr; got != c.want {
			t.Errorf("%+v: got peer %q, want %q", c, got, c.want)
		}
		if got, there := r2.Header["X-Forwarded-For"]; there {
			t.Errorf("%+v: got X-Forwarded-For %q, want none", c, got)
		}
		if r.RemoteAddr != c.peer {
			t.Errorf("%+v: the server's own request has got peer %q", c, r.RemoteAddr)
		}
	}
}

func TestCaddySecurity266_ForwardedFor(t *testing.T) {
	for _, path := range []string{whoami, "/_matrix/federation/v1/version", "/_matrix/key/v2/server"} {
		b := newBench(t)
		b.do(t, b.request(t, "GET", path, "", bearerHeader(b.live), "X-Forwarded-For: 203.0.113.9, 203.0.113.10"))
		if got := b.synapse.last(t).Header["X-Forwarded-For"]; len(got) != 1 || got[0] != "192.0.2.7" {
			t.Errorf("%s: got %q, want the address that the edge found", path, got)
		}
	}
}

// FuzzForwarded proves the rule that all walk-arounds break: whatever token Synapse reads in what is forwarded is not ours, or was
// judged active.
func FuzzForwarded(f *testing.F) {
	live, dead := newToken(f, token.CompatAccess), newToken(f, token.Access)
	const urlencoded = "application/x-www-form-urlencoded"
	f.Add("POST", "", "", "", "x=1;access_token=DEAD", "", "")
	f.Add("POST", "Bearer LIVE", "", "close, Authorization", "%61ccess_token=DEAD", urlencoded, "a")
	f.Add("POST", "Bearer foreign", "Bearer DEAD", "authorization", "", urlencoded, "&access_token=DEAD&")
	f.Add("POST", "", "", "", "access_token=LIVE", "=?utf-8?q?"+urlencoded+"?=", "access_token=DEAD")
	f.Add("POST", "", "", "", "access_token=foreign", urlencoded+"\xa0", "access_token=DEAD")
	f.Add("POST", "", "", "", "", "MULTIPART/form-data; boundary=x",
		"--x\r\nContent-Disposition: form-data; name=\"access_token\"\r\n\r\nDEAD\r\n--x--\r\n")
	f.Add("GET", " Bearer LIVE\t", "", "", "access_token=", "", "")
	f.Fuzz(func(t *testing.T, method, first, second, connection, query, contentType, body string) {
		swap := strings.NewReplacer("LIVE", live, "DEAD", dead).Replace
		r := &http.Request{Method: method, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1, Header: http.Header{},
			URL: &url.URL{Path: whoami, RawQuery: swap(query)}, RemoteAddr: "192.0.2.7:1"}
		for field, values := range map[string][]string{"Authorization": {swap(first), swap(second)}, "Connection": {connection},
			"Content-Type": {contentType}} {
			for _, v := range values {
				if v != "" {
					r.Header[field] = append(r.Header[field], v)
				}
			}
		}
		j := &tableJudge{verdicts: map[string]auth.Verdict{live: auth.Active, dead: auth.Unknown}}
		g := New(Config{Judge: j, From: func(*http.Request) auth.From { return auth.From{} }})
		_ = g.ServeHTTP(httptest.NewRecorder(), r, r.URL.EscapedPath(), func(_ http.ResponseWriter, r *http.Request) error {
			text, _ := synapseToken(r.Method, forwarded(r.Header), r.URL.RawQuery, []byte(swap(body)))
			if _, err := token.Parse(text); err != token.ErrForeign && text != live {
				t.Errorf("got %q to the homeserver, want only an active token", text)
			}
			if text == live && len(j.asked) != 1 {
				t.Errorf("got %q to the homeserver without a judgement", text)
			}
			return nil
		})
	})
}
