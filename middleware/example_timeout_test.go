package middleware_test

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/runnel-go/runnel/event"
	"github.com/runnel-go/runnel/middleware"
	"github.com/runnel-go/runnel/stage"
)

func ExampleTimeout() {
	charge := func(ctx context.Context, _ *stage.Delivery) error {
		<-ctx.Done() // a slow service, called with ctx
		return nil   // too late: the attempt has failed all the same
	}
	h := stage.Chain(charge, middleware.Timeout(10*time.Millisecond))

	err := h(context.Background(), stage.NewDelivery("charge", event.Event[string]{}))

	fmt.Println(err)
	fmt.Println(errors.Is(err, middleware.ErrTimeout))
	// Output:
	// middleware: the attempt took longer than 10ms
	// true
}
