package pgstore

import (
	"context"
	"fmt"
	"iter"
	"math"
	"slices"

	"github.com/jackc/pgx/v5"

	"github.com/runnel-go/runnel/deadletter"
)

// pageSize bounds the letters that are read at once, and pageBytes their texts and bytes, roughly.
const (
	pageSize  = 256
	pageBytes = 16 << 20
)

// List implements deadletter.Browser. It reads pages of up to 256 letters and 16 MiB, and costs what it
// yields, however many letters there are: stage, topic, reason, fingerprint, error type, state, key and ids
// go by an index. ErrorText alone has every letter's error read; Before and After take 16 bytes of memory for
// each letter of that time.
func (s *Store) List(ctx context.Context, f deadletter.Filter) iter.Seq2[deadletter.Letter, error] {
	return func(yield func(deadletter.Letter, error) bool) {
		for r, err := range s.search(ctx, f, true) {
			if err != nil {
				yield(deadletter.Letter{}, err)
				return
			}
			if !yield(r.Letter, nil) {
				return
			}
		}
	}
}

// search yields the letters that match, in the order of Put, whole or light. It finds places first, by an
// index, and reads the letters there; it holds no transaction while it yields. A letter whose cause or state
// changes meanwhile may be left out, and is never yielded twice.
func (s *Store) search(ctx context.Context, f deadletter.Filter, full bool) iter.Seq2[*record, error] {
	return func(yield func(*record, error) bool) {
		text := blob(f.ErrorText)
		matches := f
		matches.IDs = nil
		for places, err := range s.places(ctx, f) {
			for err == nil && len(places) > 0 {
				var page []*record
				if page, places, err = s.page(ctx, places, text, full); err != nil {
					break
				}
				for _, r := range page {
					if matches.Matches(&r.Letter) && !yield(r, nil) {
						return
					}
				}
			}
			if err != nil {
				yield(nil, listFault(ctx, s.fault("list", err)))
				return
			}
		}
	}
}

func listFault(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return fmt.Errorf("pgstore: list: %w", context.Cause(ctx))
	}
	return err
}

// place is where a letter is, and how large it is.
type place struct{ n, size int64 }

// page reads the letters at the first places, as many as one may read at once, and returns the places that are
// left.
func (s *Store) page(ctx context.Context, places []place, text []byte, full bool) (page []*record, left []place, err error) {
	numbers, query, read := cut(places, full), sqlSkim, s.skim
	if full {
		query, read = sqlPage, s.read
	}
	rows, err := s.pool.Query(ctx, query, numbers, text)
	if err != nil {
		return nil, nil, err
	}
	page, err = pgx.CollectRows(rows, func(row pgx.CollectableRow) (*record, error) { return read(row) })
	return page, places[len(numbers):], err
}

// cut is the first of places, at least one, whose letters are read at once.
func cut(places []place, full bool) (numbers []int64) {
	bytes := int64(0)
	for _, p := range places[:min(len(places), pageSize)] {
		if bytes += p.size; full && bytes > pageBytes && len(numbers) > 0 {
			break
		}
		numbers = append(numbers, p.n)
	}
	return numbers
}

// places yields, in order, the places of the letters that may match f, some at a time.
func (s *Store) places(ctx context.Context, f deadletter.Filter) iter.Seq2[[]place, error] {
	switch {
	case f.IDs != nil:
		return s.named(ctx, f.IDs)
	case f.Key != nil:
		return s.keyed(ctx, f)
	default:
		return s.alike(ctx, f)
	}
}

// named is the places of the letters with these ids.
func (s *Store) named(ctx context.Context, list []string) iter.Seq2[[]place, error] {
	numbers := make([]int64, 0, len(list))
	for _, id := range list {
		if n, ok := s.number(id); ok {
			numbers = append(numbers, n)
		}
	}
	return func(yield func([]place, error) bool) {
		if len(numbers) == 0 {
			return
		}
		yield(s.find(ctx, sqlPlaces, numbers))
	}
}

// keyed is the places of a key's letters: those of its lanes, of which there are few.
func (s *Store) keyed(ctx context.Context, f deadletter.Filter) iter.Seq2[[]place, error] {
	return func(yield func([]place, error) bool) {
		lanes, err := s.list(ctx, sqlLanesOfKey, blob(*f.Key), blob(f.Stage))
		if err != nil {
			yield(nil, err)
			return
		}
		s.steps(ctx, sqlOfLanes, lanes, yield)
	}
}

// alike is the places of the letters whose facet matches.
func (s *Store) alike(ctx context.Context, f deadletter.Filter) iter.Seq2[[]place, error] {
	return func(yield func([]place, error) bool) {
		facets, err := s.facets(ctx, f)
		if err != nil {
			yield(nil, err)
			return
		}
		if f.Before.IsZero() && f.After.IsZero() {
			s.steps(ctx, sqlOfFacets, facets, yield)
			return
		}
		from, to := int64(math.MinInt64), int64(math.MaxInt64)
		if !f.After.IsZero() {
			from = f.After.UnixMicro()
		}
		if !f.Before.IsZero() {
			to = f.Before.UnixMicro()
		}
		yield(s.find(ctx, sqlOfAge, facets, from, to))
	}
}

// steps reads places in growing steps: who looks at the first twenty letters waits for no more.
func (s *Store) steps(ctx context.Context, query string, of ids, yield func([]place, error) bool) {
	if len(of) == 0 {
		return
	}
	for after, limit := int64(0), 16; ; limit = min(4*limit, 4*pageSize) {
		places, err := s.find(ctx, query, of, after, limit)
		if !yield(places, err) || err != nil || len(places) < limit {
			return
		}
		after = places[len(places)-1].n
	}
}

// facets are those that match f.
func (s *Store) facets(ctx context.Context, f deadletter.Filter) (all ids, err error) {
	rows, err := s.pool.Query(ctx, sqlFacets, blob(f.Stage), blob(f.Fingerprint), blob(f.Topic), blob(string(f.Reason)), blob(f.ErrorType))
	if err != nil {
		return nil, err
	}
	var one id
	var state string
	_, err = pgx.ForEachRow(rows, []any{&one, texts{}.to(&state)}, func() error {
		if (deadletter.Filter{States: f.States}).Matches(&deadletter.Letter{State: deadletter.State(state)}) {
			all = append(all, one)
		}
		return nil
	})
	return all, err
}

func (s *Store) list(ctx context.Context, query string, args ...any) (ids, error) {
	rows, err := s.pool.Query(ctx, query, args...)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, pgx.RowTo[id])
}

func (s *Store) find(ctx context.Context, query string, args ...any) (places []place, err error) {
	rows, err := s.pool.Query(ctx, query, args...)
	if err != nil {
		return nil, err
	}
	var p place
	_, err = pgx.ForEachRow(rows, []any{&p.n, &p.size}, func() error {
		places = append(places, p)
		return nil
	})
	return slices.Compact(places), err
}
