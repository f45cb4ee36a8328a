package demo

import (
	"fmt"
	"math/rand/v2"
	"net"
	"strconv"
)

// The range that ports are taken from lies below the one that systems take the ports of outgoing connections from, so that no
// connection of ours can sit on a port between its choice and its use.
const (
	lowestPort  = 20000
	highestPort = 32000
)

// freePorts finds ports of 127.0.0.1 on which nobody listens. All are held until the last is found, so they differ.
func freePorts(n int) ([]int, error) {
	var ports []int
	for range 100 * n {
		port := lowestPort + rand.IntN(highestPort-lowestPort) //nolint:gosec // G404: a place to look, not a secret
		listener, err := net.Listen("tcp", local(port))
		if err != nil {
			continue
		}
		defer listener.Close()
		if ports = append(ports, port); len(ports) == n {
			return ports, nil
		}
	}
	return nil, fmt.Errorf("demo: found only %d of %d free ports on 127.0.0.1 between %d and %d", len(ports), n, lowestPort, highestPort)
}

// local is the address of a port on this machine.
func local(port int) string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(port)) }
