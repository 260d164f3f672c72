// Package mxid holds the identifiers of Matrix: server names, localparts, user IDs and device IDs, each a type of its
// own that is made by parsing and is valid from then on.
//
// Policy: a localpart of ours is lower case (Matrix appendices §user-identifiers); what a person types is folded to
// lower case once, by Resolve, and nowhere else. A user ID of any server, also one of the historical kind, can be
// parsed and is kept as it is. A device ID is what Synapse takes.
//
// The package owns the grammar and the mapping between a device and its OAuth scope tokens. It does not know whether a
// user or a device exists, and it does not import anything of ours.
package mxid
