package main

import (
	"context"
	"sync"

	"github.com/runnel-go/runnel/event"
	"github.com/runnel-go/runnel/stage"
)

// analytics adds up revenue by country. A sum is the same in any order, so the stage keeps none: its
// state is everybody's and needs a lock.
type analytics struct {
	mu      sync.Mutex
	revenue map[string]Money
}

func (a *analytics) stage(workers int) *stage.Stage {
	return stage.Handle(Lines, analyticsStage, a.add,
		stage.WithOrder(stage.Unordered),
		stage.Workers(workers))
}

func (a *analytics) add(_ context.Context, e event.Event[Line]) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.revenue == nil {
		a.revenue = map[string]Money{}
	}
	a.revenue[e.Payload.Country] += e.Payload.Amount()
	return nil
}

func (a *analytics) total() (countries int, revenue Money) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, m := range a.revenue {
		revenue += m
	}
	return len(a.revenue), revenue
}
