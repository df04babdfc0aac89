package pipelinetest_test

import (
	"context"
	"fmt"
	"testing/synctest"
	"time"

	"github.com/runnel-go/runnel/deadletter"
	"github.com/runnel-go/runnel/pipeline"
	"github.com/runnel-go/runnel/pipelinetest"
	"github.com/runnel-go/runnel/stage"
)

// end shuts the pipeline down in one of several ways and returns what was handed back.
func (w *world) end(cancel context.CancelFunc) []stage.Unfinished {
	p := w.tape
	p.toEnd()
	for _, q := range w.queues {
		close(q)
	}
	w.outage.over()
	if p.flip() {
		w.pause(false)
	}
	how := p.pick(6)
	if how < 2 { // everything may come to rest first
		time.Sleep(5 * time.Minute)
		synctest.Wait()
		w.quiet()
	}
	w.stopIsComing()
	forced := false
	switch how {
	case 0, 2:
		_ = w.p.Shutdown(context.Background())
	case 3:
		ctx, stop := context.WithTimeout(context.Background(), time.Duration(p.pick(5))*9*time.Millisecond)
		_ = w.p.Shutdown(ctx)
		stop()
		forced = true
	case 4:
		for range 3 {
			w.helpers.Go(func() { _ = w.p.Shutdown(context.Background()) })
		}
	default:
		cancel()
	}
	select {
	case <-w.runs:
	case <-time.After(10 * time.Minute):
		w.fault("S3: Run has not returned: %+v", w.p.Snapshot())
		return nil
	}
	took := time.Since(w.stopping)
	if again := w.p.Shutdown(context.Background()); fmt.Sprint(again) != fmt.Sprint(w.runErr) {
		w.fault("S4: Shutdown again = %v, Run = %v", again, w.runErr)
	}
	recorded := len(w.rec.History())
	w.helpers.Wait()
	time.Sleep(10 * time.Minute)
	for _, e := range w.rec.History()[recorded:] {
		if e.What == pipelinetest.Started || e.What == pipelinetest.Called {
			w.fault("S2: after Run had returned: %v", e)
		}
	}
	return w.handedBack(took, forced)
}

// handedBack judges what Run returned.
func (w *world) handedBack(took time.Duration, forced bool) []stage.Unfinished {
	halted := w.policy == deadletter.HaltStage
	var u *pipeline.UnfinishedError
	if all, ok := w.runErr.(interface{ Unwrap() []error }); ok { // errors.As would find no end of a terrible one
		for _, err := range all.Unwrap() {
			if found, ok := err.(*pipeline.UnfinishedError); ok { //nolint:errorlint // as above
				u = found
			}
		}
	}
	if u == nil {
		if w.runErr != nil && !halted {
			w.fault("Run = %v, want nil or an UnfinishedError", w.runErr)
		}
		return nil
	}
	if len(u.Stuck) > 0 && !halted && took < pipeline.DefaultLinger {
		w.fault("S3: %v were given up after %v", u.Stuck, took)
	}
	if w.order != stage.Unordered {
		if err := pipelinetest.CheckUnfinished(u.Events); err != nil {
			w.fault("S3: %v", err)
		}
	}
	if forced || took >= w.grace || halted || w.onDrain == stage.Return {
		return u.Events
	}
	held, first := map[string]bool{}, 0
	for _, e := range u.Events {
		due, delayed := e.Meta.NotBefore()
		if e.State == "held" || e.State == "parked" && delayed && due.After(w.stopping) { // nothing waits for it
			held[w.laneOf(e)] = true
		}
		if e.Stage == "first" {
			first++
		}
	}
	if len(held) > 0 && first > w.buffer/2 { // what is held fills the stage, and others wait at its door
		return u.Events
	}
	s, _ := w.p.Snapshot().Stage("first")
	for _, e := range u.Events {
		if !held[w.laneOf(e)] && !w.paused && !s.Halted {
			w.fault("S1: handed back after %v of a grace of %v, and nothing holds it: %s %s/%d key %q %s", took, w.grace, e.State, e.Stage, e.Meta.Seq, e.Meta.Key, e.Letter)
		}
	}
	return u.Events
}

func (w *world) laneOf(u stage.Unfinished) string {
	switch {
	case u.Stage == "first" && w.order == stage.Serial:
		return "first"
	case u.Stage == "first" && (w.order == stage.Unordered || u.Meta.Key == ""):
		return fmt.Sprint(u.Meta.Seq)
	}
	return u.Stage + "/" + u.Meta.Key
}

// quiet judges a moment in which nothing moves.
func (w *world) quiet() {
	s, _ := w.p.Snapshot().Stage("first")
	if s.Resident()+s.Redriving == 0 && s.Lanes > 0 {
		w.fault("M2: no event is resident, but there are %d lanes", s.Lanes)
	}
	w.judgeOpen()
	if w.maxPerKey == 0 || w.blind {
		return
	}
	resident := map[string]int{}
	for _, e := range w.rec.History() {
		switch {
		case e.What == pipelinetest.Accepted && e.Topic == "tasks":
			resident[e.Key]++
		case e.What == pipelinetest.Settled && e.Stage == "first" && e.Redrive == "":
			resident[e.Key]--
		}
	}
	for key, n := range resident {
		if n > w.maxPerKey && key != "" {
			w.fault("M3: %d events of key %q are resident, want at most %d", n, key, w.maxPerKey)
		}
	}
}

// judge checks the whole.
func (w *world) judge(left []stage.Unfinished) {
	h := w.rec.History()
	w.is("D1", w.p.Snapshot().Sum(true))
	w.judgeLetters(h)
	if w.blind {
		w.is("Check", h.Check())
		w.judgeCount(left)
		w.judgeDone(h)
		return
	}
	w.is("Check", h.CheckRest(left...))
	w.is("the stage's rules", h.CheckStage("first", pipelinetest.Rules{
		Attempts: w.attempts, Once: w.once,
		// A batch may settle past an event that was handled and could not be marked: it is handled in order all the same.
		InOrder: w.policy != deadletter.Continue && !w.edited && (w.batch == 0 || !w.once),
	}))
	w.judgeLanes(h)
	w.judgePublishes(h)
	w.judgeFairness(h)
	w.judgeNeighbours(h)
	if w.emits {
		w.judgeYields(h)
	}
}

func (w *world) is(what string, err error) {
	if err != nil {
		w.fault("%s: %v", what, err)
	}
}

// judgeCount compares what was published, by number, with what the pipeline says of it, and what was handed back.
func (w *world) judgeCount(left []stage.Unfinished) {
	var accepted uint64
	for _, n := range w.accepted {
		accepted += uint64(n)
	}
	for _, s := range w.p.Snapshot().Stages {
		var back uint64
		for _, u := range left {
			if u.Stage == s.Name && u.Letter == "" {
				back++
			}
		}
		if s.Topic == "tasks" && s.Accepted != accepted || s.Returned != back {
			w.fault("L2: %d publishes returned nil and %d events were handed back, the stage says %+v", accepted, back, s)
		}
	}
}

// judgeDone checks that no more events are done than have a call that succeeded: R1.
func (w *world) judgeDone(h pipelinetest.History) {
	succeeded := map[uint64]bool{}
	for _, e := range h {
		if e.What == pipelinetest.Returned && e.Redrive == "" && e.Err == nil {
			succeeded[e.Seq] = true
		}
	}
	if s, _ := w.p.Snapshot().Stage("first"); s.Done > uint64(len(succeeded)) {
		w.fault("R1: %d events are done, the handler succeeded for %d", s.Done, len(succeeded))
	}
}

// judgeLanes checks that each event had the lane of its own key: O6, O7.
func (w *world) judgeLanes(h pipelinetest.History) {
	for _, e := range h.Started("first") {
		lane, ordered := e.Key, e.Key != ""
		switch w.order {
		case stage.Serial:
			lane, ordered = "", true
		case stage.Unordered:
			lane, ordered = "", false
		}
		if e.Ordered != ordered || ordered && e.Lane != lane {
			w.fault("O6: %v, want the lane %q, %v", e, lane, ordered)
		}
	}
}

// judgePublishes checks that exactly what Publish said was accepted: L2.
func (w *world) judgePublishes(h pipelinetest.History) {
	w.mu.Lock()
	accepted := w.accepted
	w.accepted = nil
	w.mu.Unlock()
	for _, e := range h {
		if e.What == pipelinetest.Accepted && e.Topic == "tasks" {
			accepted[e.ID]--
		}
	}
	for id, n := range accepted {
		if n != 0 {
			w.fault("L2: %d more publishes of %s returned nil than were accepted", n, id)
		}
	}
}

// judgeLetters compares the store with what was recorded of it: D1, X5, X8.
func (w *world) judgeLetters(h pipelinetest.History) {
	there, restored, redrives := map[string]bool{}, map[string]bool{}, map[string]int{}
	for _, e := range h {
		switch e.What {
		case pipelinetest.Stored, pipelinetest.Diverted: // anew, if it was discarded before
			there[e.Letter], redrives[e.Letter] = true, 0
		case pipelinetest.Resolved, pipelinetest.Discarded:
			delete(there, e.Letter)
		case pipelinetest.Restored:
			there[e.Letter], restored[e.Letter] = true, true
		case pipelinetest.Failed:
			redrives[e.Letter]++
		}
	}
	for l, err := range w.letters.List(context.Background(), deadletter.Filter{}) {
		if err != nil {
			w.fault("List = %v", err)
			return
		}
		if !there[l.ID] {
			w.fault("letter %s of %d is in the store, which nobody put there", l.ID, l.Seq)
		}
		if l.Redrives != redrives[l.ID] {
			w.fault("X8: letter %s was redriven %d times, want %d", l.ID, l.Redrives, redrives[l.ID])
		}
		if w.redrives > 0 && !restored[l.ID] && (l.State == deadletter.Quarantined) != (l.Redrives >= w.redrives) {
			w.fault("X7: letter %s is %s after %d redrives of %d", l.ID, l.State, l.Redrives, w.redrives)
		}
		delete(there, l.ID)
	}
	for id := range there {
		w.fault("X5: letter %s was stored and is gone, but was not handled", id)
	}
}

// judgeYields checks that what a call gave was published if it succeeded, in order, and only then: O9.
func (w *world) judgeYields(h pipelinetest.History) {
	next, last := map[string]int{}, map[string]uint64{}
	for _, e := range h {
		if e.What != pipelinetest.Accepted || e.Topic != "yields" {
			continue
		}
		var y yield
		if _, err := fmt.Sscanf(e.ID, "%d.%d.%d", &y.N, &y.Call, &y.I); err != nil {
			w.fault("yield %q: %v", e.ID, err)
			continue
		}
		at := fmt.Sprintf("%d.%d", y.N, y.Call)
		if c := w.calls[y.N][y.Call]; c.failed {
			w.fault("O9: call %s failed and has emitted %d", at, y.I)
		}
		if y.I != next[at] || e.Seq < last[at] {
			w.fault("O9: call %s has emitted %d, want %d next", at, y.I, next[at])
		}
		next[at], last[at] = y.I+1, e.Seq
	}
	done := map[string]int{}
	for _, e := range h.Settled("first") {
		if e.Outcome == stage.OutcomeDone && e.Redrive == "" {
			done[e.ID]++
		}
	}
	for id, times := range done {
		var n, whole int
		_, _ = fmt.Sscan(id, &n)
		for i, c := range w.calls[n] {
			if !c.failed && next[fmt.Sprintf("%s.%d", id, i)] == c.yields {
				whole++
			}
		}
		if whole < times {
			w.fault("O9: %s was done %d times, but emitted whole %d times", id, times, whole)
		}
	}
}
