package middleware_test

import (
	"context"
	"errors"
	"fmt"
	"math"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cenkalti/backoff/v4"

	"github.com/runnel-go/runnel/middleware"
	"github.com/runnel-go/runnel/stage"
)

func TestR1_RetryCallsExactlyAttemptsTimes(t *testing.T) {
	ms := time.Millisecond
	for _, c := range []struct {
		name   string
		policy middleware.Policy
		want   int
	}{
		{"the default of Exponential", middleware.Exponential{}, 5},
		{"Exponential 1", middleware.Exponential{Attempts: 1}, 1},
		{"Exponential 3", middleware.Exponential{Attempts: 3}, 3},
		{"the default of Constant", middleware.Constant{}, 5},
		{"Constant 1", middleware.Constant{Attempts: 1}, 1},
		{"Constant 3", middleware.Constant{Attempts: 3, Delay: ms}, 3},
		{"Schedule of one", middleware.Schedule{Delays: []time.Duration{ms}}, 2},
		{"Schedule of none", middleware.Schedule{}, 1},
		{"a backoff that stops at once", factory(&backoff.StopBackOff{}), 1},
		{"WithMaxRetries(2)", factory(backoff.WithMaxRetries(&backoff.ZeroBackOff{}, 2)), 3},
		{"a factory that makes nil", middleware.BackOff(func() backoff.BackOff { return nil }), 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := always(errBoom)
			h := stage.Chain(s.handle, middleware.Retry(c.policy))
			v := settle(t, h, delivery("1", "ann"))
			wantKind(t, v, stage.KindFailed)
			var exhausted *middleware.ExhaustedError
			if !errors.As(v.Cause, &exhausted) || exhausted.Attempts != c.want || s.calls != c.want {
				t.Errorf("%d calls and %v, want %d calls", s.calls, v.Cause, c.want)
			}
			if !errors.Is(v.Cause, middleware.ErrExhausted) || !errors.Is(v.Cause, errBoom) {
				t.Errorf("%v is not ErrExhausted of the cause", v.Cause)
			}
		})
	}
}

func factory(b backoff.BackOff) middleware.Policy {
	return middleware.BackOff(func() backoff.BackOff { return b })
}

func TestRetryEndsWithTheFirstSuccess(t *testing.T) {
	s := results(errBoom, errBoom, nil)
	d := delivery("1", "ann")
	v := settle(t, stage.Chain(s.handle, middleware.Retry(middleware.Exponential{})), d)
	wantKind(t, v, stage.KindDone)
	if s.calls != 3 || d.Attempt != 3 {
		t.Errorf("%d calls, attempt %d, want 3 and 3", s.calls, d.Attempt)
	}
}

func TestRetryPassesOnWhatIsNoFailure(t *testing.T) {
	for _, err := range []error{
		stage.Skip("old"), stage.Postpone(time.Second, errBoom), stage.Stored("l", errBoom), stage.Diverted("l"),
		stage.Hold(errBoom), stage.Halt(errBoom), stage.Permanent(errBoom), nil,
	} {
		h := stage.Chain(always(err).handle, middleware.Retry(middleware.Exponential{}))
		if got := h(context.Background(), delivery("1", "ann")); !same(got, err) {
			t.Errorf("%v became %v", err, got)
		}
	}
}

func TestFault19_PermanentIsSeenBelowWrappingAndJoining(t *testing.T) {
	permanent := stage.Permanent(errBoom)
	for _, err := range []error{
		fmt.Errorf("charge: %w", permanent), errors.Join(errors.New("first"), permanent),
	} {
		s := always(err)
		v := settle(t, stage.Chain(s.handle, middleware.Retry(middleware.Exponential{})), delivery("1", "ann"))
		wantKind(t, v, stage.KindPermanent)
		if s.calls != 1 || v.Cause.Error() != err.Error() {
			t.Errorf("%d calls, cause %q, want 1 call and the outer text %q", s.calls, v.Cause, err)
		}
	}
}

func TestR4_RetryPassesOnWhatAShutdownInterrupted(t *testing.T) {
	for _, err := range []error{errBoom, context.Canceled, stage.RetryAfter(time.Hour, errBoom)} {
		h := stage.Chain(always(err).handle, middleware.Retry(middleware.Exponential{Attempts: 1}))
		if got := h(interrupted(), delivery("1", "ann")); !same(got, err) {
			t.Errorf("%v became %v", err, got)
		}
	}
}

func TestFault17_AHandlersOwnCancelledIsAnOrdinaryFailure(t *testing.T) {
	s := always(context.Canceled)
	v := settle(t, stage.Chain(s.handle, middleware.Retry(middleware.Constant{Attempts: 3})), delivery("1", "ann"))
	if s.calls != 3 || !errors.Is(v.Cause, middleware.ErrExhausted) {
		t.Errorf("%d calls, %v, want 3 attempts that failed", s.calls, v.Cause)
	}
}

func TestRetryUsesTheHandlersOwnDelayAndCountsIt(t *testing.T) {
	s := always(fmt.Errorf("rates: %w", stage.RetryAfter(time.Hour, errBoom)))
	var e engine
	h := stage.Chain(s.handle, middleware.Retry(middleware.Constant{Attempts: 3}))
	v, _ := e.settle(t, context.Background(), h, delivery("1", "ann"))
	wantKind(t, v, stage.KindFailed)
	if s.calls != 3 || e.delays[0] != time.Hour || e.delays[1] != time.Hour {
		t.Errorf("%d calls with delays %v, want 3 an hour apart", s.calls, e.delays)
	}
	if !errors.Is(v.Cause, middleware.ErrExhausted) || !errors.Is(v.Cause, errBoom) || !strings.Contains(v.Cause.Error(), "rates: ") {
		t.Errorf("the end is %v, want ErrExhausted of rates, boom", v.Cause)
	}
}

func TestRetryThatGivesUpLeavesNoVerdictOfTheHandler(t *testing.T) {
	nested := stage.RetryAfter(time.Second, fmt.Errorf("x: %w", stage.Skip("old")))
	v := settle(t, stage.Chain(always(nested).handle, middleware.Retry(middleware.Constant{Attempts: 1})), delivery("1", "ann"))
	wantKind(t, v, stage.KindFailed)
}

func TestRetryGivesUpOnTheFinalAttempt(t *testing.T) {
	for _, err := range []error{errBoom, stage.RetryAfter(time.Second, errBoom)} {
		d := delivery("1", "ann")
		d.Final = true
		got := stage.Chain(always(err).handle, middleware.Retry(middleware.Exponential{}))(context.Background(), d)
		if !errors.Is(got, middleware.ErrExhausted) || stage.VerdictOf(got).Kind != stage.KindFailed {
			t.Errorf("the final attempt ended with %v", got)
		}
	}
}

func TestRetryIfMakesTheRestPermanent(t *testing.T) {
	errBusy := errors.New("busy")
	retry := middleware.Retry(middleware.Constant{Attempts: 3}, middleware.If(func(err error) bool { return errors.Is(err, errBusy) }))
	s := results(errBusy, errBoom)
	v := settle(t, stage.Chain(s.handle, retry), delivery("1", "ann"))
	wantKind(t, v, stage.KindPermanent)
	if s.calls != 2 || !errors.Is(v.Cause, errBoom) {
		t.Errorf("%d calls, %v, want 2 and boom", s.calls, v.Cause)
	}
}

func TestRetryMaxElapsedIsCountedFromTheFirstFailure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		retry := middleware.Retry(middleware.Constant{Attempts: 100, Delay: time.Second}, middleware.MaxElapsed(3500*time.Millisecond))
		calls := 0
		h := stage.Chain(func(context.Context, *stage.Delivery) error { calls++; return errBoom }, retry)
		d := delivery("1", "ann")
		time.Sleep(time.Hour) // waiting for its turn does not count
		for {
			v := stage.VerdictOf(h(context.Background(), d))
			if v.Kind != stage.KindRetry {
				break
			}
			d.Attempt++
			time.Sleep(v.Delay)
		}
		if calls != 4 {
			t.Errorf("%d calls, want those at 0, 1, 2 and 3 s", calls)
		}
	})
}

func TestFault24_AnElapsedLimitBelowTheFirstDelayLeavesOneAttempt(t *testing.T) {
	s := always(errBoom)
	retry := middleware.Retry(middleware.Constant{Attempts: 9, Delay: time.Hour}, middleware.MaxElapsed(time.Second))
	v := settle(t, stage.Chain(s.handle, retry), delivery("1", "ann"))
	if s.calls != 1 || !errors.Is(v.Cause, middleware.ErrExhausted) {
		t.Errorf("%d calls, %v, want 1", s.calls, v.Cause)
	}
}

// fixed always waits the same, whatever that is.
type fixed time.Duration

func (f fixed) NextBackOff() time.Duration { return time.Duration(f) }
func (fixed) Reset()                       {}

func TestFault23_NoBackoffMakesAHotLoopOrWaitsForEver(t *testing.T) {
	for _, c := range []struct{ says, want time.Duration }{
		{0, time.Millisecond}, {-2, time.Millisecond}, {math.MinInt64, time.Millisecond}, {1, time.Millisecond},
		{time.Second, time.Second}, {math.MaxInt64, 30 * 24 * time.Hour},
	} {
		h := stage.Chain(always(errBoom).handle, middleware.Retry(factory(fixed(c.says))))
		if v := stage.VerdictOf(h(context.Background(), delivery("1", "ann"))); v.Delay != c.want {
			t.Errorf("a backoff of %v waits %v, want %v", c.says, v.Delay, c.want)
		}
		h = stage.Chain(always(stage.RetryAfter(c.says, errBoom)).handle, middleware.Retry(middleware.Exponential{}))
		if v := stage.VerdictOf(h(context.Background(), delivery("1", "ann"))); v.Delay != c.want {
			t.Errorf("RetryAfter(%v) waits %v, want %v", c.says, v.Delay, c.want)
		}
	}
}

func TestExponentialGrowsAndNeverExceedsItsMax(t *testing.T) {
	b := middleware.Exponential{Attempts: 200, Initial: time.Second, Max: 10 * time.Second, Jitter: 1}.NewBackOff()
	for range 199 {
		if d := b.NextBackOff(); d > 10*time.Second {
			t.Fatalf("a wait of %v, max is 10 s", d)
		}
	}
	if d := b.NextBackOff(); d != backoff.Stop {
		t.Errorf("the 200th failure waits %v", d)
	}
	b = middleware.Exponential{Initial: time.Second, Factor: 3, Jitter: -1}.NewBackOff()
	for _, want := range []time.Duration{1, 3, 9, 27} {
		if d := b.NextBackOff(); d != want*time.Second {
			t.Errorf("a wait of %v, want %v s", d, want)
		}
	}
}

func TestExponentialJitterSpreadsWaitsBothWays(t *testing.T) {
	low, high := time.Hour, time.Duration(0)
	for range 500 {
		d := middleware.Exponential{Initial: time.Second, Jitter: 0.5}.NewBackOff().NextBackOff()
		low, high = min(low, d), max(high, d)
	}
	if low < 500*time.Millisecond || high > 1501*time.Millisecond || high-low < 500*time.Millisecond {
		t.Errorf("500 waits lie between %v and %v, want them spread over 0.5 to 1.5 s", low, high)
	}
}

func TestExponentialIsNotLimitedInTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := middleware.Exponential{Attempts: 100, Initial: time.Hour, Max: time.Hour}.NewBackOff()
		for n := range 99 {
			d := b.NextBackOff()
			if d == backoff.Stop {
				t.Fatalf("it gave up after %d hours", n)
			}
			time.Sleep(d)
		}
	})
}

func TestEveryEventHasABackoffOfItsOwn(t *testing.T) {
	h := stage.Chain(always(errBoom).handle, middleware.Retry(middleware.Exponential{Attempts: 2}))
	for n := range 5 {
		if v := stage.VerdictOf(h(context.Background(), delivery("1", "ann"))); v.Kind != stage.KindRetry {
			t.Errorf("event %d was not retried: it shares a state with another", n)
		}
	}
}
