package pipeline_test

import (
	"context"
	"testing"
	"time"

	"github.com/runnel-go/runnel/event"
	"github.com/runnel-go/runnel/pipeline"
	"github.com/runnel-go/runnel/pipelinetest"
	"github.com/runnel-go/runnel/stage"
)

// TestR1_APanicWithAVerdictIsOneAttempt panics with what another handler would return, and nothing recovers.
func TestR1_APanicWithAVerdictIsOneAttempt(t *testing.T) {
	pipelinetest.Bubble(t, func(t *testing.T) {
		calls, told := 0, 0
		observer := pipeline.Observer{
			Parked:  func(*stage.Delivery, stage.Verdict) { told++ },
			Settled: func(*stage.Delivery, stage.Outcome, error) {},
		}
		y := runYard(t, pipeline.Config{Observer: observer}, loading(func(context.Context, event.Event[crate]) error {
			if calls++; calls == 1 {
				panic(stage.RetryAfter(time.Second, errDamaged))
			}
			return nil
		}))
		y.put("a", 1)
		y.Settle()
		s := y.stageOf("load")
		if calls != 2 || told != 1 || s.Retries != 1 || s.Panics != 1 || s.Done != 1 {
			t.Errorf("%d calls, told %d times that it is parked: %+v", calls, told, s)
		}
	})
}
