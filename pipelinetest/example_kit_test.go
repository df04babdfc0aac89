package pipelinetest_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/runnel-go/runnel/deadletter"
	"github.com/runnel-go/runnel/event"
	"github.com/runnel-go/runnel/middleware"
	"github.com/runnel-go/runnel/pipeline"
	"github.com/runnel-go/runnel/pipelinetest"
	"github.com/runnel-go/runnel/stage"
)

// A third of the attempts fail, the same ones each time: does the chain stand it?
func ExampleFaults() {
	rec := pipelinetest.NewRecorder()
	p := pipeline.New(pipeline.Config{Observer: rec.Observer(), Inline: true})
	p.Use(middleware.Retry(middleware.Constant{Attempts: 20, Delay: time.Millisecond}))
	p.Add(stage.Handle(orders, "charge", func(context.Context, event.Event[order]) error { return nil },
		stage.Use(pipelinetest.Faults{Seed: 1}.Fail(0.33))))
	pub := pipeline.NewPublisher(p, orders)
	for n := range 10 {
		_ = pub.Publish(context.Background(), order{fmt.Sprint(n), "ann"})
	}
	fmt.Println(len(rec.Settled("charge")), "done in order:", rec.CheckStage("charge", pipelinetest.Rules{InOrder: true}) == nil)
	// Output:
	// 10 done in order: true
}

// A receipt says how an event ended.
func ExampleFeed() {
	p := pipeline.New(pipeline.Config{})
	p.Add(stage.Handle(orders, "charge", func(context.Context, event.Event[order]) error { return nil }))
	feed := pipelinetest.NewFeed(p, orders)
	ctx, stop := context.WithCancel(context.Background())
	over := make(chan error)
	go func() { over <- p.Run(ctx) }()

	receipt, err := feed.Publish(ctx, order{"A1", "ann"})
	fmt.Println(err, receipt.Wait(ctx))
	stop()
	fmt.Println(<-over)
	// Output:
	// <nil> <nil>
	// <nil>
}

// What a handler must do whatever it does otherwise is checked by one call.
func ExampleStage() {
	charged := map[string]bool{}
	charge := stage.Handle(orders, "charge", func(_ context.Context, e event.Event[order]) error {
		charged[e.ID()] = true
		return nil
	})
	_ = func(t *testing.T) { // TestCharge
		pipelinetest.Stage(t, charge, pipelinetest.StageConfig[order]{
			Topic: orders, Event: order{"A1", "ann"}, State: func() any { return len(charged) },
		})
	}
	// Output:
}

// What was expected is said of the record and of the letters.
func ExampleExpectLetter() {
	_ = func(t *testing.T) { // TestABrokenCardParksItsCustomer
		letters, rec := deadletter.NewMemory(), pipelinetest.NewRecorder()
		p := pipeline.New(pipeline.Config{Observer: rec.Observer()})
		p.Use(middleware.DeadLetter(letters), middleware.Recover())
		// … add the stages, publish, and handle all that may run:
		pipelinetest.Drain(t, p)

		pipelinetest.Expect(t, rec, "charge", "A1", "A4")
		if l := pipelinetest.ExpectLetter(t, letters, "charge", "A2"); l.Attempts != 5 {
			t.Errorf("%d attempts, want 5", l.Attempts)
		}
		pipelinetest.ExpectLetters(t, letters, "charge", "A2", "A3")
	}
	// Output:
}
