package deadletter

import (
	"crypto/rand"
	"time"
)

// DrainOptions says what a maintenance job takes and how fast. The zero value drains everything.
type DrainOptions struct {
	// Filter selects the letters. Discarded letters are never redriven, and quarantined ones only
	// when Filter.IDs names them.
	Filter Filter
	// Limit is how many letters are redriven at most. Default: all.
	Limit int
	// Rate is how many letters a second are redriven at most. Default: no limit.
	Rate float64
	// Parallel is how many sequences are redriven at once. Letters of one sequence never are.
	// Default 1.
	Parallel int
	// DryRun only says what would be redriven, and why those letters died. It claims nothing.
	DryRun bool
	// Lease is how long a sequence stays claimed when this process dies. It is renewed while the
	// drain works on the sequence. Default 30 s.
	Lease time.Duration
	// Owner names this drain to others. A part that makes it unique is added. Default "drain".
	Owner string
	// Progress is told of each letter that is done with, and of those that are passed over. It is
	// called on Drain's own goroutine, and what is redriven next may wait for it.
	Progress func(Progress)
	// Who and Why are recorded with the letters that fail again and in the Report.
	Who, Why string
}

func (o DrainOptions) filled() DrainOptions {
	o.Parallel = max(1, o.Parallel)
	if o.Lease <= 0 {
		o.Lease = 30 * time.Second
	}
	if o.Owner == "" {
		o.Owner = "drain"
	}
	o.Owner += "/" + rand.Text()[:10]
	return o
}

// selection is the filter for the letters that a drain may touch; none is false when there can be any.
func (o DrainOptions) selection() (f Filter, none bool) {
	f = o.Filter
	allowed := []State{Active}
	if f.IDs != nil {
		allowed = append(allowed, Quarantined)
	}
	if len(f.States) == 0 {
		f.States = allowed
		return f, false
	}
	var states []State
	for _, s := range allowed {
		if f.matchesState(s) {
			states = append(states, s)
		}
	}
	f.States = states
	return f, len(states) == 0
}
