package stage

import (
	"context"
	"errors"
	"fmt"

	"github.com/runnel-go/runnel/event"
)

// emitting is the typed part of Map and Expand: plain, and what the handler returns is published.
type emitting[T, U any] struct {
	*plain[T]
	to  *event.Topic[U]
	one func(context.Context, event.Event[T]) (U, error) // Map's handler
}

func (e *emitting[T, U]) outputName() string {
	if e.to == nil {
		return ""
	}
	return e.to.Name()
}

func (e *emitting[T, U]) outputOf() any { return e.to }

func (e *emitting[T, U]) faults(s *Stage) []error {
	faults := e.plain.faults(s)
	if e.to == nil {
		return append(faults, fmt.Errorf("stage: %s: %w", s.label(), errNilOutput))
	}
	if err := e.to.Check(); err != nil {
		faults = append(faults, err)
	}
	return faults
}

func (e *emitting[T, U]) run(s *Stage, h *Host, chain []Middleware, intake, output Intake) Runtime {
	if place, afterCommit := emitPlace(chain); e.one != nil && place == len(chain) && !afterCommit {
		return e.runDirect(s, h, chain, intake, output.(*Door[U]))
	}
	full := withEmit(chain, e.to.Name(), func(afterCommit bool) func(Handler) Handler {
		if afterCommit {
			return afterCommitEmitter[T](output.(*Door[U]))
		}
		return emitter[T](output.(*Door[U]))
	})
	return newRunning(s, h, e.plain, full, intake.(*Door[T]), func() any { return new(outbox[T, U]) })
}

// runDirect is run of a Map where no middleware stands between its handler and the place of what it emits: that is
// published as the handler returns it, and waits in no outbox.
func (e *emitting[T, U]) runDirect(s *Stage, h *Host, chain []Middleware, intake Intake, to *Door[U]) Runtime {
	direct := &plain[T]{topic: e.topic, process: func(ctx context.Context, r *runner[T]) error {
		v, err := e.one(ctx, r.it.event)
		if err != nil {
			return err
		}
		if err := publishOne(ctx, &r.d, to, &v); err != nil {
			r.d.Keep(unsentOwner{}, &unsent[U]{[]U{v}})
			return unfit(err)
		}
		return nil
	}}
	full := withEmit(chain, e.to.Name(), func(bool) func(Handler) Handler { return resumer(to) })
	return newRunning(s, h, direct, full, intake.(*Door[T]), nil)
}

// resumer publishes what an attempt before this one could not.
func resumer[U any](to *Door[U]) func(Handler) Handler {
	return func(next Handler) Handler {
		return func(ctx context.Context, d *Delivery) error {
			if d.memory != nil { // as of few
				if left, ok := d.Kept(unsentOwner{}).(*unsent[U]); ok {
					return publishAll(ctx, d, to, left)
				}
			}
			return next(ctx, d)
		}
	}
}

// outbox holds what a handler returned until its attempt has succeeded.
type outbox[T, U any] struct{ out []U }

// maxOutbox bounds the room that a worker keeps for the next event.
const maxOutbox = 64

// empty lets go of what was emitted.
func (b *outbox[T, U]) empty() {
	if cap(b.out) > maxOutbox {
		b.out = nil
	}
	clear(b.out)
	b.out = b.out[:0]
}

// unsent is what is left to publish of an attempt that had succeeded, kept with the event when a publish
// failed: the next attempt goes on from there and does not call the handler again.
type unsent[U any] struct{ out []U }

// unsentOwner is the owner under which it is kept.
type unsentOwner struct{}

// emitter publishes what the chain inside of it put into the outbox.
func emitter[T, U any](to *Door[U]) func(Handler) Handler {
	return func(next Handler) Handler {
		return func(ctx context.Context, d *Delivery) error {
			if left, ok := d.Kept(unsentOwner{}).(*unsent[U]); ok {
				return publishAll(ctx, d, to, left)
			}
			r, ok := d.slot.(*runner[T])
			if !ok {
				return next(ctx, d) // refuses the clone
			}
			box := r.box.(*outbox[T, U])
			if len(box.out) > 0 { // an attempt left it that ended its goroutine
				box.empty()
			}
			err := next(ctx, d)
			if err == nil {
				var sent int
				if sent, err = publishEach(ctx, d, to, box.out); err != nil {
					d.Keep(unsentOwner{}, &unsent[U]{append([]U(nil), box.out[sent:]...)})
					err = unfit(err)
				}
			}
			box.empty()
			return err
		}
	}
}

func publishAll[U any](ctx context.Context, d *Delivery, to *Door[U], left *unsent[U]) error {
	sent, err := publishEach(ctx, d, to, left.out)
	left.out = left.out[sent:]
	if err != nil {
		return unfit(err)
	}
	d.Keep(unsentOwner{}, nil)
	return nil
}

// publishEach publishes out in order and returns how many were accepted.
func publishEach[U any](ctx context.Context, d *Delivery, to *Door[U], out []U) (int, error) {
	for i := range out {
		if err := publishOne(ctx, d, to, &out[i]); err != nil {
			return i, err
		}
	}
	return len(out), nil
}

// publishOne publishes what was emitted, linked to the event that it was emitted for.
func publishOne[U any](ctx context.Context, d *Delivery, to *Door[U], out *U) error {
	var opts []event.PublishOption
	if d.Header != nil && d.Header[event.HeaderCorrelation] != "" {
		opts = []event.PublishOption{event.CausedBy(*d.Meta)}
	}
	if err := to.publish(ctx, out, opts); err != nil {
		return err
	}
	if r := d.slot.receipt(); r != nil && r.output != nil {
		r.output(d.Stage, *out)
	}
	return nil
}

// unfit marks an output that can never be published, because it has no key, say, as a permanent failure.
func unfit(err error) error {
	if isUnfit(err) {
		return Permanent(err)
	}
	return err
}

func isUnfit(err error) bool {
	return errors.Is(err, event.ErrNoKey) || errors.Is(err, event.ErrNoID) || errors.Is(err, event.ErrTooLong) || errors.Is(err, event.ErrTooLarge)
}
