// Package matrixerr writes the error replies of the Matrix client-server API, and the CORS headers that every reply of that API
// carries.
//
// Policy. An error is always an object with errcode and error (Matrix CS §standard-error-response), of type application/json,
// never cached, with each CORS header exactly once: browsers refuse a second Access-Control-Allow-Origin and call a reply without
// one a network error. The headers and their values are Synapse's, so that a client sees no seam between what this server answers
// and what Synapse answers.
//
// The package owns no state. It does not decide what an error means, does not log, does not read the request's body, and knows
// nothing of OAuth, whose errors look different, or of pages, which must not carry CORS headers (RFC 9700 §2.6).
package matrixerr
