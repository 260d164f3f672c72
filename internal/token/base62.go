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

func isBase62(s string) bool {
	for i := range len(s) {
		c := s[i]
		if ('0' > c || c > '9') && ('A' > c || c > 'Z') && ('a' > c || c > 'z') {
			return false
		}
	}
	return true
}
