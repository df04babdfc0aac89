package pipeline_test

import (
	"context"
	"log/slog"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/runnel-go/runnel/event"
	"github.com/runnel-go/runnel/pipeline"
	"github.com/runnel-go/runnel/pipelinetest"
	"github.com/runnel-go/runnel/stage"
)

// Two handlers wait for each other through a channel of their own, which no runtime finds.
func TestFault26_AStageThatStandsStillIsNamed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		logs, meet := &records{}, make(chan struct{})
		p := pipeline.New(pipeline.Config{Logger: slog.New(logs), StallAfter: time.Minute})
		p.Add(
			stage.Handle(jobs, "stuck", func(context.Context, event.Event[job]) error { <-meet; return nil }, stage.Workers(2)),
			stage.Handle(jobs, "slow", func(context.Context, event.Event[job]) error { time.Sleep(50 * time.Second); return nil }, stage.Workers(1)),
		)
		run := pipelinetest.Start(t, p)
		pub := pipeline.NewPublisher(p, jobs)
		for n, key := range []string{"a", "b", "c"} {
			if err := pub.Publish(t.Context(), job{key, n}); err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(59 * time.Second)
		if got := p.Snapshot().Stalled; got != nil {
			t.Errorf("after 59 s %q stand still, want none", got)
		}
		time.Sleep(80 * time.Second)
		if got := p.Snapshot().Stalled; !slices.Equal(got, []string{"stuck"}) {
			t.Errorf("%q stand still, want the stage stuck, and not one that is slow", got)
		}
		time.Sleep(time.Hour)
		if n := logs.with("ERROR", "stands still", "stage=stuck", "queued=1", "TestFault26_"); n != 1 {
			t.Errorf("it was logged %d times with the stacks, want once", n)
		}
		close(meet)
		time.Sleep(time.Minute)
		if got := p.Snapshot().Stalled; len(got) > 0 || logs.with("INFO", "goes on", "stage=stuck") != 1 {
			t.Errorf("once it goes on %q stand still", got)
		}
		run.Settle()
	})
}

// A stage whose workers are idle, or that is only full of parked events, does not stand still.
func TestFault26_WaitingIsNotStandingStill(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := pipeline.New(pipeline.Config{Logger: slog.New(slog.DiscardHandler), StallAfter: time.Minute})
		p.Add(work(func(context.Context, event.Event[job]) error { return stage.RetryAfter(time.Hour, errFlop) },
			stage.Workers(1), stage.OnDrain(stage.Return)))
		run := pipelinetest.Start(t, p)
		for n := range 5 {
			if err := pipeline.NewPublisher(p, jobs).Publish(t.Context(), job{"a", n}); err != nil {
				t.Fatal(err)
			}
		}
		for range 200 {
			time.Sleep(time.Minute)
			if got := p.Snapshot().Stalled; len(got) > 0 {
				t.Fatalf("%q stand still, want none", got)
			}
		}
		_ = run.Stop()
	})
}
