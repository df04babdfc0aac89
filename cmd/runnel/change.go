package main

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/runnel-go/runnel/deadletter"
)

// chunk is how many letters a change takes at once: between two, an interrupt stops it.
const chunk = 500

func (a *app) discard() *cobra.Command {
	return a.changing("discard [ID…]", "Give letters up; restore brings them back until they are purged", "discard", "discarded",
		func(ctx context.Context, s store, ids []string) (int, error) {
			return s.Discard(ctx, ids, a.note("discard"))
		})
}

func (a *app) restore() *cobra.Command {
	c := a.changing("restore [ID…]", "Bring discarded letters back, in their place", "restore", "restored",
		func(ctx context.Context, s store, ids []string) (int, error) {
			return s.Restore(ctx, ids, a.note("restore"))
		})
	return c
}

// changing makes a command that changes the letters that are named, or those that the flags choose.
func (a *app) changing(use, short, verb, past string, change func(context.Context, store, []string) (int, error)) *cobra.Command {
	var f filterFlags
	var all, dry bool
	c := a.command(use, short, nil, existing, func(ctx context.Context, s store, ids []string) error {
		if err := chosen(&f, ids, all, verb); err != nil {
			return err
		}
		filter, err := f.filter(ids, time.Now())
		if err != nil {
			return err
		}
		if verb == "restore" && filter.States == nil {
			filter.States = []deadletter.State{deadletter.Discarded}
		}
		if dry {
			n, _, err := count(ctx, s, filter)
			if err == nil {
				err = a.changed("would be "+past, n)
			}
			return err
		}
		n, err := a.inChunks(ctx, s, filter, past, change)
		if err == nil || n > 0 {
			if told := a.changed(past, n); err == nil {
				err = told
			}
		}
		return err
	})
	f.add(a, c)
	c.ValidArgsFunction = a.letterIDs()
	c.Flags().BoolVar(&all, "all", false, verb+" every letter")
	c.Flags().BoolVar(&dry, "dry-run", false, "only count")
	return c
}

// chosen refuses a command that says neither which letters nor that it means all.
func chosen(f *filterFlags, ids []string, all bool, verb string) error {
	switch {
	case all && (len(ids) > 0 || !f.empty()):
		return misuse("%s: --all means every letter; leave it out, or the rest", verb)
	case !all && len(ids) == 0 && f.empty():
		return misuse("%s: say which letters, by id or by a flag such as --group, or --all", verb)
	}
	return nil
}

// inChunks changes what matched when it began.
func (a *app) inChunks(ctx context.Context, s store, f deadletter.Filter, past string, change func(context.Context, store, []string) (int, error)) (int, error) {
	var ids []string
	if _, err := some(ctx, s, f, 0, func(l *deadletter.Letter) error { ids = append(ids, l.ID); return nil }); err != nil {
		return 0, err
	}
	bar := startBar(a.errs, past, len(ids))
	defer bar.stop()
	n := 0
	for len(ids) > 0 {
		if ctx.Err() != nil {
			return n, context.Cause(ctx)
		}
		part := ids[:min(len(ids), chunk)]
		changed, err := change(ctx, s, part)
		n += changed
		if err != nil {
			return n, err
		}
		ids = ids[len(part):]
		bar.add(len(part))
	}
	return n, nil
}

// changed says how many letters were changed.
func (a *app) changed(past string, n int) error {
	if a.json {
		return printJSON(a.out, map[string]any{"letters": n, "what": past})
	}
	_, err := fmt.Fprintf(a.out, "%s %s\n", plural(n, "letter"), past)
	return err
}

func (a *app) purge() *cobra.Command {
	var f filterFlags
	var olderThan string
	var yes bool
	c := a.command("purge", "Remove letters for good; without --yes it only counts", noArgs, existing, func(ctx context.Context, s store, _ []string) error {
		if f.empty() && olderThan == "" {
			return misuse("purge: say which letters, by --older-than or another flag")
		}
		filter, err := f.filter(nil, time.Now())
		if err != nil {
			return err
		}
		if olderThan != "" {
			age, err := parseAge(olderThan)
			if err != nil {
				return misuse("--older-than %q: give an age such as 12h or 30d", olderThan)
			}
			if before := time.Now().Add(-age); filter.Before.IsZero() || before.Before(filter.Before) {
				filter.Before = before
			}
		}
		if filter.States == nil {
			filter.States = []deadletter.State{deadletter.Active, deadletter.Quarantined, deadletter.Discarded}
		}
		if !yes {
			n, _, err := count(ctx, s, filter)
			if err == nil {
				err = a.changed("would be purged; --yes does it", n)
			}
			return err
		}
		n, err := s.Purge(ctx, filter)
		if err != nil {
			return err
		}
		return a.changed("purged", n)
	})
	f.add(a, c)
	choice(c, &olderThan, "older-than", "letters that died longer ago than this `AGE`, such as 30d")
	c.Flags().BoolVar(&yes, "yes", false, "do it")
	return c
}
