//go:build !linux

package password

import "os/exec"

// startLow starts a command. Elsewhere than on Linux there is no priority that a thread could hand on.
func startLow(cmd *exec.Cmd) error { return cmd.Start() }

// useHugePages leaves that to the system.
func useHugePages(int) {}
