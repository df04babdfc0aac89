package deadletter

import (
	"cmp"
	"slices"
)

// groups collects letters by stage and fingerprint.
type groups map[groupName]*grouping

type groupName struct{ stage, fingerprint string }

type grouping struct {
	Group
	tried     bool
	sequences map[Sequence]struct{}
}

func (g groups) add(l *Letter) {
	name := groupName{l.Stage, l.Fingerprint}
	c := g[name]
	if c == nil {
		c = &grouping{sequences: map[Sequence]struct{}{}}
		c.Group = Group{Fingerprint: l.Fingerprint, Stage: l.Stage, First: l.DeadAt, Last: l.DeadAt}
		c.describe(l)
		g[name] = c
	}
	if !c.tried && !l.Follower {
		c.describe(l)
	}
	c.count(l)
}

// describe takes the group's cause from l. Followers know it only by hearsay.
func (c *grouping) describe(l *Letter) {
	c.Reason, c.Error, c.ErrorType = l.Reason, l.Error, l.ErrorType
	c.tried = !l.Follower
}

func (c *grouping) count(l *Letter) {
	c.Letters++
	c.sequences[l.Sequence()] = struct{}{}
	if l.DeadAt.Before(c.First) {
		c.First = l.DeadAt
	}
	if l.DeadAt.After(c.Last) {
		c.Last = l.DeadAt
	}
}

func (g groups) sorted() []Group {
	all := make([]Group, 0, len(g))
	for _, c := range g {
		c.Sequences = len(c.sequences)
		all = append(all, c.Group)
	}
	slices.SortFunc(all, func(a, b Group) int {
		return cmp.Or(cmp.Compare(b.Letters, a.Letters), a.First.Compare(b.First),
			cmp.Compare(a.Stage, b.Stage), cmp.Compare(a.Fingerprint, b.Fingerprint))
	})
	return all
}
