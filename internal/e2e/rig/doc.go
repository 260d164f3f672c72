// Package rig starts the real thing on loopback for the end-to-end tests, the benchmarks and the demonstration: a Synapse from a
// Python virtual environment that delegates its authentication, the edge (a Caddy with this repository's modules) in front of it,
// a plain Matrix client that shows every byte of an answer, and a browser that knows cookies, redirects and forms.
//
// It owns child processes, their configuration files, ports and logs. A child dies with the process that started it. The
// package asserts nothing and knows nothing of the edge's packages: it sees what an operator sees.
package rig
