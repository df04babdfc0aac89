package pipelinetest

import (
	"errors"
	"fmt"

	"github.com/runnel-go/runnel/stage"
)

// Rules is what a stage promises by how it was put together. A field that is zero is not checked.
type Rules struct {
	// Attempts is how many an event gets: fewer only for a permanent failure, or while the pipeline
	// drains and waits for no other attempt.
	Attempts int
	// InOrder says that what is done in a lane is done in accept order, redriven letters included: so
	// it is under deadletter.Park, Block and HaltStage.
	InOrder bool
	// Once says that the stage is idempotent: of the events of one identity at most one succeeds, and
	// none is a duplicate before one has, or is a dead letter. It needs Recorder.Middleware.
	Once bool
}

// CheckStage returns everything in the history of a stage that is against its rules, joined, or nil. Beside
// it Check holds, which knows no rules.
func (h History) CheckStage(stageName string, r Rules) error {
	c := ruleChecker{rules: r, checker: newChecker(), last: map[string]Entry{}, succeeded: map[string]int{}, done: map[string]Entry{}, dead: map[string]int{}}
	for i, e := range h {
		if e.Stage == stageName {
			c.entry(i, e)
		}
	}
	return errors.Join(c.faults...)
}

type ruleChecker struct {
	*checker
	rules     Rules
	last      map[string]Entry // done last, by lane
	succeeded map[string]int   // calls of the handler, by identity
	done      map[string]Entry // by identity
	dead      map[string]int   // letters there are, by identity
}

func (c *ruleChecker) entry(i int, e Entry) {
	switch e.What {
	case Returned:
		ev := c.event(e, e.Redrive)
		ev.handled = ev.handled || succeeded(e.Err)
		if succeeded(e.Err) {
			c.succeeded[e.ID]++
		}
	case Stored, Diverted:
		c.dead[e.ID]++
	case Settled:
		c.settled(i, e)
	}
}

func (c *ruleChecker) settled(i int, e Entry) {
	if c.rules.Attempts > 0 {
		c.attempts(i, e)
	}
	if c.rules.InOrder && e.Ordered && e.Outcome == stage.OutcomeDone {
		if last, is := c.last[e.Lane]; is && last.Topic == e.Topic && last.Origin == e.Origin && e.Seq <= last.Seq {
			c.fault(i, e, "it is done after %s/%d", last.Topic, last.Seq)
		}
		c.last[e.Lane] = e
	}
	if c.rules.Once {
		c.once(i, e)
	}
}

// attempts checks how many an event got that has failed for good.
func (c *ruleChecker) attempts(i int, e Entry) {
	switch {
	case e.Attempt > c.rules.Attempts:
		c.fault(i, e, "want at most %d attempts", c.rules.Attempts)
	case e.Outcome != stage.OutcomeDeadLettered && e.Outcome != stage.OutcomeFailed, e.Redrive != "",
		e.Final, stage.VerdictOf(e.Err).Kind == stage.KindPermanent:
	case e.Attempt < c.rules.Attempts:
		c.fault(i, e, "want %d attempts", c.rules.Attempts)
	}
}

func (c *ruleChecker) once(i int, e Entry) {
	switch {
	case e.Outcome == stage.OutcomeDuplicate:
		if c.succeeded[e.ID]+c.dead[e.ID] == 0 {
			c.fault(i, e, "no event of its identity has succeeded")
		}
	case e.Outcome == stage.OutcomeDone && c.event(e, e.Redrive).handled:
		if first, is := c.done[e.ID]; is {
			c.fault(i, e, "its identity was done before: %v", first)
		}
		c.done[e.ID] = e
	}
	if e.Redrive != "" {
		delete(c.events, eventName{e.Stage, e.Redrive, nameOf(e)})
	}
}

// CheckUnfinished returns an error unless what a shutdown handed back stands, within each lane of a stage, in
// accept order. Redriven letters are free.
func CheckUnfinished(left []stage.Unfinished) error {
	type lane struct{ stage, topic, key string }
	last := map[lane]uint64{}
	var faults []error
	for _, u := range left {
		at := lane{u.Stage, u.Meta.Topic, u.Meta.Key}
		if u.Letter != "" || u.Meta.Key == "" {
			continue
		}
		if u.Meta.Seq <= last[at] {
			faults = append(faults, fmt.Errorf("%s: %s/%d of key %q is handed back after %d", u.Stage, u.Meta.Topic, u.Meta.Seq, u.Meta.Key, last[at]))
		}
		last[at] = u.Meta.Seq
	}
	return errors.Join(faults...)
}
