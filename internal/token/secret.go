package token

// Secret is a text that no formatter, logger or encoder prints: a token, a password, a shared secret. The zero value is
// empty.
type Secret struct{ hidden }

// NewSecret hides s.
func NewSecret(s string) Secret { return Secret{hide(s)} }

// Reveal returns the text, for the one place that sends or checks it.
func (s Secret) Reveal() string { return s.reveal() }

// Empty reports whether there is no text.
func (s Secret) Empty() bool { return s.size == 0 }

// Equal compares in constant time; only the length can be told from its duration.
func (s Secret) Equal(other Secret) bool { return s.equal(other.hidden) }
