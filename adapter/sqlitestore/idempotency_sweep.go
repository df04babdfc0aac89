package sqlitestore

import (
	"context"
	"fmt"
	"log/slog"
	"time"
)

// sweepPage bounds the keys that are removed in one transaction, so that others get their turn.
const sweepPage = 500

const sqlKeyForget = `DELETE FROM runnel_idempotency WHERE (stage, id) IN
	(SELECT stage, id FROM runnel_idempotency WHERE keep <= ?1 ORDER BY keep LIMIT ?2)`

// Sweep removes the keys whose retention ended, and claims whose holder never came back for so long, and
// returns how many. It goes on in pages of 500, each a transaction, until none is left or ctx ends. A store
// does it by itself every IdempotencyConfig.Sweep.
func (s *Idempotency) Sweep(ctx context.Context) (removed int, err error) {
	for {
		n, err := s.forget(ctx)
		removed += n
		if err != nil || n < sweepPage {
			return removed, err
		}
		if ctx.Err() != nil {
			return removed, fmt.Errorf("sqlitestore: sweep: %w", context.Cause(ctx))
		}
	}
}

func (s *Idempotency) forget(ctx context.Context) (int, error) {
	if err := s.wait(ctx, "sweep"); err != nil {
		return 0, err
	}
	defer s.leave()
	n, err := changed(s.stmts[sqlKeyForget].Exec(micros(time.Now()), sweepPage))
	s.removed.Add(uint64(n)) //nolint:gosec // it counts
	return int(n), s.fault("sweep", err)
}

// Swept is how many keys this store has removed because their retention ended. None is ever removed before.
func (s *Idempotency) Swept() uint64 { return s.removed.Load() }

// sweep sweeps until the store is closed.
func (s *Idempotency) sweep() {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	tick := time.NewTicker(s.config.Sweep)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-s.closing:
			return
		}
		if _, err := s.Sweep(ctx); err != nil && err != ErrClosed { //nolint:errorlint // as it is
			s.config.Logger.LogAttrs(ctx, slog.LevelWarn, "sqlitestore: keys whose retention ended were not removed; it is tried again",
				slog.String("file", s.path), slog.String("error", err.Error()))
		}
	}
}
