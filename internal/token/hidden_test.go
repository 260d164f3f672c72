package token

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	jsonx "github.com/go-json-experiment/json"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

const text = "mct_16tugBE5Ta9LIWoSJaAEHHq2g3fx8S_alcBB4"

// open and shut hold secrets where a printer may call methods, and where it may not.
type open struct {
	Secret  Secret
	Token   Token
	Pointer *Secret
	List    []Secret
	Map     map[string]Token
	Any     any
}

type shut struct {
	secret Secret
	token  Token
	list   []Secret
	nested struct{ token Token }
	any    any
	mint   *Mint
}

func values(t *testing.T) map[string]any {
	t.Helper()
	secret := NewSecret(text)
	token, err := Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	o := open{Secret: secret, Token: token, Pointer: &secret, List: []Secret{secret}, Map: map[string]Token{"k": token}, Any: secret}
	s := shut{secret: secret, token: token, list: []Secret{secret}, any: token, mint: NewMint(Key([]byte(text)[:32]), nil)}
	s.nested.token = token
	return map[string]any{
		"secret": secret, "*secret": &secret, "token": token, "*token": &token,
		"open": o, "*open": &o, "shut": s, "*shut": &s, "successor": Successor{Refresh: token, Access: token},
		"mint": s.mint, "map": map[string]any{"a": secret, "b": []any{token}},
	}
}

// leaks reports whether the output holds the text, also in hexadecimal or as a list of bytes.
func leaks(output string) bool {
	lower := strings.ToLower(strings.NewReplacer(" ", "", "0x", "", ",", "").Replace(output))
	part := text[:16]
	decimal := strings.NewReplacer(" ", "", "[", "", "]", "").Replace(fmt.Sprint([]byte(part)))
	// A mint's pads are the key under a fixed mask.
	masked := func(mask byte) string {
		b := []byte(part)
		for i := range b {
			b[i] ^= mask
		}
		return strings.NewReplacer(" ", "", "[", "", "]", "").Replace(fmt.Sprint(b))
	}
	for _, needle := range []string{strings.ToLower(part), fmt.Sprintf("%x", part), decimal, masked(0x36), masked(0x5c)} {
		if strings.Contains(lower, needle) {
			return true
		}
	}
	return false
}

func TestLeaksSeesLeaks(t *testing.T) {
	type plain struct{ s string }
	for _, format := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "% x"} {
		if !leaks(fmt.Sprintf(format, plain{text})) {
			t.Errorf("%s of a plain text: got no leak", format)
		}
	}
	if !leaks(fmt.Sprint([]byte(text))) || !leaks(fmt.Sprintf("%#v", []byte(text))) {
		t.Error("bytes: got no leak")
	}
}

func TestFmt(t *testing.T) {
	for name, v := range values(t) {
		for _, verb := range "vsqxXdtTcUbeEfFgGopw" {
			for _, flag := range []string{"", "+", "#", " ", "-60", "080", ".3", "# "} {
				format := "%" + flag + string(verb)
				if got := fmt.Sprintf(format, v); leaks(got) {
					t.Errorf("%s of %s: got %s", format, name, got)
				}
			}
		}
		if got := fmt.Sprint(v, v) + fmt.Sprintln(v) + fmt.Errorf("x: %v", v).Error(); leaks(got) {
			t.Errorf("print of %s: got %s", name, got)
		}
	}
	for _, format := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d", "%60s"} {
		for _, v := range []any{NewSecret(text), Key([]byte(text)[:32])} {
			if got := fmt.Sprintf(format, v); got != redacted {
				t.Errorf("%s of %T: got %s, want %s", format, v, got, redacted)
			}
		}
	}
	if s := NewSecret(text); s.String() != redacted || s.GoString() != redacted {
		t.Errorf("got %s, %s, want %s", s.String(), s.GoString(), redacted)
	}
}

func TestEncoders(t *testing.T) {
	for name, v := range values(t) {
		if b, err := json.Marshal(v); err == nil && leaks(string(b)) {
			t.Errorf("encoding/json of %s: got %s", name, b)
		}
		if b, err := jsonx.Marshal(v); err == nil && leaks(string(b)) {
			t.Errorf("go-json-experiment of %s: got %s", name, b)
		}
		if b, err := xml.Marshal(v); err == nil && leaks(string(b)) {
			t.Errorf("encoding/xml of %s: got %s", name, b)
		}
	}
	for _, v := range []any{NewSecret(text), values(t)["token"], Key([]byte(text)[:32])} {
		v1, err1 := json.Marshal(v)
		v2, err2 := jsonx.Marshal(v)
		if want := `"[secret]"`; err1 != nil || err2 != nil || string(v1) != want || string(v2) != want {
			t.Errorf("%T: got %s, %v and %s, %v, want %s", v, v1, err1, v2, err2, want)
		}
	}
}

func TestZap(t *testing.T) {
	for _, encoder := range []zapcore.Encoder{
		zapcore.NewJSONEncoder(zap.NewProductionEncoderConfig()),
		zapcore.NewConsoleEncoder(zap.NewDevelopmentEncoderConfig()),
	} {
		var out bytes.Buffer
		log := zap.New(zapcore.NewCore(encoder, zapcore.AddSync(&out), zapcore.DebugLevel))
		for name, v := range values(t) {
			log.Info("x", zap.Any("any", v), zap.Reflect("reflect", v))
			log.Sugar().Infow("x", "sugar", v)
			log.Sugar().Infof("%v %+v %#v", v, v, v)
			if s, ok := v.(fmt.Stringer); ok {
				log.Info("x", zap.Stringer("stringer", s))
			}
			if leaks(out.String()) {
				t.Errorf("%s: got %s", name, out.String())
			}
			out.Reset()
		}
	}
}

func TestSlog(t *testing.T) {
	var out bytes.Buffer
	for _, handler := range []slog.Handler{slog.NewTextHandler(&out, nil), slog.NewJSONHandler(&out, nil)} {
		log := slog.New(handler)
		for name, v := range values(t) {
			log.With("with", v).Info("x", "value", v, slog.Group("g", "v", v))
			if leaks(out.String()) {
				t.Errorf("%s: got %s", name, out.String())
			}
			out.Reset()
		}
		log.Info("x", "value", NewSecret(text))
		if !strings.Contains(out.String(), redacted) {
			t.Errorf("got %s, want %s", out.String(), redacted)
		}
		out.Reset()
	}
}

func TestSecret(t *testing.T) {
	a, b, c := NewSecret(text), NewSecret(strings.Clone(text)), NewSecret(text+"x")
	if !a.Equal(b) || a.Equal(c) || a.Equal(Secret{}) || !(Secret{}).Equal(NewSecret("")) {
		t.Error("got another equality than of the texts")
	}
	if a.Reveal() != text || a.Empty() || !(Secret{}).Empty() || !NewSecret("").Empty() || (Secret{}).Reveal() != "" {
		t.Error("got another text back")
	}
	if got := testing.AllocsPerRun(100, func() { _ = NewSecret(text).Equal(b) }); got != 0 {
		t.Errorf("got %v allocations, want 0", got)
	}
	tok, err := Parse(text)
	if err != nil || !tok.Secret().Equal(a) {
		t.Errorf("got another secret of a token: %v", err)
	}
}
