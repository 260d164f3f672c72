// Command caddy is stock Caddy with this repository's modules: for go run, debuggers and tests. Releases are built with xcaddy.
package main

import (
	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	_ "github.com/caddyserver/caddy/v2/modules/standard"

	_ "github.com/caddy-matrix/caddy-matrix-auth/caddymodule"
)

func main() { caddycmd.Main() }
