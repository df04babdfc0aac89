package pipeline_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/runnel-go/runnel/deadletter"
	"github.com/runnel-go/runnel/event"
	"github.com/runnel-go/runnel/middleware"
	"github.com/runnel-go/runnel/pipeline"
	"github.com/runnel-go/runnel/pipelinetest"
	"github.com/runnel-go/runnel/stage"
)

func noWork(context.Context, event.Event[job]) error { return nil }

// delayed publishes a job with options.
func (w *plant) delayed(j job, opts ...event.PublishOption) {
	w.t.Helper()
	if err := w.pub.Publish(context.Background(), j, opts...); err != nil {
		w.t.Fatalf("Publish(%s) = %v", j.id(), err)
	}
}

// wantStart fails the test unless the job's only attempt began that long after began.
func (w *plant) wantStart(id string, began time.Time, want time.Duration) {
	w.t.Helper()
	got, ok := w.startedAfter(id, began)
	if !ok || got != want {
		w.t.Errorf("%s began after %v (%v), want %v", id, got, ok, want)
	}
}

func TestAnEventPutOffIsHandledWhenItIsDueAndNotBefore(t *testing.T) {
	for _, order := range []stage.Order{stage.PerKey, stage.Serial, stage.Unordered} {
		t.Run(order.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := runPlant(t, nil, work(noWork, stage.WithOrder(order)))
				began := time.Now()
				w.delayed(job{"a", 1}, event.After(time.Hour))
				w.delayed(job{"b", 1}, event.At(began.Add(24*time.Hour)))
				w.delayed(job{"c", 1}, event.At(began.Add(-time.Hour)))
				w.rest()
				w.wantStart("a1", began, time.Hour)
				w.wantStart("b1", began, 24*time.Hour)
				if order != stage.Serial {
					w.wantStart("c1", began, 0)
				}
				if s := w.figures(); s.Attempts != 3 || s.Retries != 0 {
					t.Errorf("%d attempts, %d retries, want 3 and none", s.Attempts, s.Retries)
				}
			})
		})
	}
}

func TestO2_AnEventPutOffKeepsItsPlaceInItsKey(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := runPlant(t, nil, work(noWork, stage.Workers(1)))
		began := time.Now()
		w.delayed(job{"a", 1})
		w.delayed(job{"a", 2}, event.After(time.Hour))
		w.delayed(job{"a", 3})
		w.delayed(job{"b", 1})
		w.rest()
		pipelinetest.ExpectOrder(t, w.rec, "work", "a", "a1", "a2", "a3")
		w.wantStart("a1", began, 0)
		w.wantStart("a3", began, time.Hour)
		w.wantStart("b1", began, 0) // O4: the worker is there for other keys
	})
}

func TestAnUnorderedEventWaitsForItsTimeOnly(t *testing.T) {
	for _, order := range []stage.Order{stage.PerKey, stage.Serial} {
		t.Run(order.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := runPlant(t, nil, work(noWork, stage.WithOrder(order)))
				began := time.Now()
				w.delayed(job{"a", 1}, event.After(time.Hour), event.Unordered())
				w.delayed(job{"a", 2})
				w.Settle()
				w.wantStart("a1", began, time.Hour)
				w.wantStart("a2", began, 0)
			})
		})
	}
}

func TestM1_EventsPutOffCountAgainstTheCapacity(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := runPlant(t, nil, work(noWork, stage.Workers(1), stage.Buffer(4), stage.WithOverflow(stage.Reject)))
		var err error
		n := 0
		for ; err == nil && n < 100; n++ {
			err = w.pub.Publish(t.Context(), job{job{"k", n}.id(), 1}, event.After(time.Hour))
			synctest.Wait()
		}
		if s := w.figures(); !errors.Is(err, pipeline.ErrFull) || s.Parked > s.Capacity || n > s.Capacity+1 {
			t.Errorf("after %d publishes: %v, %d parked of a capacity of %d", n, err, s.Parked, s.Capacity)
		}
		w.rest()
	})
}

func TestS1_ADrainWaitsForWhatIsPutOffWithinItsGrace(t *testing.T) {
	for _, c := range []struct {
		name    string
		drain   stage.DrainPolicy
		grace   time.Duration
		handled bool
		letters int
	}{
		{"due within the grace", stage.WaitUntilDue, 2 * time.Hour, true, 0},
		{"due after the grace", stage.WaitUntilDue, time.Minute, false, 0},
		{"TryOnce runs nothing early", stage.TryOnce, 2 * time.Hour, false, 0},
		{"Return hands it back", stage.Return, 2 * time.Hour, false, 0},
		{"GiveUp makes a letter of it", stage.GiveUp, 2 * time.Hour, false, 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				letters := deadletter.NewMemory()
				calls := 0
				w := newPlantIn(t, pipeline.Config{Grace: c.grace}, []stage.Middleware{middleware.DeadLetter(letters), middleware.Retry(middleware.Exponential{})},
					work(func(context.Context, event.Event[job]) error { calls++; return nil }, stage.OnDrain(c.drain)))
				w.run()
				w.delayed(job{"a", 1}, event.After(time.Hour))
				synctest.Wait()
				left := unfinished(w.Stop())
				ls := listed(t, letters, deadletter.Filter{})
				wantLeft := 0
				if !c.handled && c.letters == 0 {
					wantLeft = 1
				}
				if (calls == 1) != c.handled || len(ls) != c.letters || len(left) != wantLeft {
					t.Errorf("%d calls, %d letters, unfinished %v; want handled %v, %d letters, %d unfinished", calls, len(ls), left, c.handled, c.letters, wantLeft)
				}
				if len(left) == 1 && left[0].State != "parked" {
					t.Errorf("it was handed back as %q, want parked", left[0].State)
				}
			})
		})
	}
}

// TestX6_ALetterThatIsNotDueWaitsInItsRedriveToo: its time travels with it.
func TestX6_ALetterThatIsNotDueWaitsInItsRedriveToo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		letters := deadletter.NewMemory()
		chain := []stage.Middleware{middleware.DeadLetter(letters), middleware.Retry(middleware.Exponential{})}
		first := newPlantIn(t, pipeline.Config{}, chain, work(noWork, stage.OnDrain(stage.GiveUp)))
		first.run()
		began := time.Now()
		first.delayed(job{"a", 1}, event.After(time.Hour))
		first.delayed(job{"b", 1}, event.After(time.Hour), event.Unordered())
		synctest.Wait()
		if err := first.Stop(); err != nil {
			t.Fatal(err)
		}
		second := runPlant(t, chain, work(noWork))
		r, err := deadletter.Drain(t.Context(), letters, second.p, deadletter.DrainOptions{})
		if err != nil || r.Succeeded != 2 {
			t.Errorf("Drain = %v, %v, want both letters redriven", r, err)
		}
		second.wantStart("a1", began, time.Hour)
		if took := time.Since(began); took != time.Hour {
			t.Errorf("the drain took %v, want the hour", took)
		}
	})
}

func TestAnEventPutOffFailsAndIsRetriedLikeAnyOther(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began, calls := time.Now(), 0
		w := runPlant(t, fullChain(deadletter.Park), work(func(context.Context, event.Event[job]) error {
			if calls++; calls < 3 {
				return errFlop
			}
			return nil
		}))
		w.delayed(job{"a", 1}, event.After(time.Hour))
		w.rest()
		if took := time.Since(began); calls != 3 || took < time.Hour {
			t.Errorf("%d calls after %v, want 3 after an hour", calls, took)
		}
		pipelinetest.ExpectOutcome(t, w.rec, "work", "a1", stage.OutcomeDone)
	})
}

func TestStepByStepAnEventPutOffIsNotHandledEarly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		calls := 0
		w := newPlant(t, nil, work(func(context.Context, event.Event[job]) error { calls++; return nil }))
		w.delayed(job{"a", 1}, event.After(time.Hour))
		pipelinetest.Drain(t, w.p)
		if calls != 0 {
			t.Error("it was handled before it was due")
		}
		time.Sleep(time.Hour)
		pipelinetest.Drain(t, w.p)
		if calls != 1 {
			t.Errorf("%d calls once it was due, want 1", calls)
		}
	})
}

// TestR2_AnEventPutOffToAFarYear: further away than a time.Duration counts, it is not due at once.
func TestR2_AnEventPutOffToAFarYear(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newPlantIn(t, pipeline.Config{Grace: time.Second}, nil, work(noWork))
		w.run()
		w.delayed(job{"a", 1}, event.At(time.Now().AddDate(9000, 0, 0)))
		time.Sleep(24 * time.Hour)
		if s := w.figures(); s.Done != 0 || s.Parked != 1 {
			t.Errorf("%d done, %d parked, want none and 1", s.Done, s.Parked)
		}
		if left := unfinished(w.Stop()); len(left) != 1 || left[0].State != "parked" {
			t.Errorf("handed back are %v, want it, parked", left)
		}
	})
}
