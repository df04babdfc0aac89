package deadletter

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"time"
)

// RequestRedrive leaves operations in store, for a Redriver of this or another process to do. What o asks
// for fixes the selection now: letters that match and are not older than Filter.Before says, or than this
// moment. There is an operation for each stage that has such letters, so that a program takes those that it
// has the stage for; none when nothing matches. It counts by the store's Groups.
func RequestRedrive(ctx context.Context, store RedriveStore, o Operation) ([]Operation, error) {
	o = o.asked(time.Now())
	stages, err := countStages(ctx, store, o.Filter)
	if err != nil {
		return nil, fmt.Errorf("deadletter: request: %w", err)
	}
	var all []Operation
	for _, stage := range slices.Sorted(maps.Keys(stages)) {
		o.Filter.Stage, o.Selected = stage, stages[stage]
		added, err := store.AddOperation(ctx, o, "", 0)
		if err != nil {
			return all, fmt.Errorf("deadletter: request: %w", err)
		}
		all = append(all, added)
	}
	return all, nil
}

// asked is o with its selection bounded by the moment. Stores compare times by the microsecond.
func (o Operation) asked(now time.Time) Operation {
	o.At = now
	if bound := now.Add(time.Microsecond); o.Filter.Before.IsZero() || bound.Before(o.Filter.Before) {
		o.Filter.Before = bound
	}
	return o
}

// countStages counts the letters that a redrive by f takes, by stage.
func countStages(ctx context.Context, store Browser, f Filter) (map[string]int, error) {
	f, none := DrainOptions{Filter: f}.selection()
	stages := map[string]int{}
	if none {
		return stages, nil
	}
	groups, err := store.Groups(ctx, f)
	for _, g := range groups {
		stages[g.Stage] += g.Letters
	}
	return stages, err
}
