package pipeline_test

import (
	"context"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/runnel-go/runnel/deadletter"
	"github.com/runnel-go/runnel/event"
	"github.com/runnel-go/runnel/idempotency"
	"github.com/runnel-go/runnel/middleware"
	"github.com/runnel-go/runnel/pipeline"
	"github.com/runnel-go/runnel/stage"
)

func TestABatchOfVeryManyHasAsManyWorkersAsThereMayBe(t *testing.T) {
	topic := event.NewTopic[string]("one")
	s := stage.Batch(topic, "b", stage.Limits{Size: 40_000}, func(context.Context, []event.Event[string]) error { return nil })
	if f := s.Check(nil); len(f) > 0 {
		t.Error(f)
	}
}

// TestR4_SuccessOfABatchStandsInAForcedShutdown has a handler that says so after its context has ended.
func TestR4_SuccessOfABatchStandsInAForcedShutdown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := &batches{t: t}
		b.fail = func(ctx context.Context, _ []event.Event[job]) error { <-ctx.Done(); return nil }
		mem := idempotency.NewMemory()
		w := newPlantIn(t, pipeline.Config{Grace: time.Second}, []stage.Middleware{middleware.Idempotent(mem)}, b.stage(stage.Limits{Size: 5}))
		w.run()
		w.put("a", oneTo(5)...)
		synctest.Wait()
		time.Sleep(20 * time.Millisecond)
		synctest.Wait()
		err := w.Stop()
		s := w.figures()
		t.Logf("%v batches %v; done %d returned %d", err, b.calls, s.Done, s.Returned)
		if s.Done != 5 {
			t.Errorf("%d done, %d returned; the handler returned nil for all 5", s.Done, s.Returned)
		}
	})
}

// TestB3_ABatchThatTimesOutMakesNoLettersOfNeighbours has one slow event among five, and one attempt each.
func TestB3_ABatchThatTimesOutMakesNoLettersOfNeighbours(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := &batches{t: t}
		b.fail = func(ctx context.Context, es []event.Event[job]) error {
			if slices.ContainsFunc(es, func(e event.Event[job]) bool { return e.Payload.N == 3 }) {
				<-ctx.Done()
				return ctx.Err()
			}
			return nil
		}
		w := runPlant(t, []stage.Middleware{
			middleware.DeadLetter(deadletter.NewMemory()), middleware.Retry(middleware.Constant{Attempts: 1}), middleware.Timeout(10 * time.Second),
		}, b.stage(stage.Limits{Size: 5}))
		keyed(w, 5)
		w.rest()
		if s := w.figures(); s.Done != 4 || s.DeadLettered != 1 {
			t.Errorf("%d done and %d letters, want 4 and 1; calls %v", s.Done, s.DeadLettered, b.calls)
		}
	})
}

// TestB3_AnswersOfAWrongLengthAreNoVerdict: a Skip too many drops nothing.
func TestB3_AnswersOfAWrongLengthAreNoVerdict(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := &batches{t: t}
		b.fail = func(_ context.Context, es []event.Event[job]) error {
			return append(make(stage.BatchErrors, len(es)), stage.Skip("not for us"))
		}
		w := runPlant(t, []stage.Middleware{middleware.DeadLetter(deadletter.NewMemory())}, b.stage(stage.Limits{Size: 2}))
		keyed(w, 2)
		w.rest()
		if s := w.figures(); s.DeadLettered != 2 {
			t.Errorf("%d dropped and %d letters, want 2 letters: the answers were for another number of events", s.Dropped, s.DeadLettered)
		}
	})
}
