// Package oidcprovider is the OAuth 2.0 and OpenID Connect provider: what clients, browsers and the homeserver ask of it.
//
// Policy. The library zitadel/oidc routes, decodes and knows the types; a guard stands in front of it, and each of its questions
// is one use case of package auth. What leaves is a verdict of the specifications (Matrix CS §oauth-20-api, RFC 6749 and those
// around it, OpenID Connect Core 1.0), or an empty 503: some clients take any JSON for the end of their session. A redirect
// goes to an address that was registered byte for byte, or does not happen. No address that a client names is ever fetched.
// What a client or person sends never decides the issuer, the host or the scheme of a link.
//
// The homeserver is answered by Provider, on an address that only it reaches and with the secret shared with it. "Inactive" is
// said only of what is dead for ever: Synapse keeps the answer for two minutes and its clients destroy their encryption keys
// over it. Whatever else goes wrong is an answer of 500 or 503, which Synapse does not keep and its clients survive. Nothing
// expires at Synapse before it does here: the end that it is told is later.
//
// The package judges no token and keeps no state: package auth does. It shows no pages and asks nobody for consent, and it does
// not decide who may connect.
package oidcprovider
