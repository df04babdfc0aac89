package breaker_test

import (
	"context"
	"errors"
	"fmt"

	"github.com/runnel-go/runnel/adapter/breaker"
	"github.com/runnel-go/runnel/event"
	"github.com/runnel-go/runnel/stage"
)

// After two failures the third event is not tried: it waits, and its attempts stay unused.
func ExampleNew() {
	calls := 0
	charge := func(context.Context, *stage.Delivery) error { calls++; return errors.New("no answer") }
	payments := breaker.New("payments", breaker.Config{Failures: 2})
	h := stage.Chain(charge, payments.Middleware())

	var err error
	for range 3 {
		err = h(context.Background(), stage.NewDelivery("charge", event.Event[string]{}))
	}
	v := stage.VerdictOf(err)
	fmt.Println(payments.State(), calls, v.Kind == stage.KindPostpone, v.Cause)
	// Output: open 2 true breaker: open: payments
}
