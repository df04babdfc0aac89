package pipelinetest_test

import (
	"context"
	"fmt"

	"github.com/runnel-go/runnel/event"
	"github.com/runnel-go/runnel/pipelinetest"
	"github.com/runnel-go/runnel/stage"
)

// handleBatch is the handler of a Batch: what each event's script says, until one of its key fails.
func (w *world) handleBatch(ctx context.Context, all []event.Event[task]) error {
	w.enter(all, 1)
	defer w.enter(all, -1)
	answers, failed := make(stage.BatchErrors, len(all)), map[string]bool{}
	for i, e := range all {
		lane := w.batchLane(e)
		if failed[lane] && w.order != stage.Unordered {
			continue
		}
		n, a := w.called(e)
		w.answer(e, n, call{failed: true, own: len(all) == 1}) // should it end here, by a panic
		err := w.act(ctx, e, a)
		k := stage.VerdictOf(err).Kind
		done := k == stage.KindDone || k == stage.KindSkip
		answers[i], failed[lane] = err, !done
		w.answer(e, n, call{failed: !done, own: true})
	}
	return answers
}

func (w *world) answer(e event.Event[task], n int, c call) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.calls[e.Payload.N][n] = c
}

func (w *world) batchLane(e event.Event[task]) string {
	if w.order == stage.Serial {
		return ""
	}
	return e.Key
}

// enter notes which lanes are in a batch that runs: one lane is in one batch, as a run in its order (B1).
func (w *world) enter(all []event.Event[task], n int) {
	w.mu.Lock()
	var overlaps, disorder bool
	last := map[string]uint64{}
	for _, e := range all {
		lane := w.batchLane(e)
		if w.order == stage.Unordered || w.order == stage.PerKey && lane == "" {
			continue
		}
		if _, is := last[lane]; !is && n > 0 {
			overlaps = overlaps || w.inBatch[lane] > 0
		}
		disorder = disorder || e.Seq <= last[lane]
		last[lane] = e.Seq
		w.inBatch[lane] += n
	}
	w.mu.Unlock()
	if overlaps {
		w.fault("B1: a key is in two batches at once")
	}
	if disorder {
		w.fault("B1: a batch is out of order")
	}
}

// judgeNeighbours checks that no event of a batch is a letter only because its batch failed: B3.
func (w *world) judgeNeighbours(h pipelinetest.History) {
	if w.batch == 0 || w.timeout {
		return // what timed out has no answer
	}
	givenUp := map[string]bool{}  // while they waited
	awaited := map[string]error{} // what for
	for _, e := range h {
		var n int
		cause := stage.VerdictOf(e.Err).Cause
		switch {
		case e.What == pipelinetest.Parked && e.Postponed:
			awaited[e.ID] = e.Err
		case e.What == pipelinetest.Returned && (cause == stage.ErrNotDue || cause != nil && cause == awaited[e.ID]): //nolint:errorlint // an error of a handler's may have no end
			givenUp[e.ID] = true
		}
		if _, err := fmt.Sscan(e.ID, &n); e.What != pipelinetest.Stored || e.Stage != "first" || err != nil {
			continue
		}
		failed := givenUp[e.ID]
		for _, c := range w.calls[n] {
			failed = failed || c.failed && c.own
		}
		if !failed {
			w.fault("B3: %v became a letter, and no call of its own failed", e)
		}
	}
}
