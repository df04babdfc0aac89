package main

import (
	"fmt"
	"io"
	"os"
	"strings"
	"time"
)

// bar shows on a terminal how far long work is. It is drawn by whoever does the work, and only by that.
type bar struct {
	w     io.Writer // nil: no terminal
	what  string
	done  int
	whole int
	drawn time.Time
}

const barWidth = 30

func startBar(w io.Writer, what string, whole int) *bar {
	b := &bar{what: what, whole: whole}
	if isTerminal(w) {
		b.w = w
	}
	return b
}

// isTerminal reports whether w is a device that shows characters.
func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	if !ok {
		return false
	}
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}

func (b *bar) add(n int) { b.set(b.done + n) }

func (b *bar) set(n int) {
	b.done = n
	if b.w == nil || time.Since(b.drawn) < 100*time.Millisecond {
		return
	}
	b.drawn = time.Now()
	fmt.Fprintf(b.w, "\r%s\x1b[K", b.line())
}

func (b *bar) line() string {
	if b.whole <= 0 {
		return fmt.Sprintf("%s %s", plural(b.done, "letter"), b.what)
	}
	done := min(max(b.done, 0), b.whole)
	full := barWidth * done / b.whole
	return fmt.Sprintf("[%s%s] %3d %%  %d of %s %s",
		strings.Repeat("#", full), strings.Repeat(".", barWidth-full), 100*done/b.whole, done, plural(b.whole, "letter"), b.what)
}

// stop wipes the bar.
func (b *bar) stop() {
	if b.w != nil {
		fmt.Fprint(b.w, "\r\x1b[K")
	}
}
