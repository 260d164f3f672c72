package gate

import (
	"errors"
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/caddy-matrix/caddy-matrix-auth/internal/auth"
	"github.com/caddy-matrix/caddy-matrix-auth/internal/token"
)

const whoami = "/_matrix/client/v3/account/whoami"

func TestGate_ActiveTokenPasses(t *testing.T) {
	b := newBench(t)
	got := b.do(t, b.request(t, "GET", whoami+"?a=1", "", bearerHeader(b.live)))
	if got.Status != 200 {
		t.Fatalf("got %d %s, want 200", got.Status, got.Body)
	}
	seen := b.synapse.last(t)
	if seen.Token != b.live || seen.URI != whoami+"?a=1" {
		t.Errorf("got %+v at the homeserver, want the token and the URI as sent", seen)
	}
}

// Each verdict's answer, which the homeserver never sees: ERR-02, ERR-03, ERR-04, ERR-06 of the client's point of view.
func TestGate_Verdicts(t *testing.T) {
	for _, c := range []struct {
		name    string
		verdict auth.Verdict
		code    string
		soft    bool
	}{
		{"ERR-03 expired is a soft logout", auth.Expired, "M_UNKNOWN_TOKEN", true},
		{"ERR-06 ended is a logout", auth.Unknown, "M_UNKNOWN_TOKEN", false},
		{"ERR-04 locked keeps the session", auth.Locked, "M_USER_LOCKED", true},
	} {
		for _, method := range []string{"GET", "POST", "PUT", "DELETE"} {
			t.Run(c.name+" "+method, func(t *testing.T) {
				b := newBench(t)
				b.judge.set(b.live, c.verdict)
				got := b.do(t, b.request(t, method, whoami, "{}", bearerHeader(b.live)))
				wantError(t, got, 401, c.code, c.soft)
				b.synapse.none(t)
			})
		}
	}
}

// Our prefix with a wrong length, kind or CRC is unknown here: Synapse would keep each in a cache without bound.
func TestGate_MalformedIsUnknown(t *testing.T) {
	b := newBench(t)
	for _, text := range []string{b.live[:len(b.live)-1], b.live + "x", b.live[:len(b.live)-1] + "!", "mct_", "mpt_x", "mat_" + b.live[4:]} {
		got := b.do(t, b.request(t, "GET", whoami, "", bearerHeader(text)))
		wantError(t, got, 401, "M_UNKNOWN_TOKEN", false)
	}
	b.synapse.none(t)
}

// ERR-07: trouble with the store is never a verdict.
func TestGate_StorageTroubleIs503(t *testing.T) {
	b := newBench(t)
	b.judge.err = errors.New("the disk is on fire")
	got := b.do(t, b.request(t, "GET", whoami, "", bearerHeader(b.live)))
	wantError(t, got, 503, "M_UNKNOWN", nil)
	if got.Header.Get("Retry-After") != "2" {
		t.Errorf("got Retry-After %q, want 2", got.Header.Get("Retry-After"))
	}
	if strings.Contains(got.Body, "fire") {
		t.Errorf("got %s, want nothing internal", got.Body)
	}
	b.synapse.none(t)
}

func TestGate_TokenTwiceIsMissing(t *testing.T) {
	b := newBench(t)
	for name, r := range map[string]*http.Request{
		"header and query":         b.request(t, "GET", whoami+"?access_token="+b.live, "", bearerHeader(b.live)),
		"foreign header and query": b.request(t, "GET", whoami+"?access_token="+b.dead, "", bearerHeader(foreign)),
		"other scheme and query":   b.request(t, "GET", whoami+"?access_token="+b.dead, "", "Authorization: Basic eDp5"),
		"empty header and query":   b.request(t, "GET", whoami+"?access_token="+b.dead, "", "Authorization: "),
		"two headers":              b.request(t, "GET", whoami, "", bearerHeader(b.live), bearerHeader(b.live)),
		"foreign header first":     b.request(t, "GET", whoami, "", bearerHeader(foreign), bearerHeader(b.dead)),
		"two arguments":            b.request(t, "GET", whoami+"?access_token="+b.live+"&access_token="+b.dead, ""),
		"foreign argument first":   b.request(t, "GET", whoami+"?access_token="+foreign+"&access_token="+b.dead, ""),
	} {
		t.Run(name, func(t *testing.T) {
			wantError(t, b.do(t, r), 401, "M_MISSING_TOKEN", nil)
			b.synapse.none(t)
		})
	}
}

// What is not ours passes with its header and query as they were: application services authenticate at Synapse.
func TestGate_ForeignPassesUntouched(t *testing.T) {
	for name, c := range map[string]struct{ uri, header string }{
		"header":         {whoami + "?user_id=%40a%3Ab", bearerHeader(foreign)},
		"query":          {whoami + "?access_token=" + foreign + "&user_id=%40a", ""},
		"encoded query":  {whoami + "?x=1;%61ccess_token=" + foreign, ""},
		"query twice":    {whoami + "?access_token=a&access_token=b", ""},
		"no token":       {"/_matrix/client/versions", ""},
		"another scheme": {whoami, "Authorization: Basic eDp5"},
		"lower case":     {whoami, "Authorization: bearer " + foreign},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t)
			r := b.request(t, "GET", c.uri, "")
			if c.header != "" {
				r = b.request(t, "GET", c.uri, "", c.header)
			}
			b.do(t, r)
			seen := b.synapse.last(t)
			if seen.URI != c.uri {
				t.Errorf("got %s, want %s", seen.URI, c.uri)
			}
			if diff := cmp.Diff(r.Header["Authorization"], seen.Header["Authorization"]); diff != "" {
				t.Errorf("Authorization (-sent +got):\n%s", diff)
			}
		})
	}
}

// An active token becomes the one Authorization header, and every access_token argument goes.
func TestGate_QueryTokenBecomesHeader(t *testing.T) {
	b := newBench(t)
	got := b.do(t, b.request(t, "GET", whoami+"?a=%2F;%61ccess_token="+b.live+"&b=2", ""))
	if got.Status != 200 {
		t.Fatalf("got %d %s, want 200", got.Status, got.Body)
	}
	seen := b.synapse.last(t)
	if want := whoami + "?a=%2F;b=2"; seen.URI != want {
		t.Errorf("got %s, want %s", seen.URI, want)
	}
	if diff := cmp.Diff([]string{"Bearer " + b.live}, seen.Header["Authorization"]); diff != "" {
		t.Errorf("Authorization (-want +got):\n%s", diff)
	}
}

func TestGate_WhatIsJudged(t *testing.T) {
	for _, c := range []struct {
		method, path string
		judged       bool
	}{
		{"GET", whoami, true},
		{"DELETE", "/_matrix/client/v3/devices/x", true},
		{"GET", "/_matrix/media/v3/config", true},
		{"GET", "/_synapse/client/x", true},
		{"GET", "/_matrix/federationx", true},
		{"GET", "/_matrix/federation", true},
		{"OPTIONS", whoami, false},
		{"GET", "/_matrix/federation/v1/openid/userinfo", false},
		{"GET", "/_matrix/key/v2/server", false},
		{"GET", "/", false},
		{"GET", "/.well-known/matrix/client", false},
		{"GET", "/_matrixx/client", false},
	} {
		t.Run(c.method+" "+c.path, func(t *testing.T) {
			b := newBench(t)
			b.do(t, b.request(t, c.method, c.path+"?access_token="+b.dead, ""))
			if judged := len(b.judge.asked) == 1; judged != c.judged {
				t.Errorf("got judged %v, want %v", judged, c.judged)
			}
			if !c.judged && !strings.Contains(b.synapse.last(t).URI, b.dead) {
				t.Errorf("got %s, want the query untouched", b.synapse.last(t).URI)
			}
		})
	}
}

// A path that only decodes to ours is refused: Synapse reads some of them, and the judgement is for what was sent.
func TestGate_MisspeltPathIsRefused(t *testing.T) {
	for _, path := range []string{
		"//_matrix/client/v3/sync", "/%5Fmatrix/client/v3/sync", "/x/../_matrix/client/v3/sync", "/./_matrix/client/v3/sync",
		"//_synapse/admin/v1/x", "/x/..%2F_matrix/client/v3/sync", "///_matrix//client/v3/sync", "/%5fsynapse/client/x",
	} {
		t.Run(path, func(t *testing.T) {
			b := newBench(t)
			got := b.do(t, b.request(t, "GET", path, "", bearerHeader(b.live)))
			wantError(t, got, 404, "M_UNRECOGNIZED", nil)
			b.synapse.none(t)
		})
	}
}

// "x:y" has no path; a proxy would send y as one.
func TestAutheliaCVE202132637_OpaqueTargetIsRefused(t *testing.T) {
	b := newBench(t)
	answers := b.talk(t, "GET x:y_synapse/mas/query_user HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
	if len(answers) != 1 || answers[0].Status != 404 {
		t.Errorf("got %+v, want one 404", answers)
	}
	b.synapse.none(t)
}

func TestGate_EscapedSlashIsKept(t *testing.T) {
	b := newBench(t)
	path := "/_matrix/client/v3/rooms/!a%2Fb:c/state/m%2Ex/%E2%98%83%2F..%2f"
	b.do(t, b.request(t, "GET", path, "", bearerHeader(b.live)))
	if got := b.synapse.last(t).URI; got != path {
		t.Errorf("got %s, want %s", got, path)
	}
}

// An active token without the server admin right is refused at once; what is not ours is Synapse's matter.
func TestGate_AdminAPINeedsTheRight(t *testing.T) {
	for _, path := range []string{"/_synapse/admin/v2/users", "/_synapse/%61dmin/v2/users", "/_synapse/admin%2Fv2/users"} {
		b := newBench(t)
		wantError(t, b.do(t, b.request(t, "GET", path, "", bearerHeader(b.live))), 403, "M_FORBIDDEN", nil)
		b.synapse.none(t)
		if got := b.do(t, b.request(t, "GET", path, "", bearerHeader(foreign))); got.Status != 200 {
			t.Errorf("%s with a foreign token: got %d, want 200", path, got.Status)
		}
	}
}

func TestGate_AdmittedIsTold(t *testing.T) {
	b := newBench(t)
	var told int
	b.gate.Admitted = func(_ *http.Request, a auth.Admission) {
		if a.Verdict == auth.Active {
			told++
		}
	}
	for _, text := range []string{b.live, b.dead, foreign} {
		b.do(t, b.request(t, "POST", whoami, "", bearerHeader(text)))
	}
	if told != 1 {
		t.Errorf("got told %d times, want once", told)
	}
}

func TestGate_NextErrorIsReturned(t *testing.T) {
	b := newBench(t)
	b.next = func(http.ResponseWriter, *http.Request) error { return errors.New("no upstream") }
	for _, body := range []string{"", "{}"} {
		got := b.do(t, b.request(t, "POST", whoami, body, bearerHeader(b.live)))
		if got.Status != 502 || got.Body != "no upstream\n" {
			t.Errorf("got %d %q, want the error's page", got.Status, got.Body)
		}
	}
}

func TestGate_RefreshTokenIsUnknown(t *testing.T) {
	b := newBench(t)
	text := newToken(t, token.CompatRefresh)
	wantError(t, b.do(t, b.request(t, "GET", whoami, "", bearerHeader(text))), 401, "M_UNKNOWN_TOKEN", false)
}
