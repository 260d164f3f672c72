package oidcprovider_test

import (
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/caddy-matrix/caddy-matrix-auth/internal/authtest"
)

// discard is a ResponseWriter that keeps nothing.
type discard struct{ header http.Header }

func (d discard) Header() http.Header         { return d.header }
func (d discard) Write(b []byte) (int, error) { return len(b), nil }
func (d discard) WriteHeader(int)             {}

// BenchmarkIntrospect measures an introspection in memory beside a handler that only drains the same request and answers as
// much.
func BenchmarkIntrospect(b *testing.B) {
	k, p := service(b)
	text := k.MustLogin(b, "alice", "PHONE").AccessToken.Reveal()
	size := serve(p, request(text)).Body.Len()
	b.Run("introspect", func(b *testing.B) { drive(b, p.ServeIntrospection, text) })
	b.Run("empty", func(b *testing.B) {
		reply := make([]byte, size)
		drive(b, func(w http.ResponseWriter, r *http.Request) {
			io.Copy(io.Discard, r.Body)
			w.Header().Set("Content-Type", "application/json")
			w.Write(reply)
		}, text)
	})
}

func drive(b *testing.B, h http.HandlerFunc, text string) {
	form := "token=" + text + "&token_type_hint=access_token"
	body := strings.NewReader(form)
	r := request("")
	r.Body, r.ContentLength = io.NopCloser(body), int64(len(form))
	r.Header.Set("Authorization", "Bearer "+authtest.Secret)
	w := discard{http.Header{}}
	b.ReportAllocs()
	for b.Loop() {
		body.Reset(form)
		clear(w.header)
		h(w, r)
	}
}
