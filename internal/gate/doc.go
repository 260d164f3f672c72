// Package gate judges each request for the homeserver by its access token, and forwards what it judged.
//
// Policy. It is the only reader of tokens on the way to Synapse (token.FromRequest): every request under /_matrix/ and /_synapse/
// is judged, but for OPTIONS, /_matrix/federation/ and /_matrix/key/ (route.Gated). A token of ours that is not active is answered
// here (Matrix CS §soft-logout, §account-locking); trouble with the store is 503 and never looks like a verdict. A token that is
// not ours passes as it came. Either way the request is forwarded so that Synapse can read no other token in it: a form, which
// Twisted merges into the arguments, goes as JSON; Authorization is not honoured as a name in Connection; an active token becomes
// the one Authorization header. Our cookies, and what a client claims in X-Forwarded-For, stay here.
//
// A GET of ours runs no longer than its session is alive: at its end the request under way gets what the next one would get, or is
// cut if its answer has begun. Writes under way are not cut. Over HTTP/1.1 its connection ends in either case (ConnContext).
//
// An answer before the end of an HTTP/1.1 request's body ends the connection, or has read the body (RFC 9112 §9.3, §9.6): what is
// left of it must never be taken for the next request. After an answer of ours the connection stays a moment, so that who still
// sends can read it. This holds for what the gate passes on and, by EndBody, for what we serve. Bodies larger than the homeserver
// takes are 413 M_TOO_LARGE.
//
// Ownership. A Gate has no state but its Config. Wrappers belong to one request and are never pooled: a transport may read a body
// after the handler has returned, and a pooled wrapper would hand it another user's bytes. Nothing is buffered, and no path is
// changed.
//
// The package does not decide whether a token is good (auth does), does not know which paths we serve ourselves (its caller asks
// route.Match first), does not proxy, and knows nothing of Caddy.
package gate
