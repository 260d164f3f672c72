package caddymodule

import (
	"net"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddy-matrix/caddy-matrix-auth/internal/authtest"
)

// openEngines is how many engines are open.
func openEngines() int {
	opened.mu.Lock()
	defer opened.mu.Unlock()
	return len(opened.open)
}

// TestReload reloads twice: the engine stays, what it has in memory stays, and the new settings are in force.
func TestReload(t *testing.T) {
	e := newEdge(t)
	e.mustLoad(e.config("", ""))
	e.mustAddUser("alice")
	access, _ := e.mustLogin("alice", "PHONE")
	engine := e.app().engine

	for range 2 {
		e.mustLoad(e.config("password {\nenabled false\n}", ""))
		if e.app().engine != engine || openEngines() != 1 {
			t.Fatalf("the reload has opened another engine (%d are open)", openEngines())
		}
		if a := e.whoami(access); a.status != 200 {
			t.Errorf("whoami after the reload: got %d %s", a.status, a.body)
		}
		if a := e.login("alice", "PHONE"); a.status == 200 {
			t.Error("the new settings are not in force: login works")
		}
	}
	e.mustLoad(e.config("", ""))
	e.mustLogin("alice", "LAPTOP")
	if refs, _ := engines.References(engine.dir); refs != 1 {
		t.Errorf("references to the engine: got %d, want 1", refs)
	}
}

// TestRejectedReload fails a reload at each of its steps. The running configuration keeps its engine and its settings.
func TestRejectedReload(t *testing.T) {
	e := newEdge(t)
	good := e.config("", "")
	e.mustLoad(good)
	e.mustAddUser("alice")
	access, _ := e.mustLogin("alice", "PHONE")
	engine := e.app().engine
	off := "password {\nenabled false\n}"

	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	for _, tc := range []struct{ name, config, at string }{
		{"adapt", e.config("no_such_option", ""), "no_such_option"},
		{"provision", strings.Replace(e.config(off, ""), "/secret", "/nowhere", 1), "secret_file"},
		{"another server", strings.Replace(e.config(off, ""), "matrix_auth example.org", "matrix_auth example.net", 1), "matrix_auth"},
		{"encryption key", e.config(off+"\nencryption_key "+strings.Repeat("ab", 32), ""), "encryption_key"},
		{"data directory", strings.Replace(e.config(off, ""), "/data", "/secret/data", 1), "data_dir"},
		{"address taken", e.config(off, "http://"+ln.Addr().String()+" {\nbind 127.0.0.1\nrespond ok\n}"), ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			err := load(tc.config)
			if err == nil {
				t.Fatal("the configuration was taken")
			}
			if tc.at != "" && !strings.HasSuffix(err.Error(), ", at "+standsAt(tc.config, tc.at)) {
				t.Errorf("got %v, want where %s stands", err, tc.at)
			}
			if e.app().engine != engine || openEngines() != 1 {
				t.Fatalf("the engine is another one (%d are open)", openEngines())
			}
			if refs, _ := engines.References(engine.dir); refs != 1 {
				t.Errorf("references to the engine: got %d, want 1", refs)
			}
			if a := e.whoami(access); a.status != 200 {
				t.Errorf("whoami: got %d %s", a.status, a.body)
			}
			e.mustLogin("alice", "LAPTOP")
		})
	}
}

// TestMovedDataDir moves to another directory, and back.
func TestMovedDataDir(t *testing.T) {
	e := newEdge(t)
	e.mustLoad(e.config("", ""))
	e.mustAddUser("alice")
	access, _ := e.mustLogin("alice", "PHONE")

	e.mustLoad(strings.Replace(e.config("", ""), "/data\n", "/moved\n", 1))
	if n := openEngines(); n != 1 {
		t.Errorf("open engines: got %d, want 1", n)
	}
	if a := e.whoami(access); a.status != 401 {
		t.Errorf("whoami in an empty directory: got %d %s", a.status, a.body)
	}
	e.mustLoad(e.config("", ""))
	if a := e.whoami(access); a.status != 200 {
		t.Errorf("whoami back in the old directory: got %d %s", a.status, a.body)
	}
}

// TestDataDirNames means one directory by two names.
func TestDataDirNames(t *testing.T) {
	e := newEdge(t)
	e.mustLoad(e.config("", ""))
	engine := e.app().engine
	if err := os.Symlink(e.dir+"/data", e.dir+"/link"); err != nil {
		t.Fatal(err)
	}
	e.mustLoad(strings.Replace(e.config("", ""), "/data\n", "/link\n", 1))
	if e.app().engine != engine {
		t.Error("the link was opened as another directory")
	}
}

// TestRemovedApp takes the app away under a login and a long poll. The login is finished first; the poll does not hold up
// the reload, and goes on.
func TestRemovedApp(t *testing.T) {
	e := newEdge(t)
	e.mustLoad(e.config("", ""))
	e.mustAddUser("alice")
	access, _ := e.mustLogin("alice", "PHONE")
	before := e.synapse.count()
	poll := background(func() answer { return e.request("GET", "/_matrix/client/v3/sync", access, "") })
	eventually(t, "the poll reaches Synapse", func() bool { return e.synapse.count() > before })

	login := e.slowLogin(t, "alice")
	reload := background(func() error {
		return load("{\nadmin off\npersist_config off\nauto_https off\n}\nhttp://" + e.public + " {\nbind 127.0.0.1\nrespond gone\n}")
	})
	e.synapse.Release()
	if a := <-login; a.status != 200 {
		t.Errorf("login under the reload: got %d %s", a.status, a.body)
	}
	if err := <-reload; err != nil {
		t.Fatalf("removing the app: %v", err)
	}
	if n := openEngines(); n != 0 {
		t.Errorf("open engines: got %d, want 0", n)
	}
	close(e.synapse.hold)
	if a := <-poll; a.status != 200 {
		t.Errorf("the poll: got %d %s", a.status, a.body)
	}
}

// TestAnEndCancelsTheReadsConnection: over HTTP/1.1 a poll of a session that ends is answered, and its connection is over
// (gate.ConnContext).
func TestAnEndCancelsTheReadsConnection(t *testing.T) {
	e := newEdge(t)
	e.mustLoad(e.config("", ""))
	e.mustAddUser("alice")
	access, _ := e.mustLogin("alice", "PHONE")
	before := e.synapse.count()
	lasting := new(http.Transport)
	defer lasting.CloseIdleConnections()
	poll := background(func() answer {
		a, err := roundTrip(lasting, "GET", "http://"+e.public+"/_matrix/client/v3/sync", access, "")
		if err != nil {
			t.Error(err)
		}
		return a
	})
	eventually(t, "the poll reaches Synapse", func() bool { return e.synapse.count() > before })
	if a := e.request("POST", "/_matrix/client/v3/logout", access, "{}"); a.status != 200 {
		t.Fatalf("logout: got %d %s", a.status, a.body)
	}
	if a := <-poll; a.status != 401 || a.text("errcode") != "M_UNKNOWN_TOKEN" || !a.last {
		t.Errorf("the poll: got %d %s, the last of its connection: %v", a.status, a.body, a.last)
	}
}

// TestStop ends Caddy, as SIGTERM does, while a login is under way: it is answered, and it is durable.
func TestStop(t *testing.T) {
	e := newEdge(t)
	e.mustLoad(e.config("", ""))
	e.mustAddUser("alice")
	login := e.slowLogin(t, "alice")
	stop := background(caddy.Stop)
	e.synapse.Release()
	a := <-login
	if a.status != 200 {
		t.Fatalf("login under the stop: got %d %s", a.status, a.body)
	}
	if err := <-stop; err != nil {
		t.Fatalf("stopping: %v", err)
	}
	e.mustLog("database closed")

	e.mustLoad(e.config("", ""))
	if got := e.whoami(a.text("access_token")); got.status != 200 {
		t.Errorf("whoami after the restart: got %d %s", got.status, got.body)
	}
}

// TestStopKeepsSettings: requests that are under way when Caddy ends do not fall back to the configuration before the last.
func TestStopKeepsSettings(t *testing.T) {
	e := newEdge(t)
	e.mustLoad(e.config("", ""))
	e.mustLoad(e.config("password {\nenabled false\n}", ""))
	last := e.app()
	if err := caddy.Stop(); err != nil {
		t.Fatal(err)
	}
	if last.engine.owner != last || last.engine.service.PasswordEnabled() {
		t.Error("the settings are those of an earlier configuration")
	}
}

// TestFailedStart lets go of the engine if something fails after our start, and brings the settings back.
func TestFailedStart(t *testing.T) {
	e := newEdge(t)
	e.mustLoad(e.config("", ""))
	running := e.app()
	other := &App{conf: running.conf, log: running.log}
	other.conf.passwordEnabled = false
	release := running.engine.claim(other)
	if running.engine.service.PasswordEnabled() {
		t.Fatal("the claim is not in force")
	}
	release()
	if running.engine.owner != running || !running.engine.service.PasswordEnabled() {
		t.Error("the settings before were not brought back")
	}
}

// slowLogin begins a login that waits for Synapse until Release.
func (e *edge) slowLogin(t *testing.T, name string) <-chan answer {
	t.Helper()
	e.synapse.ForgetCalls()
	e.synapse.FailOp("upsert_device", authtest.Slow)
	login := background(func() answer { return e.login(name, "SLOW") })
	eventually(t, "the login waits for Synapse", func() bool { return len(e.synapse.Calls("upsert_device")) > 0 })
	return login
}

// background runs a function and sends what it returns.
func background[T any](fn func() T) <-chan T {
	c := make(chan T, 1)
	go func() { c <- fn() }()
	return c
}

func TestLeases(t *testing.T) {
	var l leases
	l.init()
	for range 2 {
		if !l.take() {
			t.Fatal("no lease while open")
		}
	}
	l.release()
	idle := l.close()
	if l.take() {
		t.Error("a lease after closing")
	}
	select {
	case <-idle:
		t.Fatal("idle while a lease is out")
	default:
	}
	l.release()
	if !waitFor(idle, time.Minute) {
		t.Error("not idle after the last release")
	}
	if l.take() {
		t.Error("a lease after closing")
	}

	var unused leases
	unused.init()
	if !waitFor(unused.close(), time.Minute) {
		t.Error("not idle without any lease")
	}
}
