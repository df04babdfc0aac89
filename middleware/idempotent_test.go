package middleware_test

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"testing"
	"testing/synctest"
	"time"

	"github.com/runnel-go/runnel/event"
	"github.com/runnel-go/runnel/idempotency"
	"github.com/runnel-go/runnel/middleware"
	"github.com/runnel-go/runnel/stage"
)

// memory is an idempotency.Memory behind a type of its own, whose calls fail as scripted.
type memory struct {
	*idempotency.Memory
	fail  map[string][]error // by method, one a call; nil passes
	calls map[string]int
	ended bool // a write came with an ended context
}

func newMemory() *memory {
	return &memory{Memory: idempotency.NewMemory(), fail: map[string][]error{}, calls: map[string]int{}}
}

func (m *memory) scripted(method string) error {
	m.calls[method]++
	if s := m.fail[method]; len(s) > 0 {
		m.fail[method] = s[1:]
		return s[0]
	}
	return nil
}

func (m *memory) Claim(ctx context.Context, r idempotency.Request) (idempotency.Claim, error) {
	if err := m.scripted("Claim"); err != nil {
		return idempotency.Claim{}, err
	}
	return m.Memory.Claim(ctx, r)
}

func (m *memory) Renew(ctx context.Context, c idempotency.Claim, lease time.Duration) error {
	if err := m.scripted("Renew"); err != nil {
		return err
	}
	return m.Memory.Renew(ctx, c, lease)
}

func (m *memory) Confirm(ctx context.Context, c idempotency.Claim) error {
	m.ended = m.ended || ctx.Err() != nil
	if err := m.scripted("Confirm"); err != nil {
		return err
	}
	return m.Memory.Confirm(ctx, c)
}

func (m *memory) Release(ctx context.Context, c idempotency.Claim) error {
	m.ended = m.ended || ctx.Err() != nil
	if err := m.scripted("Release"); err != nil {
		return err
	}
	return m.Memory.Release(ctx, c)
}

// state is what the store says of order "1".
func (m *memory) state() idempotency.State {
	c, _ := m.Memory.Claim(context.Background(), idempotency.Request{Key: idempotency.Key{Stage: "charge", ID: "1"}, Lease: time.Minute})
	if c.State == idempotency.Claimed {
		_ = m.Memory.Release(context.Background(), c)
	}
	return c.State
}

func idempotent(m idempotency.Store, opts ...middleware.IdempotentOption) stage.Middleware {
	return middleware.Idempotent(m, append(opts, middleware.WithLogger(quiet))...)
}

func TestI1_ADuplicateOfACompletedEventIsNotHandled(t *testing.T) {
	s, m := results(), newMemory()
	h := stage.Chain(s.handle, idempotent(m))
	wantKind(t, settle(t, h, delivery("1", "ann")), stage.KindDone)
	v := settle(t, h, delivery("1", "ann"))
	if v.Kind != stage.KindSkip || v.Reason != stage.ReasonDuplicate || s.calls != 1 {
		t.Errorf("the duplicate: %+v after %d calls, want skipped and 1 call", v, s.calls)
	}
	wantKind(t, settle(t, h, delivery("2", "ann")), stage.KindDone)
}

func TestI1_ADuplicateOfARunningEventWaitsAndIsDecidedByIt(t *testing.T) {
	for _, first := range []error{nil, errBoom} {
		t.Run(fmt.Sprint("the first returned ", first), func(t *testing.T) {
			m := newMemory()
			s := results()
			chain := []stage.Middleware{idempotent(m)}
			duplicate := delivery("1", "ann")
			h := stage.Chain(func(ctx context.Context, _ *stage.Delivery) error {
				for range 5 {
					v := stage.VerdictOf(stage.Chain(s.handle, chain...)(ctx, duplicate))
					if v.Kind != stage.KindPostpone || !errors.Is(v.Cause, middleware.ErrBusy) {
						t.Errorf("while the first runs: %+v, want postponed with ErrBusy", v)
					}
				}
				return first
			}, chain...)
			_ = h(context.Background(), delivery("1", "ann"))
			v := settle(t, stage.Chain(s.handle, chain...), duplicate)
			if first == nil && (v.Reason != stage.ReasonDuplicate || s.calls != 0) {
				t.Errorf("after success: %+v and %d calls, want a duplicate", v, s.calls)
			}
			if first != nil && (v.Kind != stage.KindDone || s.calls != 1) {
				t.Errorf("after failure: %+v and %d calls, want it handled", v, s.calls)
			}
			if duplicate.Attempt != 1 {
				t.Errorf("waiting counted attempts: %d", duplicate.Attempt)
			}
		})
	}
}

func TestI2_WhateverIsNoSuccessReleasesTheClaim(t *testing.T) {
	for _, err := range []error{
		errBoom, stage.Permanent(errBoom), stage.RetryAfter(time.Hour, errBoom), stage.Postpone(time.Hour, errBoom),
		stage.Hold(errBoom), stage.Halt(errBoom), stage.Stored("l", errBoom), &middleware.TimeoutError{After: 1},
	} {
		m := newMemory()
		h := stage.Chain(always(err).handle, idempotent(m))
		if got := h(context.Background(), delivery("1", "ann")); !same(got, err) {
			t.Errorf("%v became %v", err, got)
		}
		if m.state() != idempotency.Claimed {
			t.Errorf("after %v the claim is not released", err)
		}
	}
}

func TestI2_APanicAndAGoexitReleaseTheClaim(t *testing.T) {
	for name, end := range map[string]func(){"panic": func() { panic("x") }, "Goexit": runtime.Goexit} {
		t.Run(name, func(t *testing.T) {
			m := newMemory()
			ended := make(chan struct{})
			go func() {
				defer close(ended)
				defer func() { _ = recover() }()
				_ = stage.Chain(func(context.Context, *stage.Delivery) error { end(); return nil }, idempotent(m))(
					context.Background(), delivery("1", "ann"))
			}()
			<-ended
			if m.state() != idempotency.Claimed {
				t.Error("the claim is not released")
			}
		})
	}
}

func TestFault38_AFailedEventIsRetriedAndNotADuplicateOfItself(t *testing.T) {
	s := results(errBoom, errBoom, nil)
	h := stage.Chain(s.handle, idempotent(idempotency.NewMemory()), middleware.Retry(middleware.Exponential{}))
	wantKind(t, settle(t, h, delivery("1", "ann")), stage.KindDone)
	if s.calls != 3 {
		t.Errorf("%d calls, want 3", s.calls)
	}
}

func TestTheMarkIsMadeAfterTheHandlerAndNotBefore(t *testing.T) {
	m := newMemory()
	h := stage.Chain(func(context.Context, *stage.Delivery) error {
		if m.calls["Confirm"] != 0 || m.state() != idempotency.Busy {
			t.Error("the event is marked while its handler runs")
		}
		return nil
	}, idempotent(m))
	wantKind(t, settle(t, h, delivery("1", "ann")), stage.KindDone)
	if m.state() != idempotency.Done {
		t.Error("the event is not marked after its handler")
	}
}

func TestASkippedEventIsCompleted(t *testing.T) {
	m := newMemory()
	h := stage.Chain(always(stage.Skip("old")).handle, idempotent(m))
	if v := settle(t, h, delivery("1", "ann")); v.Reason != "old" {
		t.Errorf("verdict %+v, want the handler's", v)
	}
	if m.state() != idempotency.Done {
		t.Error("what the handler dropped on purpose is not marked")
	}
}

func TestEventsWithoutAGivenIdentityPassThrough(t *testing.T) {
	s, m := results(), newMemory()
	h := stage.Chain(s.handle, idempotent(m))
	for range 3 {
		d := stage.NewDelivery("charge", event.Event[order]{})
		wantKind(t, settle(t, h, d), stage.KindDone)
	}
	if s.calls != 3 || m.calls["Claim"] != 0 {
		t.Errorf("%d calls and %d claims, want 3 and none", s.calls, m.calls["Claim"])
	}
}

func TestFault16_SuccessStandsThoughTheContextEnded(t *testing.T) {
	m := newMemory()
	h := stage.Chain(results().handle, idempotent(m))
	if err := h(interrupted(), delivery("1", "ann")); err != nil {
		t.Errorf("verdict %v, want nil", err)
	}
	if m.state() != idempotency.Done || m.ended {
		t.Error("the success was not marked, or with an ended context")
	}
}

func TestFault31_WhileTheStoreFailsEventsWaitAndCountNoAttempt(t *testing.T) {
	s, m := results(), newMemory()
	m.fail["Claim"] = []error{errStore, errStore, errStore}
	var e engine
	d := delivery("1", "ann")
	v, _ := e.settle(t, context.Background(), stage.Chain(s.handle, idempotent(m)), d)
	wantKind(t, v, stage.KindDone)
	if s.calls != 1 || d.Attempt != 1 || e.runs != 4 {
		t.Errorf("%d calls, attempt %d, %d runs, want 1, 1, 4", s.calls, d.Attempt, e.runs)
	}
	for _, p := range e.parked {
		if !errors.Is(p.Cause, errStore) {
			t.Errorf("postponed because of %v", p.Cause)
		}
	}
	if e.delays[2] <= e.delays[0] {
		t.Errorf("delays %v do not grow", e.delays)
	}
}

func TestFault31_FailOpenHandlesWithoutAClaim(t *testing.T) {
	s, m := results(), newMemory()
	m.fail["Claim"] = []error{errStore}
	v := settle(t, stage.Chain(s.handle, idempotent(m, middleware.FailOpen())), delivery("1", "ann"))
	if v.Kind != stage.KindDone || s.calls != 1 || m.calls["Claim"] != 1 {
		t.Errorf("%+v after %d calls", v, s.calls)
	}
}

func TestI1_AFailedConfirmIsRepeatedAndTheHandlerIsNot(t *testing.T) {
	for _, verdict := range []error{nil, stage.Skip("old")} {
		s, m := always(verdict), newMemory()
		m.fail["Confirm"] = []error{errStore, errStore}
		d := delivery("1", "ann")
		v := settle(t, stage.Chain(s.handle, idempotent(m), middleware.Retry(middleware.Exponential{})), d)
		if want := stage.VerdictOf(verdict); v != want {
			t.Errorf("verdict %+v, want the handler's %+v", v, want)
		}
		if s.calls != 1 || d.Attempt != 1 || m.calls["Claim"] != 1 || m.state() != idempotency.Done {
			t.Errorf("%d calls, attempt %d, %d claims, want one of each", s.calls, d.Attempt, m.calls["Claim"])
		}
	}
}

func TestFault35_AConfirmThatLostItsClaimSettlesAsDone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMemory()
		m.fail["Renew"] = []error{errStore, errStore, errStore, errStore, errStore, errStore, errStore}
		slow := stage.Chain(func(ctx context.Context, _ *stage.Delivery) error {
			time.Sleep(2 * time.Minute)
			c, _ := m.Memory.Claim(ctx, idempotency.Request{Key: idempotency.Key{Stage: "charge", ID: "1"}, Lease: time.Hour})
			if c.State != idempotency.Claimed {
				t.Errorf("after the lease the key is %d", c.State)
			}
			return nil
		}, idempotent(m, middleware.Lease(time.Minute)))
		wantKind(t, settle(t, slow, delivery("1", "ann")), stage.KindDone)
		if m.state() != idempotency.Busy {
			t.Error("the late finisher touched the other's claim")
		}
	})
}

func TestAFailedReleaseIsRepeatedBeforeTheNextAttempt(t *testing.T) {
	s, m := results(errBoom, nil), newMemory()
	m.fail["Release"] = []error{errStore, errStore}
	d := delivery("1", "ann")
	v := settle(t, stage.Chain(s.handle, idempotent(m), middleware.Retry(middleware.Exponential{})), d)
	wantKind(t, v, stage.KindDone)
	if s.calls != 2 || d.Attempt != 2 || m.calls["Release"] != 3 {
		t.Errorf("%d calls, attempt %d, %d releases, want 2, 2, 3", s.calls, d.Attempt, m.calls["Release"])
	}
}

func TestBusyWaitsNoLongerThanTheLease(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMemory()
		_, _ = m.Memory.Claim(context.Background(), idempotency.Request{Key: idempotency.Key{Stage: "charge", ID: "1"}, Lease: 5 * time.Second})
		h, d, runs := stage.Chain(results().handle, idempotent(m)), delivery("1", "ann"), 0
		start := time.Now()
		for stage.VerdictOf(h(context.Background(), d)).Kind == stage.KindPostpone {
			runs++
			time.Sleep(stage.VerdictOf(h(context.Background(), d)).Delay)
		}
		if took := time.Since(start); took > 6*time.Second || runs > 30 {
			t.Errorf("waited %v in %d runs for a lease of 5 s", took, runs)
		}
	})
}

func TestR4_AShutdownThatEndsTheClaimIsPassedOn(t *testing.T) {
	m := newMemory()
	m.fail["Claim"] = []error{context.Canceled}
	err := stage.Chain(results().handle, idempotent(m))(interrupted(), delivery("1", "ann"))
	if !errors.Is(err, context.Canceled) || stage.VerdictOf(err).Kind != stage.KindFailed {
		t.Errorf("verdict %v, want the error as it is", err)
	}
}

func TestAnEventThatWaitsForItsStoreWaitsHalfAMinuteAtMost(t *testing.T) {
	m := newMemory()
	for range 60 {
		m.fail["Claim"] = append(m.fail["Claim"], errStore)
	}
	var e engine
	v, _ := e.settle(t, context.Background(), stage.Chain(results().handle, idempotent(m)), delivery("1", "ann"))
	wantKind(t, v, stage.KindDone)
	for _, d := range e.delays {
		if d > 30*time.Second {
			t.Fatalf("a wait of %v", d)
		}
	}
}

// broken panics wherever it is called.
type broken struct{ idempotency.Store }

func TestAStoreThatPanicsHasFailed(t *testing.T) {
	s := results()
	err := stage.Chain(s.handle, idempotent(broken{}))(context.Background(), delivery("1", "ann"))
	wantKind(t, stage.VerdictOf(err), stage.KindPostpone)
	if s.calls != 0 {
		t.Error("the handler ran without a claim")
	}
}
