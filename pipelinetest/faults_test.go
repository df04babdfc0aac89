package pipelinetest_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
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

// outcomes is how a hundred orders end under a fault.
func outcomes(t *testing.T, m stage.Middleware, workers int) (ends string, done, calls int) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		rec := pipelinetest.NewRecorder()
		p := pipeline.New(pipeline.Config{Observer: rec.Observer()})
		p.Use(middleware.DeadLetter(deadletter.NewMemory()), middleware.Timeout(time.Minute), middleware.Recover())
		called := make(chan struct{}, 1000)
		p.Add(stage.Handle(orders, "charge", func(context.Context, event.Event[order]) error {
			called <- struct{}{}
			return nil
		}, stage.Use(m), stage.Workers(workers)))
		run := pipelinetest.Start(t, p)
		pub := pipeline.NewPublisher(p, orders)
		for n := range 100 {
			if err := pub.Publish(t.Context(), order{fmt.Sprint(n), fmt.Sprint(n)}); err != nil {
				t.Fatal(err)
			}
		}
		run.Settle()
		byID := map[string]stage.Outcome{}
		for _, e := range rec.Settled("charge") {
			byID[e.ID] = e.Outcome
			if e.Outcome == stage.OutcomeDone {
				done++
			}
		}
		ends, calls = fmt.Sprint(byID), len(called)
	})
	return ends, done, calls
}

func TestFaultsGoWrongAsOftenAsTheyAreTold(t *testing.T) {
	f := pipelinetest.Faults{Seed: 7}
	for name, c := range map[string]struct {
		make  func(rate float64) stage.Middleware
		calls func(done int) int
	}{
		"fail":      {f.Fail, func(done int) int { return done }},
		"panic":     {f.Panic, func(done int) int { return done }},
		"slow":      {func(rate float64) stage.Middleware { return f.Slow(rate, time.Hour) }, func(done int) int { return done }},
		"duplicate": {f.Duplicate, func(int) int { return 100 }},
	} {
		t.Run(name, func(t *testing.T) {
			ends, done, calls := outcomes(t, c.make(0.3), 4)
			if done < 55 || done > 85 || calls != c.calls(done) {
				t.Errorf("%d of 100 are done after %d calls, want about 70", done, calls)
			}
			if again, _, _ := outcomes(t, c.make(0.3), 1); again != ends {
				t.Error("another run with the same seed ended otherwise")
			}
			if _, done, _ := outcomes(t, c.make(0), 4); done != 100 {
				t.Errorf("at a rate of 0 %d are done, want 100", done)
			}
			if _, done, _ := outcomes(t, c.make(1), 4); done != 0 {
				t.Errorf("at a rate of 1 %d are done, want 0", done)
			}
		})
	}
	if a, _, _ := outcomes(t, f.Fail(0.3), 4); a == first(outcomes(t, pipelinetest.Faults{Seed: 8}.Fail(0.3), 4)) {
		t.Error("another seed makes the same faults")
	}
	if p, _ := one(pipeline.Config{}, fine, f.Fail(1.5)); p.Check() == nil {
		t.Error("a rate of 1.5 is accepted")
	}
}

func first(s string, _, _ int) string { return s }

func TestAFeedGivesReceipts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, _ := one(pipeline.Config{}, func(_ context.Context, e event.Event[order]) error {
			time.Sleep(time.Minute)
			if e.ID() == "bad" {
				return errBoom
			}
			return nil
		})
		feed := pipelinetest.NewFeed(p, orders)
		pipelinetest.Start(t, p)
		good, err := feed.Publish(t.Context(), order{"good", "ann"})
		bad, err2 := feed.Publish(t.Context(), order{"bad", "bob"})
		if err != nil || err2 != nil {
			t.Fatal(err, err2)
		}
		short, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := good.Wait(short); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Wait for a second = %v, want %v", err, context.DeadlineExceeded)
		}
		if err := good.Wait(t.Context()); err != nil {
			t.Errorf("Wait = %v, want nil", err)
		}
		if err := bad.Wait(t.Context()); !errors.Is(err, errBoom) {
			t.Errorf("Wait for what failed = %v, want %v", err, errBoom)
		}
		if _, err := feed.Publish(t.Context(), order{"", "ann"}); !errors.Is(err, event.ErrNoID) {
			t.Errorf("Publish without an identity = %v, want %v", err, event.ErrNoID)
		}
	})
}

func TestExpectLetters(t *testing.T) {
	letters := deadletter.NewMemory()
	rec := pipelinetest.NewRecorder()
	p, pub := one(pipeline.Config{Observer: rec.Observer()}, func(_ context.Context, e event.Event[order]) error {
		if e.ID() == "2" {
			return errBoom
		}
		return nil
	}, middleware.DeadLetter(letters))
	for _, o := range []order{{"1", "ann"}, {"2", "bob"}, {"3", "bob"}, {"4", "cal"}} {
		_ = pub.Publish(t.Context(), o)
	}
	pipelinetest.Drain(t, p)
	pipelinetest.Expect(t, rec, "charge", "4", "1")
	pipelinetest.ExpectLetters(t, letters, "charge", "2", "3")
	if l := pipelinetest.ExpectLetter(t, letters, "charge", "3"); !l.Follower {
		t.Errorf("letter 3 is %+v, want a follower", l)
	}
	w := &watched{TB: t}
	pipelinetest.Expect(w, rec, "charge", "1")
	pipelinetest.ExpectLetters(w, letters, "charge", "3", "2")
	survive(func() { pipelinetest.ExpectLetter(w, letters, "charge", "1") })
	w.want(t, `done are ["1" "4"], want ["1"]`, `dead letters are ["2" "3"], want ["3" "2"]`, `event "1" is no dead letter`)
}

func TestStageFindsHandlersThatBreakTheRules(t *testing.T) {
	count, slow := 0, make(chan struct{})
	defer close(slow)
	for name, c := range map[string]struct {
		handle func(context.Context, event.Event[order]) error
		state  func() any
		want   string
	}{
		"good":           {fine, func() any { return 1 }, ""},
		"honours ctx":    {func(ctx context.Context, e event.Event[order]) error { return nil }, nil, ""},
		"fails":          {func(context.Context, event.Event[order]) error { return errBoom }, nil, "was not handled"},
		"counts up":      {func(context.Context, event.Event[order]) error { count++; return nil }, func() any { return count }, "not idempotent"},
		"ignores ctx":    {stubbornOnThird(slow), nil, "had not returned"},
		"skips a second": {skipSecond(), func() any { return 1 }, ""},
		"fails a second": {failSecond(), nil, "not handled the second time"},
	} {
		t.Run(name, func(t *testing.T) {
			got := fmt.Sprint(errors.Join(pipelinetest.StageFaults(stage.Handle(orders, "charge", c.handle), pipelinetest.StageConfig[order]{
				Topic: orders, Event: order{"1", "ann"}, State: c.state, Within: 50 * time.Millisecond,
			})...))
			if c.want == "" && got != "<nil>" || !strings.Contains(got, c.want) {
				t.Errorf("the faults are %s, want %q", got, c.want)
			}
		})
	}
}

// nth makes a handler that does act at its n-th call.
func nth(n int, act func(context.Context) error) func(context.Context, event.Event[order]) error {
	calls := 0
	return func(ctx context.Context, _ event.Event[order]) error {
		if calls++; calls == n {
			return act(ctx)
		}
		return nil
	}
}

func stubbornOnThird(until chan struct{}) func(context.Context, event.Event[order]) error {
	return nth(3, func(context.Context) error { <-until; return nil })
}

func skipSecond() func(context.Context, event.Event[order]) error {
	return nth(2, func(context.Context) error { return stage.Skip("seen") })
}

func failSecond() func(context.Context, event.Event[order]) error {
	return nth(2, func(context.Context) error { return errBoom })
}

func TestADeliveryThatIsKeptIsOverwritten(t *testing.T) {
	var kept *stage.Delivery
	keeps := stage.Middleware{Name: "keeps", Wrap: func(next stage.Handler) stage.Handler {
		return func(ctx context.Context, d *stage.Delivery) error { kept = d; return next(ctx, d) }
	}}
	s := stage.Handle(orders, "charge", fine, stage.Use(keeps))
	pipelinetest.Stage(t, s, pipelinetest.StageConfig[order]{Topic: orders, Event: order{"1", "ann"}})
	if !strings.Contains(kept.Topic, "was kept") || kept.ID() == "1" {
		t.Errorf("the delivery that was kept is %+v, want it overwritten", kept.Meta)
	}
}
