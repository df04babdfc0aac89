package middleware

import (
	"context"
	"errors"
	"fmt"

	"github.com/runnel-go/runnel/idempotency"
	"github.com/runnel-go/runnel/stage"
)

// errRollback tells the store that the handler did not succeed; the verdict is kept beside it.
var errRollback = errors.New("middleware: the attempt did not succeed")

// runInTx calls the handler in a transaction of the store, which the mark commits with. Unless that
// happened the claim is released, so that the event can be tried again.
func (i *idempotent) runInTx(ctx context.Context, d *stage.Delivery, next stage.Handler, c idempotency.Claim) error {
	committed := false
	defer func() {
		if !committed {
			i.giveBack(ctx, d, c)
		}
	}()
	var verdict error
	handling := false // the handler's panic is passed on; a store that panics has failed
	err := i.inTx(ctx, c, &handling, func(ctx context.Context) error {
		handling = true
		verdict = i.renewed(ctx, d, &c, next)
		handling = false
		if !completes(verdict) {
			return errRollback
		}
		return nil
	})
	switch {
	case err == nil:
		committed = true
		return verdict
	case errors.Is(err, errRollback):
		return verdict
	case errors.Is(err, idempotency.ErrRefused), stage.Interrupted(ctx):
		return fmt.Errorf("middleware: idempotent: transaction: %w", err)
	case errors.Is(err, idempotency.ErrLost):
		return i.guard(d).postpone(fmt.Errorf("middleware: idempotent: transaction: %w", err))
	default:
		// Whether it committed is open: the claim's release does nothing if it did, and the next claim
		// finds the event done.
		return i.guard(d).postpone(fmt.Errorf("middleware: idempotent: transaction: %w: %w", stage.ErrInDoubt, err))
	}
}

// inTx calls the store; one that panics has failed, but the panic of the handler is passed on.
func (i *idempotent) inTx(ctx context.Context, c idempotency.Claim, handling *bool, f func(context.Context) error) (err error) {
	returned := false
	defer func() {
		if !returned && !*handling {
			if value := recover(); value != nil {
				err = panicError(value)
			}
		}
	}()
	err = i.tx.InTx(ctx, c, f)
	returned = true
	return err
}
