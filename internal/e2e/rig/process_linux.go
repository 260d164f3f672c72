package rig

import "syscall"

// childAttributes makes a child die with us, and keeps the terminal's Ctrl-C away from it: we end children in order.
func childAttributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}
