package middleware

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/runnel-go/runnel/idempotency"
	"github.com/runnel-go/runnel/stage"
)

// renewed calls next and renews the claim's lease meanwhile. Nothing is started for a handler that is
// done within a third of the lease.
func (i *idempotent) renewed(ctx context.Context, d *stage.Delivery, c *idempotency.Claim, next stage.Handler) error {
	if i.local != nil {
		return next(ctx, d)
	}
	return i.renewing(ctx, d, *c, next)
}

func (i *idempotent) renewing(ctx context.Context, d *stage.Delivery, c idempotency.Claim, next stage.Handler) error {
	renewing, cancel := context.WithCancel(context.WithoutCancel(ctx))
	over := make(chan struct{})
	id := d.GivenID // d is not the renewal's to read
	start := time.AfterFunc(i.lease/3, func() {
		defer close(over)
		i.renew(renewing, c, id)
	})
	defer func() {
		cancel()
		if !start.Stop() {
			<-over
		}
	}()
	return next(ctx, d)
}

// renew keeps the claim until ctx ends. A renewal that fails is tried again at the next third; one that
// was lost has nothing left to keep: the confirmation will say so.
func (i *idempotent) renew(ctx context.Context, c idempotency.Claim, id string) {
	tick := time.NewTicker(i.lease / 3)
	defer tick.Stop()
	for {
		err := i.renewOnce(ctx, c)
		if ctx.Err() != nil {
			return
		}
		if err != nil {
			loggerOr(i.logger).LogAttrs(ctx, slog.LevelWarn, "middleware: idempotent: the claim was not renewed: a duplicate may run beside it",
				slog.String("stage", c.Key.Stage), slog.String("id", id), slog.String("error", stage.ErrorText(err)))
		}
		if errors.Is(err, idempotency.ErrLost) {
			return
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

func (i *idempotent) renewOnce(ctx context.Context, c idempotency.Claim) (err error) {
	defer catch(&err)
	ctx, cancel := context.WithTimeoutCause(ctx, min(storeLimit, i.lease/3), errStoreLimit)
	defer cancel()
	return i.store.Renew(ctx, c, i.lease)
}
