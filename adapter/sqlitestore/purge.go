package sqlitestore

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/runnel-go/runnel/deadletter"
)

// Purge implements deadletter.Browser. It removes up to 256 letters in a transaction, so that others get
// their turn. Letters that come while it runs are left, and so is one that changed after it was found. When
// ctx ends in between it returns how many were removed, and ctx's cause.
func (s *Store) Purge(ctx context.Context, f deadletter.Filter) (int, error) {
	if len(f.States) == 0 {
		f.States = []deadletter.State{deadletter.Active, deadletter.Quarantined, deadletter.Discarded}
	}
	var all int
	var last int64
	if err := s.reader.row(sqlLast).Scan(&last); err != nil {
		return 0, s.fault("purge", err)
	}
	var page []place
	for l, err := range s.find(ctx, f, sqlSkim) {
		if err != nil {
			return all, err
		}
		if l.n > last {
			break
		}
		if page = append(page, place{l.n, l.facet}); len(page) == pageSize {
			n, err := s.purge(page, f.ErrorText)
			if all += n; err != nil {
				return all, err
			}
			page = page[:0]
		}
	}
	n, err := s.purge(page, f.ErrorText)
	return all + n, err
}

// place is a letter as it stood when it was found.
type place struct{ n, facet int64 }

func (s *Store) purge(page []place, text string) (removed int, err error) {
	if len(page) == 0 {
		return 0, nil
	}
	err = s.writer.do(func(t *tx) (err error) {
		removed, err = t.purge(page, text)
		return err
	})
	if err != nil {
		return 0, err
	}
	s.removed.Add(uint64(removed))
	return removed, nil
}

func (t *tx) purge(page []place, text string) (removed int, err error) {
	touched := map[lane]struct{}{}
	for _, p := range page {
		var l lane
		var ordered bool
		err := t.row(sqlLaneOf, p.n, p.facet, blob(text)).Scan(&l.stage, &l.key, &ordered)
		if errors.Is(err, sql.ErrNoRows) {
			continue
		}
		if err == nil {
			err = t.remove(p.n)
		}
		if err != nil {
			return 0, err
		}
		removed++
		t.changed(l)
		if ordered {
			touched[l] = struct{}{}
		}
	}
	for l := range touched {
		if err := t.noteHolding(l); err != nil {
			return 0, err
		}
	}
	return removed, nil
}

// Sweep removes, for good, the discarded letters that nobody changed for Config.Retention, and returns
// how many. It logs what it removed, and Stats counts it. Open does it too; a process that runs for
// weeks calls it now and then. Letters that hold their sequence are never swept. It works in pages as
// Purge does, and stops between them when ctx ends.
func (s *Store) Sweep(ctx context.Context) (removed int, err error) {
	if s.config.Retention < 0 {
		return 0, nil
	}
	before := time.Now().Add(-s.config.Retention)
	var bytes int64
	for ctx.Err() == nil {
		page, size, err := s.outdated(before)
		if err != nil || len(page) == 0 {
			s.swept(ctx, removed, bytes, before)
			return removed, err
		}
		n, err := s.purge(page, "")
		if err != nil {
			s.swept(ctx, removed, bytes, before)
			return removed, err
		}
		removed, bytes = removed+n, bytes+size
	}
	s.swept(ctx, removed, bytes, before)
	return removed, fmt.Errorf("sqlitestore: sweep: %w", context.Cause(ctx))
}

func (s *Store) outdated(before time.Time) (page []place, bytes int64, err error) {
	err = s.reader.each(sqlOutdated, []any{micros(before), pageSize}, func(row scanner) (bool, error) {
		var p place
		var size int64
		err := row.Scan(&p.n, &p.facet, &size)
		page, bytes = append(page, p), bytes+size
		return true, err
	})
	return page, bytes, s.fault("sweep", err)
}

func (s *Store) swept(ctx context.Context, removed int, bytes int64, before time.Time) {
	if removed > 0 {
		s.config.Logger.LogAttrs(ctx, slog.LevelInfo, "sqlitestore: removed discarded letters whose retention ended",
			slog.String("file", s.path), slog.Int("letters", removed), slog.Int64("bytes", bytes),
			slog.Time("discarded_before", before), slog.Duration("retention", s.config.Retention))
	}
}
