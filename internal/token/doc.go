// Package token owns the text of our tokens: how one is made, taken apart, hashed, and read from a request.
//
//	mat_ 8 handle 16 random 6 MAC _ 6 CRC
//
// Policy: a token says by itself of which kind it is and, by its handle, which session it belongs to; junk is told from
// tokens without a look at the store. A token's text leaves its value only through Reveal. The format is MAS's (MAS
// data-model/src/tokens.rs), so that secret scanners and other tools recognise it.
//
// The package does not know sessions, lifetimes or users, and it does not decide whether a token is good: it is handed
// the key and the randomness, and keeps nothing.
package token
