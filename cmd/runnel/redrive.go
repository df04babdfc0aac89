package main

import (
	"context"
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/spf13/cobra"

	"github.com/runnel-go/runnel/deadletter"
)

// redrive records what is asked for; a program that has the stages does it.
func (a *app) redrive() *cobra.Command {
	var f filterFlags
	var o deadletter.Operation
	var all, dry, wait bool
	c := a.command("redrive [ID…]", "Ask for letters to be sent back through their stage", nil, existing, func(ctx context.Context, s store, ids []string) error {
		if err := chosen(&f, ids, all, "redrive"); err != nil {
			return err
		}
		if !(o.Rate >= 0 && o.Rate <= math.MaxFloat64) || o.Limit < 0 || o.Parallel < 0 { // NaN is neither
			return misuse("redrive: --rate, --max and --parallel are numbers, and not negative")
		}
		filter, err := f.filter(ids, time.Now())
		if err != nil {
			return err
		}
		if filter.States == nil && len(ids) == 0 {
			filter.States = []deadletter.State{deadletter.Active} // a quarantined letter is taken by name only
		}
		if dry {
			return a.dryRedrive(ctx, s, filter, o.Limit)
		}
		o.Filter, o.Who, o.Why = filter, a.who, a.why
		return a.ask(ctx, s, o, wait)
	})
	f.add(a, c)
	c.ValidArgsFunction = a.letterIDs()
	s := c.Flags()
	s.BoolVar(&all, "all", false, "redrive every letter")
	s.BoolVar(&dry, "dry-run", false, "only say what would be redriven, by cause")
	s.BoolVar(&wait, "wait", false, "wait until it is done; fail if a letter failed again or stands behind another")
	s.Float64Var(&o.Rate, "rate", 0, "at most `N` letters a second (0: no limit)")
	s.IntVar(&o.Limit, "max", 0, "at most `N` letters (0: all)")
	s.IntVar(&o.Parallel, "parallel", 0, "`N` keys at once (0: one)")
	return c
}

func (a *app) dryRedrive(ctx context.Context, s store, f deadletter.Filter, limit int) error {
	groups, err := s.Groups(ctx, f)
	if err != nil {
		return err
	}
	n := 0
	for _, g := range groups {
		n += g.Letters
	}
	if limit > 0 {
		n = min(n, limit)
	}
	if a.json {
		return printJSON(a.out, map[string]any{"letters": n, "groups": groupsJSON(groups)})
	}
	if _, err := fmt.Fprintf(a.out, "%s would be redriven\n", plural(n, "letter")); err != nil || n == 0 {
		return err
	}
	var rows [][]string
	for _, g := range groups {
		rows = append(rows, []string{cell(g.Stage, 20), fmt.Sprint(g.Letters), fmt.Sprint(g.Sequences), cell(string(g.Reason), 12), cell(g.Error, 60)})
	}
	return table(a.out, "STAGE LETTERS SEQUENCES REASON ERROR", rows)
}

// ask leaves an operation for each stage that has such letters: a program takes those whose stage it has.
func (a *app) ask(ctx context.Context, s store, o deadletter.Operation, wait bool) error {
	asked, err := deadletter.RequestRedrive(ctx, s, o)
	switch {
	case err != nil:
		return err
	case len(asked) == 0:
		return a.changed("match: there is nothing to redrive", 0)
	case wait:
		return a.awaitAll(ctx, s, asked)
	case a.json:
		list := []opJSON{}
		for _, o := range asked {
			list = append(list, operationJSON(&o))
		}
		return printJSON(a.out, list)
	}
	for _, o := range asked {
		_, err := fmt.Fprintf(a.out, "operation %s asks for %s of %s to be redriven; runnel dlq ops %s says how far it is\n",
			o.ID, plural(o.Selected, "letter"), cell(o.Filter.Stage, 40), o.ID)
		if err != nil {
			return err
		}
	}
	return nil
}

// awaitAll waits for one after the other, and fails when any did not redrive what it should.
func (a *app) awaitAll(ctx context.Context, s store, asked []deadletter.Operation) error {
	var failed error
	for _, o := range asked {
		err := a.await(ctx, s, o)
		if code := (exitError{}); errors.As(err, &code) {
			failed, err = err, nil
		}
		if err != nil {
			return err
		}
	}
	return failed
}

// await looks at an operation until it has ended. An interrupt ends the waiting, not the operation.
func (a *app) await(ctx context.Context, s store, o deadletter.Operation) error {
	b := startBar(a.errs, "redriven", o.Selected)
	defer b.stop()
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	for o.Open() {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("operation %s goes on; runnel dlq ops cancel %s stops it", o.ID, o.ID)
		}
		var err error
		if o, err = s.Operation(ctx, o.ID); err != nil {
			return err
		}
		b.set(o.Succeeded + o.Failed)
	}
	b.stop()
	if err := a.showOperation(ctx, s, o); err != nil {
		return err
	}
	if o.Failed > 0 || o.Blocked > 0 || o.State == deadletter.OperationCancelled {
		return exitError{exitFailed}
	}
	return nil
}
