package pipeline_test

import (
	"context"
	"testing"
	"testing/synctest"

	"github.com/runnel-go/runnel/deadletter"
	"github.com/runnel-go/runnel/event"
	"github.com/runnel-go/runnel/middleware"
	"github.com/runnel-go/runnel/pipeline"
	"github.com/runnel-go/runnel/pipelinetest"
	"github.com/runnel-go/runnel/stage"
)

// TestD7_AFilterPassesOnWhatCannotBeDecoded: its payload is empty, and says nothing of what the event is.
func TestD7_AFilterPassesOnWhatCannotBeDecoded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rec, letters := pipelinetest.NewRecorder(), deadletter.NewMemory()
		p := pipeline.New(pipeline.Config{Logger: quiet, Observer: rec.Observer()})
		p.Use(middleware.DeadLetter(letters, middleware.WithPolicy(deadletter.Continue)),
			middleware.Filter(func(d *stage.Delivery) bool { return d.Payload().(job).N == 3 }))
		p.Add(work(func(context.Context, event.Event[job]) error { return nil }))
		pipeline.From(p, jobs, event.FromReceive(func(ctx context.Context, emit event.Emit[job]) error {
			for _, in := range []event.Incoming[job]{
				{Err: errFlop, Raw: []byte("{bad"), Options: []event.PublishOption{event.WithKey("a"), event.WithID("bad")}},
				{Payload: job{"a", 2}},
				{Payload: job{"a", 3}},
			} {
				if err := emit(ctx, in); err != nil {
					return err
				}
			}
			return nil
		}))
		pipelinetest.Start(t, p).Settle()
		pipelinetest.ExpectOutcome(t, rec, "work", "a2", stage.OutcomeDropped)
		pipelinetest.ExpectOutcome(t, rec, "work", "a3", stage.OutcomeDone)
		if l := pipelinetest.ExpectLetter(t, letters, "work", "bad"); l.Reason != deadletter.Undecodable || string(l.Payload) != "{bad" {
			t.Errorf("the letter is %+v, want the bytes as they came, undecodable", l)
		}
	})
}
