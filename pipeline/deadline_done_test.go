package pipeline_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/runnel-go/runnel/event"
	"github.com/runnel-go/runnel/idempotency"
	"github.com/runnel-go/runnel/middleware"
	"github.com/runnel-go/runnel/pipelinetest"
	"github.com/runnel-go/runnel/stage"
)

// TestI4_WhatIsCommittedIsPublishedThoughItWouldNotBeLetIn: an event that waits for what it emits to be published, or
// for the store to say whether it was committed, is too old for its deadline by then, or no longer what a filter keeps.
// Its effect is there, so that what it emits must come.
func TestI4_WhatIsCommittedIsPublishedThoughItWouldNotBeLetIn(t *testing.T) {
	for door, let := range map[string]func() stage.Middleware{
		"a deadline": func() stage.Middleware { return middleware.Deadline(time.Second) },
		"a filter":   inTheFirst(time.Second),
	} {
		for name, b := range map[string]*book{
			"there is no room":                    {},
			"the answer to the commit was lost":   {commit: []error{errCommit}, stands: true},
			"the answers were lost, and the room": {commit: []error{errCommit, errCommit, errCommit}, stands: true},
		} {
			t.Run(door+", "+name, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					b := &book{Memory: idempotency.NewMemory(), commit: b.commit, stands: b.stands}
					chain := []stage.Middleware{let(), middleware.Idempotent(b, middleware.InTx()), middleware.Retry(middleware.Exponential{})}
					slow := stage.Expand(jobs, "work", parts, func(_ context.Context, e event.Event[job]) ([]job, error) {
						time.Sleep(time.Second)
						return []job{e.Payload}, nil
					}, stage.Use(chain...))
					full := stage.Handle(parts, "gather", func(context.Context, event.Event[job]) error {
						time.Sleep(10 * time.Second)
						return nil
					}, stage.Workers(1), stage.Buffer(1), stage.WithOverflow(stage.Reject))
					w := runPlant(t, nil, slow, full)
					var want []string
					for _, key := range []string{"a", "b", "c", "d", "e"} {
						w.put(key, 1)
						want = append(want, key+"1")
					}
					w.rest()
					for _, id := range want {
						pipelinetest.ExpectOutcome(t, w.rec, "gather", id, stage.OutcomeDone)
					}
				})
			})
		}
	}
}

// inTheFirst makes filters that let everything in for so long, and nothing afterwards.
func inTheFirst(d time.Duration) func() stage.Middleware {
	return func() stage.Middleware {
		ends := time.Now().Add(d)
		return middleware.Filter(func(*stage.Delivery) bool { return time.Now().Before(ends) })
	}
}

// TestI4_ADoubtThatIsOverLetsTheDeadlineAct: a commit that failed and has not happened is no reason to let the event pass for ever.
func TestI4_ADoubtThatIsOverLetsTheDeadlineAct(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := &book{Memory: idempotency.NewMemory(), commit: []error{errCommit}}
		calls := 0
		chain := []stage.Middleware{
			middleware.Deadline(time.Minute), middleware.Idempotent(b, middleware.InTx()),
			middleware.Retry(middleware.Constant{Attempts: 20, Delay: time.Hour}),
		}
		s := stage.Expand(jobs, "work", parts, func(_ context.Context, e event.Event[job]) ([]job, error) {
			if calls++; calls == 1 {
				return []job{e.Payload}, nil // the commit fails, and has not happened
			}
			return nil, errFlop
		}, stage.Use(chain...))
		w := runPlant(t, nil, s, stage.Handle(parts, "gather", func(context.Context, event.Event[job]) error { return nil }))
		w.put("a", 1)
		w.rest()
		pipelinetest.ExpectOutcome(t, w.rec, "work", "a1", stage.OutcomeDropped)
		if calls > 2 {
			t.Errorf("%d calls, want 2: the event is too old at the third attempt", calls)
		}
	})
}
