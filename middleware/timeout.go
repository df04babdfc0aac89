package middleware

import (
	"context"
	"time"

	"github.com/runnel-go/runnel/stage"
)

// Timeout gives each attempt at most d. The handler's context ends then, and the attempt has failed with a
// *TimeoutError, whatever the handler returns afterwards, nil included: one rule, so that nobody has to
// know which came first. A panic after the deadline stays a panic. Neither a shutdown nor what is put off
// uncounted, by stage.Postpone, is a timeout: the error is passed on as it is.
//
// The handler runs on the worker's own goroutine. One that ignores its context keeps its worker, and its
// key waits, until it returns: cutting it loose would run the next attempt of the key beside it.
//
// It costs a context and a timer for each attempt: four allocations.
func Timeout(d time.Duration) stage.Middleware {
	t := timeout{after: d, err: &TimeoutError{After: d}}
	return stage.Middleware{
		Name:    "timeout",
		Inside:  []string{"deadletter", "idempotent", "retry"},
		Promise: "an attempt fails after " + d.String(),
		Fault:   check(d > 0, "Timeout(%v); make it positive, or leave the middleware out", d),
		Wrap: func(next stage.Handler) stage.Handler {
			return func(ctx context.Context, d *stage.Delivery) error { return t.run(ctx, d, next) }
		},
	}
}

type timeout struct {
	after time.Duration
	err   *TimeoutError
}

func (t timeout) run(parent context.Context, d *stage.Delivery, next stage.Handler) error {
	deadline := time.Now().Add(t.after)
	ctx, cancel := context.WithDeadlineCause(parent, deadline, t.err)
	defer cancel()
	err := next(ctx, d)
	// The clock decides, not ctx, whose timer may be late.
	if time.Now().Before(deadline) || stage.Interrupted(parent) || stage.VerdictOf(err).Kind == stage.KindPostpone {
		return err
	}
	return t.err
}
