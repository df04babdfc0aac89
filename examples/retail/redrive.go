package main

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync/atomic"

	"github.com/runnel-go/runnel/deadletter"
)

// redrive is the maintenance job: the cause is mended, then the letters it made are sent back, those of
// an invoice in their order, while the pipeline runs.
func (j *job) redrive(ctx context.Context) (*redriveSummary, error) {
	j.billing.billGuests()
	r, err := deadletter.Drain(ctx, j.letters, j.p, deadletter.DrainOptions{
		// Letters of another cause, such as malformed lines, stay where they are.
		Filter:   deadletter.Filter{Stage: billingStage, ErrorText: errGuest.Error()},
		Parallel: j.options.workers,
		Owner:    "retail",
		Who:      "retail -redrive",
		Why:      "guests are billed now",
		Progress: j.redriving.note,
	})
	return &redriveSummary{
		Selected: r.Selected, Succeeded: r.Succeeded, Failed: r.Failed, Remaining: r.Remaining, report: r,
	}, err
}

// redriveAsked does the operations that wait in the store, as they were asked for.
func (j *job) redriveAsked(ctx context.Context, letters deadletter.RedriveStore) (*redriveSummary, error) {
	j.billing.billGuests()
	done, err := deadletter.NewRedriver(letters, j.p, deadletter.RedriverConfig{
		Parallel: j.options.workers,
		Owner:    "retail",
		Progress: func(_ deadletter.Operation, p deadletter.Progress) { j.redriving.note(p) },
		Logger:   slog.New(slog.DiscardHandler), // what it would say is in the summary
	}).Once(ctx)
	s := &redriveSummary{}
	for _, o := range done {
		s.Selected, s.Succeeded, s.Failed = s.Selected+o.Selected, s.Succeeded+o.Succeeded, s.Failed+o.Failed
		s.operations = append(s.operations, o.ID)
	}
	s.Remaining = s.Selected - s.Succeeded
	s.report = asked{done}
	return s, err
}

// asked says what became of operations.
type asked struct{ operations []deadletter.Operation }

func (a asked) String() string {
	if len(a.operations) == 0 {
		return "nothing was asked for"
	}
	var lines []string
	for _, o := range a.operations {
		lines = append(lines, fmt.Sprintf("operation %s of %s: redrove %d of %d letters, %d failed again; %s",
			o.ID, o.Who, o.Succeeded, o.Selected, o.Failed, o.State))
	}
	return strings.Join(lines, "\n  ")
}

// redriving is how far a redrive is, for the progress bar.
type redriving struct{ selected, done atomic.Int64 }

func (r *redriving) note(p deadletter.Progress) {
	r.done.Store(int64(p.Selected - p.Untouched))
	r.selected.Store(int64(p.Selected))
}
