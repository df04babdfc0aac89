package pipelinetest_test

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/runnel-go/runnel/event"
	"github.com/runnel-go/runnel/middleware"
	"github.com/runnel-go/runnel/pipeline"
	"github.com/runnel-go/runnel/pipelinetest"
	"github.com/runnel-go/runnel/stage"
)

type order struct{ Number, Customer string }

var orders = event.NewTopic("orders",
	event.KeyBy(func(o order) string { return o.Customer }),
	event.IDBy(func(o order) string { return o.Number }))

// A recorder is an observer: what happened to each event, at each stage, in order.
func ExampleRecorder() {
	rec := pipelinetest.NewRecorder()
	p := pipeline.New(pipeline.Config{Observer: rec.Observer(), Inline: true})
	p.Use(middleware.Retry(middleware.Constant{Attempts: 2, Delay: time.Millisecond}))
	tries := 0
	p.Add(stage.Handle(orders, "charge", func(context.Context, event.Event[order]) error {
		if tries++; tries == 1 {
			return errors.New("the bank is closed")
		}
		return nil
	}))
	_ = pipeline.NewPublisher(p, orders).Publish(context.Background(), order{"A1", "ann"})

	fmt.Print(rec.Of("charge", "ann"))
	fmt.Println(rec.CheckRest())
	// Output:
	// started orders/1 A1 at charge in lane "ann", attempt 1
	// parked orders/1 A1 at charge in lane "ann", attempt 1, for 1ms: the bank is closed
	// started orders/1 A1 at charge in lane "ann", attempt 2
	// settled orders/1 A1 at charge in lane "ann", attempt 2, done
	// <nil>
}

// A history can be written by hand as well; Check finds what a pipeline must never do.
func ExampleHistory_Check() {
	at := func(w pipelinetest.What, id string, seq uint64) pipelinetest.Entry {
		return pipelinetest.Entry{
			What: w, Topic: "orders", ID: id, Seq: seq,
			Stage: "charge", Lane: "ann", Ordered: true, Attempt: 1,
		}
	}
	h := pipelinetest.History{
		at(pipelinetest.Started, "A1", 1),
		at(pipelinetest.Parked, "A1", 1),
		at(pipelinetest.Started, "A2", 2), // A1 has not settled
	}
	fmt.Println(h.Check())
	// Output:
	// entry 2, started orders/2 A2 at charge in lane "ann", attempt 1: it overtakes one that has not settled: started orders/1 A1 at charge in lane "ann", attempt 1
}
