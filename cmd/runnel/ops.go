package main

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/runnel-go/runnel/deadletter"
)

// ops shows what was asked for, and how far it is.
func (a *app) ops() *cobra.Command {
	var limit int
	args := func(c *cobra.Command, args []string) error {
		if len(args) > 1 {
			return misuse("%s: give it one operation, or none", c.CommandPath())
		}
		return nil
	}
	c := a.command("ops [ID]", "List redrives, the newest first, or show one", args, existing, func(ctx context.Context, s store, args []string) error {
		if len(args) == 0 {
			return a.listOperations(ctx, s, limit)
		}
		o, err := s.Operation(ctx, args[0])
		if err != nil {
			return fmt.Errorf("operation %s: %w", args[0], err)
		}
		return a.showOperation(ctx, s, o)
	})
	c.Flags().IntVar(&limit, "limit", 20, "at most `N` operations; 0 for all")
	c.ValidArgsFunction = a.operationIDs()
	cancel := a.command("cancel ID", "Stop a redrive after the letter that it is at", exactly(1, "the id of an operation"), existing,
		func(ctx context.Context, s store, args []string) error {
			changed, err := s.CancelOperation(ctx, args[0], a.note("cancel"))
			if err != nil {
				return fmt.Errorf("operation %s: %w", args[0], err)
			}
			if !changed {
				return fmt.Errorf("operation %s has ended already", args[0])
			}
			if a.json {
				o, err := s.Operation(ctx, args[0])
				if err != nil {
					return err
				}
				return printJSON(a.out, operationJSON(&o))
			}
			_, err = fmt.Fprintf(a.out, "operation %s is cancelled\n", args[0])
			return err
		})
	cancel.ValidArgsFunction = a.operationIDs()
	c.AddCommand(cancel)
	return c
}

func (a *app) listOperations(ctx context.Context, s store, limit int) error {
	list := []opJSON{}
	var rows [][]string
	for o, err := range s.Operations(ctx) {
		if err != nil {
			return err
		}
		if limit > 0 && len(list) == limit {
			break
		}
		list = append(list, operationJSON(&o))
		rows = append(rows, []string{
			o.ID, string(o.State), when(o.At), cell(o.Who, 16), strconv.Itoa(o.Selected), strconv.Itoa(o.Succeeded), strconv.Itoa(o.Failed), cell(o.Why, 40),
		})
	}
	if a.json {
		return printJSON(a.out, list)
	}
	if len(rows) == 0 {
		_, err := fmt.Fprintln(a.out, "no redrive was asked for")
		return err
	}
	return table(a.out, "ID STATE ASKED WHO SELECTED SUCCEEDED FAILED WHY", rows)
}

// opJSON is an operation as it is printed.
type opJSON struct {
	ID        string        `json:"id"`
	State     string        `json:"state"`
	Who       raw           `json:"who"`
	Why       raw           `json:"why"`
	At        time.Time     `json:"at"`
	Rate      float64       `json:"rate"`
	Max       int           `json:"max"`
	Selected  int           `json:"selected"`
	Succeeded int           `json:"succeeded"`
	Failed    int           `json:"failed"`
	Blocked   int           `json:"blocked"`
	Untouched int           `json:"untouched"`
	Gone      int           `json:"gone"` // dealt with by others
	Owner     raw           `json:"owner,omitempty"`
	Starts    int           `json:"starts"`
	StartedAt time.Time     `json:"started_at,omitzero"`
	EndedAt   time.Time     `json:"ended_at,omitzero"`
	Cancelled *noteJSON     `json:"cancelled,omitempty"`
	Failures  []failureJSON `json:"failures,omitempty"`
}

type failureJSON struct {
	ID    string `json:"id"`
	Stage raw    `json:"stage"`
	Key   raw    `json:"key"`
	Error raw    `json:"error"`
}

func operationJSON(o *deadletter.Operation) opJSON {
	untouched, gone := o.Untouched, o.Gone()
	if o.State != deadletter.OperationFinished { // nobody has looked what became of those that it did not reach
		untouched, gone = gone, 0
	}
	j := opJSON{
		ID: o.ID, State: string(o.State), Who: raw(o.Who), Why: raw(o.Why), At: o.At, Rate: o.Rate, Max: o.Limit, Selected: o.Selected,
		Succeeded: o.Succeeded, Failed: o.Failed, Blocked: o.Blocked, Untouched: untouched, Gone: gone, Owner: raw(o.Owner),
		Starts: o.Starts, StartedAt: o.StartedAt, EndedAt: o.EndedAt,
	}
	if n := o.Cancelled; !n.At.IsZero() {
		j.Cancelled = &noteJSON{n.At, raw(n.What), raw(n.Who), raw(n.Why)}
	}
	return j
}

// maxShown bounds the failures that are listed for a reader.
const maxShown = 20

func (a *app) showOperation(ctx context.Context, s store, o deadletter.Operation) error {
	j := operationJSON(&o)
	for f, err := range s.OperationFailures(ctx, o.ID) {
		if err != nil {
			return err
		}
		if !a.json && len(j.Failures) == maxShown {
			break
		}
		j.Failures = append(j.Failures, failureJSON{f.ID, raw(f.Stage), raw(f.Key), raw(f.Error)})
	}
	if a.json {
		return printJSON(a.out, j)
	}
	w := a.out
	fmt.Fprintf(w, "operation %s is %s: %d of %s succeeded, %d failed, %d stand behind one that stays, %d not reached, %d gone\n",
		j.ID, j.State, j.Succeeded, plural(j.Selected, "letter"), j.Failed, j.Blocked, j.Untouched, j.Gone)
	fmt.Fprintf(w, "asked for by %s at %s: %s\n", cell(o.Who, 40), when(o.At), cell(o.Why, 200))
	if n := o.Cancelled; !n.At.IsZero() {
		fmt.Fprintf(w, "cancelled by %s at %s: %s\n", cell(n.Who, 40), when(n.At), cell(n.Why, 200))
	}
	if o.State == deadletter.OperationRequested {
		fmt.Fprintln(w, "no program has taken it yet")
	}
	if len(j.Failures) == 0 {
		return nil
	}
	var rows [][]string
	for _, f := range j.Failures {
		rows = append(rows, []string{f.ID, cell(string(f.Stage), 20), cell(string(f.Key), 24), cell(string(f.Error), 80)})
	}
	return table(w, "FAILED STAGE KEY ERROR", rows)
}
