package deadletter

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"
)

// ErrCancelled is an operation that was cancelled while it ran.
var ErrCancelled = errors.New("deadletter: the operation was cancelled, or another process took it")

// do drains an operation that was taken, and ends it or gives it back.
func (r *Redriver) do(ctx context.Context, c RedriverConfig, o Operation) (Operation, error) {
	own, cancel := context.WithCancelCause(ctx)
	stop := sync.OnceFunc(r.renew(own, c, o, cancel))
	defer stop() // Progress may panic
	err := r.drain(own, c, &o)
	stop()
	cancel(nil)
	settle, done := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
	defer done()
	if err == nil {
		err = r.end(settle, o)
	}
	switch {
	case errors.Is(err, ErrClaimLost), errors.Is(err, ErrCancelled):
		err = ErrCancelled
	case err != nil:
		_ = r.store.ReleaseOperation(settle, o) // else it ends with its lease
	}
	if now, err := r.store.Operation(settle, o.ID); err == nil {
		o = now
	}
	if o.State == OperationCancelled && errors.Is(err, ErrCancelled) {
		err = nil // that it was cancelled is what became of it
	}
	r.ended(c, o, err)
	return o, err
}

// end makes o finished. A letter whose Put was under way when the letters were counted was selected too.
func (r *Redriver) end(ctx context.Context, o Operation) error {
	now, err := r.store.Operation(ctx, o.ID)
	if err != nil {
		return err
	}
	o.Selected = max(now.Selected, now.Succeeded+now.Failed+o.Blocked+o.Untouched)
	return r.store.EndOperation(ctx, o)
}

func (r *Redriver) ended(c RedriverConfig, o Operation, err error) {
	if err != nil {
		c.Logger.Warn("deadletter: redriver: an operation was given back", "operation", o.ID, "error", err)
	} else {
		c.Logger.Info("deadletter: redriver: an operation ended", "operation", o.ID, "state", string(o.State),
			"selected", o.Selected, "succeeded", o.Succeeded, "failed", o.Failed, "who", o.Who)
	}
	if c.Ended != nil {
		c.Ended(o, err)
	}
}

// drain redrives what the operation selected. Sequences that another drainer has are tried again until the
// leases of a process that died must have ended; who still has one then is at work on it.
func (r *Redriver) drain(ctx context.Context, c RedriverConfig, o *Operation) error {
	for patience := time.Now().Add(2 * c.Lease); ; {
		d, err := r.plan(ctx, c, *o)
		if errors.Is(err, errLimit) { // those who had it before redrove all that it may
			o.Stopped = StoppedLimit
			return nil
		}
		if err != nil {
			return err
		}
		err = d.run(ctx)
		o.Blocked, o.Untouched, o.Stopped = d.report.Blocked, d.report.Untouched, d.report.Stopped
		if err != nil {
			if cause := context.Cause(ctx); errors.Is(cause, ErrCancelled) {
				err = cause
			}
			return err
		}
		if d.claimed == 0 || d.report.Stopped != StoppedFinished || !time.Now().Before(patience) {
			return nil
		}
		pause(ctx, c.Lease/4)
	}
}

// plan makes the drain that does what is left of an operation.
func (r *Redriver) plan(ctx context.Context, c RedriverConfig, o Operation) (*drain, error) {
	tried := map[string]bool{}
	for f, err := range r.store.OperationFailures(ctx, o.ID) {
		if err != nil {
			return nil, err
		}
		tried[f.ID] = true
	}
	now, err := r.store.Operation(ctx, o.ID)
	if err != nil {
		return nil, err
	}
	if o.Limit > 0 && now.Succeeded+now.Failed >= o.Limit {
		return nil, errLimit
	}
	opts := DrainOptions{
		Filter: o.Filter, Rate: o.Rate, Parallel: o.Parallel, Lease: c.Lease, Owner: c.Owner, Who: o.Who, Why: o.Why,
	}
	if c.Rate > 0 && (opts.Rate <= 0 || opts.Rate > c.Rate) {
		opts.Rate = c.Rate
	}
	if opts.Parallel <= 0 {
		opts.Parallel = c.Parallel
	}
	if c.Progress != nil {
		opts.Progress = func(p Progress) { c.Progress(o, p) }
	}
	if o.Limit > 0 {
		opts.Limit = o.Limit - now.Succeeded - now.Failed
	}
	d := newDrain(r.store, r.target, opts)
	d.operation, d.tried = o.ID, tried
	d.failed = func(f LetterFailure) error {
		if err := r.store.FailOperation(context.WithoutCancel(ctx), o, f); err != nil && !errors.Is(err, ErrClaimLost) {
			return fmt.Errorf("deadletter: operation %s: %w", o.ID, err)
		}
		return nil
	}
	return d, nil
}

// renew keeps the lease of an operation until the function it returns has returned, and cancels when it was
// lost: the operation was cancelled, or is another's.
func (r *Redriver) renew(ctx context.Context, c RedriverConfig, o Operation, cancel context.CancelCauseFunc) (stop func()) {
	own, end := context.WithCancel(ctx)
	var renewer sync.WaitGroup
	renewer.Go(func() {
		tick := time.NewTicker(max(min(c.Lease/3, time.Second), time.Millisecond))
		defer tick.Stop()
		for {
			select {
			case <-own.Done():
				return
			case <-tick.C:
			}
			if err := r.store.RenewOperation(own, o, c.Lease); errors.Is(err, ErrClaimLost) {
				cancel(ErrCancelled)
				return
			}
		}
	})
	return func() {
		end()
		renewer.Wait()
	}
}
