// Maintenance is the job that a scheduler starts at night: it sends the dead letters of a file back through
// their stage, slowly, for as long as it may, and stops by itself when too many of them fail again.
//
// Without -letters it makes a file of its own first, so that there is something to see.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/runnel-go/runnel/deadletter"
)

// The exit codes, for the scheduler.
const (
	exitDone        = 0 // nothing is left, or there was nothing to do
	exitFailed      = 1 // it could not work: the file, the store
	exitUsage       = 2
	exitLeft        = 3 // letters are left: some failed again, or the time was up
	exitTooMany     = 4 // it stopped because too many failed
	exitInterrupted = 130
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

// run is the whole program: it returns the exit code.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	o, err := parseFlags(args, stdout)
	switch {
	case errors.Is(err, flag.ErrHelp):
		return exitDone
	case err != nil:
		fmt.Fprintf(stderr, "maintenance: %v (-h lists the flags)\n", err)
		return exitUsage
	}
	began := time.Now()
	r, err := maintain(ctx, o)
	s := newSummary(r, time.Since(began))
	s.Why = why(ctx, r, err)
	code := exitCode(ctx, r, err)
	if code == exitFailed || code == exitTooMany {
		fmt.Fprintf(stderr, "maintenance: %v\n", err)
	}
	if r.Started.IsZero() { // it came to nothing
		return code
	}
	if err := write(stdout, s); err != nil {
		fmt.Fprintf(stderr, "maintenance: %v\n", err)
		return exitFailed
	}
	return code
}

// exitCode says to the scheduler what became of it.
func exitCode(ctx context.Context, r deadletter.Report, err error) int {
	switch {
	case ctx.Err() != nil:
		return exitInterrupted
	case errors.Is(err, errTooMany):
		return exitTooMany
	case err != nil && !errors.Is(err, errBudget):
		return exitFailed
	case r.Remaining != 0: // or nobody knows
		return exitLeft
	}
	return exitDone
}

// why the job ended, in words.
func why(ctx context.Context, r deadletter.Report, err error) string {
	switch {
	case ctx.Err() != nil:
		return "interrupted"
	case errors.Is(err, errTooMany):
		return "too many failed"
	case errors.Is(err, errBudget):
		return "the time was up"
	case err != nil:
		return "the store failed"
	}
	return string(r.Stopped)
}

// summary is what is printed, for the scheduler's log.
type summary struct {
	Selected  int            `json:"selected"`
	Succeeded int            `json:"succeeded"`
	Failed    int            `json:"failed"`
	Blocked   int            `json:"blocked"`   // stand behind one that failed
	Skipped   int            `json:"skipped"`   // another drainer has them
	Untouched int            `json:"untouched"` // not reached
	Remaining int            `json:"remaining"`
	Why       string         `json:"why"` // it ended
	Causes    map[string]int `json:"causes,omitempty"`
	Seconds   float64        `json:"seconds"`
}

func newSummary(r deadletter.Report, took time.Duration) summary {
	s := summary{
		Selected: r.Selected, Succeeded: r.Succeeded, Failed: r.Failed, Blocked: r.Blocked, Skipped: r.Skipped,
		Untouched: r.Untouched, Remaining: r.Remaining, Seconds: took.Seconds(),
	}
	for _, f := range r.Failures {
		if s.Causes == nil {
			s.Causes = map[string]int{}
		}
		s.Causes[f.Error]++
	}
	return s
}

func write(w io.Writer, s summary) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	return e.Encode(s)
}
