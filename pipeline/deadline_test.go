package pipeline_test

import (
	"context"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/runnel-go/runnel/deadletter"
	"github.com/runnel-go/runnel/event"
	"github.com/runnel-go/runnel/middleware"
	"github.com/runnel-go/runnel/pipelinetest"
	"github.com/runnel-go/runnel/stage"
)

// expiring is a chain whose events become letters when they are older than five seconds.
func expiring(letters deadletter.Store) []stage.Middleware {
	return []stage.Middleware{
		middleware.DeadLetter(letters), middleware.Deadline(5*time.Second, middleware.ExpiredToLetter()),
		middleware.Retry(middleware.Constant{Attempts: 3, Delay: time.Second}),
	}
}

// TestD3_WhatExpiredParksItsKey: an event that waited too long behind another becomes a letter untried, what is
// behind it follows it, and both come back in their order, whatever their age.
func TestD3_WhatExpiredParksItsKey(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		letters := deadletter.NewMemory()
		var handled []string
		w := runPlant(t, expiring(letters), work(func(_ context.Context, e event.Event[job]) error {
			handled = append(handled, e.Payload.id())
			if e.Payload.id() == "a1" {
				time.Sleep(6 * time.Second)
			}
			return nil
		}, stage.Workers(1)))
		w.put("a", 1, 2)
		time.Sleep(4 * time.Second)
		w.put("a", 3) // young enough, but behind one that is not
		w.put("b", 1)
		w.rest()
		if want := []string{"a1", "b1"}; !slices.Equal(handled, want) {
			t.Errorf("handled %v, want %v", handled, want)
		}
		pipelinetest.ExpectOutcome(t, w.rec, "work", "a2", stage.OutcomeDeadLettered)
		pipelinetest.ExpectOutcome(t, w.rec, "work", "a3", stage.OutcomeDiverted)
		if r, err := deadletter.Drain(t.Context(), letters, w.p, deadletter.DrainOptions{}); err != nil || r.Succeeded != 2 {
			t.Errorf("Drain = %v, %v, want both redriven", r, err)
		}
		if want := []string{"a1", "b1", "a2", "a3"}; !slices.Equal(handled, want) {
			t.Errorf("handled %v, want %v", handled, want)
		}
	})
}

// TestO4_WhatWaitsForItsDeadlineHoldsNoWorker: an event that is retried until it has expired.
func TestO4_WhatWaitsForItsDeadlineHoldsNoWorker(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		chain := []stage.Middleware{middleware.Deadline(5 * time.Second), middleware.Retry(middleware.Constant{Attempts: 100, Delay: 2 * time.Second})}
		w := runPlant(t, chain, work(func(_ context.Context, e event.Event[job]) error {
			if e.Key == "a" {
				return errFlop
			}
			return nil
		}, stage.Workers(1)))
		w.put("a", 1)
		synctest.Wait()
		began := time.Now()
		w.put("b", 1)
		w.rest()
		w.wantAtOnce("b1", began)
		pipelinetest.ExpectOutcome(t, w.rec, "work", "a1", stage.OutcomeDropped)
		if s := w.figures(); s.Retries != 3 {
			t.Errorf("%d attempts failed, want those at 0, 2 and 4 seconds", s.Retries)
		}
	})
}

// TestB1_WhatExpiresOnItsWayIntoABatchKeepsItsPlace: it is stored after those before it have ended, and a throttle
// around the batches changes nothing of that.
func TestB1_WhatExpiresOnItsWayIntoABatchKeepsItsPlace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		letters := deadletter.NewMemory()
		b := &batches{t: t}
		b.fail = func(_ context.Context, es []event.Event[job]) error {
			if es[0].Payload.id() == "a1" {
				time.Sleep(6 * time.Second)
			}
			return nil
		}
		w := runPlant(t, append(expiring(letters), middleware.Throttle(4)), b.stage(stage.Limits{Size: 2, Wait: time.Millisecond}))
		w.put("a", oneTo(6)...)
		w.rest()
		if !slices.EqualFunc(b.calls, [][]string{{"a1", "a2"}}, slices.Equal) {
			t.Errorf("batches %v, want the first two", b.calls)
		}
		pipelinetest.ExpectLetters(t, letters, "work", "a3", "a4", "a5", "a6")
		if s := w.figures(); s.DeadLettered != 1 || s.Diverted != 3 {
			t.Errorf("%d letters and %d followers, want 1 and 3", s.DeadLettered, s.Diverted)
		}
	})
}
