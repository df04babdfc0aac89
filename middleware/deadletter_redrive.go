package middleware

import (
	"context"
	"errors"
	"fmt"

	"github.com/runnel-go/runnel/deadletter"
	"github.com/runnel-go/runnel/stage"
)

// redrive runs a letter and settles it in the store, with the claim of its drainer.
func (p *deadLetter) redrive(ctx context.Context, d *stage.Delivery) error {
	claim, ok := d.Redrive.Claim.(deadletter.Claim)
	if !ok {
		return fmt.Errorf("middleware: deadletter: letter %s is redriven with a claim of type %T", d.Redrive.Letter, d.Redrive.Claim)
	}
	switch {
	case p.doubts.has(d.ID()):
		return fmt.Errorf("middleware: deadletter: letter %s: %w", d.Redrive.Letter, errDoubt)
	case p.doubts.inFlight(d.ID()):
		return stage.Postpone(minDelay, errDoubt)
	}
	err := p.next(ctx, d)
	switch k := stage.VerdictOf(err).Kind; {
	case k == stage.KindDone || k == stage.KindSkip:
		return p.resolve(ctx, d, &unsettled{claim: claim, cause: err, step: p.resolve})
	case !failed(ctx, err):
		return err
	}
	f := failureOf(d, err)
	f.Quarantine = p.maxRedrives > 0 && d.Redrive.Count >= p.maxRedrives
	return p.fail(ctx, d, &unsettled{claim: claim, cause: err, failure: f, step: p.fail})
}

// resolve removes the letter. One that is gone, or another's by now, cannot be: the handler has
// succeeded all the same.
func (p *deadLetter) resolve(ctx context.Context, d *stage.Delivery, u *unsettled) error {
	err := write(ctx, func(ctx context.Context) error { return p.store.Resolve(ctx, u.claim, d.Redrive.Letter) })
	switch {
	case err == nil || u.tried && errors.Is(err, deadletter.ErrNotFound):
		return u.cause
	case errors.Is(err, deadletter.ErrClaimLost), errors.Is(err, deadletter.ErrNotFound):
		p.warn(ctx, d, u, "redriven with success, but the letter was not ours to remove", err)
		return u.cause
	default:
		return p.retry(ctx, d, u, err)
	}
}

// fail records the failure with the letter, which stays where it is.
func (p *deadLetter) fail(ctx context.Context, d *stage.Delivery, u *unsettled) error {
	err := write(ctx, func(ctx context.Context) error { return p.store.Fail(ctx, u.claim, d.Redrive.Letter, u.failure) })
	switch {
	case err == nil:
		return stage.Stored(d.Redrive.Letter, u.cause)
	case errors.Is(err, deadletter.ErrNotFound): // somebody removed it on purpose
		return u.cause
	case errors.Is(err, deadletter.ErrClaimLost), u.slim && errors.Is(err, deadletter.ErrTooLarge):
		p.warn(ctx, d, u, "the letter stays as it was, without the new failure", err)
		return stage.Stored(d.Redrive.Letter, u.cause)
	default:
		return p.retry(ctx, d, u, err)
	}
}
