// Package web is the pages that people see: sign in, consent, linking a device, the account, signing out, and what to say when
// something did not work.
//
// Policy. Pages are made on the server and need no script. They say what happens in everyday words, in the person's language,
// and name the homeserver, never this software. Nothing changes on GET, with one exception that OAuth asks for: a request that
// needs no answer from the person (prompt=none, a remembered consent) is answered at once. Every form is bound to the browser,
// and where it decides something to the sign-in that it was shown to (package browser). Where to go after a sign-in is a kind
// and an ID from a closed list, never a URL. The consent page is the one place that decides what an authorization request still
// needs; every other page sends people there. Pressing a button twice and going back are harmless.
//
// The package decides nothing about passwords, grants and sessions: package auth does. It does not read authorization requests
// (package oidcprovider) and does not make authorization responses (package authzresponse). Texts of internal errors go to the
// log under a reference, which the page shows.
package web
