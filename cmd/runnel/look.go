package main

import (
	"bufio"
	"context"
	"encoding/csv"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/runnel-go/runnel/deadletter"
)

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }

// ls lists letters.
func (a *app) ls() *cobra.Command {
	var f filterFlags
	var limit int
	var asCSV bool
	c := a.command("ls", "List letters, the oldest first", noArgs, existing, func(ctx context.Context, s store, _ []string) error {
		filter, err := f.filter(nil, time.Now())
		if err != nil {
			return err
		}
		if limit < 0 {
			return misuse("--limit %d: make it positive, or 0 for all", limit)
		}
		switch {
		case a.json:
			return a.exportLines(ctx, s, filter, limit)
		case asCSV:
			return a.listCSV(ctx, s, filter, limit)
		}
		return a.listTable(ctx, s, filter, limit)
	})
	f.add(a, c)
	c.Flags().IntVar(&limit, "limit", 50, "at most `N` letters; 0 for all")
	c.Flags().BoolVar(&asCSV, "csv", false, "print comma-separated values")
	return c
}

// some calls each for the first letters that match, and reports whether there were more.
func some(ctx context.Context, s store, f deadletter.Filter, limit int, each func(*deadletter.Letter) error) (more bool, err error) {
	n := 0
	for l, err := range s.List(ctx, f) {
		if err != nil {
			return false, err
		}
		if n++; limit > 0 && n > limit {
			return true, nil
		}
		if err := each(&l); err != nil {
			return false, err
		}
	}
	return false, nil
}

func (a *app) listTable(ctx context.Context, s store, f deadletter.Filter, limit int) error {
	var rows [][]string
	more, err := some(ctx, s, f, limit, func(l *deadletter.Letter) error {
		rows = append(rows, []string{
			l.ID, cell(l.Stage, 20), cell(l.Key, 24), cell(l.EventID, 24), cell(string(l.Reason), 12), cell(string(l.State), 12),
			strconv.Itoa(l.Attempts), when(l.DeadAt), cell(l.Error, 60),
		})
		return nil
	})
	if err != nil {
		return err
	}
	if len(rows) == 0 {
		_, err := fmt.Fprintln(a.out, "no letters")
		return err
	}
	if err := table(a.out, "ID STAGE KEY EVENT REASON STATE ATTEMPTS DIED ERROR", rows); err != nil || !more {
		return err
	}
	_, err = fmt.Fprintf(a.out, "… and more: --limit 0 lists all\n")
	return err
}

func (a *app) listCSV(ctx context.Context, s store, f deadletter.Filter, limit int) error {
	w := csv.NewWriter(a.out)
	_ = w.Write([]string{"id", "stage", "topic", "key", "event", "reason", "state", "attempts", "redrives", "died", "group", "error"}) // Flush tells
	_, err := some(ctx, s, f, limit, func(l *deadletter.Letter) error {
		row := []string{
			l.ID, l.Stage, l.Topic, l.Key, l.EventID, string(l.Reason), string(l.State), strconv.Itoa(l.Attempts), strconv.Itoa(l.Redrives),
			l.DeadAt.UTC().Format(time.RFC3339Nano), l.Fingerprint, l.Error,
		}
		for i := range row {
			row[i] = harmless(escape(row[i]))
		}
		return w.Write(row)
	})
	w.Flush()
	if err == nil {
		err = w.Error()
	}
	return err
}

// harmless keeps a spreadsheet from taking a text for a formula.
func harmless(s string) string {
	if s != "" && strings.ContainsRune("=+-@\t\r", rune(s[0])) {
		return "'" + s
	}
	return s
}

func (a *app) groups() *cobra.Command {
	var f filterFlags
	c := a.command("groups", "Count letters by cause, the largest group first", noArgs, existing, func(ctx context.Context, s store, _ []string) error {
		filter, err := f.filter(nil, time.Now())
		if err != nil {
			return err
		}
		groups, err := s.Groups(ctx, filter)
		if err != nil {
			return err
		}
		if a.json {
			return printJSON(a.out, groupsJSON(groups))
		}
		if len(groups) == 0 {
			_, err := fmt.Fprintln(a.out, "no letters")
			return err
		}
		var rows [][]string
		for _, g := range groups {
			rows = append(rows, []string{
				cell(g.Fingerprint, 40), cell(g.Stage, 20), strconv.Itoa(g.Letters), strconv.Itoa(g.Sequences), cell(string(g.Reason), 12),
				when(g.First), when(g.Last), cell(g.Error, 60),
			})
		}
		return table(a.out, "GROUP STAGE LETTERS SEQUENCES REASON FIRST LAST ERROR", rows)
	})
	f.add(a, c)
	return c
}

type groupJSON struct {
	Group     raw       `json:"group"`
	Stage     raw       `json:"stage"`
	Letters   int       `json:"letters"`
	Sequences int       `json:"sequences"`
	Reason    string    `json:"reason"`
	Error     raw       `json:"error"`
	ErrorType raw       `json:"error_type"`
	First     time.Time `json:"first"`
	Last      time.Time `json:"last"`
}

func groupsJSON(groups []deadletter.Group) []groupJSON {
	all := []groupJSON{}
	for _, g := range groups {
		all = append(all, groupJSON{
			raw(g.Fingerprint), raw(g.Stage), g.Letters, g.Sequences, string(g.Reason), raw(g.Error), raw(g.ErrorType), g.First, g.Last,
		})
	}
	return all
}

// previewBytes is how much of a payload show prints.
const previewBytes = 64 << 10

func (a *app) show() *cobra.Command {
	var rawPayload bool
	c := a.command("show ID", "Show a letter with all that is known of it", exactly(1, "the id of a letter"), existing, func(ctx context.Context, s store, args []string) error {
		l, err := s.Get(ctx, args[0])
		switch {
		case err != nil:
			return fmt.Errorf("letter %s: %w", args[0], err)
		case rawPayload:
			_, err := a.out.Write(l.Payload)
			return err
		case a.json:
			return printJSON(a.out, toJSON(&l))
		}
		w := bufio.NewWriter(a.out)
		showLetter(w, &l)
		return w.Flush()
	})
	c.ValidArgsFunction = a.letterIDs()
	c.Flags().BoolVar(&rawPayload, "raw", false, "print the payload's bytes and nothing else")
	return c
}

func showLetter(w io.Writer, l *deadletter.Letter) {
	line := func(name, format string, args ...any) {
		fmt.Fprintf(w, "%-12s %s\n", name, escape(fmt.Sprintf(format, args...)))
	}
	line("letter", "%s", l.ID)
	line("state", "%s", l.State)
	line("stage", "%s, topic %s", l.Stage, l.Topic)
	if l.Ordered {
		line("key", "%s", l.Key)
	}
	line("event", "%s, seq %d, of %s", l.EventID, l.Seq, l.Time.Format(time.RFC3339Nano))
	line("died", "%s, after %s, redriven %s", l.DeadAt.Format(time.RFC3339Nano), plural(l.Attempts, "attempt"), plural(l.Redrives, "time"))
	if l.Follower {
		line("reason", "it follows an earlier letter of its key, and was not tried")
	} else {
		line("reason", "%s", l.Reason)
	}
	line("error", "%s", l.Error)
	for _, c := range l.Causes {
		line("", "%s: %s", c.Type, c.Text)
	}
	line("group", "%s", l.Fingerprint)
	for _, h := range l.History {
		line("attempt", "%d at %s: %s", h.Number, h.At.Format(time.RFC3339Nano), h.Error)
	}
	for _, n := range l.Notes {
		line("note", "%s: %s by %s: %s", n.At.Format(time.RFC3339Nano), n.What, n.Who, n.Why)
	}
	for _, name := range sortedKeys(l.Header) {
		line("header", "%s: %s", name, l.Header[name])
	}
	if l.Stack != "" {
		fmt.Fprintf(w, "\nstack\n%s\n", escapeBut(l.Stack, "\n\t"))
	}
	showPayload(w, "payload", l.Codec, l.Payload)
	if l.Original != nil {
		showPayload(w, "payload before it was edited", l.Codec, l.Original)
	}
}

func showPayload(w io.Writer, what, codec string, payload []byte) {
	if codec == "" {
		codec = "raw"
	}
	fmt.Fprintf(w, "\n%s (%s, %d bytes)\n", what, escape(codec), len(payload))
	shown := payload[:min(len(payload), previewBytes)]
	fmt.Fprintf(w, "%s\n", escapeBut(string(shown), "\n\t"))
	if len(shown) < len(payload) {
		fmt.Fprintf(w, "… the first %d bytes; --raw prints all\n", len(shown))
	}
}

func (a *app) stats() *cobra.Command {
	return a.command("stats", "Count the whole store", noArgs, existing, func(ctx context.Context, s store, _ []string) error {
		n, err := s.Stats(ctx)
		if err != nil {
			return err
		}
		if a.json {
			return printJSON(a.out, map[string]any{
				"active": n.Active, "quarantined": n.Quarantined, "discarded": n.Discarded, "sequences": n.Sequences,
				"bytes": n.Bytes, "oldest": n.Oldest, "removed": n.Removed,
			})
		}
		return table(a.out, "ACTIVE QUARANTINED DISCARDED SEQUENCES BYTES OLDEST", [][]string{{
			strconv.Itoa(n.Active), strconv.Itoa(n.Quarantined), strconv.Itoa(n.Discarded), strconv.Itoa(n.Sequences), strconv.FormatInt(n.Bytes, 10), when(n.Oldest),
		}})
	})
}

// check is for cron and alerts.
func (a *app) check() *cobra.Command {
	var f filterFlags
	var most int
	c := a.command("check --max N", "Fail with exit code 3 when there are more letters than allowed", noArgs, existing, func(ctx context.Context, s store, _ []string) error {
		filter, err := f.filter(nil, time.Now())
		if err != nil {
			return err
		}
		n, sequences, err := count(ctx, s, filter)
		if err != nil {
			return err
		}
		if a.json {
			err = printJSON(a.out, map[string]any{"letters": n, "sequences": sequences, "max": most, "ok": n <= most})
		} else {
			_, err = fmt.Fprintf(a.out, "%s in %s, %d allowed\n", plural(n, "letter"), plural(sequences, "sequence"), most)
		}
		if err == nil && n > most {
			err = exitError{exitTooMany}
		}
		return err
	})
	f.add(a, c)
	c.Flags().IntVar(&most, "max", 0, "allow `N` letters")
	return c
}
