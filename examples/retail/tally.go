package main

import "sync/atomic"

// tally follows the file through the pipeline: what was read, and what was settled by every stage.
type tally struct {
	rows      atomic.Int64
	malformed atomic.Int64
	settled   atomic.Int64
	returned  atomic.Int64  // handed back by a shutdown, or failed unhandled
	complete  atomic.Bool   // the file was read to its end
	open      atomic.Int64  // accepted and not settled, and one for the file itself
	quiet     chan struct{} // closed, by whoever brings open to 0, when the file is over and all is settled
}

func newTally() *tally {
	t := &tally{quiet: make(chan struct{})}
	t.open.Store(1)
	return t
}

func (t *tally) begin() { t.open.Add(1) }

func (t *tally) end() {
	if t.open.Add(-1) == 0 {
		close(t.quiet)
	}
}

// settle is called once for each accepted event.
func (t *tally) settle(err error) {
	if err != nil {
		t.returned.Add(1)
	} else {
		t.settled.Add(1)
	}
	t.end()
}
