package event

import (
	"context"
	"iter"
)

// Source brings events in from outside: a channel, an iterator, a function, a broker. A pipeline runs
// it beside its stages and stops it first when it drains.
//
// Receive calls emit for each event, in order, and returns nil when the source has no more, or ctx's
// cause when it was stopped. It must return soon after ctx ends, and must not call emit after it has
// returned. An error ends the pipeline's Run with that error.
type Source[T any] interface {
	Receive(ctx context.Context, emit Emit[T]) error
}

// Emit hands one event to the pipeline. It blocks while a stage is full, until ctx ends or the pipeline
// accepts nothing more, and returns an error when the event was not accepted; Settled is not called then.
type Emit[T any] func(ctx context.Context, in Incoming[T]) error

// Incoming is an event on its way in.
type Incoming[T any] struct {
	Payload T
	Options []PublishOption
	// Settled, unless nil, is called exactly once, when every stage of the topic has settled the
	// event: with nil when it is done with (handled, dropped on purpose, or safe in a dead letter),
	// with an error when it is not (a failure that nobody handled, or a shutdown that handed it
	// back), so that a broker can deliver it again. It must not block.
	Settled func(error)
	// Err says why the event could not be decoded. Its handlers are not called: each stage settles
	// it as a permanent failure, which dead-letters it with Raw as its payload.
	Err error
	// Raw is the event as it arrived, for Err. An event that has it, and no key or identity where its topic
	// needs one, or too long a text or payload, is not refused but settled as if that were its Err.
	Raw []byte
}

// RefusedError is what FromChan, FromSeq and FromFunc end with when a value that they had taken was not
// accepted. A pipeline whose shutdown refused it hands it back with what else is unfinished.
type RefusedError struct {
	Payload any
	Err     error
}

func (e *RefusedError) Error() string {
	return "event: a value was taken and not accepted: " + e.Err.Error()
}

// Unwrap returns why.
func (e *RefusedError) Unwrap() error { return e.Err }

// FromChan brings in what is sent on ch until ch is closed. Once ctx has ended it takes no more; the value
// that it has taken is accepted as long as the pipeline drains.
func FromChan[T any](ch <-chan T) Source[T] {
	return FromFunc(func(ctx context.Context) (v T, ok bool, err error) {
		select {
		case v, ok = <-ch:
			return v, ok, nil
		case <-ctx.Done():
			return v, false, context.Cause(ctx)
		}
	})
}

// FromSeq brings in what seq yields. The sequence is stopped between two values when ctx ends, as FromChan is.
func FromSeq[T any](seq iter.Seq[T]) Source[T] {
	return sourceFunc[T](func(ctx context.Context, emit Emit[T]) error {
		for v := range seq {
			if err := bring(ctx, emit, v); err != nil {
				return err
			}
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
		}
		return nil
	})
}

// FromFunc calls next for each event, until it returns ok false or an error, or ctx has ended. What it
// returned by then is accepted, as with FromChan.
func FromFunc[T any](next func(context.Context) (v T, ok bool, err error)) Source[T] {
	return sourceFunc[T](func(ctx context.Context, emit Emit[T]) error {
		for ctx.Err() == nil {
			v, ok, err := next(ctx)
			if err != nil || !ok {
				return err
			}
			if err := bring(ctx, emit, v); err != nil {
				return err
			}
		}
		return context.Cause(ctx)
	})
}

// bring emits a value that nobody else has any more. So it waits for room even when ctx has ended, until
// the pipeline accepts nothing more.
func bring[T any](ctx context.Context, emit Emit[T], v T) error {
	if err := emit(context.WithoutCancel(ctx), Incoming[T]{Payload: v}); err != nil {
		return &RefusedError{Payload: v, Err: err}
	}
	return nil
}

// FromReceive makes a source of a Receive function, for events that need options, an acknowledgement
// or an undecodable form.
func FromReceive[T any](receive func(ctx context.Context, emit Emit[T]) error) Source[T] {
	return sourceFunc[T](receive)
}

type sourceFunc[T any] func(context.Context, Emit[T]) error

func (f sourceFunc[T]) Receive(ctx context.Context, emit Emit[T]) error { return f(ctx, emit) }
