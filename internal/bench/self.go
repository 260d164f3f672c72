package main

import (
	"fmt"
	"io"
	"os"
	"os/exec"
)

// child is this program, started again as one of its children. It ends with its standard input, and so with us.
type child struct {
	cmd   *exec.Cmd
	stdin io.Closer
}

func startChild(args ...string) (*child, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	cmd := exec.Command(self, args...)
	cmd.Stderr = os.Stderr
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("starting %s: %w", args[0], err)
	}
	return &child{cmd, stdin}, nil
}

// stop ends the child and waits until it is gone.
func (c *child) stop() error {
	_ = c.stdin.Close()
	return c.cmd.Wait()
}

// untilOrphaned ends the process with its standard input.
func untilOrphaned() {
	_, _ = io.Copy(io.Discard, os.Stdin)
	os.Exit(0)
}
