package pipeline_test

import (
	"context"
	"testing"
	"testing/synctest"

	"github.com/runnel-go/runnel/event"
	"github.com/runnel-go/runnel/stage"
)

// Whoever pauses a stage and then publishes knows that the event does not start, though a worker may have been
// about to receive.
func TestO10_WhatIsPublishedAfterAPauseWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		started := 0
		w := runPlant(t, nil, work(func(context.Context, event.Event[job]) error { started++; return nil }, stage.Workers(2)))
		for n := range 200 {
			synctest.Wait()
			before := started
			if err := w.p.Pause("work"); err != nil {
				t.Fatal(err)
			}
			w.put("a", n)
			synctest.Wait()
			if started != before {
				t.Fatalf("in round %d an event started in a paused stage", n)
			}
			if err := w.p.Resume("work"); err != nil {
				t.Fatal(err)
			}
		}
		w.rest()
	})
}
