package password

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestParseRecordRefuses(t *testing.T) {
	const salt, tag = "c29tZXNhbHQtMTZieXRlcw", "vU5Pv2B4F2khrFcwuYR+qw"
	const bcryptText = "wpPK15pakpomHt1oyFL88uZ3DEmYtutB1RmiHXE1OXAuNAt..Kgku"
	for name, encoded := range map[string]string{
		"empty":                   "",
		"no scheme":               "plain",
		"unknown scheme":          "$scrypt$ln=16$" + salt + "$" + tag,
		"argon2i":                 "$argon2i$v=19$m=8,t=1,p=1$" + salt + "$" + tag,
		"argon2 version 16":       "$argon2id$v=16$m=8,t=1,p=1$" + salt + "$" + tag,
		"argon2 no version":       "$argon2id$m=8,t=1,p=1$" + salt + "$" + tag,
		"argon2 too much memory":  "$argon2id$v=19$m=131073,t=1,p=1$" + salt + "$" + tag,
		"argon2 memory overflows": "$argon2id$v=19$m=4294967296,t=1,p=1$" + salt + "$" + tag,
		"argon2 too little":       "$argon2id$v=19$m=15,t=1,p=2$" + salt + "$" + tag,
		"argon2 memory × time":    "$argon2id$v=19$m=131072,t=9,p=1$" + salt + "$" + tag,
		"argon2 no pass":          "$argon2id$v=19$m=8,t=0,p=1$" + salt + "$" + tag,
		"argon2 too many passes":  "$argon2id$v=19$m=8,t=65,p=1$" + salt + "$" + tag,
		"argon2 no thread":        "$argon2id$v=19$m=8,t=1,p=0$" + salt + "$" + tag,
		"argon2 many threads":     "$argon2id$v=19$m=19456,t=1,p=17$" + salt + "$" + tag,
		"argon2 256 threads":      "$argon2id$v=19$m=19456,t=1,p=257$" + salt + "$" + tag,
		"argon2 sign":             "$argon2id$v=19$m=+8,t=1,p=1$" + salt + "$" + tag,
		"argon2 leading zero":     "$argon2id$v=19$m=08,t=1,p=1$" + salt + "$" + tag,
		"argon2 keyid":            "$argon2id$v=19$m=8,t=1,p=1,keyid=AA$" + salt + "$" + tag,
		"argon2 other order":      "$argon2id$v=19$t=1,m=8,p=1$" + salt + "$" + tag,
		"argon2 no tag":           "$argon2id$v=19$m=8,t=1,p=1$" + salt,
		"argon2 empty tag":        "$argon2id$v=19$m=8,t=1,p=1$" + salt + "$",
		"argon2 short tag":        "$argon2id$v=19$m=8,t=1,p=1$" + salt + "$AAAA",
		"argon2 long tag":         "$argon2id$v=19$m=8,t=1,p=1$" + salt + "$" + strings.Repeat("A", 88),
		"argon2 short salt":       "$argon2id$v=19$m=8,t=1,p=1$AAAA$" + tag,
		"argon2 another field":    cheap + "$",
		"argon2 padding":          cheap + "==",
		"argon2 line feed":        cheap + "\n",
		"long":                    cheap + strings.Repeat("A", 500),
		"bcrypt cost 3":           "$2b$03$" + bcryptText,
		"bcrypt cost 31":          "$2b$31$" + bcryptText,
		"bcrypt cost 4":           "$2b$4$" + bcryptText,
		"bcrypt 2x":               "$2x$04$" + bcryptText,
		"bcrypt 2":                "$2$04$" + bcryptText,
		"bcrypt short":            "$2b$04$" + bcryptText[1:],
		"bcrypt alphabet":         "$2b$04$+" + bcryptText[1:],
		"bcrypt alphabet inside":  "$2b$04$" + bcryptText[:20] + "$" + bcryptText[21:],
		"pbkdf2 iterations":       "$pbkdf2-sha256$i=2000001$" + salt + "$" + tag,
		"pbkdf2 no iterations":    "$pbkdf2-sha256$i=0$" + salt + "$" + tag,
		"pbkdf2 length":           "$pbkdf2-sha256$i=10,l=17$" + salt + "$" + tag,
		"pbkdf2 parameter":        "$pbkdf2-sha256$i=10,x=16$" + salt + "$" + tag,
		"pbkdf2 sha1":             "$pbkdf2$10$" + salt + "$" + tag,
	} {
		if r, err := parseRecord(encoded); err == nil {
			t.Errorf("%s: got %+v, want an error", name, r)
		}
	}
}

func FuzzParseRecord(f *testing.F) {
	for _, v := range vectors {
		f.Add(v.encoded)
	}
	for _, s := range []string{"", "$", "$argon2id$v=19$m=8,t=1,p=1$c29tZXNhbHQtMTZieXRlcw", "$argon2id$v=19$m=4294967295,t=4294967295,p=255$AAAAAA$AA", "$2b$31$", "$pbkdf2-sha256$i=1,l=$$"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, encoded string) {
		r, err := parseWish(encoded)
		if err != nil {
			return
		}
		if s := r.scheme; s.memory > maxMemory || s.memory*s.time > maxMemoryTime || s.threads > maxThreads || s.size > maxField ||
			s.kind == bcryptKind && s.time > maxCost || s.time > maxIterations {
			t.Errorf("out of bounds: %+v", s)
		}
		again, err := parseWish(r.String())
		if err != nil {
			t.Fatalf("%q became %q: %v", encoded, r.String(), err)
		}
		if diff := cmp.Diff(r, again, cmp.AllowUnexported(record{}, scheme{})); diff != "" {
			t.Errorf("%q became %q: %s", encoded, r.String(), diff)
		}
	})
}
