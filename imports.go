// Package caddymatrixauth is what `xcaddy build --with github.com/caddy-matrix/caddy-matrix-auth` links in: it only registers the Caddy modules of package caddymodule.
package caddymatrixauth

import _ "github.com/caddy-matrix/caddy-matrix-auth/caddymodule"
