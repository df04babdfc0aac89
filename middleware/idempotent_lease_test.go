package middleware_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/runnel-go/runnel/idempotency"
	"github.com/runnel-go/runnel/middleware"
	"github.com/runnel-go/runnel/stage"
)

// sleeper is a handler that takes d.
func sleeper(d time.Duration) stage.Handler {
	return func(context.Context, *stage.Delivery) error { time.Sleep(d); return nil }
}

func TestFault37_TheLeaseIsRenewedWhileTheHandlerWorks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMemory()
		m.fail["Renew"] = []error{nil, errStore} // one that fails is made up for by the next
		chain := idempotent(m, middleware.Lease(time.Minute))
		ended := make(chan stage.Verdict)
		go func() {
			ended <- stage.VerdictOf(stage.Chain(sleeper(time.Hour), chain)(context.Background(), delivery("1", "ann")))
		}()
		for range 59 {
			time.Sleep(time.Minute)
			if s := m.state(); s != idempotency.Busy {
				t.Fatalf("while the handler works the key is %d, want busy", s)
			}
		}
		wantKind(t, <-ended, stage.KindDone)
		if m.state() != idempotency.Done {
			t.Error("the event is not marked")
		}
		renewals := m.calls["Renew"]
		time.Sleep(time.Hour)
		if m.calls["Renew"] != renewals || renewals < 170 || renewals > 180 {
			t.Errorf("%d renewals in the hour and %d after it, want one each 20 s and none", renewals, m.calls["Renew"]-renewals)
		}
	})
}

func TestAQuickHandlerRenewsNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMemory()
		wantKind(t, settle(t, stage.Chain(sleeper(time.Second), idempotent(m)), delivery("1", "ann")), stage.KindDone)
		time.Sleep(time.Hour)
		if m.calls["Renew"] != 0 {
			t.Errorf("%d renewals, want none", m.calls["Renew"])
		}
	})
}

func TestFault37_ARenewalOfALostClaimIsTheLast(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMemory()
		m.fail["Renew"] = []error{nil, idempotency.ErrLost}
		wantKind(t, settle(t, stage.Chain(sleeper(time.Hour), idempotent(m)), delivery("1", "ann")), stage.KindDone)
		if m.calls["Renew"] != 2 {
			t.Errorf("%d renewals, want 2", m.calls["Renew"])
		}
	})
}

func TestInMemoryAClaimLastsAsLongAsItsAttempt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := idempotency.NewMemory()
		ended := make(chan stage.Verdict)
		go func() {
			ended <- stage.VerdictOf(stage.Chain(sleeper(48*time.Hour), idempotent(m))(context.Background(), delivery("1", "ann")))
		}()
		time.Sleep(47 * time.Hour)
		s := results()
		wantKind(t, stage.VerdictOf(stage.Chain(s.handle, idempotent(m))(context.Background(), delivery("1", "ann"))), stage.KindPostpone)
		wantKind(t, <-ended, stage.KindDone)
	})
}

// forgetful is a store whose claims are made, and whose replies are lost.
type forgetful struct {
	*memory
	lose int
}

func (f *forgetful) Claim(ctx context.Context, r idempotency.Request) (idempotency.Claim, error) {
	c, err := f.memory.Claim(ctx, r)
	if f.lose > 0 {
		f.lose--
		return idempotency.Claim{}, errStore
	}
	return c, err
}

func TestFault34_AClaimWhoseReplyWasLostIsRecognised(t *testing.T) {
	s, f := results(errBoom, nil), &forgetful{newMemory(), 3}
	d := delivery("1", "ann")
	var e engine
	v, _ := e.settle(t, context.Background(), stage.Chain(s.handle, idempotent(f), middleware.Retry(middleware.Exponential{})), d)
	wantKind(t, v, stage.KindDone)
	if s.calls != 2 || d.Attempt != 2 || e.runs != 5 {
		t.Errorf("%d calls, attempt %d, %d runs, want 2, 2, 5: three lost replies and two attempts", s.calls, d.Attempt, e.runs)
	}
	for _, p := range e.parked[:3] {
		if !errors.Is(p.Cause, errStore) {
			t.Errorf("it waited for %v, want for the store and not for itself", p.Cause)
		}
	}
}

func TestFault34_TwoDeliveriesAreTwoHolders(t *testing.T) {
	f := &forgetful{newMemory(), 1}
	h := stage.Chain(results().handle, idempotent(f))
	wantKind(t, stage.VerdictOf(h(context.Background(), delivery("1", "ann"))), stage.KindPostpone)
	v := stage.VerdictOf(h(context.Background(), delivery("1", "ann")))
	if v.Kind != stage.KindPostpone || !errors.Is(v.Cause, middleware.ErrBusy) {
		t.Errorf("the other delivery: %+v, want that it waits for the first", v)
	}
}

func TestFault36_AnotherPayloadUnderTheSameIdentityIsReported(t *testing.T) {
	for _, state := range []idempotency.State{idempotency.Busy, idempotency.Done} {
		t.Run(fmt.Sprint("while the key is ", state), func(t *testing.T) {
			s, m := results(), newMemory()
			h := stage.Chain(s.handle, idempotent(m, middleware.ComparePayloads()))
			if state == idempotency.Done {
				wantKind(t, settle(t, h, delivery("1", "ann")), stage.KindDone)
				same := settle(t, h, delivery("1", "ann"))
				if same.Reason != stage.ReasonDuplicate {
					t.Errorf("the same payload again: %+v, want a duplicate", same)
				}
			} else {
				_ = stage.Chain(func(ctx context.Context, _ *stage.Delivery) error {
					v := stage.VerdictOf(h(ctx, delivery("1", "bob")))
					wantOther(t, v)
					return nil
				}, idempotent(m, middleware.ComparePayloads()))(context.Background(), delivery("1", "ann"))
			}
			calls := s.calls
			wantOther(t, settle(t, h, delivery("1", "bob")))
			if s.calls != calls {
				t.Error("the other payload was handled")
			}
		})
	}
}

func wantOther(t *testing.T, v stage.Verdict) {
	t.Helper()
	if v.Kind != stage.KindPermanent || !errors.Is(v.Cause, middleware.ErrOtherPayload) {
		t.Errorf("verdict %+v, want a permanent failure with ErrOtherPayload", v)
	}
}

func TestFault36_WithoutComparisonTheFirstPayloadStands(t *testing.T) {
	h := stage.Chain(results().handle, idempotent(newMemory()))
	wantKind(t, settle(t, h, delivery("1", "ann")), stage.KindDone)
	if v := settle(t, h, delivery("1", "bob")); v.Reason != stage.ReasonDuplicate {
		t.Errorf("verdict %+v, want a duplicate", v)
	}
}

func TestFault36_AFailedPayloadMayBeReplaced(t *testing.T) {
	s := results(errBoom, nil)
	h := stage.Chain(s.handle, idempotent(newMemory(), middleware.ComparePayloads()))
	wantKind(t, settle(t, h, delivery("1", "ann")), stage.KindFailed)
	wantKind(t, settle(t, h, delivery("1", "bob")), stage.KindDone)
}
