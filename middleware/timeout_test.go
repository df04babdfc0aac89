package middleware_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/runnel-go/runnel/middleware"
	"github.com/runnel-go/runnel/stage"
)

// timed runs a handler that takes a while under a timeout of a second.
func timed(parent context.Context, takes time.Duration, result error) error {
	h := stage.Chain(func(context.Context, *stage.Delivery) error {
		time.Sleep(takes)
		return result
	}, middleware.Timeout(time.Second))
	return h(parent, delivery("1", "ann"))
}

func TestFault15_TheResultOfATimedOutAttemptIsIgnored(t *testing.T) {
	for _, result := range []error{nil, errBoom, stage.Permanent(errBoom), stage.Skip("old"), stage.RetryAfter(1, errBoom)} {
		synctest.Test(t, func(t *testing.T) {
			err := timed(context.Background(), time.Second, result)
			var timeout *middleware.TimeoutError
			if !errors.As(err, &timeout) || timeout.After != time.Second {
				t.Errorf("a handler that returned %v too late gave %v", result, err)
			}
			if !errors.Is(err, middleware.ErrTimeout) || !errors.Is(err, context.DeadlineExceeded) || errors.Is(err, errBoom) {
				t.Errorf("%v is not just ErrTimeout and DeadlineExceeded", err)
			}
			if err := timed(context.Background(), time.Second-1, result); !same(err, result) {
				t.Errorf("a handler that returned %v in time gave %v", result, err)
			}
		})
	}
}

func TestTimeoutIsTheCauseOfTheHandlersContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := stage.Chain(func(ctx context.Context, _ *stage.Delivery) error {
			<-ctx.Done()
			if !errors.Is(context.Cause(ctx), middleware.ErrTimeout) {
				t.Errorf("the cause is %v", context.Cause(ctx))
			}
			return ctx.Err()
		}, middleware.Timeout(time.Second))
		start := time.Now()
		err := h(context.Background(), delivery("1", "ann"))
		if !errors.Is(err, middleware.ErrTimeout) || time.Since(start) != time.Second {
			t.Errorf("after %v: %v", time.Since(start), err)
		}
	})
}

func TestR4_AShutdownIsNotATimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, result := range []error{nil, errBoom} {
			if err := timed(interrupted(), time.Hour, result); !same(err, result) {
				t.Errorf("%v became %v", result, err)
			}
		}
	})
}

// TestWhatWasNotTriedIsNoTimeout: an event of a batch may wait longer for its turn than it may run.
func TestWhatWasNotTriedIsNoTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		result := stage.Postpone(time.Second, errBoom)
		if err := timed(context.Background(), time.Hour, result); !same(err, result) {
			t.Errorf("%v became %v", result, err)
		}
	})
}

func TestATimeoutIsAFailedAttemptThatIsRetried(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		calls := 0
		h := stage.Chain(func(ctx context.Context, _ *stage.Delivery) error {
			calls++
			<-ctx.Done()
			return ctx.Err()
		}, middleware.Retry(middleware.Constant{Attempts: 3}), middleware.Timeout(time.Second), middleware.Recover())
		v := settle(t, h, delivery("1", "ann"))
		if calls != 3 || !errors.Is(v.Cause, middleware.ErrTimeout) || !errors.Is(v.Cause, middleware.ErrExhausted) {
			t.Errorf("%d calls, %v", calls, v.Cause)
		}
	})
}
