package middleware

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/runnel-go/runnel/stage"
)

// ReasonExpired is the reason under which Deadline drops events.
const ReasonExpired = "expired"

// ErrExpired is the failure of an event that Deadline found too old: see ExpiredToLetter.
var ErrExpired = errors.New("middleware: the event is too old")

// Deadline drops events that are older than age when an attempt at them begins, counted under the reason
// "expired": handling them late would be of no use. An event's age counts from its time, or from when it
// was due where event.At or event.After put it off. An attempt that has begun is not cut short: that is
// Timeout's work.
//
// Waiting for a retry ages an event like any other waiting. A redriven dead letter has no age: who sends it
// back knows that it is old. It costs a look at the clock.
func Deadline(age time.Duration, opts ...DeadlineOption) stage.Middleware {
	l := &deadline{age: age}
	faults := []error{check(age > 0, "Deadline(%v); make it positive, or leave the middleware out", age)}
	for _, o := range opts {
		faults = append(faults, check(o != nil, "Deadline: a nil option; leave it out"))
		if o != nil {
			o.applyDeadline(l)
		}
	}
	return stage.Middleware{
		Name:    "deadline",
		Outside: []string{"idempotent", "retry", "timeout", "recover"},
		Inside:  []string{"deadletter"},
		Promise: l.promise(),
		Fault:   errors.Join(faults...),
		Wrap: func(next stage.Handler) stage.Handler {
			return func(ctx context.Context, d *stage.Delivery) error { return l.run(ctx, d, next) }
		},
	}
}

// DeadlineOption sets what Deadline does with an event that is too old: ExpiredToLetter.
type DeadlineOption interface{ applyDeadline(*deadline) }

type deadlineOption func(*deadline)

func (f deadlineOption) applyDeadline(l *deadline) { f(l) }

// ExpiredToLetter makes a permanent failure with ErrExpired of an event that is too old, which DeadLetter
// stores, instead of dropping it.
func ExpiredToLetter() DeadlineOption { return deadlineOption(func(l *deadline) { l.letter = true }) }

type deadline struct {
	age    time.Duration
	letter bool
}

func (l *deadline) promise() string {
	if l.letter {
		return fmt.Sprintf("an event older than %v is not tried and fails for good", l.age)
	}
	return fmt.Sprintf("an event older than %v is not tried and dropped", l.age)
}

func (l *deadline) run(ctx context.Context, d *stage.Delivery, next stage.Handler) error {
	if d.Redrive != nil || d.Handled() || d.InDoubt() {
		return next(ctx, d)
	}
	born := d.Time
	if due, delayed := d.NotBefore(); delayed && due.After(born) {
		born = due
	}
	age := time.Since(born)
	switch {
	case age <= l.age:
		return next(ctx, d)
	case l.letter:
		return stage.Permanent(fmt.Errorf("%w: %v, and %v is the limit", ErrExpired, age.Round(time.Millisecond), l.age))
	default:
		return stage.Skip(ReasonExpired)
	}
}
