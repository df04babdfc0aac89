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
// has the stage for; none when nothing matches. They share o's Limit, in the order of their names, and its Rate, by
// their letters. It counts by the store's Groups.
func RequestRedrive(ctx context.Context, store RedriveStore, o Operation) ([]Operation, error) {
	o = o.asked(time.Now())
	stages, err := countStages(ctx, store, o.Filter)
	if err != nil {
		return nil, fmt.Errorf("deadletter: request: %w", err)
	}
	total := 0
	for _, n := range stages {
		total += n
	}
	var all []Operation
	left, rate := o.Limit, o.Rate
	for _, stage := range slices.Sorted(maps.Keys(stages)) {
		o.Filter.Stage, o.Selected = stage, stages[stage]
		o.Limit, o.Rate = min(left, o.Selected), rate*float64(o.Selected)/float64(total)
		added, err := store.AddOperation(ctx, o, "", 0)
		if err != nil {
			return all, fmt.Errorf("deadletter: request: %w", err)
		}
		all = append(all, added)
		if left > 0 {
			if left -= o.Limit; left == 0 {
				break
			}
		}
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
