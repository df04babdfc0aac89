package main

import (
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"time"
)

// progress draws a bar on a terminal, over and over in the same line.
type progress struct {
	w    io.Writer
	done func() (part, whole int64) // whole 0: unknown
	text func() string

	stopped chan struct{} // closed by stop
	wait    sync.WaitGroup
}

const (
	barWidth = 30
	redraw   = 100 * time.Millisecond
	wipe     = "\r\x1b[K" // the line that the bar stands in
)

// startProgress draws on w until stop is called, if w is a terminal.
func startProgress(w io.Writer, done func() (part, whole int64), text func() string) *progress {
	p := &progress{w: w, done: done, text: text, stopped: make(chan struct{})}
	if isTerminal(w) {
		p.wait.Go(p.run)
	}
	return p
}

// stop wipes the bar and returns when nothing draws any more.
func (p *progress) stop() {
	close(p.stopped)
	p.wait.Wait()
}

func (p *progress) run() {
	tick := time.NewTicker(redraw)
	defer tick.Stop()
	for {
		select {
		case <-p.stopped:
			fmt.Fprint(p.w, wipe)
			return
		case <-tick.C:
			fmt.Fprintf(p.w, "\r%s\x1b[K", p.line())
		}
	}
}

func (p *progress) line() string {
	part, whole := p.done()
	if whole <= 0 {
		return p.text()
	}
	part = min(max(part, 0), whole)
	full := int(barWidth * part / whole)
	return fmt.Sprintf("[%s%s] %3d %%  %s",
		strings.Repeat("#", full), strings.Repeat(".", barWidth-full), 100*part/whole, p.text())
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
