package main

import (
	"bufio"
	"bytes"
	"compress/gzip"
	_ "embed"
	"errors"
	"fmt"
	"io"
	"os"
	"sync/atomic"
	"time"
)

//go:embed online-retail-2010-12.csv.gz
var december []byte

const decemberName = "online-retail-2010-12.csv.gz"

// input is an opened file whose header was found to be right.
type input struct {
	name  string
	lines *scanner
	read  *counter // bytes of the file, compressed if it is
	size  int64    // of the file; 0 when unknown
	close func() error
	// interrupt ends a read that waits, as one from a pipe may.
	interrupt func()
}

// openInput opens the file at path, or the embedded one when path is empty. Its errors name the file.
func openInput(path string) (*input, error) {
	in := &input{
		name: decemberName, size: int64(len(december)),
		close: func() error { return nil }, interrupt: func() {},
	}
	var file io.Reader = bytes.NewReader(december)
	if path != "" {
		f, err := os.Open(path)
		if err != nil {
			return nil, err
		}
		in.name, in.size, in.close, file = path, sizeOf(f), f.Close, f
		in.interrupt = func() { _ = f.SetReadDeadline(time.Unix(1, 0)) } // a plain file has no deadline, and no need of one
	}
	if err := in.begin(file); err != nil {
		return nil, errors.Join(fmt.Errorf("%s: %w", in.name, err), in.close())
	}
	return in, nil
}

func sizeOf(f *os.File) int64 {
	info, err := f.Stat()
	if err != nil || !info.Mode().IsRegular() {
		return 0
	}
	return info.Size()
}

func (in *input) begin(file io.Reader) error {
	in.read = &counter{r: file}
	text, err := unzip(in.read)
	if err != nil {
		return err
	}
	in.lines = newScanner(text)
	return in.lines.readHeader()
}

// unzip looks at the first bytes, not at the file's name, to tell whether the file is compressed.
func unzip(r io.Reader) (io.Reader, error) {
	b := bufio.NewReader(r)
	magic, err := b.Peek(2)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	if !bytes.Equal(magic, []byte{0x1f, 0x8b}) {
		return b, nil
	}
	return gzip.NewReader(b)
}

// counter counts what is read through it, for the progress bar.
type counter struct {
	r io.Reader
	n atomic.Int64
}

// Read reads from the file.
func (c *counter) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.n.Add(int64(n))
	return n, err
}
