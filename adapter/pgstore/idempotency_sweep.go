package pgstore

import (
	"context"
	"fmt"
	"log/slog"
	"time"
)

// sweepPage bounds the keys that are removed in one statement.
const sweepPage = 1000

const sqlKeyForget = `WITH old AS (SELECT key FROM ? WHERE keep <= clock_timestamp() ORDER BY keep LIMIT $1 FOR UPDATE SKIP LOCKED)
	DELETE FROM ? WHERE key IN (SELECT key FROM old)`

// Sweep removes the keys whose retention ended, and claims whose holder never came back for so long, and
// returns how many. It goes on in pages of 1,000, each a transaction, until none is left or ctx ends, and passes
// over keys that others are at. A store does it by itself every IdempotencyConfig.Sweep.
func (s *Idempotency) Sweep(ctx context.Context) (removed int, err error) {
	for {
		n, err := s.forget(ctx)
		removed += n
		if err != nil || n < sweepPage {
			return removed, err
		}
		select {
		case <-s.closing:
			return removed, ErrClosed
		default:
		}
		if ctx.Err() != nil {
			return removed, fmt.Errorf("pgstore: sweep: %w", context.Cause(ctx))
		}
	}
}

func (s *Idempotency) forget(ctx context.Context) (int, error) {
	ctx, cancel := s.limited(ctx)
	defer cancel()
	tag, err := s.pool.Exec(ctx, s.sql(s.sql(sqlKeyForget)), sweepPage)
	if err != nil {
		return 0, s.fault("sweep", err)
	}
	s.removed.Add(uint64(tag.RowsAffected())) //nolint:gosec // it counts
	return int(tag.RowsAffected()), nil
}

// Swept is how many keys this store has removed because their retention ended. None is ever removed before.
func (s *Idempotency) Swept() uint64 { return s.removed.Load() }

// sweep sweeps until the store is closed.
func (s *Idempotency) sweep() {
	ctx := context.Background()
	tick := time.NewTicker(s.config.Sweep)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-s.closing:
			return
		}
		if _, err := s.Sweep(ctx); err != nil && err != ErrClosed { //nolint:errorlint // as it is
			s.config.Logger.LogAttrs(ctx, slog.LevelWarn, "pgstore: keys whose retention ended were not removed; it is tried again",
				slog.String("table", s.table), slog.String("error", err.Error()))
		}
	}
}
