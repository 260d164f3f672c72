// Command demo puts the edge in front of a real Synapse on this machine, proves that the two work together as a Matrix client
// sees it, says where to go and what to type, and serves until Ctrl-C. `make demo` builds the edge, installs Synapse and runs
// it; with ONCE=1 it ends after the proof.
//
// Everything it makes is below .cache/demo, anew each time, and ends with it. It owns no code of the edge: it does what an
// administrator does, with the same files and commands, and what a client and a browser do.
package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/caddy-matrix/caddy-matrix-auth/internal/e2e/rig"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	err := run(ctx)
	if ctx.Err() != nil {
		fmt.Println("\nstopped")
		return
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "demo:", err)
		os.Exit(1)
	}
}

// startTimeout is how long Synapse and the edge may take to come up on a slow machine.
const startTimeout = 2 * time.Minute

// serverName is the domain of the demonstration's users.
const serverName = "localhost"

func run(ctx context.Context) error {
	d, err := newDemo()
	if err != nil {
		return err
	}
	defer d.stop()
	if err := d.start(ctx); err != nil {
		return err
	}
	password, err := d.addUser(ctx)
	if err != nil {
		return err
	}
	if err := prove(ctx, d.app, password); err != nil {
		return fmt.Errorf("%w\n%s\n%s", err, rig.Tail(d.edge.LogFile(), 20), rig.Tail(d.synapse.LogFile(), 10))
	}
	if once := os.Getenv("ONCE"); once != "" && once != "0" {
		return nil
	}
	d.explain(password)
	return d.serve(ctx)
}

// demo is the two programs that make up the demonstration, and a client of theirs.
type demo struct {
	synapse *rig.Synapse
	edge    *rig.Edge
	app     *app
	appPort int
}

// newDemo reads the environment and lays out a fresh state.
func newDemo() (*demo, error) {
	ports, err := ports("DEMO_PORT", 8080, "DEMO_INTERNAL_PORT", 8090, "DEMO_SYNAPSE_PORT", 8008, "DEMO_APP_PORT", 8081)
	if err != nil {
		return nil, err
	}
	admin, err := rig.FreePorts(1)
	if err != nil {
		return nil, err
	}
	dir, err := filepath.Abs(filepath.Join(".cache", "demo"))
	if err != nil {
		return nil, err
	}
	if err := os.RemoveAll(dir); err != nil {
		return nil, err
	}
	edge := &rig.Edge{
		Binary: filepath.Join(filepath.Dir(filepath.Dir(dir)), "bin", "caddy"), Dir: dir, ServerName: serverName,
		Port: ports[0], InternalPort: ports[1], AdminPort: admin[0],
	}
	synapse := &rig.Synapse{
		Python: os.Getenv("E2E_SYNAPSE"), Dir: filepath.Join(dir, "synapse"), ServerName: serverName,
		Port: ports[2], PublicBaseURL: edge.URL() + "/", Endpoint: edge.InternalURL(),
	}
	if synapse.Python == "" {
		return nil, errors.New("E2E_SYNAPSE does not name the Python with matrix-synapse: start the demonstration with `make demo`")
	}
	edge.Synapse, edge.SecretFile = synapse.URL(), synapse.SecretFile()
	return &demo{synapse: synapse, edge: edge, appPort: ports[3]}, nil
}

// ports reads pairs of an environment variable and its default, and makes sure that nobody uses them.
func ports(pairs ...any) ([]int, error) {
	var ports []int
	for i := 0; i < len(pairs); i += 2 {
		name, port := pairs[i].(string), pairs[i+1].(int)
		if v := os.Getenv(name); v != "" {
			p, err := strconv.ParseUint(v, 10, 16)
			if err != nil || p == 0 {
				return nil, fmt.Errorf("%s is %q and not a port number", name, v)
			}
			port = int(p)
		}
		if err := rig.CheckPort(port); err != nil {
			return nil, fmt.Errorf("port %d on 127.0.0.1 cannot be used (%w): free it, or choose another one with %s=PORT", port, err, name)
		}
		ports = append(ports, port)
	}
	return ports, nil
}

// start configures and starts both programs, Synapse first: it needs the edge only when a token comes. The app finds both.
func (d *demo) start(ctx context.Context) (err error) {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	if err := errors.Join(d.synapse.Configure(), d.edge.Configure()); err != nil {
		return err
	}
	fmt.Println("starting Synapse and the edge")
	if err := d.synapse.Start(ctx); err != nil {
		return err
	}
	if err := d.edge.Start(ctx); err != nil {
		return err
	}
	d.app, err = startApp(ctx, d.edge.URL(), d.appPort)
	return err
}

func (d *demo) stop() {
	if err := errors.Join(d.app.stop(), d.edge.Stop(), d.synapse.Stop()); err != nil {
		fmt.Fprintln(os.Stderr, "demo: stopping:", err)
	}
}

// addUser creates the user demo as an administrator does, with a password made up for this run.
func (d *demo) addUser(ctx context.Context) (password string, err error) {
	password = strings.ToLower(rand.Text()[:16])
	_, err = d.edge.Command(ctx, password+"\n", "user", "add", "demo")
	return password, err
}

// explain says where to go and what to type.
func (d *demo) explain(password string) {
	fmt.Printf(`
The edge serves %[1]s, with Synapse on port %[2]d behind it. There is a user demo, whose password is %[3]s

%[4]s  or with a Matrix client that knows passwords, at the homeserver %[1]s, or with curl:
      curl -d '{"type":"m.login.password","identifier":{"type":"m.id.user","user":"demo"},"password":"%[3]s"}' \
           %[1]s/_matrix/client/v3/login
  Look after it:
      bin/caddy matrix-auth status --config %[5]s
      bin/caddy matrix-auth session list --config %[5]s
      bin/caddy matrix-auth user add NAME --config %[5]s

Its Caddyfile, homeserver.yaml and logs are in %[6]s. Ctrl-C ends it all.
`, d.edge.URL(), d.synapse.Port, password, d.app.explain(), relative(d.edge.Caddyfile()), relative(d.edge.Dir))
}

// relative shortens a path for people who are in the repository.
func relative(path string) string {
	dir, err := os.Getwd()
	if err != nil {
		return path
	}
	if short, err := filepath.Rel(dir, path); err == nil {
		return short
	}
	return path
}

// serve waits for Ctrl-C, or for one of the programs to end.
func (d *demo) serve(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return nil
	case <-d.edge.Process().Done():
		return fmt.Errorf("the edge ended\n%s", rig.Tail(d.edge.LogFile(), 20))
	case <-d.synapse.Process().Done():
		return fmt.Errorf("synapse ended\n%s", rig.Tail(d.synapse.LogFile(), 20))
	}
}
