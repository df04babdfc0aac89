package middleware

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/runnel-go/runnel/deadletter"
	"github.com/runnel-go/runnel/stage"
)

func (p *deadLetter) handle(ctx context.Context, d *stage.Delivery) error {
	if u, ok := d.Kept(p).(*unsettled); ok {
		return u.step(ctx, d, u)
	}
	if d.Redrive != nil {
		return p.redrive(ctx, d)
	}
	if d.Ordered && p.policyFor(d) == deadletter.Park && p.store.MayHold(d.Stage, d.Lane) && !d.Handled() {
		if stage.Interrupted(ctx) {
			return context.Cause(ctx)
		}
		return p.divert(ctx, d, &unsettled{letter: newFollower(d), step: p.divert})
	}
	return p.run(ctx, d)
}

// unsettled is an event whose end the store has not recorded yet. While that lasts it is kept with the
// event, and an attempt is the next try of its step instead of a call of the handler.
type unsettled struct {
	pause
	step    func(context.Context, *stage.Delivery, *unsettled) error
	cause   error              // the failure, or the verdict of a redrive that succeeded
	letter  deadletter.Letter  // of Put and Divert
	claim   deadletter.Claim   // of Resolve and Fail
	failure deadletter.Failure // of Fail
	tried   bool               // an earlier try may have been stored without our knowing
	slim    bool               // what can be left out has been
	doubted bool               // it is among the doubts
	warned  bool
}

// run calls the handler and gives a failure to the policy.
func (p *deadLetter) run(ctx context.Context, d *stage.Delivery) error {
	err := p.next(ctx, d)
	if err == nil || !failed(ctx, err) {
		return err
	}
	switch policy := p.policyFor(d); policy {
	case deadletter.Block:
		return stage.Hold(err)
	case deadletter.HaltStage:
		return stage.Halt(err)
	default:
		l := newLetter(d, err)
		l.Holds = policy == deadletter.Park
		return p.put(ctx, d, &unsettled{letter: l, cause: err, step: p.put})
	}
}

// failed tells failures from all that is none. An interrupted attempt has not failed.
func failed(ctx context.Context, err error) bool {
	k := stage.VerdictOf(err).Kind
	return (k == stage.KindFailed || k == stage.KindPermanent) && !stage.Interrupted(ctx)
}

// put stores the letter. One that the store had before we ever tried belongs to another delivery of the
// same event.
func (p *deadLetter) put(ctx context.Context, d *stage.Delivery, u *unsettled) error {
	stored := p.doubts.storing(u.letter.EventID)
	defer stored()
	var r deadletter.Receipt
	err := write(ctx, func(ctx context.Context) (err error) {
		r, err = p.store.Put(ctx, &u.letter)
		return err
	})
	switch {
	case err != nil:
		return p.retry(ctx, d, u, err)
	case r.Existed && !u.tried:
		return stage.Skip(stage.ReasonDuplicate)
	default:
		p.doubts.settle(u)
		return stage.Stored(r.ID, u.cause)
	}
}

// divert stores the event behind its sequence, or runs it when the sequence turns out to be open.
func (p *deadLetter) divert(ctx context.Context, d *stage.Delivery, u *unsettled) error {
	var r deadletter.Receipt
	var held bool
	err := write(ctx, func(ctx context.Context) (err error) {
		r, held, err = p.store.Divert(ctx, &u.letter)
		return err
	})
	switch {
	case err != nil:
		return p.retry(ctx, d, u, err)
	case !held:
		p.doubts.settle(u)
		d.Keep(p, nil)
		return p.run(ctx, d)
	case r.Existed && !u.tried:
		return stage.Skip(stage.ReasonDuplicate)
	default:
		p.doubts.settle(u)
		return stage.Diverted(r.ID)
	}
}

// retry keeps what the store refused with the event, to be tried again.
func (p *deadLetter) retry(ctx context.Context, d *stage.Delivery, u *unsettled, err error) error {
	if errors.Is(err, deadletter.ErrTooLarge) {
		if !u.slim {
			u.slimDown()
			return u.step(ctx, d, u)
		}
		p.doubts.settle(u)
		p.warn(ctx, d, u, "the letter is too large for the store: its key is held", err)
		return stage.Hold(u.outage(err))
	}
	u.tried = true
	p.doubts.add(u)
	d.Keep(p, u)
	switch {
	case errors.Is(err, deadletter.ErrSequenceFull) || errors.Is(err, deadletter.ErrFull):
		p.warn(ctx, d, u, "no room for the letter: its key waits", err)
	case u.last >= patience:
		p.warn(ctx, d, u, "the letter cannot be stored: its key waits", err)
	}
	return u.postpone(u.outage(err))
}

// patience is the pause between two tries of the store from which on it is worth a warning: what lasts no longer
// than some moments, as another process's lock, is not.
const patience = time.Second

// outage tells of the store's error and of the failure it was to record.
func (u *unsettled) outage(err error) error {
	if u.cause == nil {
		return fmt.Errorf("middleware: deadletter: the store fails: %w", err)
	}
	return fmt.Errorf("middleware: deadletter: the store fails: %w; it was to record: %s", err, stage.ErrorText(u.cause))
}

// slimDown leaves out what a letter can do without, for a store that finds it too large.
func (u *unsettled) slimDown() {
	u.slim = true
	u.letter.Error, u.failure.Error = stage.Truncate(u.letter.Error, maxSlimText), stage.Truncate(u.failure.Error, maxSlimText)
	u.letter.Stack, u.failure.Stack = "", ""
	u.letter.Causes, u.failure.Causes = nil, nil
	u.letter.History, u.failure.History = nil, nil
}

const maxSlimText = 256

// warn reports once an event.
func (p *deadLetter) warn(ctx context.Context, d *stage.Delivery, u *unsettled, text string, err error) {
	if !u.warned {
		u.warned = true
		loggerOr(p.logger).LogAttrs(ctx, slog.LevelWarn, "middleware: deadletter: "+text, attrs(d, u.outage(err))...)
	}
}

// write calls the store with a context of its own: a shutdown must not lose a letter.
func write(ctx context.Context, op func(context.Context) error) error {
	own, cancel := detached(ctx)
	defer cancel()
	return guarded(func() error { return op(own) })
}
