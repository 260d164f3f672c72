// Package auth holds the use cases of the authentication service: log in, refresh, log out, introspect, judge, lock, end,
// reconcile. It owns transactions, live sessions, rate limits of logins, and the reconciliation with the homeserver.
//
// Policy. Nobody who should stay signed in is signed out, and nobody who should be out stays in. A use case is one
// transaction: what is slow (hashing, calls to the homeserver) happens before it, the decision is made inside it, and the
// answer follows it. Where the homeserver has to agree, it comes first and the commit last. A refusal has changed nothing.
//
// The package speaks neither HTTP nor OAuth nor Matrix JSON: it returns the sentinel errors of this file's siblings, and each
// protocol's writer maps them. It never logs or stores a password, a token or a secret in clear.
package auth
