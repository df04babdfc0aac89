package sqlitestore

import (
	"context"
	"encoding/json"
	"fmt"
	"iter"
	"math"
	"slices"

	"github.com/runnel-go/runnel/deadletter"
)

// pageSize bounds the letters that are read at once, and pageBytes their texts and bytes, roughly.
const (
	pageSize  = 256
	pageBytes = 16 << 20
)

// find yields the letters that match, in the order of Put, read by query: sqlPage or sqlSkim. It finds
// places first, by an index, and reads the letters there in pages; it holds no transaction while it
// yields. A letter whose cause or state changes meanwhile may be left out, and is never yielded twice.
func (s *Store) find(ctx context.Context, f deadletter.Filter, query string) iter.Seq2[*record, error] {
	return func(yield func(*record, error) bool) {
		p := &pager{store: s, filter: f, query: query}
		p.filter.IDs = nil
		for n, err := range s.places(f) {
			if err == nil && ctx.Err() != nil {
				err = fmt.Errorf("sqlitestore: list: %w", context.Cause(ctx))
			}
			if err != nil {
				yield(nil, err)
				return
			}
			if p.places = append(p.places, n); len(p.places) >= p.size() && !p.flush(yield) {
				return
			}
		}
		if ctx.Err() != nil {
			yield(nil, fmt.Errorf("sqlitestore: list: %w", context.Cause(ctx)))
			return
		}
		p.flush(yield)
	}
}

// pager reads letters a page at a time. The first pages are short: who looks at the first twenty letters
// waits for no more.
type pager struct {
	store  *Store
	filter deadletter.Filter
	query  string
	places []int64
	pages  int
}

func (p *pager) size() int { return min(pageSize, 16<<min(p.pages, 4)) }

// flush yields the letters at the places that were found, and reports whether there may be more.
func (p *pager) flush(yield func(*record, error) bool) bool {
	for len(p.places) > 0 {
		letters, err := p.read()
		if err != nil {
			return yield(nil, p.store.fault("list", err)) && false
		}
		for _, l := range letters {
			if p.filter.Matches(&l.Letter) && !yield(l, nil) {
				return false
			}
		}
	}
	p.pages++
	return true
}

// read reads the letters at the first places, until their bytes are enough for once.
func (p *pager) read() (letters []*record, err error) {
	list, err := json.Marshal(p.places)
	if err != nil {
		return nil, err
	}
	read := p.store.readFull
	if p.query == sqlSkim {
		read = p.store.readLight
	}
	var bytes int64
	done := len(p.places)
	err = p.store.reader.each(p.query, []any{string(list), blob(p.filter.ErrorText)}, func(row scanner) (bool, error) {
		l, err := read(row)
		if err != nil {
			return false, err
		}
		letters = append(letters, l)
		if bytes += l.Letter.Size(); bytes < pageBytes {
			return true, nil
		}
		done = 1 + slices.Index(p.places, l.n)
		return false, nil
	})
	p.places = p.places[done:]
	return letters, err
}

// places yields, in order, the places of the letters that may match f.
func (s *Store) places(f deadletter.Filter) iter.Seq2[int64, error] {
	return func(yield func(int64, error) bool) {
		var streams []*stream
		var err error
		switch {
		case f.IDs != nil:
			streams, err = s.named(f.IDs)
		case f.Key != nil:
			streams, err = s.ofKey(f)
		default:
			streams, err = s.ofFacets(f)
		}
		if err == nil {
			err = merge(streams, func(n int64) bool { return yield(n, nil) })
		}
		if err != nil {
			yield(0, s.fault("list", err))
		}
	}
}

// named is the places of the letters with these ids.
func (s *Store) named(list []string) ([]*stream, error) {
	numbers := make([]int64, 0, len(list))
	for _, id := range list {
		if n, ok := s.ids.number(id); ok {
			numbers = append(numbers, n)
		}
	}
	var all []int64
	for some := range slices.Chunk(numbers, pageSize) {
		list, err := json.Marshal(some)
		if err != nil {
			return nil, err
		}
		found, err := s.numbers(sqlPlaces, string(list))
		if err != nil {
			return nil, err
		}
		all = append(all, found...)
	}
	return []*stream{sorted(all)}, nil
}

// ofKey is the places of a key's letters: those of its lanes, of which there are few.
func (s *Store) ofKey(f deadletter.Filter) ([]*stream, error) {
	lanes, err := s.numbers(sqlLanesOfKey, blob(*f.Key), blob(f.Stage))
	if err != nil {
		return nil, err
	}
	var streams []*stream
	for _, id := range lanes {
		for _, live := range []bool{true, false} {
			streams = append(streams, &stream{refill: func(after int64, limit int) ([]int64, bool, error) {
				return s.upTo(limit, sqlOfLane, id, live, after, limit)
			}})
		}
	}
	return streams, nil
}

// ofFacets is the places of the letters whose facet matches, one stream for each facet.
func (s *Store) ofFacets(f deadletter.Filter) (streams []*stream, err error) {
	err = s.reader.each(sqlFacets, facetArgs(f), func(row scanner) (bool, error) {
		var id int64
		var state deadletter.State
		if err := row.Scan(&id, &state); err != nil {
			return false, err
		}
		if (deadletter.Filter{States: f.States}).Matches(&deadletter.Letter{State: state}) {
			streams = append(streams, s.ofFacet(id, f))
		}
		return true, nil
	})
	return streams, err
}

// facetArgs are the arguments of sqlFacets.
func facetArgs(f deadletter.Filter) []any {
	return []any{blob(f.Stage), blob(f.Fingerprint), blob(f.Topic), blob(string(f.Reason)), blob(f.ErrorType)}
}

func (s *Store) ofFacet(id int64, f deadletter.Filter) *stream {
	if !f.Before.IsZero() || !f.After.IsZero() {
		return s.ofAge(id, f)
	}
	return &stream{refill: func(after int64, limit int) ([]int64, bool, error) {
		return s.upTo(limit, sqlOfFacet, id, after, limit)
	}}
}

// mostAges is how often the letters of a time are gone through for some of them, before all are read at once.
const mostAges = 2

// ofAge is the places of a facet's letters that died in a time. The times follow the order nearly always, so they are
// looked for among those that are next, in the order. Where none is, all of that time are gone through in the order of
// their times, for the first of them.
func (s *Store) ofAge(id int64, f deadletter.Filter) *stream {
	from, to := int64(math.MinInt64), int64(math.MaxInt64)
	if !f.After.IsZero() {
		from = micros(f.After)
	}
	if !f.Before.IsZero() {
		to = micros(f.Before)
	}
	ages := 0
	return &stream{refill: func(after int64, limit int) ([]int64, bool, error) {
		next, err := s.numbers(sqlNextOfAge, id, after, from, to, limit)
		if err != nil || len(next) > 0 {
			return next, true, err
		}
		if ages++; ages > mostAges {
			limit = math.MaxInt32
		}
		return s.upTo(limit, sqlOfAge, id, after, from, to, limit)
	}}
}

// upTo is numbers of a query that stops at a limit, and whether it did.
func (s *Store) upTo(limit int, query string, args ...any) ([]int64, bool, error) {
	all, err := s.numbers(query, args...)
	return all, len(all) == limit, err
}

func (s *Store) numbers(query string, args ...any) (all []int64, err error) {
	err = s.reader.each(query, args, func(row scanner) (bool, error) {
		var n int64
		err := row.Scan(&n)
		all = append(all, n)
		return true, err
	})
	return all, err
}
