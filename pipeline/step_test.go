package pipeline_test

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/runnel-go/runnel/deadletter"
	"github.com/runnel-go/runnel/event"
	"github.com/runnel-go/runnel/middleware"
	"github.com/runnel-go/runnel/pipeline"
	"github.com/runnel-go/runnel/pipelinetest"
	"github.com/runnel-go/runnel/stage"
)

// listing is a handler that lists what it is called with.
func listing(list *[]string, name string) jobHandler {
	return func(_ context.Context, e event.Event[job]) error {
		*list = append(*list, name+" "+e.ID())
		return nil
	}
}

func wantList(t *testing.T, list []string, want ...string) {
	t.Helper()
	if !slices.Equal(list, want) {
		t.Errorf("handled %q, want %q", list, want)
	}
}

func TestT1_NothingIsHandledBeforeDrain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var list []string
		w := newPlant(t, nil, work(listing(&list, "work")))
		w.put("a", 1, 2)
		time.Sleep(time.Hour)
		wantList(t, list)
		if n := pipelinetest.Drain(t, w.p); n != 2 {
			t.Errorf("Drain = %d, want 2", n)
		}
		wantList(t, list, "work a1", "work a2")
	})
}

// TestT1_FirstInFirstOut has keys, topics and orders mixed: what counts is when an event was published.
func TestT1_FirstInFirstOut(t *testing.T) {
	var list []string
	w := newPlant(t, nil, work(listing(&list, "work")),
		stage.Handle(jobs, "beside", listing(&list, "beside"), stage.WithOrder(stage.Unordered)),
		stage.Handle(parts, "parts", listing(&list, "parts"), stage.WithOrder(stage.Serial)))
	w.put("b", 1)
	if err := pipeline.NewPublisher(w.p, parts).Publish(t.Context(), job{"a", 1}); err != nil {
		t.Fatal(err)
	}
	w.put("a", 1)
	w.put("b", 2)
	if n := pipelinetest.Drain(t, w.p); n != 7 {
		t.Errorf("Drain = %d, want 7", n)
	}
	wantList(t, list, "work b1", "beside b1", "parts a1", "work a1", "beside a1", "work b2", "beside b2")
}

// TestT1_FirstInFirstOutWhereEventsAreDropped: what a stage has dropped is not waited for, nor counted as a step.
func TestT1_FirstInFirstOutWhereEventsAreDropped(t *testing.T) {
	for _, mode := range []stage.Overflow{stage.DropOldest, stage.DropNewest} {
		var list []string
		small := stage.Handle(jobs, "small", listing(&list, "small"), stage.Buffer(4), stage.Workers(1), stage.WithOverflow(mode))
		w := newPlant(t, nil, small)
		w.put("a", oneTo(100_000)...)
		n, err := w.p.Drain(t.Context(), 0)
		if err != nil || n != len(list) || n == 0 || n > 8 {
			t.Errorf("%v: Drain = %d, %v, handled %v", mode, n, err, list)
		}
		if s, _ := w.p.Snapshot().Stage("small"); int(s.Done) != n || int(s.Dropped) != 100_000-n {
			t.Errorf("%v: %d done and %d dropped of 100,000", mode, s.Done, s.Dropped)
		}
	}
}

func TestT1_AtMostAsManyAsItIsTold(t *testing.T) {
	var list []string
	w := newPlant(t, nil, work(listing(&list, "work")))
	w.put("a", oneTo(10)...)
	for _, c := range []struct{ limit, want int }{{1, 1}, {3, 3}, {4, 4}, {4, 2}, {4, 0}, {0, 0}} {
		if n, err := w.p.Drain(t.Context(), c.limit); n != c.want || err != nil {
			t.Errorf("Drain(%d) = %d, %v, want %d, nil", c.limit, n, err, c.want)
		}
		if err := w.rec.Check(); err != nil {
			t.Error(err)
		}
		if err := w.p.Snapshot().Sum(false); err != nil {
			t.Error(err)
		}
	}
	pipelinetest.ExpectOrder(t, w.rec, "work", "a", jobIDs("a", 10)...)
}

func TestT1_OnTheCallersGoroutine(t *testing.T) {
	before := runtime.NumGoroutine()
	me := func() string { // the goroutine's name is in its stack, and nowhere else
		b := make([]byte, 40)
		b = b[:runtime.Stack(b, false)]
		return string(b[:slices.Index(b, '[')])
	}
	var ran string
	w := newPlant(t, nil, work(func(context.Context, event.Event[job]) error { ran = me(); return nil }))
	w.put("a", 1)
	if n := runtime.NumGoroutine(); n > before {
		t.Errorf("%d goroutines more than before the pipeline, want none", n-before)
	}
	pipelinetest.Drain(t, w.p)
	if ran != me() {
		t.Errorf("handled by %s, want %s", ran, me())
	}
}

func TestT1_AFailureDoesNotStopTheOthers(t *testing.T) {
	for name, flop := range map[string]func() error{
		"an error": func() error { return errFlop },
		"a panic":  func() error { panic("flop") },
		"a retry":  func() error { return stage.RetryAfter(time.Hour, errFlop) },
		"a hold":   func() error { return stage.Hold(errFlop) },
	} {
		t.Run(name, func(t *testing.T) {
			w := newPlant(t, nil, work(func(_ context.Context, e event.Event[job]) error {
				if e.ID() == "a1" {
					return flop()
				}
				return nil
			}))
			w.put("a", 1)
			w.put("b", 1, 2)
			if n := pipelinetest.Drain(t, w.p); n != 3 {
				t.Errorf("Drain = %d, want 3", n)
			}
			pipelinetest.ExpectOrder(t, w.rec, "work", "b", "b1", "b2")
		})
	}
}

// TestT1_AGoexitEndsTheCallersGoroutineAndNothingElse: it cannot be stopped, but its event has settled and the
// next Drain goes on.
func TestT1_AGoexitEndsTheCallersGoroutineAndNothingElse(t *testing.T) {
	w := newPlant(t, nil, work(func(_ context.Context, e event.Event[job]) error {
		if e.ID() == "a1" {
			runtime.Goexit()
		}
		return nil
	}))
	w.put("a", 1, 2)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_, _ = w.p.Drain(t.Context(), 0)
		t.Error("Drain returned, so nothing was proven")
	}()
	<-ended
	if n := pipelinetest.Drain(t, w.p); n != 1 {
		t.Errorf("Drain = %d, want 1", n)
	}
	pipelinetest.ExpectOutcome(t, w.rec, "work", "a1", stage.OutcomeFailed)
	pipelinetest.ExpectOrder(t, w.rec, "work", "a", "a2")
}

func TestT1_WhatHandlersPublishIsDrainedToo(t *testing.T) {
	w := newPlant(t, nil, split(func(job) error { return nil }), gather())
	w.put("a", 1, 2)
	if n := pipelinetest.Drain(t, w.p); n != 2+10 {
		t.Errorf("Drain = %d, want 12", n)
	}
	pipelinetest.ExpectOrder(t, w.rec, "gather", "a", wantParts("a", 2, 5)...)
	if err := w.rec.CheckRest(); err != nil {
		t.Error(err)
	}
}

// TestT1_AHandlerThatFillsItsOwnDrainGetsAnError: the goroutine that would make the room is its own.
func TestT1_AHandlerThatFillsItsOwnDrainGetsAnError(t *testing.T) {
	var refused error
	var w *plant
	w = newPlant(t, nil, work(func(ctx context.Context, e event.Event[job]) error {
		for i := range 10 {
			if err := w.pub.Publish(ctx, job{"b", 100*e.Payload.N + i}); err != nil {
				refused = err
				return nil
			}
			if e.Payload.N > 1 {
				break
			}
		}
		return nil
	}, stage.Buffer(4)))
	w.put("a", 1)
	if n, err := w.p.Drain(t.Context(), 5); n != 5 || err != nil {
		t.Errorf("Drain = %d, %v, want 5, nil", n, err)
	}
	if !errors.Is(refused, pipeline.ErrCycle) {
		t.Errorf("Publish = %v, want ErrCycle", refused)
	}
}

func TestT1_ParkedEventsComeWhenTheyAreDue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newPlant(t, []stage.Middleware{middleware.Retry(middleware.Constant{Attempts: 3, Delay: time.Hour})},
			work(func(_ context.Context, e event.Event[job]) error {
				if e.Key == "a" {
					return errFlop
				}
				return nil
			}))
		w.put("a", 1)
		for i, want := range []int{1, 0, 1, 1} {
			if n := pipelinetest.Drain(t, w.p); n != want {
				t.Errorf("Drain %d = %d, want %d", i, n, want)
			}
			if i > 0 {
				time.Sleep(time.Hour)
			}
		}
		pipelinetest.ExpectOutcome(t, w.rec, "work", "a1", stage.OutcomeFailed)
	})
}

func TestT1_APipelineDrainsOrRuns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var list []string
		w := newPlant(t, nil, work(listing(&list, "work")))
		w.put("a", 1, 2)
		if n, err := w.p.Drain(t.Context(), 1); n != 1 || err != nil {
			t.Errorf("Drain = %d, %v, want 1, nil", n, err)
		}
		w.run() // takes up what is left
		w.rest()
		wantList(t, list, "work a1", "work a2")
		if _, err := w.p.Drain(t.Context(), 1); !errors.Is(err, pipeline.ErrRunning) {
			t.Errorf("Drain of a pipeline that runs = %v, want ErrRunning", err)
		}
	})
}

// TestT1_DrainKeepsOrderWhateverHandlersDo is the matrix of O1 and O2 without workers.
func TestT1_DrainKeepsOrderWhateverHandlersDo(t *testing.T) {
	for _, sc := range scripts {
		if sc.name == "attempts end their goroutine" || sc.name == "everything goes wrong" {
			continue // it would be the test's
		}
		t.Run(sc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				state := states(someKeys)
				w := newPlant(t, fullChain(deadletter.Continue), work(func(_ context.Context, e event.Event[job]) error {
					return state[e.Key].play(t, e.Payload, sc)
				}))
				publishAll(t, w.pub, someKeys, 24)
				for len(w.rec.Settled("work")) < 24*len(someKeys) {
					pipelinetest.Drain(t, w.p)
					time.Sleep(time.Millisecond)
				}
				if err := w.rec.CheckRest(); err != nil {
					t.Error(err)
				}
			})
		})
	}
}

func TestT2_PublishReturnsWhatTheHandlersReturned(t *testing.T) {
	errOther := errors.New("the other flopped too")
	var list []string
	handle := func(name string, err error) *stage.Stage {
		return stage.Handle(jobs, name, func(ctx context.Context, e event.Event[job]) error {
			_ = listing(&list, name)(ctx, e)
			return err
		})
	}
	w := newPlantIn(t, pipeline.Config{Inline: true}, nil, handle("one", errFlop), handle("two", nil), handle("three", errOther))
	err := w.pub.Publish(t.Context(), job{"a", 1})
	if !errors.Is(err, errFlop) || !errors.Is(err, errOther) {
		t.Errorf("Publish = %v, want both failures", err)
	}
	wantList(t, list, "one a1", "two a1", "three a1")
	if err := w.p.Snapshot().Sum(true); err != nil {
		t.Error(err)
	}
}

func TestT2_PublishWaitsForRetriesAndForWhatHandlersPublish(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tries := 0
		var onward event.Publisher[job]
		w := newPlantIn(t, pipeline.Config{Inline: true}, []stage.Middleware{middleware.Retry(middleware.Constant{Delay: time.Hour})},
			work(func(ctx context.Context, _ event.Event[job]) error {
				if tries++; tries < 3 {
					return errFlop
				}
				return errors.Join(onward.Publish(ctx, job{"a", 11}), onward.Publish(ctx, job{"a", 12}))
			}),
			stage.Handle(parts, "gather", func(_ context.Context, e event.Event[job]) error {
				if e.Payload.N == 12 {
					return stage.Permanent(fmt.Errorf("part %d: %w", e.Payload.N, errFlop))
				}
				return nil
			}))
		onward = pipeline.NewPublisher(w.p, parts)
		began := time.Now()
		err := w.pub.Publish(t.Context(), job{"a", 1})
		if took := time.Since(began); took != 2*time.Hour {
			t.Errorf("Publish took %v, want 2h", took)
		}
		if err == nil || err.Error() != "part 12: the job flopped" {
			t.Errorf("Publish = %v, want the failure of part 12 and no other", err)
		}
		if s, _ := w.p.Snapshot().Stage("gather"); s.Done != 1 || s.Failed != 1 {
			t.Errorf("%d parts done and %d failed, want 1 and 1", s.Done, s.Failed)
		}
	})
}

// TestT2_WhatStagesEmitIsFollowed: through Map and Expand, down to the stages that handle it.
func TestT2_WhatStagesEmitIsFollowed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sums := event.NewTopic("sums", event.KeyBy(func(j job) string { return j.Key }))
		w := newPlantIn(t, pipeline.Config{Inline: true}, []stage.Middleware{middleware.Retry(middleware.Constant{Attempts: 2, Delay: time.Hour})},
			stage.Expand(jobs, "split", parts, func(_ context.Context, e event.Event[job]) ([]job, error) {
				return []job{{e.Key, 11}, {e.Key, 12}}, nil
			}),
			stage.Map(parts, "add", sums, func(_ context.Context, e event.Event[job]) (job, error) { return e.Payload, nil }),
			stage.Handle(sums, "book", func(_ context.Context, e event.Event[job]) error {
				if e.Payload.N == 12 {
					return fmt.Errorf("sum %d: %w", e.Payload.N, errFlop)
				}
				return nil
			}))
		began := time.Now()
		err := w.pub.Publish(t.Context(), job{"a", 1})
		if !errors.Is(err, errFlop) || time.Since(began) != time.Hour {
			t.Errorf("Publish = %v after %v, want the failure of sum 12 after its retry", err, time.Since(began))
		}
		if s, _ := w.p.Snapshot().Stage("book"); s.Done != 1 || s.Failed != 1 {
			t.Errorf("%d sums done and %d failed, want 1 and 1", s.Done, s.Failed)
		}
	})
}

// TestT2_OnePipelineInAnother: a handler of an inline pipeline that publishes to another one waits for that.
func TestT2_OnePipelineInAnother(t *testing.T) {
	inner := newPlantIn(t, pipeline.Config{Inline: true}, nil, work(func(context.Context, event.Event[job]) error { return errFlop }))
	outer := newPlantIn(t, pipeline.Config{Inline: true}, nil, work(func(ctx context.Context, e event.Event[job]) error {
		if err := inner.pub.Publish(ctx, e.Payload); !errors.Is(err, errFlop) {
			t.Errorf("the inner Publish = %v, want %v", err, errFlop)
		}
		return nil
	}))
	if err := outer.pub.Publish(t.Context(), job{"a", 1}); err != nil {
		t.Errorf("the outer Publish = %v, want nil", err)
	}
	if s := inner.figures(); s.Failed != 1 {
		t.Errorf("%d failed in the inner one, want 1", s.Failed)
	}
}

func TestT2_DeadLettersSkipsAndHoldsAreTold(t *testing.T) {
	for name, c := range map[string]struct {
		fate error
		want error
	}{
		"a dead letter": {errFlop, errFlop},
		"a skip":        {stage.Skip("not this one"), nil},
		"a hold":        {stage.Hold(errFlop), pipeline.ErrHeld},
	} {
		t.Run(name, func(t *testing.T) {
			w := newPlantIn(t, pipeline.Config{Inline: true}, []stage.Middleware{middleware.DeadLetter(deadletter.NewMemory())},
				work(func(context.Context, event.Event[job]) error { return c.fate }))
			if err := w.pub.Publish(t.Context(), job{"a", 1}); !errors.Is(err, c.want) {
				t.Errorf("Publish = %v, want %v", err, c.want)
			}
		})
	}
}

func TestT2_AnInlinePipelineIsNotRun(t *testing.T) {
	w := newPlantIn(t, pipeline.Config{Inline: true}, nil, work(func(context.Context, event.Event[job]) error { return nil }))
	if err := w.p.Run(t.Context()); err == nil {
		t.Error("Run of an inline pipeline = nil, want an error")
	}
	if err := w.pub.Publish(t.Context(), job{"a", 1}); err != nil {
		t.Errorf("Publish after that = %v, want nil", err)
	}
}

// TestT3_ADayOfBackoffTakesNoTime measures from outside of the bubble.
func TestT3_ADayOfBackoffTakesNoTime(t *testing.T) {
	began := time.Now()
	synctest.Test(t, func(t *testing.T) {
		inside := time.Now()
		chain := middleware.Standard(middleware.StandardConfig{
			Letters: deadletter.NewMemory(), Retry: middleware.Constant{Attempts: 25, Delay: time.Hour}, Timeout: time.Minute,
		})
		w := runPlant(t, chain, work(func(_ context.Context, e event.Event[job]) error {
			time.Sleep(time.Second)
			if e.Key == "a" {
				return errFlop
			}
			return nil
		}))
		w.put("a", 1, 2)
		w.put("b", 1)
		w.rest()
		if d := time.Since(inside); d < 24*time.Hour {
			t.Errorf("%v passed inside, want a day", d)
		}
		if err := w.Stop(); err != nil {
			t.Errorf("Run = %v, want nil", err)
		}
	})
	if d := time.Since(began); d > time.Minute {
		t.Errorf("%v passed outside, want next to nothing", d)
	}
}

// TestT1_ADrainInAHandlerIsAnError: the goroutine that would handle the rest is its own.
func TestT1_ADrainInAHandlerIsAnError(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var w *plant
		var refused error
		w = newPlant(t, nil, work(func(ctx context.Context, _ event.Event[job]) error {
			_, refused = w.p.Drain(ctx, 0)
			return nil
		}))
		w.put("a", 1)
		if n := pipelinetest.Drain(t, w.p); n != 1 || !errors.Is(refused, pipeline.ErrCycle) {
			t.Errorf("Drain = %d, and in the handler %v, want 1 and %v", n, refused, pipeline.ErrCycle)
		}
	})
}
