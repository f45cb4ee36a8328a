package target

// Classes of bytes, by the grammar that names them.
const (
	// unreserved is RFC 3986 section 2.3: bytes that never need an escape.
	unreserved = 1 << iota
	// segmentByte is pchar of RFC 3986 section 3.3 without '%' and without ';', whose meaning upstreams do not agree on.
	segmentByte
	// token is tchar of RFC 9110 section 5.6.2.
	token
	// hostByte is a byte of a host name before folding; '_' occurs in the names of Kubernetes and Docker.
	hostByte
	// barredEscape is a byte that no path may hold even escaped: separators and cuts of one layer or another.
	barredEscape
)

var classes = makeClasses()

func makeClasses() (table [256]uint8) {
	for c := range 256 {
		letter := 'a' <= c|0x20 && c|0x20 <= 'z'
		digit := '0' <= c && c <= '9'
		if letter || digit {
			table[c] = unreserved | segmentByte | token | hostByte
		}
		if c < ' ' || c == 0x7f {
			table[c] |= barredEscape
		}
	}
	mark(&table, unreserved|segmentByte, "-._~")
	mark(&table, segmentByte, "!$&'()*+,=:@")
	mark(&table, token, "!#$%&'*+-.^_`|~")
	mark(&table, hostByte, "-._")
	mark(&table, barredEscape, `/\;#?%`)
	return table
}

func mark(table *[256]uint8, class uint8, bytes string) {
	for _, c := range []byte(bytes) {
		table[c] |= class
	}
}

func is(c byte, class uint8) bool { return classes[c]&class != 0 }

func isUpper(c byte) bool { return 'A' <= c && c <= 'Z' }

// hexByte reads the two hexadecimal digits at the start of s.
func hexByte(s string) (byte, bool) {
	if len(s) < 2 {
		return 0, false
	}
	high, ok := hexDigit(s[0])
	low, ok2 := hexDigit(s[1])
	return high<<4 | low, ok && ok2
}

func hexDigit(c byte) (byte, bool) {
	switch {
	case '0' <= c && c <= '9':
		return c - '0', true
	case 'a' <= c && c <= 'f':
		return c - 'a' + 10, true
	case 'A' <= c && c <= 'F':
		return c - 'A' + 10, true
	}
	return 0, false
}
