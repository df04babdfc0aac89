package pipeline_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/runnel-go/runnel/deadletter"
	"github.com/runnel-go/runnel/event"
	"github.com/runnel-go/runnel/pipeline"
	"github.com/runnel-go/runnel/pipelinetest"
	"github.com/runnel-go/runnel/stage"
)

// storyOf prints what the observer was told of one event, without the times.
func storyOf(y *yard, id string) []string {
	var story []string
	for _, e := range y.rec.History() {
		if e.ID != id {
			continue
		}
		s := e.What.String()
		if e.What != pipelinetest.Accepted {
			s += fmt.Sprint(" ", e.Attempt)
		}
		switch e.What {
		case pipelinetest.Settled:
			s += " " + e.Outcome.String()
		case pipelinetest.Parked:
			s += fmt.Sprintf(" for %v", e.Delay)
			if e.Postponed {
				s += ", not counted"
			}
		}
		if e.Err != nil {
			s += ": " + e.Err.Error()
		}
		story = append(story, s)
	}
	slices.SortStableFunc(story, func(a, b string) int { // a worker may be quicker than the publish
		return strings.Compare(fmt.Sprint(b == "accepted"), fmt.Sprint(a == "accepted"))
	})
	return story
}

// TestObserver_IsToldOfEverything that happens to an event, once each, in order, with what belongs to it.
func TestObserver_IsToldOfEverything(t *testing.T) {
	cases := map[string]struct {
		attempts []error // one each; then it succeeds
		want     []string
	}{
		"done":          {nil, []string{"accepted", "started 1", "settled 1 done"}},
		"failed":        {[]error{errDamaged}, []string{"accepted", "started 1", "settled 1 failed: the crate is damaged"}},
		"retried":       {[]error{stage.RetryAfter(time.Minute, errDamaged)}, []string{"accepted", "started 1", "parked 1 for 1m0s: the crate is damaged", "started 2", "settled 2 done"}},
		"postponed":     {[]error{stage.Postpone(time.Minute, errDamaged)}, []string{"accepted", "started 1", "parked 1 for 1m0s, not counted: the crate is damaged", "started 1", "settled 1 done"}},
		"held":          {[]error{stage.Hold(errDamaged)}, []string{"accepted", "started 1", "held 1: the crate is damaged", "started 1", "settled 1 done"}},
		"skipped":       {[]error{stage.Skip("late")}, []string{"accepted", "started 1", "settled 1 dropped"}},
		"a duplicate":   {[]error{stage.Skip(stage.ReasonDuplicate)}, []string{"accepted", "started 1", "settled 1 duplicate"}},
		"dead-lettered": {[]error{stage.Stored("L", errDamaged)}, []string{"accepted", "started 1", "settled 1 dead-lettered: the crate is damaged"}},
		"diverted":      {[]error{stage.Diverted("L")}, []string{"accepted", "started 1", "settled 1 diverted"}},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			pipelinetest.Bubble(t, func(t *testing.T) {
				n := 0
				y := runYard(t, pipeline.Config{}, loading(func(context.Context, event.Event[crate]) error {
					if n++; n <= len(c.attempts) {
						return c.attempts[n-1]
					}
					return nil
				}, stage.Workers(1)))
				y.put("a", 1)
				y.Settle()
				if _, err := y.p.Release("load", "a"); err != nil {
					t.Error(err)
				}
				y.Settle()
				if got := storyOf(y, "a1"); !slices.Equal(got, c.want) {
					t.Errorf("the observer was told\n%q, want\n%q", got, c.want)
				}
			})
		})
	}
}

// TestObserver_OfARedrive is told of the letter.
func TestObserver_OfARedrive(t *testing.T) {
	pipelinetest.Bubble(t, func(t *testing.T) {
		y := newYard(t, pipeline.Config{}, loading(pass))
		y.p.Use(redrivable)
		y.start()
		if err := y.p.Redrive(t.Context(), letterOf(crate{"a", 7}), deadletter.Claim{}); err != nil {
			t.Fatalf("Redrive = %v, want nil", err)
		}
		var got []string
		for _, e := range y.rec.History() {
			got = append(got, fmt.Sprintf("%v %s of %s", e.What, e.ID, e.Redrive))
		}
		if want := []string{"started a7 of letter-a7", "settled a7 of letter-a7"}; !slices.Equal(got, want) {
			t.Errorf("the observer was told %q, want %q", got, want)
		}
	})
}

// TestObserver_DroppedByOverflow is told with the reason as the error.
func TestObserver_DroppedByOverflow(t *testing.T) {
	pipelinetest.Bubble(t, func(t *testing.T) {
		y := runYard(t, pipeline.Config{}, loading(takes(time.Second), stage.Workers(1), stage.Buffer(1), stage.WithOverflow(stage.DropNewest)))
		y.put("a", 0)
		synctest.Wait()
		y.put("a", 1, 2)
		y.Settle()
		if got, want := storyOf(y, "a2"), []string{"accepted", "settled 1 dropped: a stage is full"}; !slices.Equal(got, want) {
			t.Errorf("the observer was told %q, want %q", got, want)
		}
	})
}

// TestObserver_HooksMayPanic: each is called for every event all the same, and it is logged.
func TestObserver_HooksMayPanic(t *testing.T) {
	pipelinetest.Bubble(t, func(t *testing.T) {
		var mu sync.Mutex
		called := map[string]int{}
		bang := func(hook string) {
			mu.Lock()
			called[hook]++
			mu.Unlock()
			panic("for fun")
		}
		var log lockedText
		p := pipeline.New(pipeline.Config{
			Logger:      slog.New(slog.NewTextHandler(&log, nil)),
			OnUnhandled: func(*stage.Delivery, error) { bang("OnUnhandled") },
			Observer: pipeline.Observer{
				Accepted: func(*event.Meta) { bang("Accepted") },
				Started:  func(*stage.Delivery) { bang("Started") },
				Parked:   func(*stage.Delivery, stage.Verdict) { bang("Parked") },
				Held:     func(*stage.Delivery, error) { bang("Held") },
				Settled:  func(*stage.Delivery, stage.Outcome, error) { bang("Settled") },
			},
		})
		tries := map[int]int{}
		p.Add(loading(func(_ context.Context, e event.Event[crate]) error {
			tries[e.Payload.N]++
			switch {
			case e.Payload.N == 1:
				return errDamaged
			case e.Payload.N == 2 && tries[2] == 1:
				return stage.RetryAfter(time.Second, errDamaged)
			case e.Payload.N == 3 && tries[3] == 1:
				return stage.Hold(errDamaged)
			}
			return nil
		}, stage.Workers(1)))
		y := &yard{t: t, p: p, pub: pipeline.NewPublisher(p, crates)}
		y.start()
		y.put("a", 1, 2, 3, 4)
		y.Settle()
		if n, err := p.Release("load", "a"); n != 1 || err != nil {
			t.Errorf("Release = %d, %v, want 1", n, err)
		}
		y.Settle()
		want := map[string]int{"Accepted": 4, "Started": 6, "Parked": 1, "Held": 1, "Settled": 4, "OnUnhandled": 1}
		for hook, n := range want {
			if called[hook] != n {
				t.Errorf("%s was called %d times, want %d", hook, called[hook], n)
			}
			if !strings.Contains(log.String(), "hook="+hook+" ") {
				t.Errorf("the log does not name %s", hook)
			}
		}
		if s := y.stageOf("load"); s.Done != 3 || s.Failed != 1 {
			t.Errorf("%d done, %d failed, want 3 and 1", s.Done, s.Failed)
		}
	})
}

// exits returns a function that ends the goroutine of whoever calls it first, as t.FailNow does.
func exits() func() {
	var once sync.Once
	return func() { once.Do(runtime.Goexit) }
}

// TestR1_AnObserverOfAStartThatEndsItsGoroutine fails the attempt, whose handler is not called, and no more.
func TestR1_AnObserverOfAStartThatEndsItsGoroutine(t *testing.T) {
	pipelinetest.Bubble(t, func(t *testing.T) {
		exit, calls := exits(), 0
		y := runYard(t, pipeline.Config{Observer: pipeline.Observer{
			Started: func(*stage.Delivery) { exit() },
			Settled: func(*stage.Delivery, stage.Outcome, error) {},
		}}, loading(func(context.Context, event.Event[crate]) error { calls++; return nil }, stage.Workers(1)))
		y.put("a", 1, 2)
		y.Settle()
		if s := y.stageOf("load"); s.Failed != 1 || s.Done != 1 || calls != 1 || s.Workers != 1 {
			t.Errorf("%d failed, %d done with %d calls on %d workers, want one each", s.Failed, s.Done, calls, s.Workers)
		}
	})
}

// TestR1_AnObserverOfAParkedEventThatEndsItsGoroutine: its next attempt comes all the same.
func TestR1_AnObserverOfAParkedEventThatEndsItsGoroutine(t *testing.T) {
	pipelinetest.Bubble(t, func(t *testing.T) {
		exit, calls := exits(), 0
		y := runYard(t, pipeline.Config{Observer: pipeline.Observer{
			Parked:  func(*stage.Delivery, stage.Verdict) { exit() },
			Settled: func(*stage.Delivery, stage.Outcome, error) {},
		}}, loading(func(context.Context, event.Event[crate]) error {
			if calls++; calls == 1 {
				return stage.RetryAfter(time.Second, errDamaged)
			}
			return nil
		}, stage.Workers(1)))
		y.put("a", 1)
		y.Settle()
		if s := y.stageOf("load"); s.Done != 1 || s.Retries != 1 || calls != 2 {
			t.Errorf("%d done after %d calls and %d retries, want 1 after 2 and 1", s.Done, calls, s.Retries)
		}
	})
}

// TestL1_AnObserverOfAnEndThatEndsItsGoroutine: whoever waits for the event is told of its end.
func TestL1_AnObserverOfAnEndThatEndsItsGoroutine(t *testing.T) {
	pipelinetest.Bubble(t, func(t *testing.T) {
		y := runYard(t, pipeline.Config{Observer: pipeline.Observer{
			Settled: func(*stage.Delivery, stage.Outcome, error) { runtime.Goexit() },
		}}, loading(pass))
		r, err := pipeline.Ask(t.Context(), y.pub, crate{"a", 1})
		if err != nil {
			t.Fatal(err)
		}
		if answers, err := r.Wait(t.Context()); err != nil || answers[0].Outcome != stage.OutcomeDone {
			t.Errorf("Wait = %+v, %v, want done", answers, err)
		}
	})
}

// lockedText is a writer that many may use.
type lockedText struct {
	mu sync.Mutex
	b  strings.Builder
}

func (l *lockedText) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedText) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// TestObserver_OnUnhandled is given each failure that nobody handled, with its identity, and nothing else;
// the log has it too.
func TestObserver_OnUnhandled(t *testing.T) {
	pipelinetest.Bubble(t, func(t *testing.T) {
		var got []string
		var log lockedText
		p := pipeline.New(pipeline.Config{
			Logger: slog.New(slog.NewTextHandler(&log, nil)),
			OnUnhandled: func(d *stage.Delivery, err error) {
				got = append(got, fmt.Sprintf("%s %s %d: %v", d.ID(), d.Stage, d.Attempt, err))
			},
		})
		p.Add(loading(func(_ context.Context, e event.Event[crate]) error {
			switch e.Payload.N {
			case 1:
				return errDamaged
			case 2:
				return fmt.Errorf("crate 2: %w", stage.Permanent(errDamaged))
			case 3:
				panic("three")
			case 4:
				runtime.Goexit()
			case 5:
				return stage.Skip("late")
			case 6:
				return stage.Stored("L", errDamaged)
			}
			return nil
		}, stage.Workers(1)))
		y := &yard{t: t, p: p, pub: pipeline.NewPublisher(p, crates)}
		y.start()
		y.put("a", 1, 2, 3, 4, 5, 6, 7)
		y.Settle()
		want := []string{
			"a1 load 1: the crate is damaged", "a2 load 1: crate 2: the crate is damaged", "a3 load 1: panic: three",
			"a4 load 1: panic: the handler called runtime.Goexit",
		}
		if !slices.Equal(got, want) {
			t.Errorf("OnUnhandled was given %q, want %q", got, want)
		}
		for _, part := range []string{"id=a1", "stage=load", "key=a", "seq=1", "attempt=1", `error="the crate is damaged"`} {
			if !strings.Contains(log.String(), part) {
				t.Errorf("the log has no %s:\n%s", part, log.String())
			}
		}
	})
}

// TestObserver_AHookMayLook at the pipeline: nothing is locked while it runs.
func TestObserver_AHookMayLook(t *testing.T) {
	pipelinetest.Bubble(t, func(t *testing.T) {
		var y *yard
		var looked atomic.Int64 // the publisher and the worker look at once
		look := func() {
			looked.Add(1)
			_, _ = y.p.Snapshot(), y.p.Plan()
			_, _ = y.p.Release("load", "none")
			if err := y.p.SetWorkers("load", 1); err != nil {
				t.Error(err)
			}
		}
		y = newYard(t, pipeline.Config{Observer: pipeline.Observer{
			Accepted: func(*event.Meta) { look() },
			Started:  func(*stage.Delivery) { look() },
			Parked:   func(*stage.Delivery, stage.Verdict) { look() },
			Settled:  func(*stage.Delivery, stage.Outcome, error) { look() },
		}}, loading(retriesOnce(), stage.Workers(1)))
		y.start()
		y.put("a", 1)
		y.Settle()
		if n := looked.Load(); n != 5 {
			t.Errorf("looked %d times, want 5", n)
		}
	})
}

// TestObserver_NothingOfWhatWasRefused: what is refused at publish is told to nobody.
func TestObserver_NothingOfWhatWasRefused(t *testing.T) {
	y := newYard(t, pipeline.Config{}, loading(pass))
	if err := y.pub.Publish(t.Context(), crate{}); !errors.Is(err, event.ErrNoKey) {
		t.Errorf("Publish = %v, want %v", err, event.ErrNoKey)
	}
	if h := y.rec.History(); len(h) != 0 {
		t.Errorf("the observer was told\n%v, want nothing", h)
	}
}
