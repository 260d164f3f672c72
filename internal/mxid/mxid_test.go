package mxid

import (
	"bytes"
	"crypto/rand"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"
)

const server ServerName = "example.org"

func TestParseServerName(t *testing.T) {
	for s, valid := range map[string]bool{
		"example.org": true, "example.org:8448": true, "EXAMPLE.org": true, "localhost": true, "a-b.c": true,
		"1.2.3.4": true, "1.2.3.4:1": true, "[::1]": true, "[::1]:8448": true, "[2001:db8::1]": true, "[::ffff:1.2.3.4]": true,
		"": false, ":8448": false, "example.org:": false, "example.org:123456": false, "example.org:x": false, "a b": false,
		"exa_mple.org": false, "::1": false, "[::1": false, "[::1]x": false, "[1.2.3.4]": false, "[fe80::1%eth0]": false, "[]": false,
		"example.org/": false, "exämple.org": false, "a:b:1": false, "example.org\n": false, "@example.org": false,
		strings.Repeat("a", MaxServerName): true, strings.Repeat("a", MaxServerName+1): false,
	} {
		got, err := ParseServerName(s)
		if valid && (err != nil || string(got) != s) || !valid && !errors.Is(err, ErrMalformed) {
			t.Errorf("ParseServerName(%q): got %q, %v, want valid: %v", s, got, err, valid)
		}
	}
}

func TestParseLocalpart(t *testing.T) {
	for s, valid := range map[string]bool{
		"alice": true, "a": true, "0": true, "a._=-/+9": true, strings.Repeat("a", 252): true,
		"": false, "Alice": false, "a b": false, "a:b": false, "@a": false, "ä": false, "a\x00": false, "a\n": false, "a%b": false,
		strings.Repeat("a", 253): false,
	} {
		got, err := ParseLocalpart(s)
		if valid && (err != nil || string(got) != s) || !valid && !errors.Is(err, ErrMalformed) {
			t.Errorf("ParseLocalpart(%q): got %q, %v, want valid: %v", s, got, err, valid)
		}
	}
}

func TestNewUserID(t *testing.T) {
	got, err := NewUserID("alice", "example.org:8448")
	if want := UserID("@alice:example.org:8448"); err != nil || got != want {
		t.Errorf("got %q, %v, want %q", got, err, want)
	}
	longest := Localpart(strings.Repeat("a", MaxUserID-len("@:example.org")))
	if _, err := NewUserID(longest, server); err != nil {
		t.Errorf("longest user ID: %v", err)
	}
	for _, l := range []Localpart{"", longest + "a"} {
		if _, err := NewUserID(l, server); !errors.Is(err, ErrMalformed) {
			t.Errorf("localpart of %d bytes: got %v, want %v", len(l), err, ErrMalformed)
		}
	}
}

func TestParseUserID(t *testing.T) {
	for s, want := range map[string]struct {
		local  Localpart
		server ServerName
	}{
		"@alice:example.org":                  {"alice", "example.org"},
		"@alice:example.org:8448":             {"alice", "example.org:8448"}, // split at the first colon
		"@alice:[::1]:8448":                   {"alice", "[::1]:8448"},
		"@:example.org":                       {"", "example.org"}, // Matrix appendices §historical-user-ids
		"@Alice Ä\t!:example.org":             {"Alice Ä\t!", "example.org"},
		"@@:example.org":                      {"@", "example.org"},
		"@" + strings.Repeat("a", 252) + ":b": {Localpart(strings.Repeat("a", 252)), "b"},
	} {
		u, err := ParseUserID(s)
		if err != nil || string(u) != s || u.Localpart() != want.local || u.ServerName() != want.server {
			t.Errorf("ParseUserID(%q): got %q of %q, %v, want %v", s, u.Localpart(), u.ServerName(), err, want)
		}
	}
	for _, s := range []string{
		"", "@", "alice", "@alice", "alice:example.org", "@alice:", "@a\x00b:example.org", "@a\xff:example.org", "@a:b:example.org",
		"@alice:example.org:", "@" + strings.Repeat("a", 253) + ":b", " @alice:example.org",
	} {
		if got, err := ParseUserID(s); !errors.Is(err, ErrMalformed) {
			t.Errorf("ParseUserID(%q): got %q, %v, want %v", s, got, err, ErrMalformed)
		}
	}
}

func TestResolve(t *testing.T) {
	for s, want := range map[string]struct {
		local Localpart
		err   error
	}{
		"alice":                  {"alice", nil},
		"Alice":                  {"alice", nil},
		"@alice:example.org":     {"alice", nil},
		"@USER-1:example.org":    {"user-1", nil},
		"@alice:EXAMPLE.ORG":     {"alice", nil},
		"a/b+c=d":                {"a/b+c=d", nil},
		"@alice:example.com":     {"", ErrForeign},
		"@alice:example.org:1":   {"", ErrForeign},
		"@Ä:example.com":         {"", ErrForeign},
		"@alice":                 {"", ErrMalformed},
		"@:example.org":          {"", ErrMalformed},
		"alice:example.org":      {"", ErrMalformed},
		"":                       {"", ErrMalformed},
		"@":                      {"", ErrMalformed},
		"ali\u212ae":             {"", ErrMalformed}, // the Kelvin sign is no k
		"ali\x00ce":              {"", ErrMalformed},
		"alice ":                 {"", ErrMalformed},
		"a@example.org":          {"", ErrMalformed},
		strings.Repeat("a", 252): {"", ErrMalformed}, // too long beside this server name
	} {
		got, err := Resolve(s, server)
		if got != want.local || !errors.Is(err, want.err) {
			t.Errorf("Resolve(%q): got %q, %v, want %q, %v", s, got, err, want.local, want.err)
		}
	}
}

func TestParseDeviceID(t *testing.T) {
	for s, valid := range map[string]bool{
		"A": true, "JLAFKJWSCS": true, "a device \"é\"": true, strings.Repeat("é", MaxDeviceID): true,
		"": false, strings.Repeat("a", MaxDeviceID+1): false, strings.Repeat("é", MaxDeviceID+1): false, "a\x00": false, "a\n": false, "\x7f": false,
		"\u0085": false, "a\xff": false,
	} {
		got, err := ParseDeviceID(s)
		if valid && (err != nil || string(got) != s) || !valid && !errors.Is(err, ErrMalformed) {
			t.Errorf("ParseDeviceID(%q): got %q, %v, want valid: %v", s, got, err, valid)
		}
	}
}

func TestNewDeviceID(t *testing.T) {
	const rounds = 2600
	var counts [26]int
	for range rounds {
		d, err := NewDeviceID(rand.Reader)
		if err != nil || len(d) != newDeviceIDLen {
			t.Fatalf("got %q, %v, want %d characters", d, err, newDeviceIDLen)
		}
		for _, c := range []byte(d) {
			counts[c-'A']++ // panics on any other character
		}
	}
	for i, n := range counts {
		if n < 800 || n > 1200 { // expected 1000, standard deviation 31
			t.Errorf("letter %c: got %d times, want about 1000", 'A'+i, n)
		}
	}
	biased := append(bytes.Repeat([]byte{255}, 2*newDeviceIDLen), bytes.Repeat([]byte{25}, 2*newDeviceIDLen)...)
	if got, err := NewDeviceID(bytes.NewReader(biased)); err != nil || got != "ZZZZZZZZZZ" {
		t.Errorf("got %q, %v, want bytes above the last multiple of 26 rejected", got, err)
	}
	if _, err := NewDeviceID(iotest.ErrReader(io.ErrClosedPipe)); !errors.Is(err, io.ErrClosedPipe) {
		t.Errorf("got %v, want the reader's error", err)
	}
}

func TestDeviceScopes(t *testing.T) {
	stable, unstable, ok := DeviceID("AB.c~1").Scopes()
	if !ok || stable != "urn:matrix:client:device:AB.c~1" || unstable != "urn:matrix:org.matrix.msc2967.client:device:AB.c~1" {
		t.Errorf("got %q, %q, %v", stable, unstable, ok)
	}
	for _, d := range []DeviceID{"", "a b", `a"`, `a\`, "é"} {
		if stable, unstable, ok := d.Scopes(); ok || stable != "" || unstable != "" {
			t.Errorf("%q: got %q, %q, %v, want none", d, stable, unstable, ok)
		}
	}
}

func FuzzParseUserID(f *testing.F) {
	for _, s := range []string{"@alice:example.org", "@:x", "@a:b:1", "@é :[::1]:8448", "alice", "@a\x00:b"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		u, err := ParseUserID(s)
		if err != nil {
			return
		}
		if got := "@" + string(u.Localpart()) + ":" + string(u.ServerName()); got != s {
			t.Errorf("got parts that make %q, want %q", got, s)
		}
		if strings.Contains(string(u.Localpart()), ":") || len(s) > MaxUserID {
			t.Errorf("got %q taken", s)
		}
		if _, err := ParseServerName(string(u.ServerName())); err != nil {
			t.Errorf("server name of %q: %v", s, err)
		}
	})
}

func FuzzResolve(f *testing.F) {
	for _, s := range []string{"alice", "@ALICE:example.org", "@alice:other.org", "@a:example.org:1", "é", "\u212a"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		l, err := Resolve(s, server)
		if err != nil {
			if l != "" || !errors.Is(err, ErrMalformed) && !errors.Is(err, ErrForeign) {
				t.Errorf("Resolve(%q): got %q, %v", s, l, err)
			}
			return
		}
		if _, err := ParseLocalpart(string(l)); err != nil {
			t.Errorf("Resolve(%q): got %q, which is no localpart: %v", s, l, err)
		}
		u, err := NewUserID(l, server)
		if err != nil {
			t.Fatalf("Resolve(%q): got %q, which has no user ID: %v", s, l, err)
		}
		if again, err := Resolve(string(u), server); err != nil || again != l {
			t.Errorf("Resolve(%q): got %q, %v, want %q", u, again, err, l)
		}
		if !strings.EqualFold(s, string(l)) && !strings.EqualFold(s, string(u)) {
			t.Errorf("Resolve(%q): got %q, somebody else", s, l)
		}
	})
}

func FuzzParseServerName(f *testing.F) {
	for _, s := range []string{"example.org:8448", "[::1]:1", "1.2.3.4", "[::1", "a:b", ":"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		name, err := ParseServerName(s)
		if err != nil {
			return
		}
		u, err := NewUserID("a", name)
		if err != nil || u.ServerName() != name {
			t.Errorf("%q: got %q, %v back out of a user ID", s, u.ServerName(), err)
		}
		if !name.Equal(ServerName(strings.ToUpper(s))) {
			t.Errorf("%q: depends on case", s)
		}
	})
}

func FuzzParseDeviceID(f *testing.F) {
	for _, s := range []string{"ABC", "é", "a b", "\x00", "\xff", ""} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		d, err := ParseDeviceID(s)
		if err != nil {
			return
		}
		stable, unstable, ok := d.Scopes()
		if ok && (!strings.HasSuffix(stable, s) || !strings.HasSuffix(unstable, s) || strings.ContainsAny(stable+unstable, " \"\\")) {
			t.Errorf("%q: got scopes %q, %q", s, stable, unstable)
		}
	})
}
