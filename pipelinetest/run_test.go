package pipelinetest_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/runnel-go/runnel/event"
	"github.com/runnel-go/runnel/middleware"
	"github.com/runnel-go/runnel/pipeline"
	"github.com/runnel-go/runnel/pipelinetest"
	"github.com/runnel-go/runnel/stage"
)

var errBoom = errors.New("boom")

// watched is a testing.TB that keeps its failures for itself, and its cleanups until end.
type watched struct {
	testing.TB
	failures []string
	cleanups []func()
}

func (w *watched) Helper() {}
func (w *watched) Errorf(format string, args ...any) {
	w.failures = append(w.failures, fmt.Sprintf(format, args...))
}
func (w *watched) Cleanup(f func()) { w.cleanups = append(w.cleanups, f) }

// fatal is what Fatalf panics with, to end what called it.
type fatal struct{}

func (w *watched) Fatalf(format string, args ...any) {
	w.Errorf(format, args...)
	panic(fatal{})
}

func (w *watched) end() {
	for _, f := range slices.Backward(w.cleanups) {
		f()
	}
}

// survive calls f and takes its Fatalf.
func survive(f func()) {
	defer func() {
		if v := recover(); v != nil {
			if _, ok := v.(fatal); !ok {
				panic(v)
			}
		}
	}()
	f()
}

func (w *watched) want(t *testing.T, texts ...string) {
	t.Helper()
	ok := len(w.failures) == len(texts)
	for i := range texts {
		ok = ok && strings.Contains(w.failures[i], texts[i])
	}
	if !ok {
		t.Errorf("failures %q, want %q", w.failures, texts)
	}
}

// one makes a pipeline with one stage of the topic orders, "charge", and a publisher for it.
func one(cfg pipeline.Config, handle func(context.Context, event.Event[order]) error, use ...stage.Middleware) (*pipeline.Pipeline, event.Publisher[order]) {
	p := pipeline.New(cfg)
	p.Use(use...)
	p.Add(stage.Handle(orders, "charge", handle))
	return p, pipeline.NewPublisher(p, orders)
}

func fine(context.Context, event.Event[order]) error { return nil }

// A Bubble is synctest.Test by another name; the other tests use the one that a check of the whole tree knows.
func TestBubble(t *testing.T) {
	began := time.Now()
	pipelinetest.Bubble(t, func(t *testing.T) {
		if time.Sleep(time.Hour); time.Now().Year() != 2000 {
			t.Errorf("it is %v, want an hour into the year 2000", time.Now())
		}
	})
	if d := time.Since(began); d > time.Minute {
		t.Errorf("an hour took %v, want next to nothing", d)
	}
}

func TestStartShutsDownWhenTheTestEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &watched{TB: t}
		p, pub := one(pipeline.Config{}, fine)
		pipelinetest.Start(w, p)
		if got := p.Snapshot().State; got != "running" {
			t.Errorf("state %s after Start, want running", got)
		}
		if err := pub.Publish(t.Context(), order{"1", "ann"}); err != nil {
			t.Fatal(err)
		}
		w.end()
		w.want(t)
		if got := p.Snapshot(); got.State != "ended" || got.Stages[0].Done != 1 {
			t.Errorf("after the test: %+v, want ended with one done", got)
		}
	})
}

func TestStartFailsTheTestOnAnErrorThatNobodyTook(t *testing.T) {
	halts := func(context.Context, event.Event[order]) error { return stage.Halt(errBoom) }
	synctest.Test(t, func(t *testing.T) {
		w := &watched{TB: t}
		p, pub := one(pipeline.Config{}, halts)
		run := pipelinetest.Start(w, p)
		_ = pub.Publish(t.Context(), order{"1", "ann"})
		run.Settle()
		w.end()
		w.want(t, "boom")
	})
	synctest.Test(t, func(t *testing.T) {
		w := &watched{TB: t}
		p, pub := one(pipeline.Config{}, halts)
		run := pipelinetest.Start(w, p)
		_ = pub.Publish(t.Context(), order{"1", "ann"})
		if err := run.Wait(); !errors.Is(err, errBoom) {
			t.Errorf("Wait = %v, want boom", err)
		}
		w.end()
		w.want(t)
	})
}

func TestStartFailsTheTestOnAWrongDescription(t *testing.T) {
	w := &watched{TB: t}
	pipelinetest.Start(w, pipeline.New(pipeline.Config{}))
	w.end()
	w.want(t, "no stages")
}

func TestSettleWaitsForParkedEventsAndSleepingHandlers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tries := 0
		p, pub := one(pipeline.Config{}, func(context.Context, event.Event[order]) error {
			time.Sleep(time.Minute)
			if tries++; tries < 3 {
				return stage.RetryAfter(10*time.Hour, errBoom)
			}
			return nil
		})
		run := pipelinetest.Start(t, p)
		began := time.Now()
		_ = pub.Publish(t.Context(), order{"1", "ann"})
		run.Settle()
		took := time.Since(began)
		if least := 20*time.Hour + 3*time.Minute; took < least || took > least*9/8 {
			t.Errorf("Settle took %v, want from %v to an eighth more", took, least)
		}
		if got := p.Snapshot().Stages[0].Done; got != 1 {
			t.Errorf("%d done, want 1", got)
		}
	})
}

func TestSettleDoesNotWaitForWhatIsHeldOrPaused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, pub := one(pipeline.Config{}, func(_ context.Context, e event.Event[order]) error {
			if e.ID() == "1" {
				return stage.Hold(errBoom)
			}
			return nil
		})
		run := pipelinetest.Start(t, p)
		_ = pub.Publish(t.Context(), order{"1", "ann"})
		_ = pub.Publish(t.Context(), order{"2", "ann"})
		run.Settle()
		if err := p.Pause("charge"); err != nil {
			t.Fatal(err)
		}
		_ = pub.Publish(t.Context(), order{"3", "bob"})
		run.Settle()
		if s := p.Snapshot().Stages[0]; s.Held != 1 || s.Queued != 2 {
			t.Errorf("%d held and %d queued, want 1 and 2", s.Held, s.Queued)
		}
		if err := run.Stop(); !errors.Is(err, pipeline.ErrUnfinished) {
			t.Errorf("Stop = %v, want ErrUnfinished", err)
		}
	})
}

func TestSettleGivesUpWhenThereIsNoRest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &watched{TB: t}
		p, pub := one(pipeline.Config{}, func(ctx context.Context, _ event.Event[order]) error {
			<-ctx.Done()
			return nil
		})
		run := pipelinetest.Start(w, p)
		_ = pub.Publish(t.Context(), order{"1", "ann"})
		survive(run.Settle)
		w.want(t, "no rest")
		w.end()
	})
}

func TestSettleOutsideOfABubbleSaysWhatIsMissing(t *testing.T) {
	w := &watched{TB: t}
	p, _ := one(pipeline.Config{}, fine)
	run := pipelinetest.Start(w, p)
	survive(run.Settle)
	w.end()
	w.want(t, "pipelinetest: Settle works only inside of pipelinetest.Bubble; wrap the test in it")
}

func TestDrainHandlesWhatMayRunNow(t *testing.T) {
	rec := pipelinetest.NewRecorder()
	p, pub := one(pipeline.Config{Observer: rec.Observer()}, func(_ context.Context, e event.Event[order]) error {
		if e.ID() == "2" {
			return errBoom
		}
		return nil
	}, middleware.Retry(middleware.Constant{Delay: time.Hour}))
	for _, o := range []order{{"1", "ann"}, {"2", "bob"}, {"3", "ann"}} {
		_ = pub.Publish(t.Context(), o)
	}
	if n := pipelinetest.Drain(t, p); n != 3 {
		t.Errorf("Drain = %d, want 3", n)
	}
	pipelinetest.ExpectSettled(t, rec, "charge", 2)
	if err := rec.CheckRest(); err == nil || !strings.Contains(err.Error(), "orders/2 ended 0 times") {
		t.Errorf("CheckRest = %v, want that orders/2 has not ended", err)
	}
}

func TestDrainFailsTheTestWhenThePipelineRuns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &watched{TB: t}
		p, _ := one(pipeline.Config{}, fine)
		pipelinetest.Start(t, p)
		survive(func() { pipelinetest.Drain(w, p) })
		w.want(t, "the pipeline runs")
	})
}

func TestExpectations(t *testing.T) {
	rec := pipelinetest.NewRecorder()
	p, pub := one(pipeline.Config{Observer: rec.Observer()}, func(_ context.Context, e event.Event[order]) error {
		if e.ID() == "2" {
			return stage.Skip("not today")
		}
		return nil
	})
	for _, o := range []order{{"1", "ann"}, {"2", "ann"}, {"3", "ann"}, {"4", "bob"}} {
		_ = pub.Publish(t.Context(), o)
	}
	pipelinetest.Drain(t, p)
	pipelinetest.ExpectOrder(t, rec, "charge", "ann", "1", "3")
	pipelinetest.ExpectOutcome(t, rec, "charge", "2", stage.OutcomeDropped)
	pipelinetest.ExpectSettled(t, rec, "charge", 4)

	w := &watched{TB: t}
	pipelinetest.ExpectOrder(w, rec, "charge", "ann", "3", "1")
	pipelinetest.ExpectOutcome(w, rec, "charge", "2", stage.OutcomeDone)
	pipelinetest.ExpectOutcome(w, rec, "charge", "5", stage.OutcomeDone)
	pipelinetest.ExpectSettled(w, rec, "charge", 3)
	w.want(t, `done in the order ["1" "3"], want ["3" "1"]`, "is dropped", "has not settled", "4 events have settled, want 3")
}

func TestRecorderTellsEventsOfOneIdentityApart(t *testing.T) {
	rec := pipelinetest.NewRecorder()
	p, pub := one(pipeline.Config{Observer: rec.Observer()}, fine)
	_ = pub.Publish(t.Context(), order{"1", "ann"})
	_ = pub.Publish(t.Context(), order{"1", "ann"})
	pipelinetest.Drain(t, p)
	if err := rec.CheckRest(); err != nil {
		t.Errorf("CheckRest = %v, want nil", err)
	}
	pipelinetest.ExpectOrder(t, rec, "charge", "ann", "1", "1")
}
