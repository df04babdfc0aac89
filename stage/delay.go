package stage

import (
	"time"

	"github.com/runnel-go/runnel/stage/internal/lane"
)

// early keeps an event in its place that its producer put off until later. It returns true when there is
// nothing to run. While the pipeline drains the policy decides, but none of them runs an event before its
// time: those that wait for nothing hand it back, and GiveUp has it fail untried.
func (r *runner[T]) early(it *item[T], d *lane.Decision) bool {
	due, delayed := it.event.NotBefore()
	if !delayed {
		return false
	}
	wait := time.Until(due)
	live := it.x.redrive() == nil
	if wait <= 0 || !live && it.x.letter.ctx.Err() != nil {
		return false
	}
	switch {
	case !live || !r.s.draining.Load() || r.s.set.drain == WaitUntilDue:
		r.again, r.cause = KindPostpone, ErrNotDue
		*d = lane.Decision{Action: lane.Park, Delay: wait, Hurry: live && r.s.set.drain != WaitUntilDue}
	case r.s.set.drain == GiveUp:
		r.preset = Permanent(ErrNotDue)
		return false
	default:
		r.again = KindPostpone
		*d = lane.Decision{Action: lane.Hold}
	}
	r.s.tally.untried.Add(1)
	return true
}
