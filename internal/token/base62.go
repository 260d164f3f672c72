package token

const alphabet = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"

const base = uint64(len(alphabet))

// base62 writes n in six digits, least significant first, and returns how many of them are not leading (here: trailing)
// zeros.
func base62(n uint64) (digits [6]byte, significant int) {
	for i := range digits {
		if n > 0 {
			significant = i + 1
		}
		digits[i] = alphabet[n%base]
		n /= base
	}
	return digits, significant
}

// inAlphabet is a table, because the processor cannot guess how comparisons with ranges of random characters will turn out.
var inAlphabet = func() (is [256]bool) {
	for _, c := range alphabet {
		is[c] = true
	}
	return is
}()

func isBase62(s string) bool {
	for i := range len(s) {
		if !inAlphabet[s[i]] {
			return false
		}
	}
	return true
}
