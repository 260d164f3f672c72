package caddymodule

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/spf13/cobra"

	"github.com/caddy-matrix/caddy-matrix-auth/internal/authtest"
)

// ran is what a command did.
type ran struct {
	out, err string
	status   int
}

// runCommand runs `caddy matrix-auth ARGS…` in this process.
func runCommand(stdin string, args ...string) ran {
	root, cmd := &cobra.Command{Use: "caddy", SilenceUsage: true}, &cobra.Command{Use: "matrix-auth"}
	addCommands(cmd)
	root.AddCommand(cmd)
	var out, errs bytes.Buffer
	root.SetIn(strings.NewReader(stdin))
	root.SetOut(&out)
	root.SetErr(&errs)
	root.SetArgs(append([]string{"matrix-auth"}, args...))
	return ran{status: exitStatus(root.Execute()), out: out.String(), err: errs.String()}
}

// exitStatus is the status that Caddy's main function makes of a command's error, whose type it keeps to itself.
func exitStatus(err error) int {
	if err == nil {
		return 0
	}
	if v := reflect.ValueOf(err); v.Kind() == reflect.Pointer && v.Elem().Kind() == reflect.Struct {
		if f := v.Elem().FieldByName("ExitCode"); f.IsValid() {
			return int(f.Int())
		}
	}
	return 1
}

// adminSocket makes the configuration one with an admin endpoint on a socket, and a Synapse that answers as the real one.
func (e *edge) adminSocket(config string) (socket, configWithAdmin string) {
	socket = "unix/" + filepath.Join(e.dir, "admin.sock")
	config = strings.Replace(config, "admin off", "admin "+socket+"|0200", 1)
	return socket, strings.ReplaceAll(config, e.synapse.url, e.synapse.Synapse.URL())
}

// mustCommand runs a command on the socket, which has to succeed.
func mustCommand(t *testing.T, socket, stdin string, args ...string) ran {
	t.Helper()
	r := runCommand(stdin, append(args, "--address", socket)...)
	if r.status != 0 {
		t.Fatalf("%q: got status %d: %s", args, r.status, r.err)
	}
	return r
}

var (
	anyULID    = regexp.MustCompile(`\b[0-9A-HJKMNP-TV-Z]{26}\b`)
	anyTime    = regexp.MustCompile(`\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ`)
	anyToken   = regexp.MustCompile(`\bm[acp][trp]_[0-9A-Za-z_]+`)
	anyAddress = regexp.MustCompile(`127\.0\.0\.1:\d+|localhost:\d+`)
	anyDevice  = regexp.MustCompile(`\b[A-Z]{10}\b`)
	anySize    = regexp.MustCompile(`[\d.]+ MiB, revision \d+|"(store_bytes|revision)":\d+`)
	anyProcess = regexp.MustCompile(`process \d+|idle`)
)

// normal replaces what is different each time by something of the same width, or nearly so, which keeps tables straight.
func (e *edge) normal(s string) string {
	s = anyULID.ReplaceAllString(s, "01ULIDULIDULIDULIDULIDULID")
	s = anyTime.ReplaceAllString(s, "2026-01-02T03:04:05Z")
	s = anyToken.ReplaceAllStringFunc(s, func(t string) string { return t[:4] + "…" })
	s = anyDevice.ReplaceAllString(s, "DEVICEXXXX")
	s = anySize.ReplaceAllString(s, "SIZE")
	s = anyProcess.ReplaceAllString(s, "process PID")
	s = strings.ReplaceAll(s, e.dir, "DIR")
	return anyAddress.ReplaceAllStringFunc(s, func(a string) string { return a[:strings.LastIndexByte(a, ':')] + ":PORT" })
}

// TestCommands runs through what an administrator does, and compares everything that is printed.
func TestCommands(t *testing.T) {
	e := newEdge(t)
	socket, config := e.adminSocket(e.config("", ""))
	e.mustLoad(config)
	e.synapse.AddUser("old")
	e.synapse.Reserve("bridge")
	e.mustAddUser("carol")
	e.mustLogin("carol", "PHONE")

	var script strings.Builder
	sessionID := ""
	for _, c := range []struct{ stdin, args string }{
		{"pass word\n", "user add alice --display-name Alice"},
		{"", "user add bob --json"},
		{"\n", "user add alice"},
		{"\n", "user add old"},
		{"\n", "user add old --adopt --admin"},
		{"\n", "user add new --adopt"},
		{"\n", "user add bridge"},
		{"\n", "user add no!body"},
		{"\n", "user add @eve:example.net"},
		{"", "user list"},
		{"", "user list --json"},
		{"", "user show alice"},
		{"", "user show @alice:example.org --json"},
		{"", "user show nobody"},
		{"", "user show .."},
		{"", "user show a/b"},
		{"", "user lock alice"},
		{"", "user show alice"},
		{"", "token issue alice"},
		{"", "user unlock alice --json"},
		{"0ther secret\r\n", "user set-password alice"},
		{"\n", "user set-password alice --end-sessions"},
		{"", "user set-password alice"},
		{"", "user set-admin bob"},
		{"", "user set-admin bob --revoke --json"},
		{"", "session list"},
		{"", "session list carol --json"},
		{"", "session list alice"},
		{"", "session list nobody"},
		{"", "session end SESSION"},
		{"", "session end SESSION"},
		{"", "session end 01ARZ3NDEKTSV4RRFFQ69G5FAV"},
		{"", "session end x"},
		{"", "session end --all carol --json"},
		{"", "token issue alice --json"},
		{"", "token issue alice --device LAPTOP --expires 30d"},
		{"", "token issue alice --legacy"},
		{"", "token issue alice --scope urn:synapse:admin:*"},
		{"", "token issue alice --scope urn:other"},
		{"", "token issue old --scope urn:synapse:admin:* --json"},
		{"", "token issue alice --expires soon"},
		{"", "session end --all alice"},
		{"", "user deactivate alice --erase"},
		{"", "user lock alice"},
		{"\n", "user reactivate alice"},
		{"re-opened\n", "user reactivate alice"},
		{"x\n", "user reactivate alice"},
		{"", "status"},
		{"", "status --json"},
		{"", "user"},
		{"", "user frobnicate"},
		{"", "user show"},
		{"", "user show a b"},
		{"", "user lock alice --hard"},
		{"", "verify"},
	} {
		args := strings.Fields(strings.ReplaceAll(c.args, "SESSION", sessionID))
		r := runCommand(c.stdin, append(args, "--address", socket)...)
		fmt.Fprintf(&script, "$ caddy matrix-auth %s\n%s%sstatus %d\n\n", c.args, r.out, r.err, r.status)
		if id := anyULID.FindString(r.out); strings.HasPrefix(c.args, "session list carol") {
			sessionID = id
		}
	}
	got := e.normal(script.String())
	const file = "testdata/commands.golden"
	if *update {
		writeFile(t, file, got)
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("what the commands print (-want +got):\n%s", diff)
	}
	for _, secret := range []string{"pass word", "0ther secret", "re-opened", authtest.Secret} {
		if strings.Contains(got, secret) || e.logged(secret) {
			t.Errorf("%q was printed or logged", secret)
		}
	}
	if e.logged("mpt_") || e.logged("mct_") {
		t.Error("a token was logged")
	}
	e.mustLog("matrix_auth.audit", `"admin_request"`, `"action":"set_admin"`, `"client_ip":"unix"`, `"user_id":"@bob:example.org"`, `"admin":false`)
	e.mustLog("matrix_auth.audit", `"admin_request"`, `"action":"issue_token"`, "has not the admin right")
}

// TestCommandsDo proves that what the commands say is true.
func TestCommandsDo(t *testing.T) {
	e := newEdge(t)
	socket, config := e.adminSocket(e.config("", ""))
	e.mustLoad(strings.ReplaceAll(config, e.synapse.Synapse.URL(), e.synapse.url))

	// Case 1: the password from standard input is the user's.
	mustCommand(t, socket, authtest.Password+"\n", "user", "add", "a/b")
	access, _ := e.mustLogin("a/b", "PHONE")

	// Case 2: a lock suspends the session, and unlocking brings it back.
	mustCommand(t, socket, "", "user", "lock", "a/b")
	if a := e.whoami(access); a.text("errcode") != "M_USER_LOCKED" {
		t.Errorf("whoami of the locked: got %d %s", a.status, a.body)
	}
	mustCommand(t, socket, "", "user", "unlock", "a/b")
	if a := e.whoami(access); a.status != 200 {
		t.Errorf("whoami of the unlocked: got %d %s", a.status, a.body)
	}

	// Case 3: an issued token is good until its session ends.
	issued := strings.TrimSpace(mustCommand(t, socket, "", "token", "issue", "a/b", "--device", "BOT").out)
	if a := e.whoami(issued); a.status != 200 || a.text("device_id") != "BOT" {
		t.Errorf("whoami of the issued: got %d %s", a.status, a.body)
	}
	mustCommand(t, socket, "", "session", "end", "--all", "a/b")
	for _, token := range []string{access, issued} {
		if a := e.whoami(token); a.status != 401 {
			t.Errorf("whoami after the end: got %d %s", a.status, a.body)
		}
	}

	// Case 4: taking the password away takes the login away.
	mustCommand(t, socket, "\n", "user", "set-password", "a/b")
	if a := e.login("a/b", "PHONE"); a.status != 403 {
		t.Errorf("login without a password: got %d %s", a.status, a.body)
	}
	if e.logged(issued) || e.logged(authtest.Password) {
		t.Error("a secret is in the log")
	}
}

// TestAddressOfTheServer finds the admin endpoint in a configuration file, and says what is wrong where there is none.
func TestAddressOfTheServer(t *testing.T) {
	e := newEdge(t)
	_, config := e.adminSocket(e.config("", ""))
	e.mustLoad(config)
	file := filepath.Join(e.dir, "Caddyfile")
	writeFile(t, file, config)
	jsonFile := filepath.Join(e.dir, "caddy.json")
	writeFile(t, jsonFile, `{"admin":{"listen":"unix/`+e.dir+`/admin.sock"}}`)
	off := filepath.Join(e.dir, "off.caddyfile")
	writeFile(t, off, e.config("", ""))
	tcp := filepath.Join(e.dir, "tcp.caddyfile")
	writeFile(t, tcp, "{\nadmin "+freeAddr(t)+"\n}")
	for _, tc := range []struct {
		args   []string
		status int
		want   string
	}{
		{[]string{"--config", file}, 0, ""},
		{[]string{"-c", jsonFile}, 0, ""},
		{[]string{"-c", file, "-a", "caddyfile"}, 0, ""},
		{[]string{"-c", file, "-a", "nonsense"}, 1, "no config adapter"},
		{[]string{"-c", off}, 1, "`admin off`"},
		{[]string{"-c", tcp}, 1, "no Caddy answers at the admin endpoint 127.0.0.1:"},
		{[]string{"-c", filepath.Join(e.dir, "nowhere")}, 1, "no such file"},
		{[]string{"--address", "unix//nowhere/admin.sock"}, 1, "no Caddy answers at the admin endpoint unix//nowhere/admin.sock: is it running"},
		{[]string{"--address", "localhost:1-5"}, 1, "is not the address"},
	} {
		r := runCommand("", append([]string{"status"}, tc.args...)...)
		if r.status != tc.status || !strings.Contains(r.err, tc.want) || strings.Count(r.err, "\n") > 1 {
			t.Errorf("%q: got %d %q, want %d with %q", tc.args, r.status, r.err, tc.status, tc.want)
		}
	}
}

// TestTCP uses an admin endpoint on TCP, whose host and origin are checked.
func TestTCP(t *testing.T) {
	e := newEdge(t)
	addr := freeAddr(t)
	e.mustLoad(strings.Replace(e.config("", ""), "admin off", "admin "+addr, 1))
	mustCommand(t, addr, "\n", "user", "add", "alice")
	if r := mustCommand(t, "localhost"+addr[strings.LastIndexByte(addr, ':'):], "", "user", "list"); !strings.Contains(r.out, "@alice:example.org") {
		t.Errorf("user list: got %q", r.out)
	}
	if a := fetch(t, "POST", "http://"+addr+"/matrix_auth/users/alice/lock", "", ""); a.status != 200 {
		t.Errorf("lock with curl: got %d %s", a.status, a.body)
	}
	e.mustLog("admin_request", `"action":"lock_user"`, `"client_ip":"127.0.0.1"`)
}

// Tuwunel 1.9 showed a token in a dump of its configuration. What Caddy dumps has the place of a secret.
func TestTuwunel19_NoSecretInTheConfiguration(t *testing.T) {
	e := newEdge(t)
	addr := freeAddr(t)
	e.mustLoad(strings.Replace(e.config("", ""), "admin off", "admin "+addr, 1))
	if a := fetch(t, "GET", "http://"+addr+"/config/apps/matrix_auth", "", ""); a.status != 200 || strings.Contains(a.body, authtest.Secret) {
		t.Errorf("the configuration: got %d %s, want it without the secret", a.status, a.body)
	}
}

func TestVerify(t *testing.T) {
	e := newEdge(t)
	key := strings.Repeat("ab", 32)
	socket, config := e.adminSocket(e.config("encryption_key "+key, ""))
	e.mustLoad(config)
	mustCommand(t, socket, "\n", "user", "add", "alice")
	dir := filepath.Join(e.dir, "data")

	// Case 1: a server has it.
	r := runCommand(key+"\n", "verify", "--offline", dir)
	if r.status != 1 || !strings.Contains(r.err, dir) {
		t.Errorf("verify beside a server: got %d %q", r.status, r.err)
	}

	// Case 2: it is free.
	e.mustLoad("{\nadmin off\npersist_config off\n}")
	for _, tc := range []struct {
		stdin  string
		args   []string
		status int
		want   string
	}{
		{key + "\n", nil, 0, "no problems"},
		{key + "\n", []string{"--json"}, 0, `"ok":true`},
		{"", nil, 1, "give its encryption_key as a line"},
		{strings.Repeat("cd", 32) + "\n", nil, 1, "encryption key"},
		{"abc\n", nil, 1, "64 hexadecimal digits"},
	} {
		r := runCommand(tc.stdin, append([]string{"verify", "--offline", dir}, tc.args...)...)
		if r.status != tc.status || !strings.Contains(r.out+r.err, tc.want) {
			t.Errorf("verify with %q: got %d %q %q, want %d with %q", tc.stdin, r.status, r.out, r.err, tc.status, tc.want)
		}
		if strings.Contains(r.out+r.err, key) {
			t.Error("the key was printed")
		}
	}
	if r := runCommand("", "verify", "--offline", t.TempDir()); r.status != 1 || !strings.Contains(r.err, "there is no store") {
		t.Errorf("verify of nothing: got %d %q", r.status, r.err)
	}
}

func TestReadLine(t *testing.T) {
	for _, tc := range []struct {
		in, want string
		err      error
	}{
		{"secret\n", "secret", nil},
		{"secret\r\nmore\n", "secret", nil},
		{" with space \n", " with space ", nil},
		{"no end", "no end", nil},
		{"\n", "", nil},
		{"", "", errNoSecret},
		{strings.Repeat("x", maxSecretLine+1), "", errSecretTooLong},
	} {
		got, err := readLine(strings.NewReader(tc.in))
		if got != tc.want || !errors.Is(err, tc.err) {
			t.Errorf("%.20q: got %.20q, %v, want %q, %v", tc.in, got, err, tc.want, tc.err)
		}
	}
}

func TestAskTwice(t *testing.T) {
	for _, tc := range []struct {
		typed []string
		want  string
		err   error
	}{
		{[]string{"a", "a"}, "a", nil},
		{[]string{"", ""}, "", nil},
		{[]string{"a", "b"}, "", errSecretDiffers},
	} {
		var shown bytes.Buffer
		got, err := askTwice(&shown, "Password", func() ([]byte, error) {
			next := tc.typed[0]
			tc.typed = tc.typed[1:]
			return []byte(next), nil
		})
		if got != tc.want || !errors.Is(err, tc.err) || shown.String() != "Password: \nAgain: \n" {
			t.Errorf("got %q, %v, showing %q, want %q, %v", got, err, shown.String(), tc.want, tc.err)
		}
	}
}

func TestCell(t *testing.T) {
	for in, want := range map[string]string{
		"":                         "-",
		"plain":                    "plain",
		"a\x1b[31mred\tb\nc":       "a\uFFFD[31mred\uFFFDb\uFFFDc",
		"\u202egnol":               "\uFFFDgnol",
		strings.Repeat("é", 130):   strings.Repeat("é", maxCell) + "…",
		"\xff\xfe not valid UTF-8": "\uFFFD\uFFFD not valid UTF-8",
	} {
		if got := cell(in); got != want {
			t.Errorf("%q: got %q, want %q", in, got, want)
		}
	}
}
