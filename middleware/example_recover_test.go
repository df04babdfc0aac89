package middleware_test

import (
	"context"
	"errors"
	"fmt"

	"github.com/runnel-go/runnel/event"
	"github.com/runnel-go/runnel/middleware"
	"github.com/runnel-go/runnel/stage"
)

func ExampleRecover() {
	charge := func(context.Context, *stage.Delivery) error {
		panic("no price for apples")
	}
	h := stage.Chain(charge, middleware.Recover())

	err := h(context.Background(), stage.NewDelivery("charge", event.Event[string]{}))

	var p *stage.PanicError
	fmt.Println(errors.As(err, &p), err)
	fmt.Println("with a stack:", len(p.Stack) > 0)
	// Output:
	// true panic: no price for apples
	// with a stack: true
}
