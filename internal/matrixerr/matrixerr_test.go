package matrixerr_test

import (
	"net/http"
	"net/http/httptest"
	"strconv"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/caddy-matrix/caddy-matrix-auth/internal/matrixerr"
)

// cors are the headers of every reply. Synapse's, and Retry-After besides.
var cors = http.Header{
	"Access-Control-Allow-Origin":   {"*"},
	"Access-Control-Allow-Methods":  {"GET, HEAD, POST, PUT, DELETE, OPTIONS"},
	"Access-Control-Allow-Headers":  {"X-Requested-With, Content-Type, Authorization, Date"},
	"Access-Control-Expose-Headers": {"Synapse-Trace-Id, Server, Retry-After"},
}

// want is cors and more.
func want(more ...string) http.Header {
	h := cors.Clone()
	for i := 0; i < len(more); i += 2 {
		h.Set(more[i], more[i+1])
	}
	return h
}

// checkReply compares a whole reply.
func checkReply(t *testing.T, w *httptest.ResponseRecorder, status int, h http.Header, body string) {
	t.Helper()
	if w.Code != status {
		t.Errorf("got status %d, want %d", w.Code, status)
	}
	if diff := cmp.Diff(h, w.Header()); diff != "" {
		t.Errorf("headers (-want +got):\n%s", diff)
	}
	if got := w.Body.String(); got != body {
		t.Errorf("got body %s, want %s", got, body)
	}
}

func TestERR01_Write(t *testing.T) {
	for _, tc := range []struct {
		name   string
		extra  []matrixerr.Member
		header []string
		body   string
	}{
		{"plain", nil, nil, `{"errcode":"M_UNKNOWN","error":"No \"luck\" <today>"}`},
		{
			"soft", []matrixerr.Member{matrixerr.SoftLogout(true)}, nil,
			`{"errcode":"M_UNKNOWN","error":"No \"luck\" <today>","soft_logout":true}`,
		},
		{
			"hard", []matrixerr.Member{matrixerr.SoftLogout(false)}, nil,
			`{"errcode":"M_UNKNOWN","error":"No \"luck\" <today>","soft_logout":false}`,
		},
		{
			"limited", []matrixerr.Member{matrixerr.RetryAfter(1500 * time.Millisecond)}, []string{"Retry-After", "2"},
			`{"errcode":"M_UNKNOWN","error":"No \"luck\" <today>","retry_after_ms":1500}`,
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			w := httptest.NewRecorder()
			w.Header().Set("Access-Control-Allow-Origin", "https://somebody.example") // Replaced, not joined: COR-05.
			r := httptest.NewRequest("POST", "/", nil)
			matrixerr.Write(w, r, 400, matrixerr.Unknown, `No "luck" <today>`, tc.extra...)
			h := want(append([]string{
				"Content-Type", "application/json", "Cache-Control", "no-store", "Content-Length", strconv.Itoa(len(tc.body)),
			}, tc.header...)...)
			checkReply(t, w, 400, h, tc.body)
		})
	}
}

func TestRAT01_RetryAfterRoundsUp(t *testing.T) {
	for _, tc := range []struct {
		wait       time.Duration
		header, ms string
	}{
		{0, "1", "1"},
		{-time.Second, "1", "1"},
		{time.Nanosecond, "1", "1"},
		{time.Second, "1", "1000"},
		{time.Second + time.Microsecond, "2", "1001"},
		{time.Hour, "3600", "3600000"},
	} {
		w := httptest.NewRecorder()
		matrixerr.Write(w, httptest.NewRequest("POST", "/", nil), 429, matrixerr.LimitExceeded, "x", matrixerr.RetryAfter(tc.wait))
		if got := w.Header().Get("Retry-After"); got != tc.header {
			t.Errorf("%v: got Retry-After %s, want %s", tc.wait, got, tc.header)
		}
		body := `{"errcode":"M_LIMIT_EXCEEDED","error":"x","retry_after_ms":` + tc.ms + `}`
		if got := w.Body.String(); got != body {
			t.Errorf("%v: got %s, want %s", tc.wait, got, body)
		}
	}
}

func TestERR08_UnknownPathAndMethod(t *testing.T) {
	w := httptest.NewRecorder()
	matrixerr.NotRecognized(w, httptest.NewRequest("GET", "/", nil))
	checkReply(t, w, 404, want("Content-Type", "application/json", "Cache-Control", "no-store", "Content-Length", "59"),
		`{"errcode":"M_UNRECOGNIZED","error":"Unrecognized request"}`)

	w = httptest.NewRecorder()
	matrixerr.WrongMethod(w, httptest.NewRequest("PUT", "/", nil), "GET, POST")
	checkReply(t, w, 405,
		want("Content-Type", "application/json", "Cache-Control", "no-store", "Content-Length", "57", "Allow", "GET, POST"),
		`{"errcode":"M_UNRECOGNIZED","error":"Method not allowed"}`)
}

func TestCOR01_Preflight(t *testing.T) {
	w := httptest.NewRecorder()
	matrixerr.Preflight(w)
	checkReply(t, w, 204, want("Access-Control-Max-Age", "3600"), "")
}

func TestRefreshTroubleHasNoBody(t *testing.T) {
	w := httptest.NewRecorder()
	w.Header().Set("Content-Type", "application/json")
	matrixerr.RefreshTrouble(w)
	checkReply(t, w, 503, want("Retry-After", "2", "Content-Length", "0", "Cache-Control", "no-store"), "")
}

// TestOnTheWire sees that net/http adds no Content-Type to an empty reply and no body to HEAD.
func TestOnTheWire(t *testing.T) {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/trouble" {
			matrixerr.RefreshTrouble(w)
			return
		}
		matrixerr.WriteJSON(w, r, 200, "public", []byte(`{}`))
	}))
	defer s.Close()
	for _, tc := range []struct {
		method, path, contentType string
		length                    int64
	}{
		{"POST", "/trouble", "", 0},
		{"HEAD", "/", "application/json", 2},
	} {
		q, err := http.NewRequest(tc.method, s.URL+tc.path, nil)
		if err != nil {
			t.Fatal(err)
		}
		reply, err := s.Client().Do(q)
		if err != nil {
			t.Fatal(err)
		}
		_ = reply.Body.Close()
		if got := reply.Header.Get("Content-Type"); got != tc.contentType {
			t.Errorf("%s %s: got Content-Type %q, want %q", tc.method, tc.path, got, tc.contentType)
		}
		if reply.ContentLength != tc.length {
			t.Errorf("%s %s: got length %d, want %d", tc.method, tc.path, reply.ContentLength, tc.length)
		}
	}
}
