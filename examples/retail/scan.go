package main

import (
	"bufio"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"strings"
)

// maxLineBytes bounds a line. The longest in the data has 121 bytes.
const maxLineBytes = 64 << 10

// rawLine is a line as it stands in the file, without its end.
type rawLine struct {
	number int
	text   string // cut at maxLineBytes
	id     string // a hash of the whole line
	long   bool   // it was cut
}

// scanner reads a file line by line. A quoted field with a line end in it is not supported: one line
// is one event, and its text is the event's identity.
type scanner struct {
	r      *bufio.Reader
	number int
}

func newScanner(r io.Reader) *scanner {
	return &scanner{r: bufio.NewReaderSize(r, maxLineBytes)}
}

// next returns the next line, or io.EOF after the last.
func (s *scanner) next() (rawLine, error) {
	b, err := s.r.ReadSlice('\n')
	s.number++
	switch {
	case errors.Is(err, bufio.ErrBufferFull):
		return s.long(b)
	case errors.Is(err, io.EOF) && len(b) > 0:
	case err != nil:
		return rawLine{}, err
	}
	text := trimEnd(b)
	return rawLine{number: s.number, text: string(text), id: identity(sha256.Sum256(text))}, nil
}

// long takes in the rest of a line whose beginning fills the buffer; only its hash sees all of it.
func (s *scanner) long(b []byte) (rawLine, error) {
	l := rawLine{number: s.number, text: string(b), long: true}
	h := sha256.New()
	err := bufio.ErrBufferFull
	for errors.Is(err, bufio.ErrBufferFull) {
		h.Write(b)
		b, err = s.r.ReadSlice('\n')
	}
	if err != nil && !errors.Is(err, io.EOF) {
		return rawLine{}, err
	}
	h.Write(b)
	l.id = identity([sha256.Size]byte(h.Sum(nil)))
	return l, nil
}

func trimEnd(b []byte) []byte {
	if n := len(b); n > 0 && b[n-1] == '\n' {
		b = b[:n-1]
	}
	if n := len(b); n > 0 && b[n-1] == '\r' {
		b = b[:n-1]
	}
	return b
}

// identity writes half of a hash: 16 bytes tell all lines of this world apart.
func identity(sum [sha256.Size]byte) string { return hex.EncodeToString(sum[:16]) }

// readHeader reads the first line and refuses a file of another kind.
func (s *scanner) readHeader() error {
	l, err := s.next()
	if errors.Is(err, io.EOF) {
		return errors.New("is empty; its first line should be " + header)
	}
	if err != nil {
		return err
	}
	if got := strings.TrimPrefix(l.text, "\ufeff"); got != header {
		return fmt.Errorf("is not the Online Retail CSV: its first line is %.60q and should be %s", got, header)
	}
	return nil
}
