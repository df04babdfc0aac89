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
	err := i.tx.InTx(ctx, c, func(ctx context.Context) error {
		verdict = i.renewed(ctx, d, &c, next)
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
