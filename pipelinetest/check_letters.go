package pipelinetest

import (
	"github.com/runnel-go/runnel/stage"
)

// call follows the handlers.
func (c *checker) call(i int, e Entry) {
	ev := c.event(e, e.Redrive)
	if e.What == Returned {
		ev.calling, ev.failed = false, e.Err
		ev.cut = e.Interrupted && !succeeded(e.Err)
		if e.Ordered {
			c.returned(i, e, c.laneOf(e))
		}
		return
	}
	if ev.calling {
		c.fault(i, e, "another call for it is executing")
	}
	ev.calling = true
	if !e.Ordered {
		return
	}
	ln := c.laneOf(e)
	c.beside(i, e, ln.calling)
	ln.calling = append(ln.calling, e)
	if e.Batched && e.Redrive == "" {
		ev.behind = ln.holder() // whether it was handled past that, its return tells
		return
	}
	c.called(i, e, ln)
	c.mayRun(i, e, ln)
}

// returned ends a call. Of those in a batch it tells the order: what is put off, or given up before it was due, or by a
// shutdown, was not handled.
func (c *checker) returned(i int, e Entry, ln *laneState) {
	ln.calling = without(ln.calling, e)
	v := stage.VerdictOf(e.Err)
	if e.Batched && v.Kind != stage.KindPostpone && v.Cause != stage.ErrNotDue && v.Cause != stage.ErrShutdown { //nolint:errorlint // an error of a handler's may have no end
		c.called(i, e, ln)
		if behind := c.event(e, e.Redrive).behind; behind != nil && e.Redrive == "" && !ln.edited {
			c.fault(i, e, "its lane is held: %v", *behind)
		}
	}
}

// called checks that the calls of a lane come in the order of their events.
func (c *checker) called(i int, e Entry, ln *laneState) {
	if e.Redrive != "" {
		return
	}
	if last := ln.called; last != nil && last.Topic == e.Topic && last.Origin == e.Origin && e.Seq < last.Seq {
		c.fault(i, e, "its place was before %v", *last)
	}
	ln.called = &e
}

// succeeded reports whether a handler that returned err handled its event.
func succeeded(err error) bool {
	k := stage.VerdictOf(err).Kind
	return k == stage.KindDone || k == stage.KindSkip
}

// mayRun checks a call against the letters of its lane.
func (c *checker) mayRun(i int, e Entry, ln *laneState) {
	if e.Redrive == "" {
		if held := ln.holder(); held != nil && !ln.edited {
			c.fault(i, e, "its lane is held: %v", *held)
		}
		return
	}
	for _, l := range ln.letters {
		if l.Topic == e.Topic && l.Origin == e.Origin && l.Seq < e.Seq && !ln.edited {
			c.fault(i, e, "a letter stands before it: %v", l)
		}
	}
}

// holder returns a letter that holds the lane, or nil.
func (l *laneState) holder() *Entry {
	for _, e := range l.letters {
		if e.Holds {
			return &e
		}
	}
	return nil
}

// letter follows the letters in the store.
func (c *checker) letter(i int, e Entry) {
	c.letters[e.Stage] = true
	ln, ev := c.laneOf(e), c.event(e, "")
	switch e.What {
	case Stored:
		c.stored[eventID{e.Stage, e.ID}] = true
		if ev.cut {
			c.fault(i, e, "its handler was interrupted, which is no failure")
		}
		ln.put(e)
	case Diverted:
		c.stored[eventID{e.Stage, e.ID}] = true
		if e.Ordered && ln.holder() == nil && !ln.edited {
			c.fault(i, e, "nothing holds its lane")
		}
		ln.put(e)
	case Resolved:
		if _, is := ln.letters[e.Letter]; e.Ordered && !is && !ln.edited {
			c.fault(i, e, "the letter was not there")
		}
		if re := c.events[eventName{e.Stage, e.Letter, nameOf(e)}]; re != nil && re.running && !succeeded(re.failed) {
			c.fault(i, e, "its handler had failed")
		}
		delete(ln.letters, e.Letter)
	case Discarded:
		ln.edited = true
		delete(ln.letters, e.Letter)
	case Restored:
		ln.edited = true
		ln.put(e)
	}
}

// put notes a letter of a lane; those without a lane keep no order.
func (l *laneState) put(e Entry) {
	if e.Ordered {
		l.letters[e.Letter] = e
	}
}

// eventID names an event at a stage as a store of letters does: of two with one ID it keeps one.
type eventID struct{ stage, id string }

// safe checks that an event which settled into the store is there.
func (c *checker) safe(i int, e Entry) {
	into := e.Outcome == stage.OutcomeDeadLettered || e.Outcome == stage.OutcomeDiverted
	if into && e.Redrive == "" && c.letters[e.Stage] && !c.stored[eventID{e.Stage, e.ID}] {
		c.fault(i, e, "no letter of it was stored")
	}
}
