package middleware

import (
	"context"
	"errors"
	"time"

	"github.com/cenkalti/backoff/v4"

	"github.com/runnel-go/runnel/stage"
)

// Retry has failed attempts repeated as policy says. The event waits at the head of its lane, without a
// worker and without a goroutine; then the whole chain runs again.
//
// It passes on untouched: success; what is permanent (stage.Permanent); every other verdict that is no
// failure; and any error once a shutdown has ended the context, since cancellation is not failure. An
// error made by stage.RetryAfter is retried after its own delay, and counts like any failure. When the
// policy ends, or the pipeline drains and waits for no other attempt, the event fails with an
// *ExhaustedError. Waits are held to between 1 ms and 30 days.
//
// It neither reads the clock nor allocates while nothing fails.
func Retry(policy Policy, opts ...RetryOption) stage.Middleware {
	r := &retry{policy: policy}
	faults := []error{checkPolicy(policy)}
	for _, o := range opts {
		faults = append(faults, check(o != nil, "Retry: a nil option; leave it out"))
		if o != nil {
			faults = append(faults, o.applyRetry(r))
		}
	}
	return stage.Middleware{
		Name:    "retry",
		Outside: []string{"timeout", "recover"},
		Inside:  []string{"deadletter", "idempotent"},
		Promise: "a failed attempt is repeated after a wait, in its place",
		Fault:   errors.Join(faults...),
		Wrap:    r.wrap,
	}
}

// RetryOption adds to Retry what is not the policy's: MaxElapsed, If.
type RetryOption interface{ applyRetry(*retry) error }

type retryOption func(*retry) error

func (f retryOption) applyRetry(r *retry) error { return f(r) }

// MaxElapsed gives up when the next attempt would begin later than d after the first failure. It is
// counted from the first failure, since the time an event waits for its turn is not the handler's.
func MaxElapsed(d time.Duration) RetryOption {
	return retryOption(func(r *retry) error {
		r.maxElapsed = d
		return check(d > 0, "MaxElapsed(%v); make it positive, or leave it out", d)
	})
}

// If names the errors that are worth another attempt; the others become permanent. It sees what the
// chain inside returned, panics and timeouts included, and must be safe for concurrent use.
func If(retryable func(error) bool) RetryOption {
	return retryOption(func(r *retry) error {
		r.retryable = retryable
		return check(retryable != nil, "If(nil); give it a function")
	})
}

const (
	minDelay = time.Millisecond
	maxDelay = 30 * 24 * time.Hour
)

type retry struct {
	policy     Policy
	maxElapsed time.Duration
	retryable  func(error) bool
}

func (r *retry) wrap(next stage.Handler) stage.Handler {
	own := *r // each stage's own address names what it keeps with an event
	return func(ctx context.Context, d *stage.Delivery) error {
		err := next(ctx, d)
		if err == nil {
			return nil
		}
		return own.judge(ctx, d, err)
	}
}

func (r *retry) judge(ctx context.Context, d *stage.Delivery, err error) error {
	v := stage.VerdictOf(err)
	switch {
	case stage.Interrupted(ctx):
		return err
	case v.Kind == stage.KindRetry:
		return r.again(d, plain(err), v.Delay, true)
	case v.Kind != stage.KindFailed:
		return err
	}
	worth, crash := asked(func() bool { return r.retryable == nil || r.retryable(err) })
	if crash != nil {
		err = errors.Join(err, crash)
	}
	if !worth {
		return stage.Permanent(err)
	}
	return r.again(d, err, 0, false)
}

// again asks for another attempt, or gives up. The policy is asked although the handler has chosen the
// delay, so that its attempts count.
func (r *retry) again(d *stage.Delivery, err error, chosen time.Duration, isChosen bool) error {
	var w *waits
	delay, crash := asked(func() time.Duration { w = r.waits(d); return w.backoff.NextBackOff() })
	if crash != nil {
		return stage.Permanent(errors.Join(err, crash))
	}
	if d.Final || delay == backoff.Stop {
		return &ExhaustedError{Attempts: d.Attempt, Err: err}
	}
	if isChosen {
		delay = chosen
	}
	delay = min(max(delay, minDelay), maxDelay)
	if r.maxElapsed > 0 && time.Since(w.since)+delay > r.maxElapsed {
		return &ExhaustedError{Attempts: d.Attempt, Err: err}
	}
	return stage.RetryAfter(delay, err)
}

// waits is what Retry keeps with an event from its first failure on.
type waits struct {
	backoff backoff.BackOff
	since   time.Time // the first failure, where MaxElapsed asks for it
}

func (r *retry) waits(d *stage.Delivery) *waits {
	if w, ok := d.Kept(r).(*waits); ok {
		return w
	}
	w := &waits{backoff: r.policy.NewBackOff()}
	if w.backoff == nil {
		w.backoff = &backoff.StopBackOff{}
	}
	if r.maxElapsed > 0 {
		w.since = time.Now()
	}
	d.Keep(r, w)
	return w
}

func checkPolicy(p Policy) error {
	if p == nil {
		return check(false, "Retry(nil); give it a policy, such as middleware.Exponential{}")
	}
	if c, ok := p.(interface{ Check() error }); ok {
		return c.Check()
	}
	return nil
}
