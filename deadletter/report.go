package deadletter

import (
	"fmt"
	"strings"
	"time"
)

// Counts is how far a drain is. Selected is the sum of the others when it has ended, but for DryRun.
type Counts struct {
	Selected    int // matched the filter when the drain started
	Succeeded   int // redriven, handled and gone
	Failed      int // redriven and failed again: first in their sequences, as before
	Skipped     int // another drainer has the sequence, or the letter was gone when its turn came
	Blocked     int // stand behind a letter that failed, or that was not selected
	Interrupted int // on their way when the drain was cancelled: first in their sequences, uncounted
	Untouched   int // not reached: the limit, a cancellation, or a failing store came first
}

// Progress is what DrainOptions.Progress is told.
type Progress struct {
	Counts         // so far; Untouched are those that are left
	Letter  string // the letter that was redriven; empty when letters were passed over
	Err     error  // why it failed, was interrupted, or was passed over
	Elapsed time.Duration
}

// Stopped is why a drain ended.
type Stopped string

// The reasons to end.
const (
	StoppedFinished  Stopped = "finished"             // nothing is left to do
	StoppedLimit     Stopped = "limit reached"        // DrainOptions.Limit
	StoppedCancelled Stopped = "cancelled"            // the caller's context
	StoppedTarget    Stopped = "the pipeline stopped" // it interrupted a redrive
	StoppedStore     Stopped = "the store failed"
)

// MaxFailures bounds the failures that a Report lists.
const MaxFailures = 100

// LetterFailure is a letter that a drain could not redrive.
type LetterFailure struct {
	ID, Stage, Key string
	Error          string
}

// Report is what a drain did.
type Report struct {
	Counts
	// Remaining is how many letters match the filter when the drain has ended, those that came
	// meanwhile included; -1 when they could not be counted.
	Remaining int
	Stopped   Stopped
	// Failures are the first MaxFailures letters that failed.
	Failures []LetterFailure
	// Reasons and Fingerprints count the selected letters of a dry run.
	Reasons      map[Reason]int
	Fingerprints map[string]int
	DryRun       bool
	Who, Why     string
	Started      time.Time
	Elapsed      time.Duration
}

// Empty reports that no letter matched: there was nothing to do.
func (r Report) Empty() bool { return r.Selected == 0 && r.Stopped == StoppedFinished }

// String says it in one line.
func (r Report) String() string {
	switch {
	case r.Empty():
		return "nothing to do: no letter matches" + r.remaining()
	case r.DryRun:
		return r.dryRun()
	}
	s := fmt.Sprintf("redrove %d of %s in %v", r.Succeeded+r.Failed+r.Interrupted, counted(r.Selected, "letter"),
		r.Elapsed.Round(time.Millisecond))
	if parts := r.parts(); len(parts) > 0 {
		s += ": " + strings.Join(parts, ", ")
	}
	return s + r.remaining() + "; " + string(r.Stopped)
}

func (r Report) parts() (parts []string) {
	for _, p := range []struct {
		n    int
		what string
	}{
		{r.Succeeded, "succeeded"},
		{r.Failed, "failed"},
		{r.Skipped, "skipped (gone, or with another drainer)"},
		{r.Blocked, "blocked (behind a letter that stays)"},
		{r.Interrupted, "interrupted"},
		{r.Untouched, "untouched"},
	} {
		if p.n > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", p.n, p.what))
		}
	}
	return parts
}

func (r Report) remaining() string {
	switch {
	case r.Remaining < 0:
		return "; how many remain is unknown"
	case r.Remaining == 0 && r.Empty():
		return ""
	}
	return fmt.Sprintf("; %d remain", r.Remaining)
}

func (r Report) dryRun() string {
	var reasons []string
	for _, reason := range []Reason{Exhausted, Permanent, Panicked, TimedOut, Undecodable, Follows} {
		if n := r.Reasons[reason]; n > 0 {
			reasons = append(reasons, fmt.Sprintf("%d %s", n, reason))
		}
	}
	return fmt.Sprintf("dry run: %s of %s (%s)", counted(r.Selected, "letter"),
		counted(len(r.Fingerprints), "cause"), strings.Join(reasons, ", "))
}

func counted(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

// outcome is what became of n letters.
type outcome struct {
	kind   kind
	n      int
	letter *Letter // nil when they were passed over
	err    error
}

type kind uint8

const (
	succeeded kind = iota
	failed
	skipped
	blocked
	interrupted
)

func (r *Report) add(o outcome) {
	*r.count(o.kind) += o.n
	r.Untouched -= o.n
	if o.kind != failed || len(r.Failures) == MaxFailures {
		return
	}
	r.Failures = append(r.Failures, o.failure())
}

func (o outcome) failure() LetterFailure {
	return LetterFailure{ID: o.letter.ID, Stage: o.letter.Stage, Key: o.letter.Key, Error: text(o.err)}
}

func (c *Counts) count(k kind) *int {
	switch k {
	case succeeded:
		return &c.Succeeded
	case failed:
		return &c.Failed
	case skipped:
		return &c.Skipped
	case blocked:
		return &c.Blocked
	}
	return &c.Interrupted
}

// text is err's text, cut; an Error method that panics has one too.
func text(err error) (s string) {
	defer func() {
		if recover() != nil {
			s = fmt.Sprintf("%T, whose Error method panics", err)
		}
	}()
	return cut(err.Error(), MaxErrorBytes)
}
