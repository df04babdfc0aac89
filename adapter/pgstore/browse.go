package pgstore

import (
	"context"
	"errors"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/runnel-go/runnel/deadletter"
)

// Get implements deadletter.Browser.
func (s *Store) Get(ctx context.Context, id string) (deadletter.Letter, error) {
	n, ok := s.number(id)
	if !ok {
		return deadletter.Letter{}, deadletter.ErrNotFound
	}
	r, err := s.read(s.pool.QueryRow(ctx, sqlGet, []int64{n}))
	if errors.Is(err, deadletter.ErrNotFound) {
		return deadletter.Letter{}, err
	}
	if err != nil {
		return deadletter.Letter{}, s.fault("get", err)
	}
	return r.Letter, nil
}

// Stats implements deadletter.Browser. It reads counters, of which there is one for each cause and state, and
// no letters.
func (s *Store) Stats(ctx context.Context) (deadletter.Stats, error) {
	st := deadletter.Stats{Removed: s.removed.Load()}
	rows, err := s.pool.Query(ctx, sqlCounts)
	if err != nil {
		return deadletter.Stats{}, s.fault("stats", err)
	}
	var state string
	var letters int
	var bytes int64
	var oldest *int64
	_, err = pgx.ForEachRow(rows, []any{texts{}.to(&state), &letters, &bytes, &oldest, &st.Sequences}, func() error {
		count(&st, deadletter.State(state), letters, bytes, oldest)
		return nil
	})
	return st, s.fault("stats", err)
}

func count(st *deadletter.Stats, state deadletter.State, letters int, bytes int64, oldest *int64) {
	st.Bytes += bytes
	switch state {
	case deadletter.Discarded:
		st.Discarded += letters
	case deadletter.Quarantined:
		st.Quarantined += letters
	default:
		st.Active += letters
	}
	if oldest == nil {
		return
	}
	if at := time.UnixMicro(*oldest).UTC(); st.Oldest.IsZero() || at.Before(st.Oldest) {
		st.Oldest = at
	}
}
