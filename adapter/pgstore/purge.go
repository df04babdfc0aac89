package pgstore

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/runnel-go/runnel/deadletter"
)

// Purge implements deadletter.Browser. It removes up to 256 letters in a transaction, so that others get their
// turn. Letters that come while it runs are left, and so is one that no longer matches. When ctx ends in
// between it returns how many were removed, and ctx's cause.
func (s *Store) Purge(ctx context.Context, f deadletter.Filter) (all int, err error) {
	if len(f.States) == 0 {
		f.States = []deadletter.State{deadletter.Active, deadletter.Quarantined, deadletter.Discarded}
	}
	var last int64
	if err := s.pool.QueryRow(ctx, sqlLast).Scan(&last); err != nil {
		return 0, s.fault("purge", err)
	}
	matches := f
	matches.IDs = nil
	var page []string
	for r, err := range s.search(ctx, f, false) {
		if err != nil {
			return all, err
		}
		if r.n > last {
			break
		}
		if page = append(page, r.ID); len(page) < pageSize {
			continue
		}
		n, err := s.purge(page, matches.Matches)
		if all, page = all+n, nil; err != nil {
			return all, err
		}
	}
	n, err := s.purge(page, matches.Matches)
	return all + n, err
}

// purge removes the letters that still match.
func (s *Store) purge(page []string, matches func(*deadletter.Letter) bool) (removed int, err error) {
	if len(page) == 0 {
		return 0, nil
	}
	err = s.do(func(n *needs) {
		for _, id := range page {
			if number, ok := s.number(id); ok {
				n.light.add(number)
			}
		}
	}, func(t *tx) (err error) {
		removed, err = t.purge(page, matches)
		return err
	})
	if err != nil {
		return 0, err
	}
	s.removed.Add(uint64(removed)) //nolint:gosec // it counts
	return removed, nil
}

func (t *tx) purge(page []string, matches func(*deadletter.Letter) bool) (removed int, err error) {
	if err := t.lanesOf(page); err != nil {
		return 0, err
	}
	for _, id := range page {
		r, err := t.find(id, false)
		if errors.Is(err, deadletter.ErrNotFound) || err == nil && !matches(&r.Letter) {
			continue
		}
		if err == nil {
			err = t.remove(r)
		}
		if err != nil {
			return 0, err
		}
		removed++
	}
	return removed, nil
}

// Sweep removes, for good, the discarded letters that nobody changed for Config.Retention, and returns how
// many. It logs what it removed, and Stats counts it. Open does it too; a process that runs for weeks calls it
// now and then. Letters that hold their sequence are never swept. It works in pages as Purge does, and stops
// between them when ctx ends.
func (s *Store) Sweep(ctx context.Context) (removed int, err error) {
	if s.config.Retention < 0 {
		return 0, nil
	}
	before := time.Now().Add(-s.config.Retention)
	defer func() { s.swept(ctx, removed, before) }()
	for ctx.Err() == nil {
		page, err := s.outdated(ctx, before)
		if err != nil || len(page) == 0 {
			return removed, s.fault("sweep", err)
		}
		n, err := s.purge(page, func(l *deadletter.Letter) bool { return !live(l) })
		if removed += n; err != nil || n == 0 {
			return removed, err
		}
	}
	return removed, fmt.Errorf("pgstore: sweep: %w", context.Cause(ctx))
}

func (s *Store) outdated(ctx context.Context, before time.Time) ([]string, error) {
	rows, err := s.pool.Query(ctx, sqlOutdated, before.UnixMicro(), pageSize)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, func(row pgx.CollectableRow) (string, error) {
		r, err := s.skim(row)
		if err != nil {
			return "", err
		}
		return r.ID, nil
	})
}

func (s *Store) swept(ctx context.Context, removed int, before time.Time) {
	if removed > 0 {
		s.config.Logger.LogAttrs(ctx, slog.LevelInfo, "pgstore: removed discarded letters whose retention ended",
			slog.String("schema", s.config.Schema), slog.Int("letters", removed), slog.Time("discarded_before", before),
			slog.Duration("retention", s.config.Retention))
	}
}
