package middleware

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"time"

	"github.com/runnel-go/runnel/stage"
)

// What middleware adds to the failures of handlers; errors.Is finds them below any wrapping.
var (
	// ErrExhausted is the failure of an event that Retry gave up on: see ExhaustedError.
	ErrExhausted = errors.New("middleware: the attempts are used up")
	// ErrTimeout is the failure of an attempt that Timeout ended: see TimeoutError.
	ErrTimeout = errors.New("middleware: the attempt took too long")
	// ErrBusy is why Idempotent postpones an event: another delivery of it is being handled.
	ErrBusy = errors.New("middleware: the same event is being handled elsewhere")
	// ErrOtherPayload is the failure of an event whose identity was given to another payload before: see
	// ComparePayloads.
	ErrOtherPayload = errors.New("middleware: another payload was sent under the same identity")
)

// ExhaustedError is the failure of an event that Retry gave up on.
type ExhaustedError struct {
	Attempts int   // that were made
	Err      error // how the last one failed
}

func (e *ExhaustedError) Error() string {
	return fmt.Sprintf("middleware: gave up after %d attempts: %s", e.Attempts, stage.ErrorText(e.Err))
}

// Is reports that e is an ErrExhausted.
func (e *ExhaustedError) Is(target error) bool { return target == ErrExhausted }

// Unwrap returns how the last attempt failed.
func (e *ExhaustedError) Unwrap() error { return e.Err }

// TimeoutError is the failure of an attempt that Timeout ended. It is the cause of the attempt's context too.
type TimeoutError struct {
	After time.Duration // that the attempt was given
}

func (e *TimeoutError) Error() string {
	return fmt.Sprintf("middleware: the attempt took longer than %v", e.After)
}

// Is reports that e is an ErrTimeout and a context.DeadlineExceeded.
func (e *TimeoutError) Is(target error) bool {
	return target == ErrTimeout || target == context.DeadlineExceeded
}

// Timeout reports that e is one, as the errors of package net do.
func (e *TimeoutError) Timeout() bool { return true }

// markType is the type of the errors that carry a verdict.
var markType = reflect.TypeOf(stage.Permanent(nil))

func isMark(err error) bool { return reflect.TypeOf(err) == markType }

// plain takes out of err the verdicts that would settle or park the event, so that what is left is a
// failure; texts wrapped around them are kept.
func plain(err error) error {
	text, wrapped := "", false
	for range 8 {
		v := stage.VerdictOf(err)
		if v.Kind == stage.KindFailed || v.Kind == stage.KindPermanent {
			break
		}
		if !isMark(err) && !wrapped {
			text, wrapped = stage.ErrorText(err), true
		}
		if v.Cause == nil {
			return errors.New(stage.ErrorText(err))
		}
		err = v.Cause
	}
	if wrapped {
		return &told{text: text, err: err}
	}
	return err
}

// told is err under the text that was wrapped around it.
type told struct {
	text string
	err  error
}

func (t *told) Error() string { return t.text }
func (t *told) Unwrap() error { return t.err }
