package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
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

Letters get new ids and keep all else, their order included. A letter whose event is in the store
already, at the same stage, is passed over, so that an import that broke off can be repeated.`
	return c
}

func (a *app) importLines(ctx context.Context, s store, _ []string) error {
	b := startBar(a.errs, "imported", 0)
	defer b.stop()
	d := json.NewDecoder(bufio.NewReaderSize(a.in, 1<<16))
	d.DisallowUnknownFields()
	stored, existed := 0, 0
	for n := 1; ; n++ {
		var j letterJSON
		switch err := d.Decode(&j); {
		case errors.Is(err, io.EOF):
			b.stop()
			return a.imported(stored, existed)
		case err != nil:
			return fmt.Errorf("letter %d of the input, after %d were stored: %w", n, stored, err)
		case ctx.Err() != nil:
			return fmt.Errorf("interrupted after %d letters were stored", stored)
		case j.Stage == "":
			return fmt.Errorf("letter %d of the input, after %d were stored: it has no stage", n, stored)
		}
		r, err := s.Put(ctx, j.letter())
		switch {
		case err != nil:
			return fmt.Errorf("letter %d of the input, after %d were stored: %w", n, stored, err)
		case r.Existed:
			existed++
		default:
			stored++
		}
		b.add(1)
	}
}

func (a *app) imported(stored, existed int) error {
	if a.json {
		return printJSON(a.out, map[string]any{"stored": stored, "existed": existed})
	}
	_, err := fmt.Fprintf(a.out, "%s stored, %d were there already\n", plural(stored, "letter"), existed)
	return err
}
