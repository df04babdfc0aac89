package stage

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"

	"github.com/runnel-go/runnel/event"
)

// item is an event on its way through one stage.
type item[T any] struct {
	event event.Event[T]
	own   own // of a stage that has a key or levels of its own
	x     *extra
	// pooled is whether it goes back to the stage's pool; a redriven one was made for itself.
	pooled bool
}

// fill makes it hold a candidate. The meta was written word by word just before: to copy it in larger pieces would wait
// until all of that has arrived in the cache, behind whatever else was written.
func (it *item[T]) fill(c *candidate, payload *T) {
	to, from := &it.event.Meta, &c.meta
	to.GivenID, to.Topic, to.Key = from.GivenID, from.Topic, from.Key
	to.Seq, to.Origin, to.Time, to.Header = from.Seq, from.Origin, from.Time, from.Header
	it.event.Payload, it.x = *payload, c.x
}

// extra is what only some items carry.
type extra struct {
	memory  memory
	receipt *receipt
	arrived *arrived
	letter  *letter
	parked  bool // it waits for another attempt
	skip    bool // it was released to be dropped
	alone   bool // its batch failed as a whole: it is one of its own from now on
}

// arrived is an event that could not be decoded.
type arrived struct {
	raw []byte
	bad error
}

// letter is a dead letter that is being redriven.
type letter struct {
	Redrive
	ctx  context.Context // ends with its drain
	lane string
}

// bad returns why the event could not be decoded, or nil.
func (x *extra) bad() error {
	if x == nil || x.arrived == nil {
		return nil
	}
	return x.arrived.bad
}

// redrive returns what is being redriven; nil for a live event.
func (x *extra) redrive() *Redrive {
	if x == nil || x.letter == nil {
		return nil
	}
	return &x.letter.Redrive
}

func (x *extra) goesAlone() bool { return x != nil && x.alone }

// extra returns what a stage's item carries of an arrival.
func (a *arrival) extra() *extra {
	x := &extra{receipt: a.receipt}
	if a.undecodable != nil {
		x.arrived = &arrived{raw: a.raw, bad: a.undecodable}
	}
	return x
}

// receipt tells somebody when every stage has settled an event.
type receipt struct {
	left atomic.Int32
	each func(stage string, o Outcome, err error)
	done func(error)
	// output is called for each event that a stage emitted for this one; nil when nobody asks.
	output func(stage string, v any)

	mu     sync.Mutex
	faults []error
}

// settle is called once for each stage. What counts as unsettled, for done, is a failure that nobody
// handled and an event that was handed back.
func (r *receipt) settle(stage string, o Outcome, err error) {
	if r.each != nil {
		r.each(stage, o, err)
	}
	if o == OutcomeFailed || o == OutcomeReturned || o == OutcomeCancelled {
		r.mu.Lock()
		r.faults = append(r.faults, err)
		r.mu.Unlock()
	}
	if r.left.Add(-1) == 0 && r.done != nil {
		r.mu.Lock()
		err := errors.Join(r.faults...)
		r.mu.Unlock()
		r.done(err)
	}
}
