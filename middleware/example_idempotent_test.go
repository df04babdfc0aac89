package middleware_test

import (
	"context"
	"errors"
	"fmt"

	"github.com/runnel-go/runnel/event"
	"github.com/runnel-go/runnel/idempotency"
	"github.com/runnel-go/runnel/middleware"
	"github.com/runnel-go/runnel/stage"
)

// An event that failed runs again; one that succeeded does not.
func ExampleIdempotent() {
	fail := true
	charge := func(_ context.Context, d *stage.Delivery) error {
		if fail {
			return errors.New("card service is down")
		}
		fmt.Println("charged", d.ID())
		return nil
	}
	h := stage.Chain(charge, middleware.Idempotent(idempotency.NewMemory()))
	deliver := func() {
		e := event.Event[string]{Meta: event.Meta{GivenID: "order-1"}}
		fmt.Println(h(context.Background(), stage.NewDelivery("charge", e)))
	}

	deliver()
	fail = false
	deliver()
	deliver()
	// Output:
	// card service is down
	// charged order-1
	// <nil>
	// stage: skipped: duplicate
}
