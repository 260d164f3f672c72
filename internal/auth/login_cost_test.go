package auth_test

import (
	"errors"
	"fmt"
	"runtime"
	"testing"

	"golang.org/x/crypto/bcrypt"

	"github.com/caddy-matrix/caddy-matrix-auth/internal/auth"
	"github.com/caddy-matrix/caddy-matrix-auth/internal/authtest"
	"github.com/caddy-matrix/caddy-matrix-auth/internal/mxid"
	"github.com/caddy-matrix/caddy-matrix-auth/internal/token"
	"github.com/caddy-matrix/caddy-matrix-auth/store"
)

// argon2Bytes is what one hash of ours allocates (m=19456), which nothing else here comes near.
const argon2Bytes = 19456 << 10

// entrances are the two ways in by password, each with a wrong one.
var entrances = map[string]func(t *testing.T, k *authtest.Kit, name string, l mxid.Localpart) error{
	"login": func(t *testing.T, k *authtest.Kit, name string, l mxid.Localpart) error {
		_, err := k.Login(t.Context(), auth.LoginParams{Name: name, Localpart: l, Password: token.NewSecret("wrong")})
		return err
	},
	"sign-in": func(t *testing.T, k *authtest.Kit, name string, l mxid.Localpart) error {
		_, err := k.SignIn(t.Context(), auth.SignInParams{Name: name, Localpart: l, Password: token.NewSecret("wrong")})
		return err
	},
}

// nobodies are names that no password is right for.
var nobodies = map[string]mxid.Localpart{
	"bob": "bob", "nopassword": "nopassword", "gone": "gone", "@alice:elsewhere.example": "", "": "",
}

// A name without a password to check costs one hash, as a wrong password does, and of the scheme that the stored hashes have:
// time does not tell who exists (LGN-09).
func TestLGN09_ANameThatCannotLogInCostsOneHash(t *testing.T) {
	k := idle(t)
	_, err := k.AddUser(t.Context(), auth.AddUserParams{Localpart: "nopassword"})
	must(t, err)
	k.MustAddUser(t, "gone")
	must(t, k.Deactivate(t.Context(), "gone", false))
	for way, enter := range entrances {
		cost := func(name string, l mxid.Localpart) float64 {
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			if err := enter(t, k, name, l); !errors.Is(err, auth.ErrBadCredentials) {
				t.Errorf("%s of %q: got %v", way, name, err)
			}
			runtime.ReadMemStats(&after)
			return float64(after.TotalAlloc-before.TotalAlloc) / argon2Bytes
		}
		hashes := func(name string, l mxid.Localpart, want string) {
			if got := fmt.Sprintf("%.0f", cost(name, l)); got != want {
				t.Errorf("%s of %q: got %s hashes of ours, want %s", way, name, got, want)
			}
		}
		hashes("alice", "alice", "1")
		for name, l := range nobodies {
			hashes(name, l, "1")
		}
	}
}

// Where all hashes came from Synapse, a name that does not exist costs what one of them does, and none of ours (LGN-09).
func TestLGN09_ADummyHashIsOfTheSchemeOfTheOthers(t *testing.T) {
	k := authtest.NewService(t, authtest.Options{Idle: true})
	info, err := k.AddUser(t.Context(), auth.AddUserParams{Localpart: "alice"})
	must(t, err)
	hash, err := bcrypt.GenerateFromPassword([]byte(authtest.Password), bcrypt.MinCost)
	must(t, err)
	must(t, k.DB.Update(t.Context(), func(tx *store.Tx) error {
		return tx.PutPassword(store.Password{UserID: info.ID, Hash: string(hash), ChangedAt: tx.Now()})
	}))
	k.MustRun(t) // which counts the hashes
	for way, enter := range entrances {
		for name, l := range nobodies {
			cheap := func() bool {
				var before, after runtime.MemStats
				runtime.ReadMemStats(&before)
				if err := enter(t, k, name, l); !errors.Is(err, auth.ErrBadCredentials) {
					t.Errorf("%s of %q: got %v", way, name, err)
				}
				runtime.ReadMemStats(&after)
				return after.TotalAlloc-before.TotalAlloc < argon2Bytes/2
			}
			waitFor(t, way+" of "+name+" to cost no argon2id", cheap)
		}
	}
}

// Nobody is told "wrong" without a hash: while none can be computed, no name gets a verdict (LGN-09).
func TestLGN09_NoVerdictWithoutAHash(t *testing.T) {
	k := idle(t)
	must(t, k.Hasher.Close())
	for way, enter := range entrances {
		for name, l := range nobodies {
			if err := enter(t, k, name, l); !errors.Is(err, auth.ErrUnavailable) {
				t.Errorf("%s of %q: got %v", way, name, err)
			}
		}
	}
}
