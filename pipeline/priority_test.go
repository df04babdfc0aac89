package pipeline_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/runnel-go/runnel/deadletter"
	"github.com/runnel-go/runnel/event"
	"github.com/runnel-go/runnel/middleware"
	"github.com/runnel-go/runnel/pipelinetest"
	"github.com/runnel-go/runnel/stage"
)

// urgency is the level that a job's key begins with.
func urgency(e event.Event[job]) int { return int(e.Key[0] - '0') }

// urgentPlant is a paused plant with a stage of one worker and three levels, and what it handles.
func urgentPlant(t *testing.T, use []stage.Middleware, handle jobHandler, opts ...stage.Option) (w *plant, ids *[]string) {
	ids = new([]string)
	w = runPlant(t, use, work(func(ctx context.Context, e event.Event[job]) error {
		*ids = append(*ids, e.Payload.id())
		return handle(ctx, e)
	}, append([]stage.Option{stage.Workers(1), stage.Priority(3, urgency)}, opts...)...))
	w.must(w.p.Pause("work"))
	return w, ids
}

func (w *plant) must(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

func TestO5_AHigherLevelGoesFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, ids := urgentPlant(t, nil, func(context.Context, event.Event[job]) error { return nil })
		for _, key := range []string{"0a", "1a", "2a", "0b", "2b", "1b", "9c"} { // what is too high is at the highest
			w.put(key, 1)
		}
		synctest.Wait() // until no worker is on its way with the first one
		w.must(w.p.Resume("work"))
		w.rest()
		if want := []string{"2a1", "2b1", "9c1", "1a1", "1b1", "0a1", "0b1"}; !slices.Equal(*ids, want) {
			t.Errorf("handled %v, want %v", *ids, want)
		}
	})
}

// TestO5_ALowerLevelHasItsShare: at most eight of higher levels go before one, and one of the other that waited as long.
func TestO5_ALowerLevelHasItsShare(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, ids := urgentPlant(t, nil, func(context.Context, event.Event[job]) error { return nil })
		for n := range 100 {
			w.put(fmt.Sprintf("2.%d.", n), 1)
			if n < 10 {
				w.put(fmt.Sprintf("0.%d.", n), 1)
				w.put(fmt.Sprintf("1.%d.", n), 1)
			}
		}
		synctest.Wait() // until no worker is on its way with the first one
		w.must(w.p.Resume("work"))
		w.rest()
		var passed [3]int
		var left = [3]int{10, 10, 100}
		for _, id := range *ids {
			level := int(id[0] - '0')
			for l := range level {
				if passed[l]++; left[l] > 0 && passed[l] > 8+1 {
					t.Errorf("%s is the %dth before one of level %d", id, passed[l], l)
				}
			}
			passed[level] = 0
			left[level]--
		}
		if first := slices.IndexFunc(*ids, func(id string) bool { return id[0] != '2' }); first != 8 {
			t.Errorf("%d of the highest level went first, want 8", first)
		}
	})
}

// TestO2_LevelsKeepTheOrderOfAKey: whatever the levels of its events, and across retries.
func TestO2_LevelsKeepTheOrderOfAKey(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		chain := []stage.Middleware{middleware.Retry(middleware.Constant{Attempts: 3, Delay: time.Millisecond})}
		byNumber := stage.Priority(4, func(e event.Event[job]) int { return e.Payload.N % 4 })
		tries := map[string]int{}
		w := runPlant(t, chain, work(func(_ context.Context, e event.Event[job]) error {
			if tries[e.Payload.id()]++; e.Payload.N%5 == 0 && tries[e.Payload.id()] == 1 {
				return errFlop
			}
			return nil
		}, stage.Workers(1), stage.Buffer(64), byNumber))
		publishAll(t, w.pub, someKeys, 40)
		w.rest() // the history: per key one at a time, in accept order
		if s := w.figures(); s.Done != uint64(40*len(someKeys)) {
			t.Errorf("%d done", s.Done)
		}
	})
}

// TestO4_AParkedEventOfAHigherLevelHoldsUpNobody, and when it is due it goes before what is lower.
func TestO4_AParkedEventOfAHigherLevelHoldsUpNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		flopped := false
		w, ids := urgentPlant(t, []stage.Middleware{middleware.Retry(middleware.Constant{Attempts: 2, Delay: 25 * time.Millisecond})},
			func(_ context.Context, e event.Event[job]) error {
				if e.Key == "2a" && !flopped {
					flopped = true
					return errFlop
				}
				time.Sleep(10 * time.Millisecond)
				return nil
			})
		for _, key := range []string{"0a", "0b", "0c", "0d", "2a"} {
			w.put(key, 1)
		}
		synctest.Wait() // until no worker is on its way with the first one
		w.must(w.p.Resume("work"))
		w.rest()
		if want := []string{"2a1", "0a1", "0b1", "0c1", "2a1", "0d1"}; !slices.Equal(*ids, want) {
			t.Errorf("handled %v, want %v", *ids, want)
		}
	})
}

// TestLevelsOfBatchesAndOwnKeys: levels go with a key of the stage's own, and with batches.
func TestLevelsOfBatchesAndOwnKeys(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := &batches{t: t}
		w := runPlant(t, nil, b.stage(stage.Limits{Size: 4, Wait: time.Second}, stage.Workers(4), stage.Priority(3, urgency),
			stage.KeyBy(func(j job) string { return "of " + j.Key })))
		w.must(w.p.Pause("work"))
		for _, key := range []string{"0a", "0b", "0c", "0d", "2a", "2b", "2c", "2d"} {
			w.put(key, 1)
		}
		synctest.Wait() // until no worker is on its way with the first one
		w.must(w.p.Resume("work"))
		w.rest()
		if len(b.calls) != 2 || slices.ContainsFunc(b.calls[0], func(id string) bool { return id[0] != '2' }) {
			t.Errorf("batches %v, want the higher level first", b.calls)
		}
		for _, e := range w.rec.Started("work") { // in any order: a worker each
			if e.Lane != "of "+e.Key {
				t.Errorf("%v: want the stage's own key", e)
			}
		}
	})
}

func TestALevelThatPanicsIsThePublishersError(t *testing.T) {
	w := newPlant(t, nil, work(func(context.Context, event.Event[job]) error { return nil },
		stage.Priority(2, func(event.Event[job]) int { panic("boom") })))
	if err := w.pub.Publish(t.Context(), job{"a", 1}); err == nil || !strings.Contains(err.Error(), "boom") {
		t.Errorf("Publish = %v", err)
	}
}

func TestWrongLevelsAreFaults(t *testing.T) {
	fine := func(context.Context, event.Event[job]) error { return nil }
	for want, opts := range map[string][]stage.Option{
		"Priority(1)":     {stage.Priority(1, urgency)},
		"Priority(9)":     {stage.Priority(9, urgency)},
		"serial":          {stage.Priority(3, urgency), stage.WithOrder(stage.Serial)},
		"drop oldest":     {stage.Priority(3, urgency), stage.WithOverflow(stage.DropOldest)},
		"Priority has a ": {stage.Priority(3, func(event.Event[string]) int { return 0 })},
	} {
		if err := errors.Join(work(fine, opts...).Check(nil)...); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: Check = %v", want, err)
		}
	}
	if text := work(fine, stage.Priority(3, urgency)).Plan(nil).String(); !strings.Contains(text, "priority    3 levels, never inside a key") {
		t.Errorf("the plan is\n%s", text)
	}
}

// TestT1_StepByStepLevelsChangeNothing: what a test steps through comes first in, first out.
func TestT1_StepByStepLevelsChangeNothing(t *testing.T) {
	var ids []string
	w := newPlant(t, nil, work(func(_ context.Context, e event.Event[job]) error {
		ids = append(ids, e.Payload.id())
		return nil
	}, stage.Priority(3, urgency)))
	for _, key := range []string{"0a", "2a", "1a"} {
		w.put(key, 1)
	}
	pipelinetest.Drain(t, w.p)
	if want := []string{"0a1", "2a1", "1a1"}; !slices.Equal(ids, want) {
		t.Errorf("handled %v, want %v", ids, want)
	}
}

// cancelledRedrive is a plant of two levels in which the redrive of the letter 0a1 was cancelled while it waited, ready,
// behind jobs of the higher level. The live jobs of its own key wait behind it until everything goes on.
func cancelledRedrive(t *testing.T, workers int, live ...int) (w *plant, letters *deadletter.Memory) {
	letters = deadletter.NewMemory()
	mended, gate := false, make(chan struct{})
	w = runPlant(t, []stage.Middleware{middleware.DeadLetter(letters, middleware.WithPolicy(deadletter.Continue))},
		work(func(_ context.Context, e event.Event[job]) error {
			switch {
			case e.Key != "0a":
				<-gate
			case !mended:
				return errFlop
			default:
				time.Sleep(time.Second)
			}
			return nil
		}, stage.Workers(workers), stage.Priority(2, urgency)))
	w.put("0a", 1) // becomes the letter
	synctest.Wait()
	mended = true
	for n := range workers + 5 {
		w.put(fmt.Sprintf("1%d.", n), 1)
		synctest.Wait()
	}
	w.put("0a", live...)
	gate <- struct{}{} // the worker that comes free files what waits
	synctest.Wait()
	ctx, cancel := context.WithCancel(t.Context())
	drained := make(chan error, 1)
	go func() {
		_, err := deadletter.Drain(ctx, letters, w.p, deadletter.DrainOptions{})
		drained <- err
	}()
	synctest.Wait()
	cancel()
	if err := <-drained; !errors.Is(err, context.Canceled) {
		t.Errorf("Drain = %v, want %v", err, context.Canceled)
	}
	close(gate)
	return w, letters
}

// TestX3_ACancelledRedriveOfAStageWithLevels takes the letter out of its lane, and leaves the stage as it was.
func TestX3_ACancelledRedriveOfAStageWithLevels(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, letters := cancelledRedrive(t, 1)
		w.rest()
		w.put("1b", 1)
		w.rest()
		if s := w.figures(); s.Done != 7 || s.Redriven+s.RedrivenFailed != 0 {
			t.Errorf("%d done, %d redriven, want 7 and none", s.Done, s.Redriven+s.RedrivenFailed)
		}
		r, err := deadletter.Drain(t.Context(), letters, w.p, deadletter.DrainOptions{})
		if err != nil || r.Succeeded != 1 {
			t.Errorf("the next Drain = %v, %v, want the letter redriven", r, err)
		}
	})
}

// TestO1_ACancelledRedriveOfAStageWithLevels: the lane goes on with its live jobs, one at a time however many workers
// there are.
func TestO1_ACancelledRedriveOfAStageWithLevels(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, _ := cancelledRedrive(t, 3, 2, 3, 4)
		w.rest()
		pipelinetest.ExpectOrder(t, w.rec, "work", "0a", "0a2", "0a3", "0a4")
	})
}
