package deadletter

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"
)

// errUnresolved is a redrive that reported success and left its letter where it was.
var errUnresolved = errors.New("deadletter: the redrive succeeded but the letter is still there: " +
	"the stage did not resolve it")

// drainSequence claims a sequence, redrives its selected letters and gives it back, whatever happens.
func (d *drain) drainSequence(ctx, gate context.Context, b batch) {
	c, err := d.store.Claim(ctx, b.sequence, d.opts.Owner, d.opts.Lease)
	switch {
	case errors.Is(err, ErrClaimed), errors.Is(err, ErrNotFound):
		d.out <- outcome{kind: skipped, n: len(b.ids), err: err}
		return
	case err != nil:
		d.shut(err)
		return
	}
	defer d.release(ctx, c)
	c.Operation = d.operation
	c.By = Note{At: d.report.Started, What: "redrive", Who: d.opts.Who, Why: d.opts.Why}
	ctx, lost := context.WithCancelCause(ctx)
	defer lost(nil)
	stop := d.renew(ctx, c, lost)
	defer stop()
	w := walk{drain: d, claim: c, left: b.ids}
	for len(w.left) > 0 && w.step(ctx, gate) {
		continue
	}
}

func (d *drain) release(ctx context.Context, c Claim) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
	defer cancel()
	_ = d.store.Release(ctx, c) // a claim that cannot be given back ends with its lease
}

// renew keeps the claim's lease until the function it returns has returned. When the claim is lost,
// lost is called: the letter on its way is another drainer's by now.
func (d *drain) renew(ctx context.Context, c Claim, lost context.CancelCauseFunc) (stop func()) {
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	var renewer sync.WaitGroup
	renewer.Go(func() {
		tick := time.NewTicker(max(d.opts.Lease/3, time.Millisecond))
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
			}
			// Any other error may pass before the lease ends.
			if err := d.store.Renew(ctx, c, d.opts.Lease); errors.Is(err, ErrClaimLost) {
				lost(err)
				return
			}
		}
	})
	return func() {
		cancel()
		renewer.Wait()
	}
}

// walk goes through one claimed sequence.
type walk struct {
	*drain
	claim Claim
	left  []string // selected and not accounted for

	head    Letter
	headErr error
	known   bool // head and headErr are as the store has them
}

// step redrives the next letter and reports whether there may be another.
func (w *walk) step(ctx, gate context.Context) (more bool) {
	if !w.arrive(ctx, gate) {
		return false
	}
	waited, err := w.pace.turn(gate)
	if err != nil { // the gate is shut, or the limit is reached: those that have a turn may still use it
		return false
	}
	if waited { // it may have been edited or discarded meanwhile
		w.known = false
		if !w.arrive(ctx, gate) {
			return false
		}
	}
	l := w.head
	w.left = w.left[1:]
	return w.settle(ctx, &l, w.redrive(ctx, &l))
}

// arrive brings the walk to a selected letter that is at the head. Letters that are gone are skipped.
func (w *walk) arrive(ctx, gate context.Context) bool {
	if gate.Err() != nil {
		return false
	}
	w.look(ctx)
	if w.headErr != nil {
		w.lostHead(ctx)
		return false
	}
	i := slices.Index(w.left, w.head.ID)
	if i < 0 || !w.redrivable() {
		w.pass(blocked, len(w.left), errBehind)
		return false
	}
	w.pass(skipped, i, ErrNotFound)
	return true
}

var errBehind = errors.New("deadletter: the letter is behind one that was not selected")

// redrivable is false for a letter that was quarantined since it was selected.
func (w *walk) redrivable() bool { return w.head.State != Quarantined || w.opts.Filter.IDs != nil }

func (w *walk) look(ctx context.Context) {
	if !w.known {
		w.head, w.headErr = w.store.Head(ctx, w.claim)
		w.known = true
	}
}

// lostHead accounts for a sequence that has no letter for this drain.
func (w *walk) lostHead(ctx context.Context) {
	switch {
	case errors.Is(w.headErr, ErrNotFound), errors.Is(w.headErr, ErrClaimLost),
		errors.Is(context.Cause(ctx), ErrClaimLost):
		w.pass(skipped, len(w.left), w.headErr)
	default:
		w.shut(w.headErr)
	}
}

// pass takes the next n letters off the list without having tried them.
func (w *walk) pass(k kind, n int, err error) {
	if n == 0 {
		return
	}
	w.left = w.left[n:]
	w.out <- outcome{kind: k, n: n, err: err}
}

// redrive sends l through its stage. Success is believed when the letter is no longer there: a target
// that resolves nothing would be sent the same letter for ever.
func (w *walk) redrive(ctx context.Context, l *Letter) error {
	err := w.try(ctx, *l)
	w.known = false
	if err != nil {
		return err
	}
	if w.look(ctx); w.headErr == nil && w.head.ID == l.ID {
		return errUnresolved
	}
	return nil
}

func (w *walk) try(ctx context.Context, l Letter) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("deadletter: the target panicked: %v", p)
		}
	}()
	return w.target.Redrive(ctx, l, w.claim)
}

// settle accounts for a redriven letter and reports whether the sequence goes on.
func (w *walk) settle(ctx context.Context, l *Letter, err error) bool {
	switch {
	case err == nil:
		w.out <- outcome{kind: succeeded, n: 1, letter: l}
		return true
	case wasInterrupted(ctx, err):
		w.out <- outcome{kind: interrupted, n: 1, letter: l, err: err}
		if errors.Is(context.Cause(ctx), ErrClaimLost) {
			w.pass(skipped, len(w.left), ErrClaimLost)
		} else {
			w.shut(err)
		}
	default:
		w.out <- outcome{kind: failed, n: 1, letter: l, err: err}
		w.pass(blocked, len(w.left), errBehindFailed)
	}
	return false
}

var errBehindFailed = errors.New("deadletter: the letter is behind one that failed again")

// wasInterrupted reports whether the letter was not tried to the end. An error whose own methods panic says
// nothing of the kind.
func wasInterrupted(ctx context.Context, err error) (is bool) {
	defer func() {
		if recover() != nil {
			is = false
		}
	}()
	return errors.Is(err, ErrInterrupted) || ctx.Err() != nil && errors.Is(err, ctx.Err())
}
