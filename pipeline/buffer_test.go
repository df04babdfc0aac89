package pipeline_test

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/runnel-go/runnel/event"
	"github.com/runnel-go/runnel/pipeline"
	"github.com/runnel-go/runnel/stage"
)

// TestM1_TheWholeBufferIsThere: with every worker busy, as many events as the buffer says come in without
// waiting, and not one more, whatever their keys are.
func TestM1_TheWholeBufferIsThere(t *testing.T) {
	for _, keys := range []int{1, 3, 1000} {
		for _, buffer := range []int{1, 2, 5, 64} {
			t.Run(fmt.Sprintf("%d keys, buffer %d", keys, buffer), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					w := runPlant(t, nil, work(func(context.Context, event.Event[job]) error {
						time.Sleep(time.Hour)
						return nil
					}, stage.Workers(2), stage.Buffer(buffer), stage.WithOverflow(stage.Reject)))
					for i := range 2 {
						w.put(fmt.Sprint("busy", i), 1)
						synctest.Wait()
					}
					for i := range buffer {
						w.put(fmt.Sprint("k", i%keys), i+1)
						synctest.Wait()
					}
					if err := w.pub.Publish(t.Context(), job{"late", 1}); !errors.Is(err, pipeline.ErrFull) {
						t.Errorf("Publish beyond the buffer = %v, want ErrFull", err)
					}
					w.rest()
				})
			})
		}
	}
}

// TestARetryAtOnceDoesNotSpin: a handler that asks for another attempt after no time at all, for ever, leaves
// the stage's only worker to the other keys.
func TestARetryAtOnceDoesNotSpin(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var over atomic.Bool
		w := runPlant(t, nil, work(func(_ context.Context, e event.Event[job]) error {
			if e.Key == "spins" && !over.Load() {
				return stage.RetryAfter(0, errFlop)
			}
			return nil
		}, stage.Workers(1)))
		w.put("spins", 1)
		w.put("a", 1)
		time.Sleep(time.Second)
		if s := w.figures(); s.Done != 1 || s.Attempts > 1002 {
			t.Errorf("%d done after %d attempts in a second, want one and at most one attempt a millisecond", s.Done, s.Attempts)
		}
		over.Store(true)
		w.rest()
	})
}
