// Package route knows every path that we serve or refuse, and makes the links to them.
package route
