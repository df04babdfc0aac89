package ratelimit_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/runnel-go/runnel/adapter/ratelimit"
	"github.com/runnel-go/runnel/event"
	"github.com/runnel-go/runnel/middleware"
	"github.com/runnel-go/runnel/pipeline"
	"github.com/runnel-go/runnel/pipelinetest"
	"github.com/runnel-go/runnel/stage"
)

type note struct {
	To string
	N  int
}

var notes = event.NewTopic("notes", event.KeyBy(func(n note) string { return n.To }))

// line is a pipeline with one stage, "notify", and the times at which its handler was called.
type line struct {
	*pipelinetest.Run
	t   *testing.T
	p   *pipeline.Pipeline
	pub event.Publisher[note]

	began time.Time
	mu    sync.Mutex
	calls []call
}

type call struct {
	note
	at time.Duration
}

// start runs one in the test's bubble. Fail says what the handler returns.
func start(t *testing.T, fail func(note) error, limit stage.Middleware, opts ...stage.Option) *line {
	t.Helper()
	l := &line{t: t, p: pipeline.New(pipeline.Config{}), began: time.Now()}
	l.p.Use(middleware.Retry(middleware.Constant{Attempts: 3, Delay: time.Millisecond}))
	l.p.Add(stage.Handle(notes, "notify", func(_ context.Context, e event.Event[note]) error {
		l.mu.Lock()
		l.calls = append(l.calls, call{e.Payload, time.Since(l.began)})
		l.mu.Unlock()
		return fail(e.Payload)
	}, append(opts, stage.Use(limit))...))
	l.pub = pipeline.NewPublisher(l.p, notes)
	if err := l.p.Check(); err != nil {
		t.Fatal(err)
	}
	l.Run = pipelinetest.Start(t, l.p)
	return l
}

func fine(note) error { return nil }

func (l *line) send(to string, n int) {
	l.t.Helper()
	for i := range n {
		if err := l.pub.Publish(l.t.Context(), note{to, i}); err != nil {
			l.t.Fatal(err)
		}
	}
}

func (l *line) figures() stage.Snapshot {
	s, _ := l.p.Snapshot().Stage("notify")
	return s
}

// most is how many calls began within any span of that length.
func (l *line) most(span time.Duration) int {
	most := 0
	for i := range l.calls {
		j := i
		for j < len(l.calls) && l.calls[j].at < l.calls[i].at+span {
			j++
		}
		most = max(most, j-i)
	}
	return most
}

func TestAStageBeginsNoMoreThanItsRate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := start(t, fine, ratelimit.New(ratelimit.Rate{Events: 10, Burst: 5}))
		for i := range 20 {
			l.send(fmt.Sprint("key", i), 5)
		}
		l.Settle()
		if len(l.calls) != 100 || l.calls[4].at != 0 {
			t.Fatalf("%d calls, the fifth at %v; want 100, and a burst of 5 at once", len(l.calls), l.calls[4].at)
		}
		last := l.calls[99].at
		if n := l.most(time.Second); n > 15 || last < 9*time.Second || last > 10*time.Second {
			t.Errorf("%d began within a second, the last after %v; want at most 15, and 9.5 s", n, last)
		}
		if s := l.figures(); s.Done != 100 || s.Retries != 0 {
			t.Errorf("%d done, %d counted as failed attempts", s.Done, s.Retries)
		}
	})
}

func TestPerKeyEachKeyHasTheRateForItself(t *testing.T) {
	for _, order := range []stage.Order{stage.PerKey, stage.Unordered} {
		synctest.Test(t, func(t *testing.T) {
			l := start(t, fine, ratelimit.New(ratelimit.Rate{Events: 1}, ratelimit.PerKey()), stage.WithOrder(order))
			l.send("ann", 5)
			l.send("bob", 3)
			l.Settle()
			at := map[string][]time.Duration{}
			for _, c := range l.calls {
				at[c.To] = append(at[c.To], c.at.Round(time.Millisecond))
			}
			s := time.Second
			if !slices.Equal(at["ann"], []time.Duration{0, s, 2 * s, 3 * s, 4 * s}) || !slices.Equal(at["bob"], []time.Duration{0, s, 2 * s}) {
				t.Errorf("%v: calls at %v, want one a second for each", order, at)
			}
		})
	}
}

func TestTheOrderOfAKeyIsKept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := start(t, fine, ratelimit.New(ratelimit.Rate{Events: 50}))
		l.send("ann", 100)
		l.Settle()
		for i, c := range l.calls {
			if c.N != i {
				t.Fatalf("call %d is of event %d", i, c.N)
			}
		}
	})
}

// TestWhatWaitsHoldsNoWorker: one worker, and a key that has no limit while a hundred others wait.
func TestWhatWaitsHoldsNoWorker(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		limit := ratelimit.New(ratelimit.Rate{Events: 1, Per: time.Hour}, ratelimit.By(func(d *stage.Delivery) string {
			if d.Key == "free" {
				return fmt.Sprint(d.Seq)
			}
			return "limited"
		}))
		l := start(t, fine, limit, stage.Workers(1))
		for i := range 100 {
			l.send(fmt.Sprint("key", i), 1)
		}
		l.send("free", 3)
		synctest.Wait()
		if len(l.calls) != 4 || l.figures().Parked != 99 {
			t.Errorf("%d calls at once and %d parked, want 1 and 3 free ones, and 99", len(l.calls), l.figures().Parked)
		}
		l.Settle()
	})
}

func TestEachAttemptIsCountedAgainstTheRate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := start(t, func(n note) error {
			if n.N == 0 {
				return errors.New("down")
			}
			return nil
		}, ratelimit.New(ratelimit.Rate{Events: 1}))
		l.send("ann", 2)
		l.Settle()
		if n := l.most(time.Second - time.Millisecond); n != 1 || len(l.calls) != 4 {
			t.Errorf("%d calls, %d within a second; want 4 and 1", len(l.calls), n)
		}
		if s := l.figures(); s.Retries != 2 {
			t.Errorf("%d retries, want 2: waiting is none", s.Retries)
		}
	})
}

// TestAnEventAsksOnce: its time is given at once, so each event comes to the limit twice at most.
func TestAnEventAsksOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		asked := 0
		limit := ratelimit.New(ratelimit.Rate{Events: 1000}, ratelimit.By(func(*stage.Delivery) string { asked++; return "" }))
		l := start(t, fine, limit, stage.WithOrder(stage.Unordered), stage.Workers(1))
		l.send("ann", 1000)
		l.Settle()
		if asked != 1000 || len(l.calls) != 1000 {
			t.Errorf("%d events asked %d times", len(l.calls), asked)
		}
	})
}

func TestADrainUnderTryOnceDoesNotWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := start(t, fine, ratelimit.New(ratelimit.Rate{Events: 1, Per: time.Hour}), stage.OnDrain(stage.TryOnce))
		l.send("ann", 3)
		l.send("bob", 3)
		synctest.Wait()
		if err := l.Stop(); err != nil || len(l.calls) != 6 || time.Since(l.began) > time.Minute {
			t.Errorf("Run = %v after %v and %d calls, want all 6 tried at once", err, time.Since(l.began), len(l.calls))
		}
	})
}

func TestWrongSettingsAreFaults(t *testing.T) {
	for want, m := range map[string]stage.Middleware{
		"Rate.Events":  ratelimit.New(ratelimit.Rate{}),
		"Rate.Per":     ratelimit.New(ratelimit.Rate{Events: 1, Per: -1}),
		"Rate.Burst":   ratelimit.New(ratelimit.Rate{Events: 1, Burst: -1}),
		"By(nil)":      ratelimit.New(ratelimit.Rate{Events: 1}, ratelimit.By(nil)),
		"a nil option": ratelimit.New(ratelimit.Rate{Events: 1}, nil),
	} {
		if m.Fault == nil || !strings.Contains(m.Fault.Error(), want) {
			t.Errorf("%s: the fault is %v", want, m.Fault)
		}
	}
	if m := ratelimit.New(ratelimit.Rate{Events: 1}, ratelimit.PerKey()); m.Fault != nil || m.Promise == "" {
		t.Errorf("fault %v, promise %q", m.Fault, m.Promise)
	}
}

func TestALimitOutsideOfRetryIsRefused(t *testing.T) {
	p := pipeline.New(pipeline.Config{})
	p.Add(stage.Handle(notes, "notify", func(context.Context, event.Event[note]) error { return nil },
		stage.Use(ratelimit.New(ratelimit.Rate{Events: 1}), middleware.Retry(middleware.Exponential{}))))
	if p.Check() == nil {
		t.Error("Check = nil")
	}
}

// TestOneStageInsideOfTheStandardChainHasALimit: waiting is neither an attempt nor timed there.
func TestOneStageInsideOfTheStandardChainHasALimit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var handled []time.Time
		p := pipeline.New(pipeline.Config{})
		p.Use(middleware.Standard(middleware.StandardConfig{Retry: middleware.Constant{Attempts: 1}, Timeout: time.Second})...)
		p.Add(stage.Handle(notes, "notify", func(context.Context, event.Event[note]) error {
			handled = append(handled, time.Now())
			return nil
		}, stage.WithOrder(stage.Serial), stage.Use(ratelimit.New(ratelimit.Rate{Events: 1, Per: time.Minute}))))
		run := pipelinetest.Start(t, p)
		for i := range 3 {
			if err := pipeline.NewPublisher(p, notes).Publish(t.Context(), note{"ann", i}); err != nil {
				t.Fatal(err)
			}
		}
		run.Settle()
		if len(handled) != 3 || handled[2].Sub(handled[0]) != 2*time.Minute {
			t.Errorf("handled at %v, want one a minute", handled)
		}
	})
}

func TestRoomInTheRateCostsNoAllocation(t *testing.T) {
	h := stage.Chain(func(context.Context, *stage.Delivery) error { return nil },
		ratelimit.New(ratelimit.Rate{Events: 1_000_000, Burst: 1_000_000}))
	d := stage.NewDelivery("notify", event.Event[note]{})
	if n := testing.AllocsPerRun(1000, func() { _ = h(context.Background(), d) }); n != 0 {
		t.Errorf("%v allocations an event, want 0", n)
	}
}

// TestNoNameHasItsRateTwice: a limiter that nobody has asked yet is not forgotten.
func TestNoNameHasItsRateTwice(t *testing.T) {
	for range 20_000 {
		var began [4]atomic.Int32
		m := ratelimit.New(ratelimit.Rate{Events: 1, Per: time.Hour, Burst: 1}, ratelimit.By(func(d *stage.Delivery) string { return d.Key }))
		h := m.Wrap(func(_ context.Context, d *stage.Delivery) error { began[d.Key[0]-'0'].Add(1); return nil })
		var wg sync.WaitGroup
		for g := range 12 {
			wg.Go(func() {
				_ = h(context.Background(), stage.NewDelivery("s", event.Event[int]{Meta: event.Meta{Key: fmt.Sprint(g % 4)}}))
			})
		}
		wg.Wait()
		for i := range began {
			if n := began[i].Load(); n > 1 {
				t.Fatalf("name %d began %d times in an hour, the limit is one", i, n)
			}
		}
	}
}
