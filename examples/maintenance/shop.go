package main

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"log/slog"

	"github.com/runnel-go/runnel/deadletter"
	"github.com/runnel-go/runnel/event"
	"github.com/runnel-go/runnel/middleware"
	"github.com/runnel-go/runnel/pipeline"
	"github.com/runnel-go/runnel/stage"
)

// What the service and its maintenance share: the topic and the stage, under the same names. In a real program they
// stand in a package that both import.

// Order is what was to be charged.
type Order struct {
	Number   string `json:"number"`
	Customer string `json:"customer"`
	Cents    int    `json:"cents"`
}

// Orders keeps the order of each customer.
var Orders = event.NewTopic("orders",
	event.KeyBy(func(o Order) string { return o.Customer }),
	event.IDBy(func(o Order) string { return o.Number }))

var errDeclined = errors.New("the card service is down")

// cards is the service that charges cards. It declines a share of the orders, always the same ones.
type cards struct{ declines float64 }

func (c cards) charge(_ context.Context, e event.Event[Order]) error {
	h := fnv.New32a()
	_, _ = h.Write([]byte(e.Payload.Number))
	if float64(h.Sum32()%1000) < 1000*c.declines {
		return stage.Permanent(errDeclined)
	}
	return nil
}

// newShop makes the pipeline over a store of letters.
func newShop(letters deadletter.Store, c cards, workers int) *pipeline.Pipeline {
	p := pipeline.New(pipeline.Config{Logger: slog.New(slog.DiscardHandler)})
	p.Use(middleware.DeadLetter(letters), middleware.Retry(middleware.Exponential{}), middleware.Recover())
	p.Add(stage.Handle(Orders, "charge", c.charge, stage.Workers(workers)))
	return p
}

// demonstrate leaves the letters of a bad night in a store: 500 orders of 50 customers, while every card was
// declined.
func demonstrate(ctx context.Context, letters deadletter.Store) error {
	p := newShop(letters, cards{declines: 1}, 8)
	publisher := pipeline.NewPublisher(p, Orders)
	for i := range 500 {
		o := Order{Number: fmt.Sprintf("A%d", i), Customer: fmt.Sprintf("customer %d", i%50), Cents: 100 + i}
		if err := publisher.Publish(ctx, o); err != nil {
			return err
		}
	}
	_, err := p.Drain(ctx, 0) // all of it, here and now
	return err
}
