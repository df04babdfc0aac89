package stage_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/runnel-go/runnel/stage"
)

var errCause = errors.New("the cause")

func TestVerdictOf(t *testing.T) {
	plain := errors.New("plain")
	cases := map[string]struct {
		err  error
		want stage.Verdict
	}{
		"nil":                {nil, stage.Verdict{Kind: stage.KindDone}},
		"an ordinary error":  {plain, stage.Verdict{Kind: stage.KindFailed, Cause: plain}},
		"Skip":               {stage.Skip("late"), stage.Verdict{Kind: stage.KindSkip, Reason: "late"}},
		"RetryAfter":         {stage.RetryAfter(time.Second, errCause), stage.Verdict{Kind: stage.KindRetry, Delay: time.Second, Cause: errCause}},
		"Postpone":           {stage.Postpone(time.Second, errCause), stage.Verdict{Kind: stage.KindPostpone, Delay: time.Second, Cause: errCause}},
		"Permanent":          {stage.Permanent(errCause), stage.Verdict{Kind: stage.KindPermanent, Cause: errCause}},
		"Stored":             {stage.Stored("L1", errCause), stage.Verdict{Kind: stage.KindStored, Letter: "L1", Cause: errCause}},
		"Diverted":           {stage.Diverted("L1"), stage.Verdict{Kind: stage.KindDiverted, Letter: "L1"}},
		"Hold":               {stage.Hold(errCause), stage.Verdict{Kind: stage.KindHold, Cause: errCause}},
		"Halt":               {stage.Halt(errCause), stage.Verdict{Kind: stage.KindHalt, Cause: errCause}},
		"the outermost wins": {stage.Hold(stage.Skip("late")), stage.Verdict{Kind: stage.KindHold, Cause: stage.Skip("late")}},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			got := stage.VerdictOf(c.err)
			if got.Kind != c.want.Kind || got.Delay != c.want.Delay || got.Reason != c.want.Reason || got.Letter != c.want.Letter {
				t.Errorf("VerdictOf = %+v, want %+v", got, c.want)
			}
			if (got.Cause == nil) != (c.want.Cause == nil) || got.Cause != nil && got.Cause.Error() != c.want.Cause.Error() {
				t.Errorf("VerdictOf has the cause %v, want %v", got.Cause, c.want.Cause)
			}
		})
	}
}

// TestFault19_VerdictsAreFoundBelowWrapping and joining, at any depth, and errors.Is sees the cause through
// them.
func TestFault19_VerdictsAreFoundBelowWrapping(t *testing.T) {
	wraps := map[string]func(error) error{
		"wrapped":        func(err error) error { return fmt.Errorf("charge: %w", err) },
		"wrapped twice":  func(err error) error { return fmt.Errorf("a: %w", fmt.Errorf("b: %w", err)) },
		"joined first":   func(err error) error { return errors.Join(err, errors.New("and more")) },
		"joined last":    func(err error) error { return errors.Join(errors.New("and more"), err) },
		"wrapped by two": func(err error) error { return fmt.Errorf("%w and %w", errors.New("one"), err) },
		"deep in a tree": func(err error) error {
			return errors.Join(errors.New("x"), fmt.Errorf("y: %w", errors.Join(errors.New("z"), err)))
		},
	}
	for name, wrap := range wraps {
		for kind, err := range map[stage.Kind]error{
			stage.KindRetry: stage.RetryAfter(time.Second, errCause), stage.KindPermanent: stage.Permanent(errCause),
			stage.KindHold: stage.Hold(errCause), stage.KindStored: stage.Stored("L1", errCause),
		} {
			wrapped := wrap(err)
			v := stage.VerdictOf(wrapped)
			if v.Kind != kind || !errors.Is(v.Cause, errCause) || !errors.Is(wrapped, errCause) {
				t.Errorf("%s: VerdictOf = %+v, want kind %d with the cause", name, v, kind)
			}
		}
	}
}

// TestFault19_PermanentKeepsTheOuterText: what was wrapped around it belongs to the reason.
func TestFault19_PermanentKeepsTheOuterText(t *testing.T) {
	err := fmt.Errorf("charge order 7: %w", stage.Permanent(fmt.Errorf("card: %w", errCause)))
	v := stage.VerdictOf(err)
	if v.Kind != stage.KindPermanent || v.Cause.Error() != "charge order 7: card: the cause" || !errors.Is(v.Cause, errCause) {
		t.Errorf("VerdictOf = %+v, want the whole text as its cause", v)
	}
	if bare := stage.Permanent(errCause); stage.VerdictOf(bare).Cause != errCause { //nolint:errorlint // the very same
		t.Errorf("the cause of a bare Permanent is %v, want what it was made of", stage.VerdictOf(bare).Cause)
	}
}

func TestVerdictsSayWhatTheyAre(t *testing.T) {
	for want, err := range map[string]error{
		"stage: skipped: late":                  stage.Skip("late"),
		"stage: retry after 1s: the cause":      stage.RetryAfter(time.Second, errCause),
		"stage: postponed for 1s: the cause":    stage.Postpone(time.Second, errCause),
		"the cause":                             stage.Permanent(errCause),
		"stage: dead letter L1: the cause":      stage.Stored("L1", errCause),
		"stage: diverted to dead letter L1":     stage.Diverted("L1"),
		"stage: held: the cause":                stage.Hold(errCause),
		"stage: halted: the cause":              stage.Halt(errCause),
		"stage: retry after 0s: no error given": stage.RetryAfter(0, nil),
	} {
		if got := err.Error(); got != want {
			t.Errorf("Error = %q, want %q", got, want)
		}
	}
}

// TestVerdictsOfNilHaveACause, so that whoever reads it needs not ask.
func TestVerdictsOfNilHaveACause(t *testing.T) {
	for _, err := range []error{stage.RetryAfter(0, nil), stage.Postpone(0, nil), stage.Permanent(nil), stage.Stored("L", nil), stage.Hold(nil), stage.Halt(nil)} {
		if v := stage.VerdictOf(err); v.Cause == nil {
			t.Errorf("%v has no cause", err)
		}
	}
}

// Errors as handlers return them at their worst.
type (
	panicky   struct{}
	typedNil  struct{ text string }
	endless   struct{}
	badUnwrap struct{}
	wide      struct{}
)

func (panicky) Error() string     { panic("Error panics") }
func (e *typedNil) Error() string { return e.text }
func (endless) Error() string     { return "endless" }
func (e endless) Unwrap() error   { return e }
func (badUnwrap) Error() string   { return "bad unwrap" }
func (badUnwrap) Unwrap() []error { panic("Unwrap panics") }
func (wide) Error() string        { return "wide" }
func (w wide) Unwrap() []error    { return []error{w, w, w} }

// circle is two errors that wrap each other.
type circle struct{ other error }

func (*circle) Error() string   { return "circle" }
func (c *circle) Unwrap() error { return c.other }

func newCircle() error {
	a, b := &circle{}, &circle{}
	a.other, b.other = b, a
	return a
}

// terrible is every error that nobody should return.
func terrible() map[string]error {
	return map[string]error{
		"nil": nil, "a typed nil": (*typedNil)(nil), "one whose text panics": panicky{}, "one that wraps itself": endless{},
		"two in a circle": newCircle(), "one whose Unwrap panics": badUnwrap{}, "a tree without end": wide{},
		"16 MB of text": errors.New(strings.Repeat("x", 16<<20)), "odd text": errors.New("\x00 %!d(MISSING) \xff"),
		"a joined nil": errors.Join(nil, (*typedNil)(nil)),
	}
}

// TestFault18_TerribleErrors: reading a verdict, a text or a tree from them ends, does not panic, and is bounded.
func TestFault18_TerribleErrors(t *testing.T) {
	for name, err := range terrible() {
		t.Run(name, func(t *testing.T) {
			want := stage.KindFailed
			if err == nil {
				want = stage.KindDone
			}
			if v := stage.VerdictOf(err); v.Kind != want {
				t.Errorf("VerdictOf = %+v, want kind %d", v, want)
			}
			if text := stage.ErrorText(err); text == "" || len(text) > stage.MaxErrorBytes {
				t.Errorf("ErrorText has %d bytes, want some, and at most %d", len(text), stage.MaxErrorBytes)
			}
			if n := len(stage.Errors(err)); n > 256 {
				t.Errorf("Errors lists %d, want at most 256", n)
			}
			for _, verdict := range []error{stage.RetryAfter(0, err), stage.Permanent(err), stage.Hold(err), stage.Halt(err), stage.Stored("L", err), stage.Postpone(0, err)} {
				if stage.VerdictOf(verdict).Kind == stage.KindFailed || verdict.Error() == "" {
					t.Errorf("%T around it reads %+v", verdict, stage.VerdictOf(verdict))
				}
			}
		})
	}
}

func TestFault18_AVerdictBesideATerribleErrorIsFound(t *testing.T) {
	for name, err := range terrible() {
		if name == "a tree without end" { // it uses up the walk
			continue
		}
		if v := stage.VerdictOf(errors.Join(stage.Permanent(errCause), err)); v.Kind != stage.KindPermanent {
			t.Errorf("joined with %s: VerdictOf = %+v, want permanent", name, v)
		}
	}
}

func TestErrorTextOf(t *testing.T) {
	for _, c := range []struct {
		err  error
		want string
	}{
		{nil, "no error"},
		{errCause, "the cause"},
		{panicky{}, "stage_test.panicky, whose Error method panics"},
		{(*typedNil)(nil), "*stage_test.typedNil, whose Error method panics"},
	} {
		if got := stage.ErrorText(c.err); got != c.want {
			t.Errorf("ErrorText = %q, want %q", got, c.want)
		}
	}
}

func TestTruncate(t *testing.T) {
	for _, c := range []struct {
		text string
		n    int
		want string
	}{{"short", 10, "short"}, {"exactly", 7, "exactly"}, {"a long text that is cut", 15, "a long… (cut)"}, {"abc", 2, "ab"}, {"abc", 0, ""}} {
		if got := stage.Truncate(c.text, c.n); got != c.want || len(got) > c.n {
			t.Errorf("Truncate(%q, %d) = %q of %d bytes, want %q", c.text, c.n, got, len(got), c.want)
		}
	}
}

func TestErrorsListsTheTree(t *testing.T) {
	inner := fmt.Errorf("inner: %w", errCause)
	err := errors.Join(inner, stage.Permanent(errors.New("other")))
	var texts []string
	for _, e := range stage.Errors(err) {
		texts = append(texts, fmt.Sprintf("%T", e))
	}
	want := "*errors.joinError *fmt.wrapError *errors.errorString *stage.verdictError *errors.errorString"
	if got := strings.Join(texts, " "); got != want {
		t.Errorf("Errors = %s, want %s", got, want)
	}
}

func TestPanicErrorShowsItsValue(t *testing.T) {
	if e := (&stage.PanicError{Value: errCause}); e.Error() != "panic: the cause" || !errors.Is(e, errCause) {
		t.Errorf("a panic with an error reads %q", e)
	}
	if e := (&stage.PanicError{Value: 7}); e.Error() != "panic: 7" || errors.Unwrap(e) != nil {
		t.Errorf("a panic with a number reads %q", e)
	}
	if e := (&stage.PanicError{Value: panicky{}}); !strings.Contains(e.Error(), "whose Error method panics") {
		t.Errorf("a panic with a terrible error reads %q", e)
	}
	if e := (&stage.PanicError{Value: strings.Repeat("x", 1<<20)}); len(e.Error()) > stage.MaxErrorBytes+10 {
		t.Errorf("a panic with a long text has %d bytes", len(e.Error()))
	}
}

// TestInterruptedIsDecidedByTheContext, never by the error that a handler returns.
func TestInterruptedIsDecidedByTheContext(t *testing.T) {
	ended := func(cause error) context.Context {
		ctx, cancel := context.WithCancelCause(context.Background())
		cancel(cause)
		return ctx
	}
	inner, cancel := context.WithTimeout(ended(stage.ErrShutdown), time.Hour)
	defer cancel()
	for name, c := range map[string]struct {
		ctx  context.Context
		want bool
	}{
		"a live context":       {context.Background(), false},
		"ended by a shutdown":  {ended(stage.ErrShutdown), true},
		"inside of such a one": {inner, true},
		"ended by its user":    {ended(nil), false},
		"ended for a reason":   {ended(errCause), false},
	} {
		if got := stage.Interrupted(c.ctx); got != c.want {
			t.Errorf("%s: Interrupted = %v, want %v", name, got, c.want)
		}
	}
}
