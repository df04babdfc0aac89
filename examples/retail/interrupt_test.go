//go:build unix

package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// A file that never ends is read when the interrupt comes: what was accepted is still done.
func TestInterruptedInTheMiddle(t *testing.T) {
	path := filepath.Join(t.TempDir(), "pipe")
	if err := syscall.Mkfifo(path, 0o600); err != nil {
		t.Skip(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	const lines = 5000
	written := make(chan error, 1)
	go func() {
		defer cancel()
		w, err := os.OpenFile(path, os.O_RDWR, 0) // held open: its reader sees no end
		if err == nil {
			t.Cleanup(func() { w.Close() })
			_, err = w.WriteString(header + "\n" + endless(lines))
		}
		written <- err
	}()
	s := startJSON(t, ctx, exitInterrupted, "-data", path, "-redrive")
	if err := <-written; err != nil {
		t.Fatal(err)
	}
	if s.Rows == 0 || s.Rows > lines || s.Complete || !s.Interrupted || s.Redrive != nil {
		t.Errorf("%d rows, complete %v, interrupted %v, redrive %v", s.Rows, s.Complete, s.Interrupted, s.Redrive)
	}
	equal(t, "left", s.Left, 0)
	equal(t, "done", []uint64{s.Billing.Done + uint64(s.Billing.Letters), s.Notify.Done}, []uint64{uint64(s.Rows), uint64(s.Rows)})
}

// endless is lines that differ, every tenth of them a guest's.
func endless(n int) string {
	var b strings.Builder
	for i := range n {
		line := with(colQuantity, fmt.Sprint(i))
		if i%10 == 0 {
			line = strings.Replace(line, "16210.0", "", 1)
		}
		b.WriteString(line + "\n")
	}
	return b.String()
}
