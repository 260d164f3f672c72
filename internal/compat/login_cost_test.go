package compat_test

import (
	"strings"
	"testing"

	"github.com/caddy-matrix/caddy-matrix-auth/internal/authtest"
)

// TestLGN09_NobodyIsRefusedBeforeAHash: while none can be computed, no name that is told "wrong" otherwise gets that answer.
func TestLGN09_NobodyIsRefusedBeforeAHash(t *testing.T) {
	e := newEdge(t, authtest.Options{})
	e.MustAddUser(t, "alice")
	if err := e.Hasher.Close(); err != nil {
		t.Fatal(err)
	}
	for name, who := range map[string]string{
		"wrong password": `"user":"alice"`,
		"unknown user":   `"user":"bob"`,
		"another server": `"user":"@alice:elsewhere.example"`,
		"NUL":            `"user":"alice\u0000"`,
		"empty user":     `"identifier":{"type":"m.id.user","user":""}`,
		"long user":      `"user":"` + strings.Repeat("a", 5000) + `"`,
		"address":        `"medium":"email","address":"alice@example.org"`,
		"LGN-08 address": `"identifier":{"type":"m.id.thirdparty","medium":"email","address":"alice@example.org"}`,
	} {
		t.Run(name, func(t *testing.T) {
			e.ask(t, "POST", loginPath, `{"type":"m.login.password",`+who+`,"password":"wrong"}`).want(t, 503, "M_UNKNOWN")
		})
	}
}
