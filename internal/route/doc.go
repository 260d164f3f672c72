// Package route knows every path that we serve or refuse, and makes the absolute links to what we serve.
//
// Policy: a path is ours only in its one spelling, compared with the escaped path as it was sent; nothing is cleaned,
// redirected or guessed. Any other spelling of a path of ours is refused, and so is Synapse's own administration in
// every spelling, because Synapse reads paths in its own way: it decodes each segment and overlooks empty ones in front
// (Twisted server.py, Request.process; Synapse http/server.py, RootRedirect), and an unknown segment below /_synapse
// leads back to where it was found (UnrecognizedRequestResource), so that /_synapse/x/mas is /_synapse/mas. Below
// /_synapse there is therefore a list of what may pass, and not of what may not. Everything else passes unchanged:
// identifiers in paths hold encoded slashes and dots by right.
//
// The package does not know methods beyond their names, requests, or which groups a site serves.
package route
