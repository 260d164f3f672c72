// Package compat serves the login API that Matrix had before OAuth: login, logout, logout/all and refresh (Matrix CS §login and
// what follows it, MSC2918), and the small discovery documents around it (Matrix CS §well-known-uris, MSC1929, MSC2965).
//
// Policy. What the specification leaves open is done as Synapse did it, so that clients notice no change: any Content-Type is
// taken, an empty body will do where nothing is needed from it, a stale Authorization header on login and refresh is ignored, and
// every reply, errors included, is JSON with the same CORS headers. Bodies are bounded and decoded strictly: a repeated member,
// invalid UTF-8 or a name in another case is an error and not a guess. An unknown user, a phone number and a wrong password get
// one answer, after the same work.
//
// The exception is trouble at refresh: what is not a verdict on the token, be it a full queue or a panic, is 503 with an empty
// body, because anything else signs somebody out.
//
// The package owns no state and no transaction: it turns requests into use cases of package auth and results into JSON. It
// offers only what works: no single sign-on, no login tokens, no application service login. It judges no proxied request (that
// is the gate's) and does not close or time request bodies: who calls it sees to what is left of one after an early answer.
package compat
