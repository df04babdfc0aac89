package pipeline

import (
	"errors"
	"time"

	"github.com/runnel-go/runnel/stage"
)

// Snapshot is a picture of a pipeline: each stage's figures agree with one another; those of different
// stages are read one after the other.
type Snapshot struct {
	At     time.Time
	State  string // "idle", "running", "draining" or "ended"
	Stages []stage.Snapshot
	// Stalled names the stages that stand still; see Config.StallAfter.
	Stalled []string
}

// Snapshot reads the counters. It costs time in proportion to the resident events. Before the pipeline
// was put to use, or when its description has faults, it has no stages.
func (p *Pipeline) Snapshot() Snapshot {
	n := Snapshot{At: time.Now(), State: p.state(), Stalled: p.stalled.names()}
	if a := p.assembled.Load(); a != nil {
		for _, r := range a.runtimes {
			n.Stages = append(n.Stages, r.Snapshot())
		}
	}
	return n
}

func (p *Pipeline) state() string {
	switch {
	case closed(p.ended):
		return "ended"
	case closed(p.stopping):
		return "draining"
	case p.running.Load():
		return "running"
	}
	return "idle"
}

func closed(ch <-chan struct{}) bool {
	select {
	case <-ch:
		return true
	default:
		return false
	}
}

// Stage returns the figures of the named stage.
func (s Snapshot) Stage(name string) (stage.Snapshot, bool) {
	for _, n := range s.Stages {
		if n.Name == name {
			return n, true
		}
	}
	return stage.Snapshot{}, false
}

// Sum returns an error unless every stage's figures add up; see stage.Snapshot.Sum.
func (s Snapshot) Sum(atRest bool) error {
	var errs []error
	for i := range s.Stages {
		errs = append(errs, s.Stages[i].Sum(atRest))
	}
	return errors.Join(errs...)
}
