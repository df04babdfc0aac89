package sqlitestore

import (
	"context"
	"iter"
	"time"

	"github.com/runnel-go/runnel/deadletter"
)

// Get implements deadletter.Browser.
func (s *Store) Get(_ context.Context, id string) (deadletter.Letter, error) {
	n, ok := s.ids.number(id)
	if !ok {
		return deadletter.Letter{}, deadletter.ErrNotFound
	}
	return s.letter("get", s.reader.row(sqlGet, n))
}

// List implements deadletter.Browser. It reads pages of up to 256 letters and 16 MiB, and costs what it
// yields, however many letters there are: stage, topic, reason, fingerprint, error type, state, key and
// ids go by an index. ErrorText alone has every letter's error read. Before and After cost what they yield
// where letters died in the order in which they were put; else each of that time may be looked at, for 8 bytes of memory.
func (s *Store) List(ctx context.Context, f deadletter.Filter) iter.Seq2[deadletter.Letter, error] {
	return func(yield func(deadletter.Letter, error) bool) {
		for l, err := range s.find(ctx, f, sqlPage) {
			if err != nil {
				yield(deadletter.Letter{}, err)
				return
			}
			if !yield(l.Letter, nil) {
				return
			}
		}
	}
}

// Stats implements deadletter.Browser. It reads counters, of which there is one for each cause and
// state, and no letters.
func (s *Store) Stats(context.Context) (deadletter.Stats, error) {
	st := deadletter.Stats{Removed: s.removed.Load()}
	if err := s.reader.row(sqlHeldCount).Scan(&st.Sequences); err != nil {
		return deadletter.Stats{}, s.fault("stats", err)
	}
	err := s.reader.each(sqlCounts, nil, func(row scanner) (bool, error) {
		var state deadletter.State
		var letters int
		var bytes int64
		var oldest *int64
		if err := row.Scan(&state, &letters, &bytes, &oldest); err != nil {
			return false, err
		}
		count(&st, state, letters, bytes, oldest)
		return true, nil
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
