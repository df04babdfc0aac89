package pipeline_test

import (
	"context"
	"errors"
	"math/rand/v2"
	"testing"
	"testing/synctest"
	"time"

	"github.com/runnel-go/runnel/deadletter"
	"github.com/runnel-go/runnel/event"
	"github.com/runnel-go/runnel/pipeline"
	"github.com/runnel-go/runnel/pipelinetest"
	"github.com/runnel-go/runnel/stage"
)

// TestO10_OrderHoldsWhileWorkersComeAndGo changes everything that can be changed at run time, in the
// midst of traffic.
func TestO10_OrderHoldsWhileWorkersComeAndGo(t *testing.T) {
	eachScript(t, func(t *testing.T, workers int, sc script) {
		state := states(someKeys)
		w := newPlant(t, fullChain(deadletter.Continue), work(func(_ context.Context, e event.Event[job]) error {
			time.Sleep(time.Millisecond)
			return state[e.Key].play(t, e.Payload, sc)
		}, stage.Workers(workers), stage.Buffer(16)))
		w.run()
		over := make(chan struct{})
		go func() {
			defer close(over)
			publishAll(t, w.pub, someKeys, 24)
		}()
		seed := uint64(workers)
		random := rand.New(rand.NewPCG(seed, seed))
		for range 40 {
			time.Sleep(time.Duration(random.IntN(5)) * time.Millisecond)
			var err error
			switch random.IntN(4) {
			case 0:
				err = w.p.Pause("work")
			case 1:
				err = w.p.SetWorkers("work", 1+random.IntN(16))
			default:
				err = w.p.Resume("work")
			}
			if err != nil {
				t.Error(err)
			}
		}
		if err := w.p.Resume("work"); err != nil {
			t.Error(err)
		}
		<-over
		w.rest()
		for _, key := range someKeys {
			if done := state[key].done; !ascending(done) {
				t.Errorf("key %s was done in the order %v", key, done)
			}
		}
	})
}

func TestO10_WorkersAreAsManyAsAskedFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := runPlant(t, nil, work(func(context.Context, event.Event[job]) error {
			time.Sleep(time.Minute)
			return nil
		}, stage.Workers(2)))
		for i := range 30 {
			w.put(job{"k", i}.id(), 1)
		}
		for _, c := range []struct{ set, after, want int }{ // how many run how many minutes later
			{8, 0, 8}, {3, 1, 3}, {1, 1, 1}, {5, 0, 5},
		} {
			if err := w.p.SetWorkers("work", c.set); err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Duration(c.after)*time.Minute + time.Second)
			if s := w.figures(); s.Running != c.want || s.Workers != c.set {
				t.Errorf("after SetWorkers(%d): %d running, %d workers; want %d running", c.set, s.Running, s.Workers, c.want)
			}
		}
		w.rest()
		if err := w.p.SetWorkers("work", 0); err == nil {
			t.Error("SetWorkers(0) = nil, want an error")
		}
		if err := w.p.SetWorkers("elsewhere", 1); err == nil {
			t.Error("SetWorkers of no stage = nil, want an error")
		}
	})
}

func TestO10_APausedStageStartsNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := runPlant(t, nil, work(func(_ context.Context, e event.Event[job]) error {
			if e.Key == "parked" && time.Since(e.Time) < time.Minute {
				return stage.RetryAfter(time.Minute, errFlop)
			}
			return nil
		}, stage.Buffer(4), stage.WithOverflow(stage.Reject)))
		w.put("parked", 1)
		w.Settle()
		before := len(w.rec.Started("work"))
		if err := w.p.Pause("work"); err != nil {
			t.Fatal(err)
		}
		w.put("parked", 2)
		w.put("a", 1, 2, 3)
		time.Sleep(time.Hour)
		if n := len(w.rec.Started("work")); n != before {
			t.Errorf("a paused stage started %d events, want none", n-before)
		}
		if err := w.pub.Publish(t.Context(), job{"a", 4}); !errors.Is(err, pipeline.ErrFull) {
			t.Errorf("Publish to a full and paused stage = %v, want ErrFull", err)
		}
		if err := w.p.Resume("work"); err != nil {
			t.Fatal(err)
		}
		w.rest()
		pipelinetest.ExpectOrder(t, w.rec, "work", "parked", "parked1", "parked2")
	})
}
