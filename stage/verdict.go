package stage

import (
	"errors"
	"fmt"
	"time"
)

// Kind is what a verdict tells the engine to do.
type Kind uint8

// The kinds of verdict. All but KindFailed are made by the function of the same name.
const (
	// KindFailed settles as failed: an error that nobody handled.
	KindFailed Kind = iota
	// KindDone settles as done: the verdict of a nil error.
	KindDone
	// KindSkip settles as dropped, or as duplicate.
	KindSkip
	// KindRetry parks the event and counts the attempt.
	KindRetry
	// KindPostpone parks the event and does not count the attempt.
	KindPostpone
	// KindPermanent is a failure that no retry can mend; unhandled, it settles as failed.
	KindPermanent
	// KindStored settles as dead-lettered.
	KindStored
	// KindDiverted settles as diverted: stored behind the dead letter it follows.
	KindDiverted
	// KindHold keeps the event at the head of its lane, and the lane blocked, until it is released.
	KindHold
	// KindHalt stops the stage and ends Run.
	KindHalt
)

// ReasonDuplicate is the reason of a Skip that settles as duplicate.
const ReasonDuplicate = "duplicate"

// ReasonReleased is the reason under which a held event is counted that was skipped by hand.
const ReasonReleased = "skipped by hand"

// Verdict is what an error returned by a Handler asks for. Middleware that looks at the errors passing
// through reads it with VerdictOf.
type Verdict struct {
	Kind   Kind
	Delay  time.Duration // of Retry and Postpone
	Reason string        // of Skip
	Letter string        // of Stored and Diverted: the letter's id
	Cause  error         // what went wrong; nil for Skip and Diverted
}

// isFact reports whether v tells what has been done and cannot be undone: it stands, as success does, even
// when the attempt was interrupted.
func (v Verdict) isFact() bool {
	return v.Kind == KindDone || v.Kind == KindStored || v.Kind == KindDiverted || v.Kind == KindSkip
}

// ends reports whether v leaves nothing of the event to be done at its stage.
func (v Verdict) ends() bool {
	return v.isFact() || v.Kind == KindFailed || v.Kind == KindPermanent
}

// verdictError is a verdict on its way through a chain.
type verdictError struct{ v Verdict }

func (e *verdictError) Error() string {
	switch e.v.Kind {
	case KindSkip:
		return "stage: skipped: " + e.v.Reason
	case KindRetry:
		return fmt.Sprintf("stage: retry after %v: %s", e.v.Delay, ErrorText(e.v.Cause))
	case KindPostpone:
		return fmt.Sprintf("stage: postponed for %v: %s", e.v.Delay, ErrorText(e.v.Cause))
	case KindStored:
		return fmt.Sprintf("stage: dead letter %s: %s", e.v.Letter, ErrorText(e.v.Cause))
	case KindDiverted:
		return "stage: diverted to dead letter " + e.v.Letter
	case KindHold:
		return "stage: held: " + ErrorText(e.v.Cause)
	case KindHalt:
		return "stage: halted: " + ErrorText(e.v.Cause)
	default:
		return ErrorText(e.v.Cause)
	}
}

func (e *verdictError) Unwrap() error { return e.v.Cause }

// Skip settles the event without having handled it: as duplicate when the reason is ReasonDuplicate,
// else as dropped. Reasons are counted one by one, so keep them few and constant.
func Skip(reason string) error { return &verdictError{Verdict{Kind: KindSkip, Reason: reason}} }

// RetryAfter parks the event at the head of its lane for d, then runs the whole chain again with
// Attempt+1. Neither a worker nor a goroutine waits meanwhile.
func RetryAfter(d time.Duration, err error) error {
	return &verdictError{Verdict{Kind: KindRetry, Delay: d, Cause: cause(err)}}
}

// Postpone parks the event like RetryAfter, but the attempt does not count: nothing was tried, or
// what failed was not the handler.
func Postpone(d time.Duration, err error) error {
	return &verdictError{Verdict{Kind: KindPostpone, Delay: d, Cause: cause(err)}}
}

// Permanent marks err as a failure that no retry can mend. Errors.Is and As see err through it; wrapping
// or joining the result keeps the mark.
func Permanent(err error) error {
	return &verdictError{Verdict{Kind: KindPermanent, Cause: cause(err)}}
}

// Stored settles the event as dead-lettered: it is safe in a store under the letter's id.
func Stored(letter string, err error) error {
	return &verdictError{Verdict{Kind: KindStored, Letter: letter, Cause: cause(err)}}
}

// Diverted settles the event as diverted: it is safe in a store, behind the dead letters of its key,
// and was not tried.
func Diverted(letter string) error {
	return &verdictError{Verdict{Kind: KindDiverted, Letter: letter}}
}

// Hold keeps the event at the head of its lane and the lane blocked until it is released.
func Hold(err error) error { return &verdictError{Verdict{Kind: KindHold, Cause: cause(err)}} }

// Halt stops the stage, with the event still at the head of its lane; Run returns err.
func Halt(err error) error { return &verdictError{Verdict{Kind: KindHalt, Cause: cause(err)}} }

func cause(err error) error {
	if err == nil {
		return errUnspecified
	}
	return err
}

var errUnspecified = errors.New("no error given")

// VerdictOf reads the verdict that err carries. A nil error is KindDone and an error without a verdict
// KindFailed with itself as the cause. The verdict is found below wrapping and joining; the outermost
// one counts. The cause of Permanent is the whole of err, so that the text wrapped around it is kept.
func VerdictOf(err error) Verdict {
	if err == nil {
		return Verdict{Kind: KindDone}
	}
	found, ok := as[*verdictError](err)
	if !ok {
		return Verdict{Kind: KindFailed, Cause: err}
	}
	v := found.v
	if v.Kind == KindPermanent && error(found) != err {
		v.Cause = err
	}
	return v
}
