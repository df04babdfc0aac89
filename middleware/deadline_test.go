package middleware_test

import (
	"errors"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/runnel-go/runnel/event"
	"github.com/runnel-go/runnel/idempotency"
	"github.com/runnel-go/runnel/middleware"
	"github.com/runnel-go/runnel/stage"
)

// aged is a delivery of an event that was accepted some time ago.
func aged(age time.Duration, opts ...event.PublishOption) *stage.Delivery {
	var m event.Meta
	_ = event.NewTopic[order]("orders").Describe(&m, order{}, opts)
	m.Time = time.Now().Add(-age)
	return stage.NewDelivery("charge", event.Event[order]{Meta: m})
}

func TestDeadlineDropsWhatIsTooOldUntried(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := results()
		h := stage.Chain(s.handle, middleware.Deadline(time.Minute))
		wantKind(t, settle(t, h, aged(time.Minute)), stage.KindDone)
		v := settle(t, h, aged(time.Minute+1))
		if v.Kind != stage.KindSkip || v.Reason != middleware.ReasonExpired || s.calls != 1 {
			t.Errorf("the old event: %+v after %d calls, want dropped as expired, untried", v, s.calls)
		}
	})
}

func TestDeadlineMakesALetterWhereAsked(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, k := results(), newKeeper()
		h := stage.Chain(s.handle, middleware.DeadLetter(k), middleware.Deadline(time.Minute, middleware.ExpiredToLetter()))
		v := settle(t, h, aged(time.Hour))
		if v.Kind != stage.KindStored || !errors.Is(v.Cause, middleware.ErrExpired) || s.calls != 0 || len(k.letters(t)) != 1 {
			t.Errorf("%+v after %d calls, want a letter with ErrExpired", v, s.calls)
		}
		redriven := aged(time.Hour)
		redriven.Redrive = &stage.Redrive{}
		if err := stage.Chain(s.handle, middleware.Deadline(time.Minute))(t.Context(), redriven); err != nil || s.calls != 1 {
			t.Errorf("redriven: %v, want that its age is no matter", err)
		}
	})
}

func TestDeadlineCountsAgeFromWhenAnEventWasDue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := results()
		h := stage.Chain(s.handle, middleware.Deadline(time.Minute))
		wantKind(t, settle(t, h, aged(time.Hour, event.At(time.Now().Add(-time.Second)))), stage.KindDone)
		wantKind(t, settle(t, h, aged(time.Hour, event.At(time.Now().Add(-time.Hour+time.Minute)))), stage.KindSkip)
	})
}

func TestDeadlineEndsARetryThatCameTooLate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := always(errBoom)
		h := stage.Chain(s.handle, middleware.Deadline(time.Minute), middleware.Retry(middleware.Constant{Attempts: 100, Delay: 25 * time.Second}))
		d := aged(0)
		for {
			v := stage.VerdictOf(h(t.Context(), d))
			if v.Kind != stage.KindRetry {
				wantKind(t, v, stage.KindSkip)
				break
			}
			time.Sleep(v.Delay)
			d.Attempt++
		}
		if s.calls != 3 {
			t.Errorf("%d calls, want 3: at 0, 25 and 50 seconds", s.calls)
		}
	})
}

// settleInTime is settle that lets the time pass which each verdict asks for.
func settleInTime(t *testing.T, h stage.Handler, d *stage.Delivery) stage.Verdict {
	t.Helper()
	for {
		v := stage.VerdictOf(h(t.Context(), d))
		switch v.Kind {
		case stage.KindRetry:
			d.Attempt++
		case stage.KindPostpone:
		default:
			return v
		}
		time.Sleep(v.Delay)
	}
}

// TestI1_DeadlineLeavesAloneWhatWasHandled: an event that waits to be marked as done gets old meanwhile. It must
// neither be dropped, so that its duplicate would be handled, nor become a letter, which would be redriven.
func TestI1_DeadlineLeavesAloneWhatWasHandled(t *testing.T) {
	for name, opts := range map[string][]middleware.DeadlineOption{
		"dropping": nil, "with letters": {middleware.ExpiredToLetter()},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s, m, k := results(), newMemory(), newKeeper()
				m.fail["Confirm"] = slices.Repeat([]error{errStore}, 8)
				h := stage.Chain(s.handle, middleware.DeadLetter(k), middleware.Deadline(time.Second, opts...),
					idempotent(m), middleware.Retry(middleware.Exponential{}))
				for _, want := range []stage.Kind{stage.KindDone, stage.KindSkip} {
					d := delivery("1", "ann")
					d.Time = time.Now()
					wantKind(t, settleInTime(t, h, d), want)
				}
				if s.calls != 1 || len(k.letters(t)) != 0 || m.state() != idempotency.Done {
					t.Errorf("%d calls, %d letters, state %d; want one call, none, and done", s.calls, len(k.letters(t)), m.state())
				}
			})
		})
	}
}
