package caddymodule

import "runtime/debug"

// modulePath is this repository's, as the build information names it.
const modulePath = "github.com/caddy-matrix/caddy-matrix-auth"

// version is the version of this module that the program was built with.
func version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	if info.Main.Path == modulePath {
		return info.Main.Version
	}
	for _, dep := range info.Deps {
		if dep.Path == modulePath {
			return dep.Version
		}
	}
	return "unknown"
}
