package sqlitestore

import (
	"cmp"
	"context"
	"slices"
	"time"

	"github.com/runnel-go/runnel/deadletter"
)

// Groups implements deadletter.Browser. By stage, fingerprint or nothing it reads counters; any other
// filter has the letters that match read, without their payloads, in pages.
func (s *Store) Groups(ctx context.Context, f deadletter.Filter) ([]deadletter.Group, error) {
	f, err := s.stateless(f)
	if err != nil {
		return nil, err
	}
	if counted(f) {
		return s.countedGroups(f)
	}
	all := grouping{}
	for l, err := range s.find(ctx, f, sqlSkim) {
		if err != nil {
			return nil, err
		}
		all.add(l)
	}
	return all.sorted(), nil
}

// stateless is f without its states, if those are all that its live letters have: redrives ask for what is active,
// and most often nothing is quarantined.
func (s *Store) stateless(f deadletter.Filter) (deadletter.Filter, error) {
	plain := f
	plain.States = nil
	if len(f.States) == 0 || !counted(plain) || slices.Contains(f.States, deadletter.Discarded) {
		return f, nil
	}
	all := true
	err := s.reader.each(sqlFacets, facetArgs(f), func(row scanner) (bool, error) {
		var id int64
		var state deadletter.State
		err := row.Scan(&id, &state)
		all = state == deadletter.Discarded || slices.Contains(f.States, state)
		return all, err
	})
	if !all || err != nil {
		return f, s.fault("groups", err)
	}
	return plain, nil
}

// counted reports whether the counters can answer f.
func counted(f deadletter.Filter) bool {
	return f.IDs == nil && f.Topic == "" && f.Key == nil && f.Reason == "" && f.ErrorText == "" && f.ErrorType == "" &&
		f.Before.IsZero() && f.After.IsZero() && len(f.States) == 0
}

func (s *Store) countedGroups(f deadletter.Filter) ([]deadletter.Group, error) {
	groups := []deadletter.Group{}
	err := s.reader.each(sqlGroups, []any{blob(f.Stage), blob(f.Fingerprint)}, func(row scanner) (bool, error) {
		var g deadletter.Group
		var first, last int64
		err := row.Scan(&g.Stage, &g.Fingerprint, &g.Letters, &g.Sequences, &first, &last, &g.Reason, &g.Error, &g.ErrorType)
		g.First, g.Last = time.UnixMicro(first).UTC(), time.UnixMicro(last).UTC()
		groups = append(groups, g)
		return true, err
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
