//go:build !linux

package rig

import "syscall"

// childAttributes leaves children in our process group: a Ctrl-C reaches them too, because nothing else would end them
// if this process were killed.
func childAttributes() *syscall.SysProcAttr { return nil }
