package pipelinetest_test

import (
	"context"
	"errors"
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

// charging is a pipeline whose stage cannot charge A2.
func charging(letters deadletter.Store) (*pipelinetest.Recorder, *pipeline.Pipeline) {
	rec := pipelinetest.NewRecorder()
	p := pipeline.New(pipeline.Config{Observer: rec.Observer()})
	p.Use(middleware.DeadLetter(rec.Letters(letters)), rec.Middleware(), middleware.Recover())
	p.Add(stage.Handle(orders, "charge", func(_ context.Context, e event.Event[order]) error {
		if e.ID() == "A2" {
			return stage.Permanent(errors.New("the card is stolen"))
		}
		return nil
	}))
	return rec, p
}

// Step by step: nothing is handled before Drain, which handles all that may run on the test's own goroutine.
func ExampleDrain() {
	t := new(testing.T) // the test's own
	letters := deadletter.NewMemory()
	rec, p := charging(letters)
	pub := pipeline.NewPublisher(p, orders)
	for _, o := range []order{{"A1", "ann"}, {"A2", "ann"}, {"A3", "ann"}, {"B1", "bob"}} {
		_ = pub.Publish(context.Background(), o)
	}
	fmt.Println(pipelinetest.Drain(t, p), "attempts")

	pipelinetest.Expect(t, rec, "charge", "A1", "B1")
	pipelinetest.ExpectOrder(t, rec, "charge", "ann", "A1")
	pipelinetest.ExpectOutcome(t, rec, "charge", "A3", stage.OutcomeDiverted) // behind A2
	pipelinetest.ExpectSettled(t, rec, "charge", 4)
	pipelinetest.ExpectLetters(t, letters, "charge", "A2", "A3")
	fmt.Println("as expected:", !t.Failed())
	// Output:
	// 4 attempts
	// as expected: true
}

// In a bubble an hour of backoff takes no time.
func ExampleBubble() {
	_ = func(t *testing.T) { // TestTheBankIsClosedForAnHour
		pipelinetest.Bubble(t, func(t *testing.T) {
			rec, p := charging(deadletter.NewMemory())
			pub := pipeline.NewPublisher(p, orders)
			run := pipelinetest.Start(t, p) // ends with the test
			if err := pub.Publish(t.Context(), order{"A1", "ann"}, event.After(time.Hour)); err != nil {
				t.Fatal(err)
			}
			run.Settle() // until nothing can happen by itself any more
			pipelinetest.Expect(t, rec, "charge", "A1")
		})
	}
	// Output:
}

// Start runs a pipeline for as long as the test lasts, or until it is stopped.
func ExampleStart() {
	_ = func(t *testing.T) { // TestNothingIsLeft
		_, p := charging(deadletter.NewMemory())
		run := pipelinetest.Start(t, p)
		// … publish
		if err := run.Stop(); err != nil {
			t.Errorf("Run = %v, want nil", err)
		}
	}
	// Output:
}

// What a stage promises by how it was put together is checked by its rules.
func ExampleHistory_CheckStage() {
	done := func(id string, seq uint64) pipelinetest.Entry {
		return pipelinetest.Entry{What: pipelinetest.Settled, Topic: "orders", ID: id, Seq: seq, Stage: "charge", Lane: "ann", Ordered: true, Attempt: 1}
	}
	h := pipelinetest.History{done("A2", 2), done("A1", 1)} // as under deadletter.Continue
	fmt.Println(h.CheckStage("charge", pipelinetest.Rules{Attempts: 3}))
	fmt.Println(h.CheckStage("charge", pipelinetest.Rules{InOrder: true}))
	// Output:
	// <nil>
	// entry 1, settled orders/1 A1 at charge in lane "ann", attempt 1, done: it is done after orders/2
}

// What a shutdown handed back stands in the order of its keys.
func ExampleCheckUnfinished() {
	left := []stage.Unfinished{
		{Stage: "charge", Meta: event.Meta{Topic: "orders", Key: "ann", Seq: 3}},
		{Stage: "charge", Meta: event.Meta{Topic: "orders", Key: "ann", Seq: 2}},
	}
	fmt.Println(pipelinetest.CheckUnfinished(left))
	// Output:
	// charge: orders/2 of key "ann" is handed back after 3
}
