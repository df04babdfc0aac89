package pipeline_test

import (
	"context"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/runnel-go/runnel/event"
	"github.com/runnel-go/runnel/middleware"
	"github.com/runnel-go/runnel/pipelinetest"
	"github.com/runnel-go/runnel/stage"
)

// crowd counts how many handlers run at once.
type crowd struct{ now, most, calls atomic.Int64 }

func (c *crowd) handle(takes time.Duration) jobHandler {
	return func(context.Context, event.Event[job]) error {
		c.calls.Add(1)
		c.most.Store(max(c.most.Load(), c.now.Add(1)))
		time.Sleep(takes)
		c.now.Add(-1)
		return nil
	}
}

func TestThrottleLimitsAGroupOfStages(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var c crowd
		throttled := stage.Use(middleware.Throttle(3))
		w := runPlant(t, nil,
			work(c.handle(time.Second), throttled),
			stage.Handle(jobs, "audit", c.handle(time.Second), throttled, stage.WithOrder(stage.Unordered)))
		began := time.Now()
		for i := range 30 {
			w.put(string(rune('a'+i%10)), i)
		}
		w.rest()
		if c.most.Load() != 3 || c.calls.Load() != 60 {
			t.Errorf("%d ran at once, %d calls; want 3 and 60", c.most.Load(), c.calls.Load())
		}
		if took := time.Since(began); took > 30*time.Second {
			t.Errorf("60 calls of a second, 3 at once, took %v, want nearer to 20 s", took)
		}
		for _, name := range []string{"work", "audit"} {
			s, _ := w.p.Snapshot().Stage(name)
			if s.Retries != 0 || s.Done != 30 {
				t.Errorf("%s: %d done, %d attempts counted as failed; want 30 and none", name, s.Done, s.Retries)
			}
		}
		for key := range 10 {
			var want []string
			for n := key; n < 30; n += 10 {
				want = append(want, job{string(rune('a' + key)), n}.id())
			}
			pipelinetest.ExpectOrder(t, w.rec, "work", string(rune('a'+key)), want...)
		}
	})
}

// TestO4_WhatIsThrottledHoldsNoWorker: two stages share a throttle, and one of them has a worker that the
// other's long attempt must not take.
func TestO4_WhatIsThrottledHoldsNoWorker(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		throttle := middleware.Throttle(1)
		only := stage.Middleware{Name: "only", Wrap: func(next stage.Handler) stage.Handler {
			limited := throttle.Wrap(next)
			return func(ctx context.Context, d *stage.Delivery) error {
				if d.Key == "free" {
					return next(ctx, d)
				}
				return limited(ctx, d)
			}
		}}
		var c crowd
		slow := stage.Handle(jobs, "slow", func(ctx context.Context, e event.Event[job]) error {
			if e.Key == "first" {
				time.Sleep(time.Hour)
			}
			return nil
		}, stage.Use(only))
		w := runPlant(t, nil, slow, work(c.handle(0), stage.Use(only), stage.Workers(1)))
		w.put("first", 1)
		time.Sleep(time.Second)
		for i := range 50 {
			w.put(job{"waiting", i}.id(), 1)
		}
		w.put("free", 1)
		began := time.Now()
		time.Sleep(time.Second)
		w.wantAtOnce("free1", began)
		if s := w.figures(); s.Parked < 50 || s.Running != 0 {
			t.Errorf("%d parked and %d running, want 50 and none", s.Parked, s.Running)
		}
		w.rest()
	})
}

// TestThrottleAsksRarelyHoweverManyWait: waiting costs tries in proportion to the rooms that come free, not to
// those that wait.
func TestThrottleAsksRarelyHoweverManyWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var tries atomic.Int64
		counted := stage.Middleware{Name: "counted", Wrap: func(next stage.Handler) stage.Handler {
			return func(ctx context.Context, d *stage.Delivery) error { tries.Add(1); return next(ctx, d) }
		}}
		var c crowd
		w := runPlant(t, nil, work(c.handle(10*time.Millisecond), stage.WithOrder(stage.Unordered),
			stage.Use(counted, middleware.Throttle(2)), stage.Buffer(2000)))
		for i := range 1000 {
			w.put("k", i)
		}
		w.rest()
		if n := tries.Load(); n > 20_000 || c.most.Load() != 2 {
			t.Errorf("%d tries for 1000 events, %d at once; want fewer than twenty each, and 2", n, c.most.Load())
		}
	})
}

func TestThrottleGivesItsRoomBackAfterAPanic(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := runPlant(t, nil, work(func(_ context.Context, e event.Event[job]) error {
			if e.Payload.N == 1 {
				panic("boom")
			}
			return nil
		}, stage.Use(middleware.Throttle(1), middleware.Recover())))
		w.put("a", 1, 2)
		w.rest()
		pipelinetest.ExpectOutcome(t, w.rec, "work", "a2", stage.OutcomeDone)
	})
}
