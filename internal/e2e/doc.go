// Package e2e holds the end-to-end tests: the Caddy that xcaddy built in front of a real Synapse, driven by raw HTTP, by
// matrix-js-sdk and by matrix-nio, on loopback and without a fake of ours in between.
//
// They have the build tag e2e and need what `make e2e` installs and names in the environment; state and logs stay in
// .cache/e2e after a run. They know the edge as its users do, by its Caddyfile, its command line and HTTP: none of its
// packages is imported.
package e2e
