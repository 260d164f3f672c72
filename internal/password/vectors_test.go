package password

import (
	"context"
	"strings"
	"testing"
)

const pepper = "salt & pepper"

// vectors were made with the Python libraries bcrypt (as Synapse's handlers/auth.py calls it), argon2-cffi and passlib, and
// with hashlib for the form that MAS writes.
var vectors = []struct {
	name, pepper, encoded, password, wrong string
}{
	{"argon2id ours", "", "$argon2id$v=19$m=19456,t=2,p=1$c29tZXNhbHQtMTZieXRlcw$HveDy76J/MJyABcZvTNHOL+y2wiKX6cpBrY///MZR7E", horse, "correct Horse"},
	{"argon2id pepper unused", pepper, "$argon2id$v=19$m=19456,t=2,p=1$c29tZXNhbHQtMTZieXRlcw$HveDy76J/MJyABcZvTNHOL+y2wiKX6cpBrY///MZR7E", horse, horse + pepper},
	{"argon2id argon2-cffi", "", "$argon2id$v=19$m=65536,t=3,p=4$c29tZXNhbHQtMTZieXRlcw$PL5t2q6ByJsujgdP7ZKZC+B+0S5yVEUqUPNkr8JXYsY", horse, ""},
	{"argon2id 16-byte tag", "", cheap, horse, "x"},
	{"argon2id 64-byte tag", "", "$argon2id$v=19$m=256,t=2,p=2$c29tZXNhbHQtMTZieXRlcw$AxJulEfbBQak1+eG/ATRPsoKQhupHvbbgPybraRVAo0PsctUgAf7QUawT4NwlxDGPs1e4sy5xN3D5AcI39F79Q", horse, "x"},
	{"argon2id composed", "", "$argon2id$v=19$m=8,t=1,p=1$c29tZXNhbHQtMTZieXRlcw$NNGIKd8WO+XWP0ByLlr2cigafALH+AIPYf4NkR+ium8", "caf\u00e9 \ufb01n", "cafe fin"},
	{"argon2id decomposed", "", "$argon2id$v=19$m=8,t=1,p=1$c29tZXNhbHQtMTZieXRlcw$NNGIKd8WO+XWP0ByLlr2cigafALH+AIPYf4NkR+ium8", "cafe\u0301 fin", "cafe fin"},
	{"bcrypt Synapse", "", "$2b$04$wpPK15pakpomHt1oyFL88uZ3DEmYtutB1RmiHXE1OXAuNAt..Kgku", horse, "correct horsf"},
	{"bcrypt Synapse pepper", pepper, "$2b$04$tshPtd/2tOY7b4niajIhK.SdVSf6Y/Gkl8dIMU4uFOYkY91f310RW", horse, "x"},
	{"bcrypt Synapse NFKC", pepper, "$2b$04$v3/RKtNZbyB0oICrTiGZ3e5J/oPh8QeurOHy9hZCFbXKH9BygE04W", "cafe\u0301 \ufb01n", "cafe fin"},
	{"bcrypt 80 bytes are 72", pepper, "$2b$04$.P7M9lwbJjv7Q.BXjM6lNeuAzYHWSbcVs/uFd4LWYa1tESW1jKb6O", strings.Repeat("0123456789", 7) + "01 anything", strings.Repeat("0123456789", 7) + "0x"},
	{"bcrypt pepper cut at 72", pepper, "$2b$04$3MS.qZpLgloNn0RDE6z4U.vQikNkuFkZz1IalLxHdhytzKad1QRyC", strings.Repeat("0123456789", 7), strings.Repeat("0123456789", 7) + "0"},
	{"bcrypt 2a", "", "$2a$04$OPFOesXErJvzuoBWOtYwluDVN0Z2fHQfJSd0cULYZiaBqsZPUfG06", horse, "x"},
	{"bcrypt 2y", "", "$2y$04$WbpWuF.waocymIipXqJg.ehkjXnU0MBQ2YbpLdbPhR6oAASzRYT1O", horse, "x"},
	{"pbkdf2 passlib sha256", "", "$pbkdf2-sha256$1000$ihGC8D6nFMJ4z1lLSSlFiA$y6OHDMiJw4g0SCLk0kmbN9mnvJaY71S9dwKZwBC6lfk", horse, "x"},
	{"pbkdf2 passlib sha512", "", "$pbkdf2-sha512$1000$obTW2vvf.98bQ6h1jvEegw$n.N0eQN0uQUn3nmVeBp1scFxuHU3wYCSGPkm4CACFc6IDk1fcRS13htMSgir0IlT/fmu1k58mbqnYBIY.NZ6OQ", horse, "x"},
	{"pbkdf2 passlib dots", "", "$pbkdf2-sha256$10$./..MDEyMzQ1Njc4OWFiYw$ny24VQZGcbCU1.iz1L7MhA2NCIQnlB6Ouu3N8PZgb.0", horse, "x"},
	{"pbkdf2 MAS sha256", "", "$pbkdf2-sha256$i=1000,l=32$+/++MDEyMzQ1Njc4OWFiYw$FGTSurLPHI/tHFF9GVW3h3cGLTPmhC/aRL3GEXn5wuQ", horse, "x"},
	{"pbkdf2 MAS pepper", pepper, "$pbkdf2-sha256$i=1000,l=32$+/++MDEyMzQ1Njc4OWFiYw$Hj91kiW511hi/79UbUvxyF2M5yUiG51oRvDhBZa1SmM", horse, "x"},
	{"pbkdf2 MAS sha512", "", "$pbkdf2-sha512$i=1000,l=64$+/++MDEyMzQ1Njc4OWFiYw$6Dcq5BmHR3Z3QEMu77v2OjgGNchxZyQoV5h8nGwP4HLtvXCVPHaTDqWhtRtUuUSlHtEQ8fmr4ORcftXaNfCeAA", horse, "x"},
}

func TestVectors(t *testing.T) {
	h := newTestHasher(t, Config{Command: serving})
	for _, v := range vectors {
		h.SetPepper([]byte(v.pepper))
		if got := verify(t, h, v.encoded, v.password); got != Match {
			t.Errorf("%s: got %v, want %v", v.name, got, Match)
		}
		if got := verify(t, h, v.encoded, v.wrong); got != Mismatch {
			t.Errorf("%s, wrong password: got %v, want %v", v.name, got, Mismatch)
		}
	}
}

// TestVerifyResultMisread is MAS CVE-2025-62425: there a wrong password was a success that held a failure, and callers that
// asked for an error only let it pass. Here the verdict is the one value, under every scheme and in both places, and what
// comes with an error is no verdict.
func TestVerifyResultMisread(t *testing.T) {
	for where, h := range map[string]*Hasher{
		"child": newTestHasher(t, Config{Command: serving}), "in process": newTestHasher(t, Config{}),
	} {
		own, err := h.Hash(context.Background(), home, horse)
		if err != nil {
			t.Fatal(err)
		}
		encoded := []string{own}
		for _, v := range vectors {
			encoded = append(encoded, v.encoded)
		}
		for _, e := range encoded {
			got, err := h.Verify(context.Background(), home, e, "not the password")
			if got != Mismatch || err != nil {
				t.Errorf("%s, %q: got %v and %v, want %v and no error", where, e, got, err, Mismatch)
			}
		}
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	got, err := newTestHasher(t, Config{}).Verify(ctx, home, cheap, horse)
	if got != NoVerdict || err == nil {
		t.Errorf("cancelled: got %v and %v, want %v and an error", got, err, NoVerdict)
	}
}

func TestNeedsUpgrade(t *testing.T) {
	h := newTestHasher(t, Config{})
	own, err := h.Hash(context.Background(), home, horse)
	if err != nil {
		t.Fatal(err)
	}
	if h.NeedsUpgrade(own) {
		t.Errorf("%q: got true, want false", own)
	}
	for _, v := range vectors {
		want := !strings.HasPrefix(v.name, "argon2id ours") && v.name != "argon2id pepper unused"
		if got := h.NeedsUpgrade(v.encoded); got != want {
			t.Errorf("%s: got %v, want %v", v.name, got, want)
		}
	}
	for _, junk := range []string{"", "$", own[:len(own)-4]} {
		if !h.NeedsUpgrade(junk) {
			t.Errorf("%q: got false, want true", junk)
		}
	}
}
