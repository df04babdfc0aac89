package middleware_test

import (
	"context"
	"errors"
	"fmt"

	"github.com/runnel-go/runnel/deadletter"
	"github.com/runnel-go/runnel/event"
	"github.com/runnel-go/runnel/middleware"
	"github.com/runnel-go/runnel/stage"
)

// A failure becomes a dead letter. The next event of its key is stored behind it, untried; another key
// runs on.
func ExampleDeadLetter() {
	charge := func(_ context.Context, d *stage.Delivery) error {
		if d.ID() == "order-1" {
			return stage.Permanent(errors.New("card declined"))
		}
		fmt.Println("charged", d.ID())
		return nil
	}
	letters := deadletter.NewMemory()
	h := stage.Chain(charge, middleware.DeadLetter(letters), middleware.Retry(middleware.Exponential{}))

	for _, e := range []event.Meta{
		{GivenID: "order-1", Key: "ann"}, {GivenID: "order-2", Key: "ann"}, {GivenID: "order-3", Key: "bob"},
	} {
		_ = h(context.Background(), stage.NewDelivery("charge", event.Event[string]{Meta: e}))
	}

	for l, err := range letters.List(context.Background(), deadletter.Filter{}) {
		fmt.Println(l.EventID, l.Reason, l.Error, err)
	}
	// Output:
	// charged order-3
	// order-1 permanent card declined <nil>
	// order-2 follows card declined <nil>
}
