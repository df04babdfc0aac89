package middleware_test

import (
	"context"
	"errors"
	"log/slog"
	"os"

	"github.com/runnel-go/runnel/event"
	"github.com/runnel-go/runnel/middleware"
	"github.com/runnel-go/runnel/stage"
)

func ExampleLog() {
	logger := slog.New(slog.NewTextHandler(os.Stdout, &slog.HandlerOptions{
		ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
			if a.Key == slog.TimeKey {
				return slog.Attr{}
			}
			return a
		},
	}))
	charge := func(context.Context, *stage.Delivery) error { return errors.New("card service is down") }
	h := stage.Chain(charge, middleware.Log(logger), middleware.Retry(middleware.Exponential{Jitter: -1}))

	e := event.Event[string]{Meta: event.Meta{Topic: "orders", GivenID: "order-1", Key: "ann", Seq: 7}}
	_ = h(context.Background(), stage.NewDelivery("charge", e))
	// Output:
	// level=WARN msg="attempt failed" stage=charge topic=orders id=order-1 key=ann seq=7 attempt=1 error="card service is down" delay=100ms
}
