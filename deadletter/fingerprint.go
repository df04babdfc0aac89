package deadletter

import (
	"crypto/sha256"
	"encoding/hex"
	"io"
	"strings"
)

// maxGist bounds what a fingerprint reads of a message: long ones end in a dump of something.
const maxGist = 1024

// Fingerprint names the cause of a failure, so that letters of one cause are one row: sixteen hex digits
// of a hash of the stage, the type of the root error, the message with numbers, ids and quoted text
// taken out, and the top frame of the user's code on panic (see TopFrame), which is empty otherwise.
func Fingerprint(stage, errorType, message, topFrame string) string {
	h := sha256.New()
	for _, part := range [...]string{stage, errorType, gist(message), topFrame} {
		_, _ = io.WriteString(h, part) // a hash does not fail
		h.Write([]byte{0})
	}
	return hex.EncodeToString(h.Sum(nil)[:8])
}

// gist is what stays the same in the messages of one cause: the words.
func gist(message string) string {
	if len(message) > maxGist {
		message = message[:maxGist]
	}
	var b strings.Builder
	for i := 0; i < len(message); {
		n, what := scan(message, i)
		b.WriteString(what)
		i += n
	}
	return b.String()
}

// scan reads what stands at s[i:] and returns its length and its gist.
func scan(s string, i int) (n int, gist string) {
	rest, c := s[i:], s[i]
	afterWord := i > 0 && wordByte(s[i-1])
	switch {
	case isSpace(c):
		return spaces(rest), " "
	case quote(c) && !afterWord:
		if n := quoted(rest); n > 0 {
			return n, `""`
		}
		return 1, s[i : i+1]
	case (c == '-' || c == '+') && !afterWord && len(rest) > 1 && digit(rest[1]):
		return 1, "" // a sign belongs to its number
	case wordByte(c):
		return word(rest)
	}
	return 1, s[i : i+1]
}

func spaces(s string) (n int) {
	for n < len(s) && isSpace(s[n]) {
		n++
	}
	return n
}

// quoted is the length of the quotation at the start of s, or 0 when it has no end.
func quoted(s string) int {
	for i := 1; i < len(s); i++ {
		switch {
		case s[i] == '\\' && s[0] == '"':
			i++
		case s[i] == s[0] && (i+1 == len(s) || !wordByte(s[i+1])):
			return i + 1
		}
	}
	return 0
}

// word reads a word and what is joined to it: user-42, 10.0.0.1:80, 1m30s, a uuid.
func word(s string) (n int, gist string) {
	if n := run(s, base64Byte); base64ish(s[:n]) {
		return n, "#"
	}
	n = run(s, func(c byte) bool { return wordByte(c) || joint(c) })
	for joint(s[n-1]) {
		n--
	}
	if opaque(s[:n]) {
		return n, "#"
	}
	return n, segments(s[:n])
}

// segments is the gist of a word taken apart at its joints. Numbers that are joined are one number.
func segments(s string) string {
	var b strings.Builder
	wasNumber := false
	for i := 0; i < len(s); {
		if joint(s[i]) {
			n := run(s[i:], joint)
			if next := segment(s[i+n:]); !wasNumber || next != "#" {
				b.WriteString(s[i : i+n])
			} else {
				i += run(s[i+n:], wordByte)
			}
			i += n
			continue
		}
		g := segment(s[i:])
		b.WriteString(g)
		wasNumber = strings.HasSuffix(g, "#")
		i += run(s[i:], wordByte)
	}
	return b.String()
}

// segment is the gist of the part up to the next joint: # for a number or an id, else the text with
// its digits taken out.
func segment(s string) string {
	s = s[:run(s, wordByte)]
	digits, switches := census(s)
	switch {
	case digits == 0 && (len(s) < 16 || !all(s, hexDigit)):
		return s
	case s == "", digit(s[0]), switches >= 3, len(s) >= 6 && all(s, hexDigit):
		return "#"
	}
	return undigit(s)
}

func undigit(s string) string {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if !digit(s[i]) {
			b.WriteByte(s[i])
		} else if i == 0 || !digit(s[i-1]) {
			b.WriteByte('#')
		}
	}
	return b.String()
}

// census counts the digits of s and how often it goes from letters to digits or back.
func census(s string) (digits, switches int) {
	for i := range len(s) {
		if digit(s[i]) {
			digits++
		}
		if i > 0 && digit(s[i]) != digit(s[i-1]) {
			switches++
		}
	}
	return digits, switches
}

// opaque reports a uuid, or an address of hex groups with colons.
func opaque(s string) bool {
	digits, _ := census(s)
	dashes, colons := strings.Count(s, "-"), strings.Count(s, ":")
	hex := all(s, func(c byte) bool { return hexDigit(c) || c == '-' || c == ':' })
	return hex && digits > 0 && (colons >= 2 || dashes >= 2 && len(s) >= 16)
}

// base64ish reports a long run that changes between lower case, upper case and digits far more often
// than words, paths and camel case do.
func base64ish(s string) bool {
	if len(s) < 16 {
		return false
	}
	digits, changes := 0, 0
	for i := range len(s) {
		if digit(s[i]) {
			digits++
		}
		if i > 0 && class(s[i]) != class(s[i-1]) {
			changes++
		}
	}
	return digits >= 2 && changes >= len(s)/3
}

func class(c byte) byte {
	switch {
	case digit(c):
		return '0'
	case 'a' <= c && c <= 'z':
		return 'a'
	case 'A' <= c && c <= 'Z':
		return 'A'
	}
	return '/'
}

func run(s string, in func(byte) bool) (n int) {
	for n < len(s) && in(s[n]) {
		n++
	}
	return n
}

func all(s string, in func(byte) bool) bool { return run(s, in) == len(s) }

func digit(c byte) bool    { return '0' <= c && c <= '9' }
func hexDigit(c byte) bool { return digit(c) || 'a' <= c|0x20 && c|0x20 <= 'f' }
func isSpace(c byte) bool  { return c == ' ' || '\t' <= c && c <= '\r' }
func quote(c byte) bool    { return c == '"' || c == '\'' || c == '`' }
func joint(c byte) bool    { return c == '-' || c == '.' || c == ':' || c == '+' }

// wordByte takes every byte above ASCII for a letter.
func wordByte(c byte) bool   { return class(c) != '/' || c == '_' || c >= 0x80 }
func base64Byte(c byte) bool { return class(c) != '/' || strings.IndexByte("+/=_-", c) >= 0 }
