// Package caddymodule adapts the rest of this repository to Caddy: an app, a handler, three Caddyfile directives and a command.
//
// Policy. The app `matrix_auth` holds everything that exists once per homeserver; the handler `http.handlers.matrix_auth` is
// thin, finds the app, serves its groups of endpoints, judges what else goes to the homeserver, and leaves the proxying to
// Caddy's reverse_proxy, behind it or inside it.
// Provisioning checks a configuration and resolves its secrets, and touches nothing else: no database, no network, no file
// but the ones that placeholders name. So `caddy validate` works beside a live server.
//
// What has to survive a reload (database, live sessions, limits, jobs, the password hasher) is an engine, kept in a pool under
// its data directory. App.Start opens or joins it and claims its settings; App.Stop gives them back if the reload failed;
// the last Cleanup closes it, after the requests that use it are through.
//
// This is the only package that imports Caddy. It parses, wires and reports; what the endpoints do, and every rule about
// sessions and tokens, is elsewhere.
package caddymodule
