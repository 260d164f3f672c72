package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// tick is the unit of processor time in /proc (USER_HZ, which is 100 on every Linux).
const tick = 10 * time.Millisecond

// cpuTime is what a process has used of the processors so far, in user and in kernel mode (proc_pid_stat(5), fields 14 and 15).
func cpuTime(pid int) (time.Duration, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, err
	}
	_, rest, ok := bytes.Cut(text, []byte(") ")) // behind the command's name
	fields := strings.Fields(string(rest))
	if !ok || len(fields) < 13 {
		return 0, fmt.Errorf("/proc/%d/stat cannot be read: %q", pid, text)
	}
	user, err1 := strconv.ParseInt(fields[11], 10, 64)
	kernel, err2 := strconv.ParseInt(fields[12], 10, 64)
	if err1 != nil || err2 != nil {
		return 0, fmt.Errorf("/proc/%d/stat cannot be read: %q", pid, text)
	}
	return time.Duration(user+kernel) * tick, nil
}

// memory is what a process holds, in megabytes.
type memory struct{ anonymous, resident float64 }

func (m memory) String() string {
	return fmt.Sprintf("%.0f MB anonymous, %.0f MB resident", m.anonymous, m.resident)
}

// memoryOf reads the memory of a process and its children: the edge and its hasher, if that is there.
func memoryOf(pid int) (memory, error) {
	m, err := memoryOfOne(pid)
	if err != nil {
		return m, err
	}
	lists, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pid)) // each thread has its own
	if err != nil {
		return m, err
	}
	for _, name := range lists {
		list, _ := os.ReadFile(name) // the thread may have ended
		for _, child := range strings.Fields(string(list)) {
			if id, err := strconv.Atoi(child); err == nil {
				c, _ := memoryOfOne(id) // so may the child
				m.anonymous, m.resident = m.anonymous+c.anonymous, m.resident+c.resident
			}
		}
	}
	return m, nil
}

func memoryOfOne(pid int) (m memory, err error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return m, err
	}
	for line := range strings.Lines(string(text)) {
		name, value, _ := strings.Cut(line, ":")
		kilobytes, _ := strconv.ParseFloat(strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(value), "kB")), 64)
		switch name {
		case "RssAnon":
			m.anonymous = kilobytes * 1024 / 1e6
		case "VmRSS":
			m.resident = kilobytes * 1024 / 1e6
		}
	}
	if m.resident == 0 {
		return m, fmt.Errorf("/proc/%d/status has no VmRSS", pid)
	}
	return m, nil
}

// loadAverage is how busy the machine was in the last minutes, this program included.
func loadAverage() string {
	text, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return "unknown"
	}
	return strings.Join(strings.Fields(string(text))[:2], " ")
}
