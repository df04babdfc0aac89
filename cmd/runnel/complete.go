package main

import (
	"context"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/runnel-go/runnel/deadletter"
)

// What a shell completes by asking the store: ids, stages, groups, operations. Who has named no store, or one that
// does not answer at once, gets nothing.

const (
	completionLimit = 2 * time.Second
	completionsMost = 50
)

// completing makes a completion of what list yields: values, each with a word about it.
func (a *app) completing(list func(ctx context.Context, s store, add func(value, about string) bool) error) cobra.CompletionFunc {
	return func(*cobra.Command, []string, string) (all []cobra.Completion, _ cobra.ShellCompDirective) {
		ctx, cancel := context.WithTimeout(context.Background(), completionLimit)
		defer cancel()
		err := a.with(ctx, existing, func(ctx context.Context, s store) error {
			return list(ctx, s, func(value, about string) bool {
				one := cobra.CompletionWithDesc(cell(value, 200), cell(about, 60))
				if !slices.Contains(all, one) {
					all = append(all, one)
				}
				return len(all) < completionsMost
			})
		})
		if err != nil {
			return nil, cobra.ShellCompDirectiveError
		}
		return all, cobra.ShellCompDirectiveNoFileComp
	}
}

// letterIDs completes the id of a letter, discarded ones included.
func (a *app) letterIDs() cobra.CompletionFunc {
	all := deadletter.Filter{States: []deadletter.State{deadletter.Active, deadletter.Quarantined, deadletter.Discarded}}
	return a.completing(func(ctx context.Context, s store, add func(value, about string) bool) error {
		for l, err := range s.List(ctx, all) {
			if err != nil || !add(l.ID, l.Stage+" "+l.Key+": "+l.Error) {
				return err
			}
		}
		return nil
	})
}

// operationIDs completes the id of an operation.
func (a *app) operationIDs() cobra.CompletionFunc {
	return a.completing(func(ctx context.Context, s store, add func(value, about string) bool) error {
		for o, err := range s.Operations(ctx) {
			if err != nil || !add(o.ID, string(o.State)+" of "+o.Who+": "+o.Why) {
				return err
			}
		}
		return nil
	})
}

// ofGroups completes what each group of letters has.
func (a *app) ofGroups(value func(deadletter.Group) (value, about string)) cobra.CompletionFunc {
	return a.completing(func(ctx context.Context, s store, add func(value, about string) bool) error {
		groups, err := s.Groups(ctx, deadletter.Filter{})
		for _, g := range groups {
			if !add(value(g)) {
				break
			}
		}
		return err
	})
}
