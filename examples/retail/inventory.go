package main

import (
	"context"
	"time"

	"github.com/runnel-go/runnel/event"
	"github.com/runnel-go/runnel/stage"
)

// inventory moves units. A thing's stock is what has an order here, not a customer: the stage has a key
// of its own. It handles lines in batches, as one would that keeps the stock in a database: a batch is a run of
// each thing's lines.
type inventory struct{ stock perKey[item] }

type item struct {
	order
	moved int // units that left the shop
}

// stockBatch is how many lines one statement to that database would move.
const stockBatch = 50

func (i *inventory) stage() *stage.Stage {
	return stage.Batch(Lines, inventoryStage, stage.Limits{Size: stockBatch, Wait: 2 * time.Millisecond}, i.move,
		stage.KeyBy(func(l Line) string { return l.SKU }))
}

func (i *inventory) move(_ context.Context, lines []event.Event[Line]) error {
	for _, e := range lines {
		it := i.stock.of(e.Payload.SKU)
		it.see(e.Payload)
		it.moved += e.Payload.Quantity
	}
	return nil
}

func (i *inventory) total() (skus, units int) {
	i.stock.each(func(it *item) {
		skus++
		units += it.moved
	})
	return skus, units
}

func (i *inventory) breaches() (n int) {
	i.stock.each(func(it *item) { n += it.breaches })
	return n
}
