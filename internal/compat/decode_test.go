package compat

import (
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/caddy-matrix/caddy-matrix-auth/internal/auth"
	"github.com/caddy-matrix/caddy-matrix-auth/internal/matrixerr"
	"github.com/caddy-matrix/caddy-matrix-auth/internal/token"
)

const server = "example.org"

// parse is what POST /login does with a body before it asks anybody.
func parse(body io.Reader) (auth.LoginParams, error) {
	q, err := decode[loginRequest](httptest.NewRequest(http.MethodPost, "/", body))
	if err != nil {
		return auth.LoginParams{}, err
	}
	if err := q.checkType(); err != nil {
		return auth.LoginParams{}, err
	}
	return q.params(server)
}

// nested is n arrays in each other.
func nested(n int) string { return strings.Repeat("[", n) + strings.Repeat("]", n) }

func TestLGN16_BadLoginBodies(t *testing.T) {
	const user = `"type":"m.login.password","password":"p","identifier":{"type":"m.id.user","user":"alice"}`
	for _, tc := range []struct {
		name, body string
		status     int
		code       matrixerr.Code
	}{
		{"empty", ``, 400, matrixerr.NotJSON},
		{"white space", " \n", 400, matrixerr.NotJSON},
		{"form", `type=m.login.password&user=alice`, 400, matrixerr.NotJSON},
		{"byte order mark", "\ufeff{" + user + `}`, 400, matrixerr.NotJSON},
		{"unfinished", `{` + user, 400, matrixerr.NotJSON},
		{"trailing comma", `{` + user + `,}`, 400, matrixerr.NotJSON},
		{"trailing garbage", `{` + user + `}x`, 400, matrixerr.NotJSON},
		{"two objects", `{` + user + `}{}`, 400, matrixerr.NotJSON},
		{"single quotes", `{'type':'m.login.password'}`, 400, matrixerr.NotJSON},
		{"NaN", `{` + user + `,"x":NaN}`, 400, matrixerr.NotJSON},
		{"invalid UTF-8 in a value", `{` + user + ",\"x\":\"\xff\"}", 400, matrixerr.NotJSON},
		{"invalid UTF-8 in a name", `{` + user + ",\"\xc3\x28\":1}", 400, matrixerr.NotJSON},
		{"half a surrogate pair", `{` + user + `,"x":"\ud800"}`, 400, matrixerr.NotJSON},
		{"NUL byte", `{` + user + ",\"x\":\"\x00\"}", 400, matrixerr.NotJSON},

		{"array", `[]`, 400, matrixerr.BadJSON},
		{"string", `"x"`, 400, matrixerr.BadJSON},
		{"number", `1`, 400, matrixerr.BadJSON},
		{"null", `null`, 400, matrixerr.BadJSON},
		{"null and garbage", `null x`, 400, matrixerr.NotJSON},
		{"repeated name", `{` + user + `,"type":"m.login.password"}`, 400, matrixerr.BadJSON},
		{"repeated name, escaped", `{` + user + `,"\u0074ype":"m.login.password"}`, 400, matrixerr.BadJSON},
		{"repeated name within", `{` + user + `,"x":{"a":1,"a":1}}`, 400, matrixerr.BadJSON},
		{"100 deep", `{` + user + `,"x":` + nested(100) + `}`, 400, matrixerr.BadJSON},
		{"10,000 deep", `{` + user + `,"x":` + nested(10_000) + `}`, 400, matrixerr.BadJSON},
		{"10,000 deep, unfinished", strings.Repeat(`{"a":`, 10_000), 400, matrixerr.BadJSON},
		{"10,000 deep array", nested(10_000), 400, matrixerr.BadJSON},
		{"type a number", `{"type":1}`, 400, matrixerr.BadJSON},
		{"identifier a string", `{"type":"m.login.password","identifier":"alice"}`, 400, matrixerr.BadJSON},
		{"user a number", `{"type":"m.login.password","user":1}`, 400, matrixerr.BadJSON},
		{"password an object", `{"type":"m.login.password","user":"alice","password":{}}`, 400, matrixerr.BadJSON},
		{"device_id a number", `{` + user + `,"device_id":1}`, 400, matrixerr.BadJSON},
		{"refresh_token a string", `{` + user + `,"refresh_token":"true"}`, 400, matrixerr.BadJSON},
		{"display name an array", `{` + user + `,"initial_device_display_name":[]}`, 400, matrixerr.BadJSON},

		{"no type", `{}`, 400, matrixerr.MissingParam},
		{"type in another case", `{"TYPE":"m.login.password"}`, 400, matrixerr.MissingParam},
		{"type null", `{"type":null}`, 400, matrixerr.MissingParam},
		{"no identifier", `{"type":"m.login.password","password":"p"}`, 400, matrixerr.MissingParam},
		{"empty user", `{"type":"m.login.password","password":"p","user":""}`, 400, matrixerr.MissingParam},
		{"medium alone", `{"type":"m.login.password","password":"p","medium":"email"}`, 400, matrixerr.MissingParam},
		{"empty identifier", `{"type":"m.login.password","password":"p","identifier":{}}`, 400, matrixerr.MissingParam},
		{"no user", `{"type":"m.login.password","password":"p","identifier":{"type":"m.id.user"}}`, 400, matrixerr.MissingParam},
		{
			"no address", `{"type":"m.login.password","password":"p","identifier":{"type":"m.id.thirdparty","medium":"email"}}`,
			400, matrixerr.MissingParam,
		},
		{
			"no country", `{"type":"m.login.password","password":"p","identifier":{"type":"m.id.phone","phone":"1"}}`,
			400, matrixerr.MissingParam,
		},
		{"no password", `{"type":"m.login.password","user":"alice"}`, 400, matrixerr.MissingParam},
		{"password null", `{"type":"m.login.password","user":"alice","password":null}`, 400, matrixerr.MissingParam},

		{"unknown type", `{"type":"m.login.nonsense"}`, 400, matrixerr.Unknown},
		{"empty type", `{"type":""}`, 400, matrixerr.Unknown},
		{"token", `{"type":"m.login.token","token":"x"}`, 400, matrixerr.Unknown},
		{"unknown identifier", `{"type":"m.login.password","identifier":{"type":"m.id.nonsense"}}`, 400, matrixerr.Unknown},
		{"LGN-18", `{"type":"m.login.application_service"}`, 400, matrixerr.AppserviceLoginUnsupported},

		{"device_id of 0 characters", `{` + user + `,"device_id":""}`, 400, matrixerr.InvalidParam},
		{"device_id of 256 characters", `{` + user + `,"device_id":"` + strings.Repeat("é", 256) + `"}`, 400, matrixerr.InvalidParam},
		{"device_id of 300 characters", `{` + user + `,"device_id":"` + strings.Repeat("x", 300) + `"}`, 400, matrixerr.InvalidParam},
		{"device_id with a control", `{` + user + `,"device_id":"A\u0000B"}`, 400, matrixerr.InvalidParam},

		{"one byte too many", `{` + user + `,"x":"` + strings.Repeat("x", 64<<10-len(user)-9) + ` "}`, 413, matrixerr.TooLarge},
		{"1 MB password", `{"type":"m.login.password","user":"a","password":"` + strings.Repeat("x", 1<<20) + `"}`, 413, matrixerr.TooLarge},
	} {
		t.Run(tc.name, func(t *testing.T) {
			for name, body := range map[string]io.Reader{
				"with a length": strings.NewReader(tc.body),
				"chunked":       iotest.OneByteReader(strings.NewReader(tc.body)),
			} {
				_, err := parse(body)
				var f *failure
				if !errors.As(err, &f) {
					t.Fatalf("%s: got %v, want a failure", name, err)
				}
				if f.status != tc.status || f.code != tc.code {
					t.Errorf("%s: got %d %s, want %d %s", name, f.status, f.code, tc.status, tc.code)
				}
			}
		})
	}
}

func TestReadBody(t *testing.T) {
	r := httptest.NewRequest(http.MethodPost, "/", strings.NewReader(strings.Repeat(" ", maxBody)))
	if b, err := readBody(r); err != nil || len(b) != maxBody {
		t.Errorf("the largest body: got %d bytes and %v, want all", len(b), err)
	}
	r = httptest.NewRequest(http.MethodPost, "/", iotest.ErrReader(io.ErrUnexpectedEOF))
	if _, err := readBody(r); !errors.Is(err, errBodyBroken) {
		t.Errorf("a broken body: got %v, want %v", err, errBodyBroken)
	}
	r = httptest.NewRequest(http.MethodPost, "/", iotest.ErrReader(&http.MaxBytesError{Limit: 10}))
	if _, err := readBody(r); !errors.Is(err, errTooLarge) {
		t.Errorf("a limit of the server's: got %v, want %v", err, errTooLarge)
	}
}

func TestLGN_Params(t *testing.T) {
	password := token.NewSecret("p")
	alice := auth.LoginParams{Name: "alice", Localpart: "alice", Password: password}
	stranger := func(name string) auth.LoginParams { return auth.LoginParams{Name: name, Password: password} }
	device := func(p auth.LoginParams) auth.LoginParams {
		p.DeviceID, p.DisplayName = "a device", "Phone"
		return p
	}
	refreshable := func(p auth.LoginParams) auth.LoginParams {
		p.Refreshable = true
		return p
	}
	for _, tc := range []struct {
		name, body string
		want       auth.LoginParams
	}{
		{"LGN-06 localpart", `"identifier":{"type":"m.id.user","user":"alice"}`, alice},
		{"LGN-06 user ID", `"identifier":{"type":"m.id.user","user":"@alice:example.org"}`, alice},
		{"LGN-06 upper case", `"identifier":{"type":"m.id.user","user":"@ALICE:example.org"}`, alice},
		{"LGN-07 user", `"user":"@alice:example.org"`, alice},
		{"LGN-07 user wins", `"user":"alice","identifier":{"type":"m.id.user","user":"bob"},"medium":"email","address":"b@b"`, alice},
		{"LGN-07 empty user", `"user":"","identifier":{"type":"m.id.user","user":"alice"}`, alice},
		{"LGN-08 no type", `"identifier":{"user":"alice"}`, alice},
		{"null is absent", `"user":null,"device_id":null,"refresh_token":null,"identifier":{"type":"m.id.user","user":"alice"}`, alice},
		{"unknown members", `"user":"alice","org.example.x":{"a":[1]},"User":1`, alice},

		{"LGN-07 address", `"medium":"email","address":"a@example.org"`, stranger("email a@example.org")},
		{
			"LGN-08 third party", `"identifier":{"type":"m.id.thirdparty","medium":"email","address":"a@example.org"}`,
			stranger("email a@example.org"),
		},
		{"LGN-08 no type", `"identifier":{"medium":"email","address":"a@b.c"}`, stranger("email a@b.c")},
		{"LGN-08 phone", `"identifier":{"type":"m.id.phone","country":"GB","phone":"07700"}`, stranger("phone GB 07700")},
		{"LGN-08 phone, no type", `"identifier":{"country":"GB","phone":"07700"}`, stranger("phone GB 07700")},
		{"LGN-10 another server", `"user":"@alice:elsewhere.example"`, stranger("@alice:elsewhere.example")},
		{"LGN-10 another port", `"user":"@alice:example.org:8448"`, stranger("@alice:example.org:8448")},
		{"NUL in a localpart", `"user":"al\u0000ice"`, stranger("al\x00ice")},
		{"empty localpart", `"identifier":{"type":"m.id.user","user":""}`, stranger("")},
		{"not a localpart", `"user":"álice"`, stranger("álice")},

		{"LGN-14, LGN-15", `"user":"alice","device_id":"a device","initial_device_display_name":"Phone"`, device(alice)},
		{"LGN-12", `"user":"alice","refresh_token":true`, refreshable(alice)},
		{"LGN-13", `"user":"alice","refresh_token":false`, alice},
		{"LRF-04", `"user":"alice","org.matrix.msc2918.refresh_token":true`, refreshable(alice)},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got, err := parse(strings.NewReader(`{"type":"m.login.password","password":"p",` + tc.body + `}`))
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tc.want, got, cmp.Comparer(sameSecret), cmpopts.EquateComparable(netip.Addr{})); diff != "" {
				t.Errorf("params (-want +got):\n%s", diff)
			}
		})
	}
}

func sameSecret(a, b token.Secret) bool { return a.Reveal() == b.Reveal() }

// FuzzLogin feeds POST /login with anything: what comes out is a failure of the client's, or parameters that keep their promises.
func FuzzLogin(f *testing.F) {
	for _, seed := range []string{
		``, `{}`, `[]`, `null`, "\xff", nested(100),
		`{"type":"m.login.password","identifier":{"type":"m.id.user","user":"Alice"},"password":"p","refresh_token":true}`,
		`{"type":"m.login.password","user":"@alice:example.org","password":"p","device_id":"D"}`,
		`{"type":"m.login.password","medium":"email","address":"a@b","password":"p"}`,
		`{"type":"m.login.password","identifier":{"country":"GB","phone":"1"},"password":"\u0000"}`,
		`{"type":"m.login.password","type":"m.login.password"}`,
		`{"type":"m.login.application_service"}`,
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, body string) {
		p, err := parse(strings.NewReader(body))
		if err != nil {
			var refused *failure
			if !errors.As(err, &refused) || refused.status < 400 || refused.status > 499 {
				t.Fatalf("got %v, want a failure of the client's", err)
			}
			return
		}
		if len(body) > maxBody {
			t.Errorf("took %d bytes", len(body))
		}
		if p.Localpart != "" && string(p.Localpart) != p.Name {
			t.Errorf("got name %q for localpart %q", p.Name, p.Localpart)
		}
		if n := len([]rune(p.DeviceID)); n > 255 {
			t.Errorf("took a device ID of %d characters", n)
		}
	})
}
