package token

import (
	"bytes"
	"crypto/rand"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

type sealed struct {
	old       Token
	salt      []byte
	nonce     [24]byte
	successor Successor
	seal      []byte
}

func mustSeal(t testing.TB, end time.Time) sealed {
	t.Helper()
	m := newMint()
	s := sealed{
		old:       mustMint(t, m, Refresh),
		salt:      []byte("session-id-16byt"),
		successor: Successor{Refresh: mustMint(t, m, Refresh), Access: mustMint(t, m, Access), AccessExpiresAt: end},
	}
	if _, err := rand.Read(s.nonce[:]); err != nil {
		t.Fatal(err)
	}
	var err error
	if s.seal, err = Seal(s.old, s.salt, s.nonce, s.successor); err != nil {
		t.Fatal(err)
	}
	return s
}

func TestSealRoundTrip(t *testing.T) {
	for _, end := range []time.Time{
		{}, time.Date(2026, 1, 2, 3, 4, 5, 678_901_234, time.UTC), time.Date(2026, 1, 2, 3, 4, 5, 6, time.FixedZone("x", 7200)), time.UnixMilli(1),
		time.Unix(0, 0), time.Date(1969, 1, 1, 0, 0, 0, 1, time.UTC), time.Date(9999, 1, 1, 0, 0, 0, 0, time.UTC),
	} {
		s := mustSeal(t, end)
		got, err := Open(s.old, s.salt, s.seal)
		if err != nil {
			t.Fatalf("end %v: %v", end, err)
		}
		if diff := cmp.Diff(s.successor, got); diff != "" {
			t.Errorf("end %v (-want +got):\n%s", end, diff)
		}
		if got.Access.Kind != Access || got.Refresh.Handle != s.successor.Refresh.Handle || got.AccessExpiresAt.IsZero() != end.IsZero() {
			t.Errorf("end %v: got %v, %v", end, got.Access.Kind, got.AccessExpiresAt)
		}
	}
}

func TestSealHidesAndBinds(t *testing.T) {
	s := mustSeal(t, time.Unix(1_800_000_000, 0))
	for _, tok := range []Token{s.old, s.successor.Refresh, s.successor.Access} {
		if bytes.Contains(s.seal, []byte(tok.Reveal()[:12])) {
			t.Error("got a token in clear in its seal")
		}
	}
	if !bytes.HasPrefix(s.seal, s.nonce[:]) || len(s.seal) != 24+sealedLen+16 {
		t.Errorf("got %d bytes, want nonce, cipher text and tag", len(s.seal))
	}
	if _, err := Open(mustMint(t, newMint(), Refresh), s.salt, s.seal); !errors.Is(err, ErrSeal) {
		t.Errorf("another token: got %v, want %v", err, ErrSeal)
	}
	if _, err := Open(s.successor.Refresh, s.salt, s.seal); !errors.Is(err, ErrSeal) {
		t.Errorf("the successor itself: got %v, want %v", err, ErrSeal)
	}
	if _, err := Open(s.old, []byte("another-session!"), s.seal); !errors.Is(err, ErrSeal) {
		t.Errorf("another session: got %v, want %v", err, ErrSeal)
	}
	for i := range s.seal {
		damaged := slices.Clone(s.seal)
		damaged[i] ^= 1
		if _, err := Open(s.old, s.salt, damaged); !errors.Is(err, ErrSeal) {
			t.Errorf("byte %d damaged: got %v, want %v", i, err, ErrSeal)
		}
	}
	for _, cut := range [][]byte{nil, {}, s.seal[:24], s.seal[:len(s.seal)-1], append(slices.Clone(s.seal), 0)} {
		if _, err := Open(s.old, s.salt, cut); !errors.Is(err, ErrSeal) {
			t.Errorf("%d bytes: got %v, want %v", len(cut), err, ErrSeal)
		}
	}
	if _, err := Open(Token{}, s.salt, s.seal); !errors.Is(err, ErrSeal) {
		t.Errorf("no token: got %v, want %v", err, ErrSeal)
	}
}

func TestSealWithoutToken(t *testing.T) {
	s := mustSeal(t, time.Time{})
	for name, try := range map[string]func() ([]byte, error){
		"old":     func() ([]byte, error) { return Seal(Token{}, s.salt, s.nonce, s.successor) },
		"refresh": func() ([]byte, error) { return Seal(s.old, s.salt, s.nonce, Successor{Access: s.successor.Access}) },
		"access":  func() ([]byte, error) { return Seal(s.old, s.salt, s.nonce, Successor{Refresh: s.successor.Refresh}) },
	} {
		if got, err := try(); !errors.Is(err, ErrMalformed) || got != nil {
			t.Errorf("without %s: got %v, want %v", name, err, ErrMalformed)
		}
	}
}

func FuzzOpen(f *testing.F) {
	s := mustSeal(f, time.Unix(1_800_000_000, 0))
	f.Add(s.seal)
	f.Add(s.seal[:24])
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, seal []byte) {
		got, err := Open(s.old, s.salt, seal)
		if bytes.Equal(seal, s.seal) {
			if err != nil || !cmp.Equal(got, s.successor) {
				t.Errorf("got %v for the seal itself", err)
			}
			return
		}
		if !errors.Is(err, ErrSeal) || !cmp.Equal(got, Successor{}) {
			t.Errorf("Open(%x): got %v, want %v", seal, err, ErrSeal)
		}
	})
}

// FuzzParseSuccessor feeds what no seal of ours holds to what is behind the authentication.
func FuzzParseSuccessor(f *testing.F) {
	plain := make([]byte, sealedLen)
	copy(plain, masTokens[5])
	copy(plain[sealedAccessAt:], masTokens[0])
	f.Add(slices.Clone(plain))
	plain[sealedEndAt] = 0xff
	f.Add(plain)
	f.Fuzz(func(t *testing.T, plain []byte) {
		if len(plain) != sealedLen {
			return
		}
		s, err := parseSuccessor(plain)
		if err != nil {
			if !errors.Is(err, ErrSeal) {
				t.Errorf("got %v, want %v", err, ErrSeal)
			}
			return
		}
		if s.Refresh.Reveal()+s.Access.Reveal() != string(plain[:sealedEndAt]) {
			t.Error("got other tokens")
		}
	})
}

func BenchmarkSeal(b *testing.B) {
	s := mustSeal(b, time.Unix(1_800_000_000, 0))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Seal(s.old, s.salt, s.nonce, s.successor); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkOpen(b *testing.B) {
	s := mustSeal(b, time.Unix(1_800_000_000, 0))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Open(s.old, s.salt, s.seal); err != nil {
			b.Fatal(err)
		}
	}
}
