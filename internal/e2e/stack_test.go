//go:build e2e

package e2e

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/caddy-matrix/caddy-matrix-auth/internal/e2e/rig"
)

// startTimeout is how long Synapse and an edge may take to come up beside other tests.
const startTimeout = 2 * time.Minute

// serverName is the domain of every stack's users; nothing resolves it.
const serverName = "hs.test"

// stack is one homeserver: a Synapse and the edge in front of it.
type stack struct {
	synapse *rig.Synapse
	edge    *rig.Edge
	rig.Client
	plain string // of the shared stack only: the same Synapse behind nothing but Caddy's own proxy
}

// environment returns a variable that make e2e sets.
func environment(name string) (string, error) {
	if v := os.Getenv(name); v != "" {
		return v, nil
	}
	return "", fmt.Errorf("%s is not set: run the end-to-end tests with `make e2e`", name)
}

// layout prepares a stack without starting anything; change may still alter it.
func layout(name string, change func(*stack)) (*stack, error) {
	python, err := environment("E2E_SYNAPSE")
	if err != nil {
		return nil, err
	}
	binary, err := environment("E2E_CADDY")
	if err != nil {
		return nil, err
	}
	ports, err := rig.FreePorts(4)
	if err != nil {
		return nil, err
	}
	dir, err := filepath.Abs(filepath.Join("..", "..", ".cache", "e2e", name))
	if err != nil {
		return nil, err
	}
	s := &stack{
		edge: &rig.Edge{
			Binary: binary, Dir: filepath.Join(dir, "edge"), ServerName: serverName,
			Port: ports[0], InternalPort: ports[1], AdminPort: ports[2],
			Options: "rate_limit login off",
		},
		synapse: &rig.Synapse{Python: python, Dir: filepath.Join(dir, "synapse"), ServerName: serverName, Port: ports[3], Unlimited: true},
	}
	if change != nil {
		change(s)
	}
	s.synapse.PublicBaseURL, s.synapse.Endpoint = s.edge.URL()+"/", s.edge.InternalURL()
	s.edge.Synapse, s.edge.SecretFile = s.synapse.URL(), s.synapse.SecretFile()
	s.Client = rig.Client{Base: s.edge.URL()}
	return s, errors.Join(os.RemoveAll(dir), s.synapse.Configure(), s.edge.Configure())
}

func (s *stack) start() error {
	ctx, cancel := context.WithTimeout(context.Background(), startTimeout)
	defer cancel()
	if err := s.synapse.Start(ctx); err != nil {
		return err
	}
	return s.edge.Start(ctx)
}

func (s *stack) stop() error { return errors.Join(s.edge.Stop(), s.synapse.Stop()) }

// logs shows on failure what both programs wrote last.
func (s *stack) logs(t *testing.T) {
	t.Helper()
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("%s\n%s", rig.Tail(s.edge.LogFile(), 40), rig.Tail(s.synapse.LogFile(), 20))
		}
	})
}

// newStack starts a stack for one test alone. Such tests take turns: the machine has few cores.
func newStack(t *testing.T, change func(*stack)) *stack {
	t.Helper()
	turn.Lock()
	t.Cleanup(turn.Unlock)
	s, err := layout(strings.ToLower(strings.TrimPrefix(t.Name(), "Test")), change)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.stop(); err != nil {
			t.Errorf("stopping: %v", err)
		}
	})
	s.logs(t)
	if err := s.start(); err != nil {
		t.Fatal(err)
	}
	return s
}

var turn sync.Mutex

// shared is the stack of all tests that harm only their own users. Its tokens live as short as they may.
func shared(t *testing.T) *stack {
	t.Helper()
	t.Parallel()
	s, err := sharedStack()
	if err != nil {
		t.Fatal(err)
	}
	s.logs(t)
	return s
}

var sharedStack = sync.OnceValues(func() (*stack, error) {
	ports, err := rig.FreePorts(1)
	if err != nil {
		return nil, err
	}
	s, err := layout("shared", func(s *stack) {
		s.edge.Options += "\ntokens {\n\tcompat_ttl 60s\n}"
		s.synapse.AppService = appService
		s.edge.Sites = fmt.Sprintf("http://127.0.0.1:%d {\n\tbind 127.0.0.1\n\treverse_proxy %s\n}", ports[0], s.synapse.URL())
		s.plain = fmt.Sprintf("http://127.0.0.1:%d", ports[0])
	})
	if err == nil {
		err = s.start()
		sharedStarted = s
	}
	return s, err
})

var sharedStarted *stack

func TestMain(m *testing.M) {
	status := m.Run()
	if sharedStarted != nil {
		if err := sharedStarted.stop(); err != nil {
			fmt.Fprintln(os.Stderr, "stopping the shared stack:", err)
			status = 1
		}
	}
	os.Exit(status)
}
