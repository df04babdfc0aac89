package ratelimit_test

import (
	"context"
	"fmt"
	"time"

	"github.com/runnel-go/runnel/adapter/ratelimit"
	"github.com/runnel-go/runnel/event"
	"github.com/runnel-go/runnel/stage"
)

// One message a second for each customer. The second of a customer is parked; the engine runs it again when
// it is due.
func ExampleNew() {
	notify := func(context.Context, *stage.Delivery) error { return nil }
	h := stage.Chain(notify, ratelimit.New(ratelimit.Rate{Events: 1, Per: time.Second}, ratelimit.PerKey()))
	send := func(customer string) {
		d := stage.NewDelivery("notify", event.Event[string]{Meta: event.Meta{Key: customer}})
		v := stage.VerdictOf(h(context.Background(), d))
		fmt.Println(customer, v.Kind == stage.KindPostpone, v.Delay.Round(100*time.Millisecond))
	}
	send("ann")
	send("ann")
	send("bob")
	// Output:
	// ann false 0s
	// ann true 1s
	// bob false 0s
}
