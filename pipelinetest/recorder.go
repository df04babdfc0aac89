package pipelinetest

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/runnel-go/runnel/event"
	"github.com/runnel-go/runnel/pipeline"
	"github.com/runnel-go/runnel/stage"
)

// Recorder writes the History of one pipeline: what its Observer sees, and, where they are put to use, what
// its Middleware and its Letters see. Each of them lets History.Check find more. It is safe for concurrent
// use.
type Recorder struct {
	mu      sync.Mutex // guards all below
	history History
	letters map[string]bool // that were recorded and are not gone
}

// NewRecorder returns a recorder with an empty history.
func NewRecorder() *Recorder { return &Recorder{} }

// Observer is what the pipeline's Config takes.
func (r *Recorder) Observer() pipeline.Observer {
	return pipeline.Observer{
		Accepted: func(m *event.Meta) { r.add(describe(Accepted, m)) },
		Started:  func(d *stage.Delivery) { r.add(attempt(Started, d)) },
		Parked: func(d *stage.Delivery, v stage.Verdict) {
			e := attempt(Parked, d)
			e.Delay, e.Postponed, e.Err = v.Delay, v.Kind == stage.KindPostpone, v.Cause
			r.add(e)
		},
		Held: func(d *stage.Delivery, err error) {
			e := attempt(Held, d)
			e.Err = err
			r.add(e)
		},
		Settled: func(d *stage.Delivery, o stage.Outcome, err error) {
			e := attempt(Settled, d)
			e.Outcome, e.Err = o, err
			r.add(e)
		},
	}
}

// errEnded is how a handler came back that neither returned nor had its panic recovered further inside.
var errEnded = errors.New("pipelinetest: the handler panicked or ended its goroutine")

// Middleware records when the handler is called and when it is back. It stands inside of Retry and
// outside of Timeout and Recover, so that it sees a panic and a timeout as the failures that they are.
func (r *Recorder) Middleware() stage.Middleware {
	return stage.Middleware{
		Name:    "record",
		Inside:  []string{"deadletter", "idempotent", "retry"},
		Outside: []string{"timeout", "recover"},
		Wrap: func(next stage.Handler) stage.Handler {
			return func(ctx context.Context, d *stage.Delivery) error {
				r.add(attempt(Called, d))
				err := errEnded
				defer func() {
					e := attempt(Returned, d)
					e.Err, e.Interrupted = err, stage.Interrupted(ctx)
					r.add(e)
				}()
				err = next(ctx, d)
				return err
			}
		},
	}
}

func describe(w What, m *event.Meta) Entry {
	return Entry{What: w, Topic: m.Topic, ID: m.ID(), Key: m.Key, Seq: m.Seq, Origin: m.Origin}
}

func attempt(w What, d *stage.Delivery) Entry {
	e := describe(w, d.Meta)
	e.Stage, e.Lane, e.Ordered, e.Batched, e.Attempt, e.Final = d.Stage, d.Lane, d.Ordered, d.Batched, d.Attempt, d.Final
	if d.Redrive != nil {
		e.Redrive = d.Redrive.Letter
	}
	return e
}

func (r *Recorder) add(e Entry) {
	r.mu.Lock()
	defer r.mu.Unlock()
	e.At = time.Now()
	r.history = append(r.history, e)
	switch e.What {
	case Stored, Diverted, Restored:
		if r.letters == nil {
			r.letters = map[string]bool{}
		}
		r.letters[e.Letter] = true
	case Resolved, Discarded: // one that was discarded may be stored again, when its event dies again
		delete(r.letters, e.Letter)
	}
}

// knows reports whether a letter was recorded and is not gone.
func (r *Recorder) knows(letter string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.letters[letter]
}

// History returns a copy of what was recorded so far.
func (r *Recorder) History() History {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.history)
}

// Started is History.Started.
func (r *Recorder) Started(stage string) History { return r.History().Started(stage) }

// Settled is History.Settled.
func (r *Recorder) Settled(stage string) History { return r.History().Settled(stage) }

// Of is History.Of.
func (r *Recorder) Of(stage, lane string) History { return r.History().Of(stage, lane) }

// Check is History.Check.
func (r *Recorder) Check() error { return r.History().Check() }

// CheckStage is History.CheckStage.
func (r *Recorder) CheckStage(stage string, rules Rules) error {
	return r.History().CheckStage(stage, rules)
}

// CheckRest is History.CheckRest.
func (r *Recorder) CheckRest(left ...stage.Unfinished) error { return r.History().CheckRest(left...) }
