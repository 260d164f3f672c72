// Package caddymodule adapts the rest of this repository to Caddy.
package caddymodule
