package pipelinetest_test

import (
	"time"

	"github.com/runnel-go/runnel/pipelinetest"
	"github.com/runnel-go/runnel/stage"
)

// fairRun is how many calls in a row a key may have while others wait; modelKeys is how many keys there are, and none.
const (
	fairRun   = 8
	modelKeys = 5
)

// turn names an event, and waiting is what waits for its next attempt.
type (
	turn    struct{ origin, seq uint64 }
	waiting struct {
		due    time.Time
		ripe   int // the entry when it was due
		passed int // by how many that came later
	}
)

// judgeFairness checks that an event which is due and first of its key is not passed by more than a bounded number of
// those that were accepted after that: O5, until the pipeline drains and hands back what is parked.
func (w *world) judgeFairness(h pipelinetest.History) {
	if w.order != stage.PerKey {
		return
	}
	const bound = 2 * fairRun * modelKeys // a run of each key, and one that came in between
	accepted, parked, lanes := map[turn]int{}, map[turn]*waiting{}, map[string]turn{}
	for i, e := range h {
		if w.onDrain == stage.Return && !w.stopping.IsZero() && !e.At.Before(w.stopping) {
			return // what is parked stays where it is, to be handed back
		}
		for _, p := range parked {
			if p.ripe == 0 && !e.At.Before(p.due) {
				p.ripe = i
			}
		}
		at := turn{e.Origin, e.Seq}
		switch {
		case e.What == pipelinetest.Accepted && e.Topic == "tasks":
			accepted[at] = i
		case e.Stage != "first":
		case e.Redrive != "" || e.What == pipelinetest.Held || e.Letter != "": // comes before what is parked
			delete(parked, lanes[e.Lane])
		case e.What == pipelinetest.Parked && e.Batched && e.Postponed:
			delete(parked, at) // it may wait behind others of its run
		case e.What == pipelinetest.Parked && e.Ordered:
			parked[at], lanes[e.Lane] = &waiting{due: e.At.Add(e.Delay)}, at
		case e.What == pipelinetest.Started:
			delete(parked, at)
			for it, p := range parked {
				if p.ripe == 0 || accepted[at] <= p.ripe {
					continue
				}
				if p.passed++; p.passed == bound+1 {
					w.fault("O5: %d events that came later were begun before number %d, which was due at %v: %v", p.passed, it.seq, p.due, e)
				}
			}
		case e.What == pipelinetest.Settled:
			delete(parked, at)
		}
	}
}
