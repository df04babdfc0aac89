package deadletter

import (
	"slices"
	"strings"
)

// Matches reports whether l is one of the letters that f selects. It costs a comparison for each field
// that is set, and one for each of the IDs.
func (f Filter) Matches(l *Letter) bool {
	return f.matchesState(l.State) && f.matchesPlace(l) && f.matchesCause(l) && f.matchesTime(l)
}

func (f Filter) matchesState(s State) bool {
	if len(f.States) == 0 {
		return s != Discarded
	}
	return slices.Contains(f.States, s)
}

func (f Filter) matchesPlace(l *Letter) bool {
	return (f.IDs == nil || slices.Contains(f.IDs, l.ID)) &&
		(f.Stage == "" || f.Stage == l.Stage) &&
		(f.Topic == "" || f.Topic == l.Topic) &&
		(f.Key == nil || *f.Key == l.Key)
}

func (f Filter) matchesCause(l *Letter) bool {
	return (f.Reason == "" || f.Reason == l.Reason) &&
		(f.Fingerprint == "" || f.Fingerprint == l.Fingerprint) &&
		(f.ErrorType == "" || f.ErrorType == l.ErrorType) &&
		strings.Contains(l.Error, f.ErrorText)
}

func (f Filter) matchesTime(l *Letter) bool {
	return (f.Before.IsZero() || l.DeadAt.Before(f.Before)) &&
		(f.After.IsZero() || !l.DeadAt.Before(f.After))
}

// forPurge is f with every state, unless it names some.
func (f Filter) forPurge() Filter {
	if len(f.States) == 0 {
		f.States = []State{Active, Quarantined, Discarded}
	}
	return f
}
