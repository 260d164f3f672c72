package password

import (
	"os"
	"os/exec"
	"testing"
	"time"
)

// A reload of the configuration does not wait for a child that is slow to start; the next hash has a child that knows of it.
func TestConcurrencyIsSetWhileAChildStarts(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	starting := make(chan struct{}, 2)
	h := newTestHasher(t, Config{Concurrency: 1, Command: func() *exec.Cmd {
		cmd := exec.Command("/bin/sh", "-c", `read line <&3; exec "$0"`, os.Args[0]) // begins once the pipe has ended
		cmd.Env, cmd.ExtraFiles = []string{childMode + "=serve"}, []*os.File{r}
		starting <- struct{}{}
		return cmd
	}})
	verdict := make(chan Result, 1)
	go func() { verdict <- verify(t, h, cheap, horse) }()
	<-starting
	set := make(chan struct{})
	go func() { h.SetConcurrency(2); close(set) }()
	select {
	case <-set:
	case <-time.After(5 * time.Second):
		t.Error("setting the concurrency waits for the child")
	}
	w.Close()
	if got := <-verdict; got != Match {
		t.Errorf("got %v, want a match", got)
	}
	verify(t, h, cheap, horse)
	if len(starting) != 1 {
		t.Errorf("got %d further children, want one with the new concurrency", len(starting))
	}
	verify(t, h, cheap, horse)
	if len(starting) != 1 {
		t.Errorf("got %d further children for one setting", len(starting))
	}
}
