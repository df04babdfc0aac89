package pgstore

import (
	"cmp"
	"context"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/runnel-go/runnel/deadletter"
)

// Groups implements deadletter.Browser. By stage, fingerprint or nothing it reads counters; any other filter
// has the letters that match read, without their payloads, in pages.
func (s *Store) Groups(ctx context.Context, f deadletter.Filter) ([]deadletter.Group, error) {
	if counted(f) {
		return s.countedGroups(ctx, f)
	}
	all := grouping{}
	for r, err := range s.search(ctx, f, false) {
		if err != nil {
			return nil, err
		}
		all.add(r)
	}
	return all.sorted(), nil
}

// counted reports whether the counters can answer f.
func counted(f deadletter.Filter) bool {
	return f.IDs == nil && f.Topic == "" && f.Key == nil && f.Reason == "" && f.ErrorText == "" && f.ErrorType == "" &&
		f.Before.IsZero() && f.After.IsZero() && len(f.States) == 0
}

func (s *Store) countedGroups(ctx context.Context, f deadletter.Filter) ([]deadletter.Group, error) {
	rows, err := s.pool.Query(ctx, sqlGroups, blob(f.Stage), blob(f.Fingerprint))
	if err != nil {
		return nil, s.fault("groups", err)
	}
	groups, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (g deadletter.Group, err error) {
		var first, last int64
		err = row.Scan(texts{}.to(&g.Stage), texts{}.to(&g.Fingerprint), &g.Letters, &g.Sequences, &first, &last,
			texts{}.to((*string)(&g.Reason)), texts{}.to(&g.Error), texts{}.to(&g.ErrorType))
		g.First, g.Last = time.UnixMicro(first).UTC(), time.UnixMicro(last).UTC()
		return g, err
	})
	return groups, s.fault("groups", err)
}

// grouping collects letters by cause.
type grouping map[cause]*group

type cause struct{ stage, fingerprint string }

type group struct {
	deadletter.Group
	tried     bool
	sequences map[deadletter.Sequence]struct{}
}

func (all grouping) add(l *record) {
	g := all[cause{l.Stage, l.Fingerprint}]
	if g == nil {
		g = &group{sequences: map[deadletter.Sequence]struct{}{}}
		g.Stage, g.Fingerprint, g.First, g.Last = l.Stage, l.Fingerprint, l.DeadAt, l.DeadAt
		all[cause{l.Stage, l.Fingerprint}] = g
	}
	if g.Letters == 0 || !g.tried && !l.Follower {
		g.Reason, g.Error, g.ErrorType, g.tried = l.Reason, l.Error, l.ErrorType, !l.Follower
	}
	g.Letters++
	g.sequences[l.Sequence()] = struct{}{}
	if l.DeadAt.Before(g.First) {
		g.First = l.DeadAt
	}
	if l.DeadAt.After(g.Last) {
		g.Last = l.DeadAt
	}
}

func (all grouping) sorted() []deadletter.Group {
	groups := make([]deadletter.Group, 0, len(all))
	for _, g := range all {
		g.Sequences = len(g.sequences)
		groups = append(groups, g.Group)
	}
	slices.SortFunc(groups, func(a, b deadletter.Group) int {
		return cmp.Or(cmp.Compare(b.Letters, a.Letters), a.First.Compare(b.First),
			cmp.Compare(a.Stage, b.Stage), cmp.Compare(a.Fingerprint, b.Fingerprint))
	})
	return groups
}
