package route

import "strings"

// A reading is a way in which some program on the way to Synapse, or Synapse, may understand a path: percent-decoded
// once or twice (a proxy between us and Synapse may decode once more), with or without what strays from RFC 3986 (path
// parameters dropped, a backslash taken for a slash); then slashes merged, dot segments resolved, the slash at the end
// dropped, case folded.
type reading uint8

const (
	twice reading = 1 << iota
	stray
	numReadings
)

// after returns the next reading that can differ from those before it, or numReadings. The receiver is what ambiguities
// found.
func (found reading) after(r reading) reading {
	for r++; r < numReadings && r&^found != 0; {
		r++
	}
	return r
}

// ambiguities returns which ways of reading make a difference for the path.
func ambiguities(path string) (found reading) {
	for i := range len(path) {
		c := path[i]
		if escape := c == '%' && i+2 < len(path) && isHex(path[i+1]) && isHex(path[i+2]); escape {
			c = unhex(path[i+1])<<4 | unhex(path[i+2])
			if c != '%' && c != ';' && c != '\\' {
				continue
			}
		}
		switch c {
		case '%': // what is behind it can be anything
			found |= twice | stray
		case ';', '\\':
			found |= stray
		}
	}
	return found
}

// readingBuf is the length up to which a path is read without allocating.
const readingBuf = 512

// read appends the reading of path to buf, which has to be empty: "/" or segments that each begin with a slash.
func (r reading) read(buf []byte, path string) []byte { return resolve(r.decoded(buf, path)) }

// decoded is the reading before slashes and dots are looked at, with a slash more in front.
func (r reading) decoded(buf []byte, path string) []byte {
	b := append(buf, '/') // so that resolve never writes past what it has read
	b = decode(append(b, path...))
	if r&twice != 0 {
		b = decode(b)
	}
	if r&stray != 0 {
		b = dropStray(b)
	}
	return b
}

// decode percent-decodes b in place. An escape that is none stays, as in Twisted.
func decode(b []byte) []byte {
	n := 0
	for i := 0; i < len(b); n++ {
		if b[i] == '%' && i+2 < len(b) && isHex(b[i+1]) && isHex(b[i+2]) {
			b[n] = unhex(b[i+1])<<4 | unhex(b[i+2])
			i += 3
			continue
		}
		b[n] = b[i]
		i++
	}
	return b[:n]
}

// dropStray makes backslashes slashes and drops what stands from a semicolon to the end of its segment, in place.
func dropStray(b []byte) []byte {
	n, parameter := 0, false
	for _, c := range b {
		if c == '\\' {
			c = '/'
		}
		if c == '/' || c == ';' {
			parameter = c == ';'
		}
		if !parameter {
			b[n] = c
			n++
		}
	}
	return b[:n]
}

// resolve merges slashes, resolves dot segments (RFC 3986 §5.2.4), drops the slash at the end and folds case, in place.
// b begins with a slash.
func resolve(b []byte) []byte {
	n := 0
	for i := 0; i < len(b); {
		i++ // the slash
		start := i
		for i < len(b) && b[i] != '/' {
			i++
		}
		switch segment := b[start:i]; string(segment) {
		case "", ".":
		case "..":
			for n > 0 {
				if n--; b[n] == '/' {
					break
				}
			}
		default:
			b[n] = '/'
			n += 1 + foldInto(b[n+1:], segment)
		}
	}
	if n == 0 {
		return append(b[:0], '/')
	}
	return b[:n]
}

// foldInto copies src to dst, which may overlap if it begins earlier, in lower case.
func foldInto(dst, src []byte) int {
	for i, c := range src {
		dst[i] = fold(c)
	}
	return len(src)
}

func fold(c byte) byte {
	if 'A' <= c && c <= 'Z' {
		return c + 'a' - 'A'
	}
	return c
}

// isPlain reports whether all readings of the path are the path itself: it needs no look at them.
func isPlain(path string) bool {
	for i := range len(path) {
		switch c := path[i]; {
		case c == '%', c == ';', c == '\\', 'A' <= c && c <= 'Z':
			return false
		case c == '/' && (i+1 == len(path) || path[i+1] == '/' || path[i+1] == '.'):
			return false
		}
	}
	return strings.HasPrefix(path, "/")
}

// isStraight reports whether no reading of the path changes how its segments follow each other: none is a dot segment
// or, but for the last one, empty.
func isStraight(path string) bool {
	if strings.Contains(path, "//") {
		return false
	}
	if !strings.ContainsAny(path, `%;\`) && !strings.Contains(path, "/.") {
		return true
	}
	var buf [readingBuf]byte
	for r, found := reading(0), ambiguities(path); r < numReadings; r = found.after(r) {
		if hasDots(r.decoded(buf[:0], path)[1:]) {
			return false
		}
	}
	return true
}

// hasDots reports whether one of the segments is a dot segment, or empty and not the last.
func hasDots(b []byte) bool {
	for i := 0; i < len(b); {
		i++ // the slash
		start := i
		for i < len(b) && b[i] != '/' {
			i++
		}
		switch string(b[start:i]) {
		case ".", "..":
			return true
		case "":
			if i < len(b) {
				return true
			}
		}
	}
	return false
}

// firstSegment returns what Synapse takes for the first segment of a path, still encoded: it overlooks empty ones in
// front.
func firstSegment(path string) string {
	first, _, _ := strings.Cut(strings.TrimLeft(path, "/"), "/")
	return first
}

// isRoot reports whether a segment, once decoded, is one of those under which Synapse serves.
func isRoot(segment string) bool {
	if len(segment) > 3*len(synapseRoot) {
		return false
	}
	var buf [3 * len(synapseRoot)]byte
	name := decode(append(buf[:0], segment...))
	foldInto(name, name)
	return string(name) == matrixRoot[1:] || string(name) == synapseRoot[1:]
}

func isHex(c byte) bool {
	return '0' <= c && c <= '9' || 'a' <= c && c <= 'f' || 'A' <= c && c <= 'F'
}

func unhex(c byte) byte {
	if c <= '9' {
		return c - '0'
	}
	return c&^0x20 - 'A' + 10
}
