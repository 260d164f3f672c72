package token

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"io"
	"strings"
	"sync"
	"testing"
	"testing/iotest"
)

// masTokens are from MAS's own tests (MAS handlers/src/compat/tests.rs, handlers/src/admin/v1/personal_sessions): they have our form
// and its checksum.
var masTokens = []string{
	"mct_16tugBE5Ta9LIWoSJaAEHHq2g3fx8S_alcBB4",
	"mct_PGMLvvMXC4Ds1A3lCWc6Hx4l9DGzqG_lVEIV2",
	"mct_Wc6Hx4l9DGzqGtgLoYqtrtBUBcWlE4_ZFyTp2",
	"mct_bUTa4XIh92RARTPTjqQrCZLAkq2ild_0VsYE6",
	"mct_fNbm5KAQovodfVQz7IvDc44woP66fR_fsaiD1",
	"mcr_42oTpLoieH5IecxG6gZXyvelQWW9Xq_a8g5N3",
	"mcr_Yp7FM44zJN5qePGMLvvMXC4Ds1A3lC_0YcYCM",
	"mpt_6cq7FqNSYoosbXl3bbpfh9yNy9NzuR_0vOV2O",
	"mpt_FM44zJN5qePGMLvvMXC4Ds1A3lCWc6_bJ9Wj1",
}

var allKinds = []Kind{Access, Refresh, CompatAccess, CompatRefresh, Personal}

func newMint() *Mint { return NewMint(Key{1, 2, 3}, rand.Reader) }

func mustMint(t testing.TB, m *Mint, k Kind) Token {
	t.Helper()
	h, err := m.Handle()
	if err != nil {
		t.Fatal(err)
	}
	tok, err := m.New(k, h)
	if err != nil {
		t.Fatal(err)
	}
	return tok
}

func TestParseMAS(t *testing.T) {
	m := newMint()
	for _, text := range masTokens {
		got, err := Parse(text)
		if err != nil || got.Kind.Prefix() != text[:4] || got.Handle.String() != text[4:12] || got.Reveal() != text {
			t.Errorf("Parse(%q): got %v, %v", text, got.Kind, err)
		}
		if m.Authentic(got) {
			t.Errorf("Authentic(%q): got true for a token that we did not make", text)
		}
	}
}

func TestChecksumPadding(t *testing.T) {
	// MAS writes the least significant digit first and then pads on the left; a checksum of 1 and one of 62 look alike.
	for n, want := range map[uint64]string{0: "000000", 1: "000001", 61: "00000z", 62: "000001", 63: "000011"} {
		digits, significant := base62(n)
		got := "000000"[significant:] + string(digits[:significant])
		if got != want {
			t.Errorf("base62(%d): got %q, want %q", n, got, want)
		}
		back := uint64(0)
		for i := len(digits) - 1; i >= 0; i-- {
			back = back*base + uint64(strings.IndexByte(alphabet, digits[i]))
		}
		if back != n {
			t.Errorf("base62(%d): got digits %q, which are %d", n, digits, back)
		}
	}
}

func TestParseErrors(t *testing.T) {
	good := masTokens[0]
	for text, want := range map[string]error{
		"":                                      ErrForeign,
		"mat":                                   ErrForeign,
		"syt_YWxpY2U_abcdefghijklmnopqrst_1abc": ErrForeign,
		"MDAxYmxvY2F0aW9uIGxpYnJlcHVzaC5uZXQ":   ErrForeign,
		"mxt_" + good[4:]:                       ErrForeign,
		"MCT_" + good[4:]:                       ErrForeign,
		" " + good:                              ErrForeign,
		"mct-" + good[4:]:                       ErrForeign,
		"mat_":                                  ErrMalformed,
		"mpt_x":                                 ErrMalformed,
		"mat_" + good[4:]:                       ErrMalformed, // the checksum covers the prefix
		good[:len(good)-1]:                      ErrMalformed,
		good + "0":                              ErrMalformed,
		good + " ":                              ErrMalformed,
		good[:len(good)-1] + "5":                ErrMalformed,
		good[:34] + "-" + good[35:]:             ErrMalformed,
		good[:10] + "_" + good[11:]:             ErrMalformed,
		good[:10] + "\x00" + good[11:]:          ErrMalformed,
		good[:10] + "é" + good[12:]:             ErrMalformed,
		"mct_" + strings.Repeat("x", 1<<20):     ErrMalformed,
	} {
		got, err := Parse(text)
		if !errors.Is(err, want) || got.Kind != 0 || got.Reveal() != "" {
			t.Errorf("Parse(%.60q): got %v, want %v", text, err, want)
		}
	}
}

func TestKind(t *testing.T) {
	for k, refresh := range map[Kind]bool{Access: false, Refresh: true, CompatAccess: false, CompatRefresh: true, Personal: false} {
		if kindOf(k.Prefix()) != k || k.IsRefresh() != refresh {
			t.Errorf("kind %d: got prefix %q of kind %d, refresh %v", k, k.Prefix(), kindOf(k.Prefix()), k.IsRefresh())
		}
	}
	for _, k := range []Kind{0, Personal + 1, 255} {
		if k.Prefix() != "" {
			t.Errorf("kind %d: got prefix %q, want none", k, k.Prefix())
		}
	}
}

func TestMint(t *testing.T) {
	m, other := newMint(), NewMint(Key{9}, rand.Reader)
	for _, k := range allKinds {
		tok := mustMint(t, m, k)
		parsed, err := Parse(tok.Reveal())
		if err != nil || parsed.Kind != k || parsed.Handle != tok.Handle || !parsed.Equal(tok) || parsed.Hash() != tok.Hash() {
			t.Fatalf("kind %d: got %v, %v back", k, parsed.Kind, err)
		}
		if tok.Hash() != Hash(sha256.Sum256([]byte(tok.Reveal()))) || HashText(tok.Reveal()) != tok.Hash() {
			t.Errorf("kind %d: got another hash than SHA-256 of the text", k)
		}
		if !m.Authentic(parsed) || other.Authentic(parsed) {
			t.Errorf("kind %d: got authentic %v with its key, %v with another", k, m.Authentic(parsed), other.Authentic(parsed))
		}
		for i := range macAt {
			if forged, ok := alter(t, tok, i); ok && m.Authentic(forged) {
				t.Errorf("kind %d: got authentic with character %d altered", k, i)
			}
		}
	}
	if m.Authentic(Token{}) {
		t.Error("got the zero token authentic")
	}
}

// alter changes one character of a token, and its checksum to fit.
func alter(t *testing.T, tok Token, i int) (Token, bool) {
	t.Helper()
	text := []byte(tok.Reveal())
	if i < prefixLen {
		return Token{}, false
	}
	text[i] = alphabet[(strings.IndexByte(alphabet, text[i])+1)%len(alphabet)]
	sum := checksum(text[:bodyLen])
	copy(text[bodyLen+1:], sum[:])
	forged, err := Parse(string(text))
	if err != nil {
		t.Fatal(err)
	}
	return forged, true
}

func TestMACKindMatters(t *testing.T) {
	m := newMint()
	tok := mustMint(t, m, CompatAccess)
	text := []byte(Access.Prefix() + tok.Reveal()[prefixLen:])
	sum := checksum(text[:bodyLen])
	copy(text[bodyLen+1:], sum[:])
	forged, err := Parse(string(text))
	if err != nil || m.Authentic(forged) {
		t.Errorf("got %v, authentic %v for a token of another kind", err, m.Authentic(forged))
	}
}

// TestMACIsHMAC compares with the standard library, whose HMAC allocates.
func TestMACIsHMAC(t *testing.T) {
	for range 100 {
		var key Key
		_, _ = rand.Read(key[:])
		m := NewMint(key, rand.Reader)
		tok := mustMint(t, m, Refresh)
		h := hmac.New(sha256.New, key[:])
		h.Write([]byte(tok.Reveal()[:macAt]))
		want, _ := base62(binary.BigEndian.Uint64(h.Sum(nil)))
		if got := tok.Reveal()[macAt:bodyLen]; got != string(want[:]) {
			t.Fatalf("got MAC %q, want %q", got, want)
		}
	}
}

func TestMintUniform(t *testing.T) {
	m := newMint()
	const perCharacter = 1000
	counts := map[byte]int{}
	for range perCharacter * len(alphabet) / handleLen {
		h, err := m.Handle()
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range h {
			counts[c]++
		}
	}
	for i := range len(alphabet) {
		if n := counts[alphabet[i]]; n < 800 || n > 1200 { // standard deviation 32
			t.Errorf("character %c: got %d times, want about %d", alphabet[i], n, perCharacter)
		}
	}
	if len(counts) != len(alphabet) {
		t.Errorf("got %d different characters, want %d", len(counts), len(alphabet))
	}
}

func TestMintRejectsBias(t *testing.T) {
	random := strings.Repeat("\xf8\xff", randomLen) + strings.Repeat("\xf7", 2*randomLen)
	h, err := NewMint(Key{}, strings.NewReader(random)).Handle()
	if err != nil || h.String() != "zzzzzzzz" {
		t.Errorf("got %q, %v, want bytes from 248 on rejected and 247 the last character", h, err)
	}
}

func TestMintErrors(t *testing.T) {
	m := NewMint(Key{}, iotest.ErrReader(io.ErrClosedPipe))
	if h, err := m.Handle(); !errors.Is(err, io.ErrClosedPipe) || h != (Handle{}) {
		t.Errorf("handle: got %q, %v, want the reader's error", h, err)
	}
	if tok, err := m.New(Access, Handle([]byte("abcdefgh"))); !errors.Is(err, io.ErrClosedPipe) || tok.Kind != 0 {
		t.Errorf("token: got %v, want the reader's error", err)
	}
	for k, h := range map[Kind]Handle{0: Handle([]byte("abcdefgh")), 9: Handle([]byte("abcdefgh")), Access: {}, Refresh: Handle([]byte("abc_efgh"))} {
		if _, err := newMint().New(k, h); !errors.Is(err, ErrMalformed) {
			t.Errorf("kind %d, handle %q: got %v, want %v", k, h, err, ErrMalformed)
		}
	}
}

func TestMintConcurrently(t *testing.T) {
	m := newMint()
	var seen sync.Map
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 200 {
				tok := mustMint(t, m, Access)
				if _, twice := seen.LoadOrStore(tok.Hash(), true); twice || !m.Authentic(tok) {
					t.Errorf("got a token twice, or one that is not authentic")
				}
			}
		})
	}
	wg.Wait()
}

func TestTokenNoAllocations(t *testing.T) {
	m := newMint()
	text := mustMint(t, m, Access).Reveal()
	var sink Hash
	if got := testing.AllocsPerRun(200, func() {
		tok, err := Parse(text)
		if err != nil || !m.Authentic(tok) || !tok.Equal(tok) || tok.Handle == (Handle{}) {
			t.Fatal("not recognised")
		}
		sink = tok.Hash()
		if sink.Equal(HashText("x")) {
			t.Fatal("equal to another hash")
		}
	}); got != 0 {
		t.Errorf("got %v allocations, want 0", got)
	}
	for _, bad := range []string{"mat_", "syt_x", masTokens[0][:40]} {
		if got := testing.AllocsPerRun(200, func() { _, _ = Parse(bad) }); got != 0 {
			t.Errorf("Parse(%q): got %v allocations, want 0", bad, got)
		}
	}
}

func FuzzParse(f *testing.F) {
	for _, text := range masTokens {
		f.Add(text)
	}
	f.Add("")
	f.Add("mat_")
	f.Add("syt_YWxpY2U_abcdefghijklmnopqrst_1abc")
	f.Fuzz(func(t *testing.T, s string) {
		tok, err := Parse(s)
		if ours := len(s) >= 4 && strings.Contains("mat_ mar_ mct_ mcr_ mpt_", s[:4]) && s[3] == '_'; errors.Is(err, ErrForeign) == ours {
			t.Errorf("Parse(%q): got %v, ours by its prefix: %v", s, err, ours)
		}
		if err != nil {
			return
		}
		if tok.Reveal() != s || tok.Kind.Prefix() != s[:4] || tok.Handle.String() != s[4:12] || len(s) != textLen {
			t.Errorf("Parse(%q): got %v, handle %q", s, tok.Kind, tok.Handle)
		}
	})
}

func BenchmarkParse(b *testing.B) {
	m := newMint()
	var texts [1024]string // one alone would be learnt by heart
	for i := range texts {
		texts[i] = mustMint(b, m, Access).Reveal()
	}
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		if _, err := Parse(texts[i%len(texts)]); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkHash(b *testing.B) {
	tok, err := Parse(masTokens[0])
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		_ = tok.Hash()
	}
}

func BenchmarkAuthentic(b *testing.B) {
	m := newMint()
	tok := mustMint(b, m, Access)
	b.ReportAllocs()
	for b.Loop() {
		if !m.Authentic(tok) {
			b.Fatal("not authentic")
		}
	}
}

func BenchmarkMint(b *testing.B) {
	m := newMint()
	h, err := m.Handle()
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := m.New(Access, h); err != nil {
			b.Fatal(err)
		}
	}
}
