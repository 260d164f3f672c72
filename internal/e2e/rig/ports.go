package rig

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"sync"
)

// The ports that are tried lie below the range from which Linux takes the ports of outgoing connections, so that none of
// those takes a port between its choice and its use.
const firstPort, lastPort = 20000, 32000

var (
	givenMu sync.Mutex
	given   = map[int]bool{} // ports handed out by this process
)

// FreePorts returns n loopback TCP ports that nobody listens on.
func FreePorts(n int) ([]int, error) {
	givenMu.Lock()
	defer givenMu.Unlock()
	var ports []int
	for range 50 * n {
		p := firstPort + rand.N(lastPort-firstPort)
		if given[p] || CheckPort(p) != nil {
			continue
		}
		given[p] = true
		if ports = append(ports, p); len(ports) == n {
			return ports, nil
		}
	}
	return nil, errors.New("no free loopback ports")
}

// CheckPort reports why a loopback port cannot be listened on.
func CheckPort(port int) error {
	l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port))
	if err != nil {
		return err
	}
	return l.Close()
}
