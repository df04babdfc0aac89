package middleware_test

import (
	"context"
	"fmt"
	"time"

	"github.com/runnel-go/runnel/event"
	"github.com/runnel-go/runnel/middleware"
	"github.com/runnel-go/runnel/stage"
)

// Two stages share a database that takes 20 queries at once.
func ExampleThrottle() {
	database := middleware.Throttle(20)
	items := event.NewTopic[string]("items")
	handle := func(context.Context, event.Event[string]) error { return nil }
	reads := stage.Handle(items, "reads", handle, stage.Workers(64), stage.Use(database))
	writes := stage.Handle(items, "writes", handle, stage.Workers(64), stage.Use(database))

	fmt.Println(reads.Plan(nil).Promises[0] == writes.Plan(nil).Promises[0], database.Promise)
	// Output: true at most 20 attempts at once over all stages that share it; the others wait without a worker
}

// A price that is a minute old is of no use.
func ExampleDeadline() {
	h := stage.Chain(func(context.Context, *stage.Delivery) error { return nil }, middleware.Deadline(time.Minute))
	old := event.Event[string]{Meta: event.Meta{Time: time.Now().Add(-time.Hour)}}

	fmt.Println(h(context.Background(), stage.NewDelivery("quote", old)))
	// Output: stage: skipped: expired
}

func ExampleFilter() {
	paid := middleware.Filter(func(d *stage.Delivery) bool { return d.Header["paid"] == "yes" })
	h := stage.Chain(func(context.Context, *stage.Delivery) error { return nil }, paid)

	fmt.Println(h(context.Background(), stage.NewDelivery("ship", event.Event[string]{})))
	// Output: stage: skipped: filtered
}

// One in ten, and the same ones at every stage.
func ExampleSample() {
	handled := 0
	h := stage.Chain(func(context.Context, *stage.Delivery) error { handled++; return nil }, middleware.Sample(0.1))
	for i := range 10_000 {
		_ = h(context.Background(), stage.NewDelivery("audit", event.Event[int]{Meta: event.Meta{GivenID: fmt.Sprint(i)}}))
	}
	fmt.Println(handled > 900, handled < 1100)
	// Output: true true
}

// A handler passes its trace on to the service that it calls.
func ExampleTrace() {
	h := stage.Chain(func(ctx context.Context, _ *stage.Delivery) error {
		fmt.Println("the call's trace:", middleware.TraceParent(ctx)[3:35])
		return nil
	}, middleware.Trace())
	e := event.Event[string]{Meta: event.Meta{Header: event.Header{
		middleware.HeaderTraceParent: "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
	}}}

	_ = h(context.Background(), stage.NewDelivery("charge", e))
	// Output: the call's trace: 0af7651916cd43dd8448eb211c80319c
}
