package pipelinetest

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/runnel-go/runnel/stage"
)

// Check returns everything in the history that a pipeline must never do, joined, or nil. It holds at any
// moment, and knows nothing but the history. From the observer's part of it:
//
//   - at one stage no two attempts of one lane overlap but in a batch, and no two of one event;
//   - the first attempts of a lane begin in the order in which the events were accepted, each when its
//     predecessor has settled, or is in the same batch; a redriven letter is free to come later;
//   - the attempts of an event are numbered 1, 2, 3 …, anew after it was held, and none begins before
//     its delay is over;
//   - an event settles at most once at a stage, and nothing happens to it there afterwards; a letter whose redrive
//     fails again has failed, and is not one more.
//
// From that of Recorder.Middleware: handlers of one lane, and of one event, do not overlap, and those of a lane
// are called in the order of their events; what a shutdown or a cancelled drain interrupted counts no attempt and
// makes no letter.
//
// From that of Recorder.Letters: an event settles as dead-lettered or diverted when the store has its letter;
// it is stored behind a letter of its lane, and not run, exactly while one holds the lane; letters of a lane
// are redriven in accept order; and one leaves after a success.
//
// An attempt that a cancelled pipeline.Drain interrupted leaves no entry, and looks like an overlap when
// the event is started again. A lane whose letters an operator discarded is not checked for what holds it.
func (h History) Check() error {
	c := newChecker()
	for i, e := range h {
		if e.What != Accepted {
			c.entry(i, e)
		}
	}
	return errors.Join(c.faults...)
}

// CheckRest is Check for a pipeline at rest: besides, every accepted event has settled at each stage
// that took events of its topic, or is among those that a shutdown handed back, and nothing settled that
// was not accepted.
func (h History) CheckRest(left ...stage.Unfinished) error {
	type place struct {
		stage string
		identity
	}
	ended, stages, accepted := map[place]int{}, map[string]map[string]bool{}, map[identity]bool{}
	note := func(topic, stage string) {
		if stages[topic] == nil {
			stages[topic] = map[string]bool{}
		}
		stages[topic][stage] = true
	}
	for _, e := range h {
		switch {
		case e.What == Accepted:
			accepted[nameOf(e)] = true
		case e.Redrive == "":
			note(e.Topic, e.Stage)
			if e.What == Settled {
				ended[place{e.Stage, nameOf(e)}]++
			}
		}
	}
	for _, u := range left {
		if u.Letter == "" {
			note(u.Meta.Topic, u.Stage)
			ended[place{u.Stage, identity{u.Meta.Topic, u.Meta.Origin, u.Meta.Seq}}]++
		}
	}
	faults := []error{h.Check()}
	for ev := range accepted {
		for stage := range stages[ev.topic] {
			if n := ended[place{stage, ev}]; n != 1 {
				faults = append(faults, fmt.Errorf("%s/%d ended %d times at %s, want once", ev.topic, ev.seq, n, stage))
			}
		}
	}
	for p := range ended {
		if !accepted[p.identity] {
			faults = append(faults, fmt.Errorf("%s/%d ended at %s, but was not accepted", p.topic, p.seq, p.stage))
		}
	}
	return errors.Join(faults...)
}

// identity names an event, which its ID may not: a producer may give one twice.
type identity struct {
	topic  string
	origin uint64
	seq    uint64
}

func nameOf(e Entry) identity { return identity{e.Topic, e.Origin, e.Seq} }

type laneName struct{ stage, lane string }

// eventName names an event at a stage; a redrive of it is another.
type eventName struct {
	stage   string
	redrive string
	identity
}

// laneState is where a lane stands after a part of the history.
type laneState struct {
	running []Entry // the attempts that are executing: one, but in a batch
	calling []Entry // the calls of the handler that are executing, likewise
	open    []Entry // the first attempts of the events that have started and not settled, likewise
	last    uint64  // the highest Seq that has started
	called  *Entry  // the last call of the handler for a live event

	letters map[string]Entry // that are in the store, by id
	edited  bool             // an operator had a hand in them
}

// eventState is where an event stands at a stage.
type eventState struct {
	attempts int // that counted
	running  bool
	calling  bool
	settled  bool
	handled  bool      // a call of its handler has succeeded
	cut      bool      // the last call of its handler was interrupted
	failed   error     // what the last call of its handler returned
	behind   *Entry    // what held its lane when it was called in a batch
	due      time.Time // of its next attempt
}

type checker struct {
	lanes   map[laneName]*laneState
	events  map[eventName]*eventState
	letters map[string]bool  // stages of which the history has letters
	stored  map[eventID]bool // events that became letters
	faults  []error
}

func newChecker() *checker {
	return &checker{lanes: map[laneName]*laneState{}, events: map[eventName]*eventState{}, letters: map[string]bool{}, stored: map[eventID]bool{}}
}

func (c *checker) fault(i int, e Entry, format string, args ...any) {
	c.faults = append(c.faults, fmt.Errorf("entry %d, %v: %s", i, e, fmt.Sprintf(format, args...)))
}

func (c *checker) entry(i int, e Entry) {
	switch e.What {
	case Called, Returned:
		c.call(i, e)
		return
	case Stored, Diverted, Resolved, Failed, Discarded, Restored:
		c.letter(i, e)
		return
	}
	ev := c.event(e, e.Redrive)
	if ev.settled {
		c.fault(i, e, "it had settled before")
	}
	if e.What == Started {
		c.started(i, e, ev)
	} else {
		c.ended(i, e, ev)
	}
	if e.Ordered {
		c.lane(i, e)
	}
	if e.What == Settled && e.Redrive != "" {
		delete(c.events, eventName{e.Stage, e.Redrive, nameOf(e)}) // a letter may come back
	}
}

func (c *checker) event(e Entry, redrive string) *eventState {
	name := eventName{e.Stage, redrive, nameOf(e)}
	if c.events[name] == nil {
		c.events[name] = &eventState{}
	}
	return c.events[name]
}

func (c *checker) laneOf(e Entry) *laneState {
	name := laneName{e.Stage, e.Lane}
	if c.lanes[name] == nil {
		c.lanes[name] = &laneState{letters: map[string]Entry{}}
	}
	return c.lanes[name]
}

func (c *checker) started(i int, e Entry, ev *eventState) {
	if ev.running {
		c.fault(i, e, "another attempt at it is executing")
	}
	if e.Attempt != ev.attempts+1 {
		c.fault(i, e, "want attempt %d", ev.attempts+1)
	}
	if !e.Final && e.At.Before(ev.due) {
		c.fault(i, e, "it is not due for another %v", ev.due.Sub(e.At))
	}
	ev.running, ev.cut, ev.failed = true, false, nil
}

func (c *checker) ended(i int, e Entry, ev *eventState) {
	if !ev.running && e.What != Settled { // one that settles may have been dropped before any attempt
		c.fault(i, e, "no attempt at it is executing")
	}
	ev.running = false
	if ev.cut && (e.What != Settled || e.Outcome == stage.OutcomeFailed || e.Outcome == stage.OutcomeDeadLettered) {
		c.fault(i, e, "its handler was interrupted, which is no failure")
	}
	switch e.What {
	case Parked:
		if !e.Postponed {
			ev.attempts++
		}
		if !e.At.IsZero() {
			ev.due = e.At.Add(e.Delay)
		}
	case Held:
		ev.attempts, ev.due = 0, time.Time{}
	case Settled:
		ev.settled = true
		c.safe(i, e)
		if e.Redrive != "" && (e.Outcome == stage.OutcomeDeadLettered || e.Outcome == stage.OutcomeDiverted) {
			c.fault(i, e, "it is redriven, and is no letter more")
		}
	}
}

// lane follows the order of a lane.
func (c *checker) lane(i int, e Entry) {
	ln := c.laneOf(e)
	if e.What != Started {
		ln.running = without(ln.running, e)
		if e.What == Settled {
			c.settled(i, e, ln)
		}
		return
	}
	c.beside(i, e, ln.running)
	if e.Redrive == "" {
		c.inOrder(i, e, ln)
	}
	ln.running = append(ln.running, e)
}

// beside checks what executes when e begins in the same lane: only what is in a batch with it.
func (c *checker) beside(i int, e Entry, executing []Entry) {
	for _, other := range executing {
		if !e.Batched || !other.Batched || e.Redrive+other.Redrive != "" {
			c.fault(i, e, "it overlaps: %v", other)
		}
	}
}

// inOrder checks an attempt at a live event against those that have begun before it and not settled. One that may
// be in a batch with them is checked when it settles: it begins in vain when one ahead of it has just failed.
func (c *checker) inOrder(i int, e Entry, ln *laneState) {
	again := false
	for _, other := range ln.open {
		executing := slices.ContainsFunc(ln.running, func(r Entry) bool { return same(r, other) })
		switch {
		case same(other, e):
			again = true
		case other.Seq > e.Seq && executing || other.Seq < e.Seq && !e.Batched:
			c.fault(i, e, "it overtakes one that has not settled: %v", other)
		}
	}
	if again {
		return
	}
	if e.Seq <= ln.last {
		c.fault(i, e, "its place was before %s/%d", e.Topic, ln.last)
	}
	ln.open, ln.last = append(ln.open, e), max(ln.last, e.Seq)
}

// settled ends an event. A batched one ends when no event ahead of it has failed and is to be tried again.
func (c *checker) settled(i int, e Entry, ln *laneState) {
	began := len(ln.open)
	ln.open = without(ln.open, e)
	if len(ln.open) == began || !e.Batched {
		return // it was dropped before any attempt, or was checked when it began
	}
	for _, other := range ln.open {
		if other.Seq < e.Seq && c.event(other, "").attempts > 0 {
			c.fault(i, e, "it overtakes one that has failed and not settled: %v", other)
		}
	}
}

// same reports whether two entries are about one event, or one redrive of it.
func same(a, b Entry) bool { return nameOf(a) == nameOf(b) && a.Redrive == b.Redrive }

func without(all []Entry, e Entry) []Entry {
	return slices.DeleteFunc(all, func(other Entry) bool { return same(other, e) })
}
