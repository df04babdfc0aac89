package stage

import (
	"context"
	"time"
)

// committed is what is left to publish of an attempt that was committed, or may have been, kept with the
// event: its handler must not be called again.
type committed[U any] struct {
	out     []U
	verdict error         // of the attempt: nil, or the Skip of one that was in doubt
	inDoubt bool          // a duplicate says that it was committed
	wait    time.Duration // for room
}

// committedOwner is the owner under which it is kept.
type committedOwner struct{}

// afterCommitEmitter publishes what the chain inside of it put into the outbox, once the middleware inside
// of it has committed the attempt. From then on nothing may fail it: a publish that fails puts the event off,
// for as long as it takes.
func afterCommitEmitter[T, U any](to *Door[U]) func(Handler) Handler {
	return func(next Handler) Handler {
		return func(ctx context.Context, d *Delivery) error {
			left, _ := d.Kept(committedOwner{}).(*committed[U])
			if left != nil && !left.inDoubt {
				return left.publish(ctx, d, to)
			}
			r, ok := d.slot.(*runner[T])
			if !ok {
				return next(ctx, d) // refuses the clone
			}
			box := r.box.(*outbox[T, U])
			box.empty()
			defer box.empty()
			err := next(ctx, d)
			switch {
			case err == nil:
				sent, err := publishEach(ctx, d, to, box.out)
				if err == nil {
					return nil
				}
				left = &committed[U]{out: append([]U(nil), box.out[sent:]...)}
				d.Keep(committedOwner{}, left)
				d.SetHandled()
				return left.putOff(ctx, err)
			case len(box.out) > 0 && isInDoubt(err):
				d.Keep(committedOwner{}, &committed[U]{out: append([]U(nil), box.out...), inDoubt: true})
			case left != nil && VerdictOf(err).Reason == ReasonDuplicate:
				left.inDoubt, left.verdict = false, err
				d.SetHandled()
				return left.publish(ctx, d, to)
			case left != nil && r.called && !isInDoubt(err): // it was not committed: the handler was called again
				d.Keep(committedOwner{}, nil)
			}
			return err
		}
	}
}

func (c *committed[U]) publish(ctx context.Context, d *Delivery, to *Door[U]) error {
	sent, err := publishEach(ctx, d, to, c.out)
	c.out = c.out[sent:]
	if err != nil {
		return c.putOff(ctx, err)
	}
	d.Keep(committedOwner{}, nil)
	return c.verdict
}

// The bounds of how long an event waits to publish.
const (
	firstEmitWait = 10 * time.Millisecond
	maxEmitWait   = 30 * time.Second
)

// putOff has the rest published later, unless it never can be.
func (c *committed[U]) putOff(ctx context.Context, err error) error {
	if Interrupted(ctx) || VerdictOf(unfit(err)).Kind == KindPermanent {
		return unfit(err)
	}
	c.wait = min(max(2*c.wait, firstEmitWait), maxEmitWait)
	return Postpone(c.wait, err)
}

// isInDoubt is errors.Is for an error that may be the handler's.
func isInDoubt(err error) bool {
	_, found := findError(err, func(e error) bool { return e == ErrInDoubt }) //nolint:errorlint // the walk is our own
	return found
}
