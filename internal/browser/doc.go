// Package browser is what we know of a person's browser, and what protects our pages in it: two cookies, the proof that a form
// was ours, the origin we answer on, and the headers of pages.
//
// Policy. The cookie *browser* says which browser this is, never who uses it; the cookie *session* is a sign-in. Both are
// HttpOnly, SameSite=Lax and for the whole host, with the prefix __Host- and Secure unless the issuer is http on loopback. A
// form is ours if it carries a token that only a page made for this browser, this form and this object (and, where it matters,
// this sign-in) can hold, and if the browser itself says that no other site and no script sent it. No token is shown twice. Pages
// are never framed, never stored, and run nothing that is inline.
//
// The package keeps nothing: what a cookie is worth is decided by package auth. It does not choose pages or texts.
package browser
