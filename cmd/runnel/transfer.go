package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/runnel-go/runnel/deadletter"
)

func (a *app) export() *cobra.Command {
	var f filterFlags
	c := a.command("export", "Print letters as JSON lines, with every byte", noArgs, existing, func(ctx context.Context, s store, _ []string) error {
		filter, err := f.filter(nil, time.Now())
		if err != nil {
			return err
		}
		if filter.States == nil {
			filter.States = []deadletter.State{deadletter.Active, deadletter.Quarantined, deadletter.Discarded}
		}
		return a.exportLines(ctx, s, filter, 0)
	})
	f.add(a, c)
	return c
}

func (a *app) exportLines(ctx context.Context, s store, f deadletter.Filter, limit int) error {
	w := bufio.NewWriterSize(a.out, 1<<16)
	b := startBar(a.errs, "printed", 0)
	if isTerminal(a.out) {
		b.w = nil // the letters themselves show it
	}
	_, err := some(ctx, s, f, limit, func(l *deadletter.Letter) error {
		b.add(1)
		return printLine(w, toJSON(l))
	})
	b.stop()
	if flushed := w.Flush(); err == nil {
		err = flushed
	}
	return err
}

func (a *app) importing() *cobra.Command {
	c := a.command("import", "Store letters from JSON lines on the standard input", noArgs, creating, a.importLines)
	c.Long = c.Short + `.

Letters get new ids, and the import as their last change. They keep all else, their order included. A
letter whose event is in the store already, at the same stage, is passed over, also when it was discarded
there, so that an import that broke off can be repeated.`
	return c
}

func (a *app) importLines(ctx context.Context, s store, _ []string) error {
	given, err := discarded(ctx, s)
	if err != nil {
		return err
	}
	b := startBar(a.errs, "imported", 0)
	defer b.stop()
	d := json.NewDecoder(bufio.NewReaderSize(a.in, 1<<16))
	d.DisallowUnknownFields()
	stored, existed := 0, 0
	for n := 1; ; n++ {
		var j letterJSON
		var there bool
		err := d.Decode(&j)
		switch {
		case errors.Is(err, io.EOF):
			b.stop()
			return a.imported(stored, existed)
		case err == nil && ctx.Err() != nil:
			return fmt.Errorf("interrupted after %d letters were stored", stored)
		case err == nil:
			there, err = importOne(ctx, s, &j, given)
		}
		switch {
		case err != nil:
			return fmt.Errorf("letter %d of the input, after %d were stored: %w", n, stored, err)
		case there:
			existed++
		default:
			stored++
		}
		b.add(1)
	}
}

// importOne stores a letter, and reports whether its event was there already.
func importOne(ctx context.Context, s store, j *letterJSON, given map[letterEvent]bool) (existed bool, err error) {
	if err := j.check(); err != nil {
		return false, err
	}
	if given[letterEvent{j.Stage, j.EventID}] { // Put would take it for one that failed anew
		return true, nil
	}
	r, err := s.Put(ctx, j.letter())
	return r.Existed, err
}

// check returns what of j no letter has.
func (j *letterJSON) check() error {
	switch {
	case j.Stage == "":
		return errors.New("it has no stage")
	case j.State != "" && !slices.Contains(states(), j.State):
		return fmt.Errorf("its state %q is none of %s", j.State, strings.Join(states(), ", "))
	}
	return nil
}

// letterEvent is what a store knows a letter by.
type letterEvent struct{ stage, id raw }

// discarded are the events whose letters were given up in s. It reads no other letters.
func discarded(ctx context.Context, s store) (map[letterEvent]bool, error) {
	all := map[letterEvent]bool{}
	_, err := some(ctx, s, deadletter.Filter{States: []deadletter.State{deadletter.Discarded}}, 0, func(l *deadletter.Letter) error {
		if l.EventID != "" {
			all[letterEvent{raw(l.Stage), raw(l.EventID)}] = true
		}
		return nil
	})
	return all, err
}

func (a *app) imported(stored, existed int) error {
	if a.json {
		return printJSON(a.out, map[string]any{"stored": stored, "existed": existed})
	}
	_, err := fmt.Fprintf(a.out, "%s stored, %d were there already\n", plural(stored, "letter"), existed)
	return err
}
