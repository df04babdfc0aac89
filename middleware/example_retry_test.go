package middleware_test

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/cenkalti/backoff/v4"

	"github.com/runnel-go/runnel/event"
	"github.com/runnel-go/runnel/middleware"
	"github.com/runnel-go/runnel/stage"
)

// A failed attempt asks for the next one. The engine parks the event meanwhile; here a loop does.
func ExampleRetry() {
	charge := func(context.Context, *stage.Delivery) error { return errors.New("card service is down") }
	h := stage.Chain(charge, middleware.Retry(middleware.Exponential{Attempts: 3, Jitter: -1}))

	d := stage.NewDelivery("charge", event.Event[string]{})
	for {
		err := h(context.Background(), d)
		v := stage.VerdictOf(err)
		if v.Kind != stage.KindRetry {
			fmt.Println(err)
			break
		}
		fmt.Printf("attempt %d: %v; again in %v\n", d.Attempt, v.Cause, v.Delay)
		d.Attempt++
	}
	// Output:
	// attempt 1: card service is down; again in 100ms
	// attempt 2: card service is down; again in 200ms
	// middleware: gave up after 3 attempts: card service is down
}

// Any backoff.BackOff is a policy.
func ExampleBackOff() {
	policy := middleware.BackOff(func() backoff.BackOff {
		return backoff.WithMaxRetries(backoff.NewConstantBackOff(time.Second), 1)
	})
	charge := func(context.Context, *stage.Delivery) error { return errors.New("down") }
	h := stage.Chain(charge, middleware.Retry(policy))

	d := stage.NewDelivery("charge", event.Event[string]{})
	fmt.Println(h(context.Background(), d))
	d.Attempt++
	fmt.Println(h(context.Background(), d))
	// Output:
	// stage: retry after 1s: down
	// middleware: gave up after 2 attempts: down
}

// If says which errors are worth another attempt.
func ExampleIf() {
	errNoCard := errors.New("no card on file")
	charge := func(context.Context, *stage.Delivery) error { return errNoCard }
	h := stage.Chain(charge, middleware.Retry(middleware.Exponential{},
		middleware.If(func(err error) bool { return !errors.Is(err, errNoCard) })))

	err := h(context.Background(), stage.NewDelivery("charge", event.Event[string]{}))
	fmt.Println(stage.VerdictOf(err).Kind == stage.KindPermanent, err)
	// Output: true no card on file
}
