package stage

import (
	"context"
	"errors"
	"fmt"
)

var (
	// ErrClosed refuses a publish to a pipeline that drains or has ended.
	ErrClosed = errors.New("the pipeline is closed")
	// ErrFull refuses a publish to a full stage whose overflow mode is Reject.
	ErrFull = errors.New("a stage is full")
	// ErrCycle refuses a publish by a handler that would wait for itself; it is an ErrFull too.
	ErrCycle = fmt.Errorf("%w, and waiting for it would wait for itself", ErrFull)
	// ErrShutdown is the cause of the contexts that a forced shutdown, or a cancelled drain, ends.
	ErrShutdown = errors.New("the pipeline is shutting down")
	// ErrGoexit is the failure of an attempt whose handler called runtime.Goexit.
	ErrGoexit = errors.New("the handler called runtime.Goexit")
	// ErrNotDue is why an event waits that its producer put off with event.At or event.After.
	ErrNotDue = errors.New("the event is not due yet")
	// ErrUndecodable is the failure of an event that could not be decoded.
	ErrUndecodable = errors.New("the event cannot be decoded")
)

// PanicError is the failure of an attempt that panicked.
type PanicError struct {
	Value any    // what was passed to panic
	Stack []byte // of the goroutine that panicked, at most MaxStackBytes
}

// MaxStackBytes bounds the stack kept with a panic.
const MaxStackBytes = 16 << 10

func (e *PanicError) Error() string { return "panic: " + valueText(e.Value) }

// Unwrap returns the value passed to panic, when it is an error.
func (e *PanicError) Unwrap() error {
	err, _ := e.Value.(error)
	return err
}

// Interrupted reports whether ctx was ended by a shutdown or a cancelled drain. An error returned then
// is no failure of the event: middleware passes it on as it is, and the engine counts no attempt. It is
// decided by the engine's own context, never by the error: a handler that returns context.Canceled of
// its own has failed.
func Interrupted(ctx context.Context) bool {
	return ctx.Err() != nil && errors.Is(context.Cause(ctx), ErrShutdown)
}

// ErrInDoubt is wrapped by middleware that Commits where it cannot say whether it did. What the handler of a Map or
// Expand stage returned is kept then, and published should the event turn out to be a duplicate.
var ErrInDoubt = errors.New("stage: it is not known whether the attempt was committed")

// MaxErrorBytes bounds the text of an error, as ErrorText gives it.
const MaxErrorBytes = 16 << 10

// ErrorText is err's text, whatever err is: a nil error, one whose Error method panics and one that has
// no end all have a text of at most MaxErrorBytes.
func ErrorText(err error) (text string) {
	if err == nil {
		return "no error"
	}
	defer func() {
		if p := recover(); p != nil {
			text = fmt.Sprintf("%T, whose Error method panics", err)
		}
	}()
	return Truncate(err.Error(), MaxErrorBytes)
}

func valueText(v any) (text string) {
	switch v := v.(type) {
	case error:
		return ErrorText(v)
	case string: // Sprint would copy it whole first
		return Truncate(v, MaxErrorBytes)
	}
	defer func() {
		if p := recover(); p != nil {
			text = fmt.Sprintf("%T, whose text panics", v)
		}
	}()
	return Truncate(fmt.Sprint(v), MaxErrorBytes)
}

// Truncate cuts s to at most n bytes, saying so at its end.
func Truncate(s string, n int) string {
	const mark = "… (cut)"
	if len(s) <= n {
		return s
	}
	if n <= len(mark) {
		return s[:n]
	}
	return s[:n-len(mark)] + mark
}

// maxErrorNodes bounds a walk through an error's tree: an Unwrap that returns itself has no end.
const maxErrorNodes = 256

// Errors lists err and all that it wraps, outermost first, at most 256 of them. It survives Unwrap
// methods that panic or never end, which errors.As does not.
func Errors(err error) []error {
	var all []error
	findError(err, func(e error) bool { all = append(all, e); return false })
	return all
}

// as finds the first error of type E in err's tree.
func as[E error](err error) (found E, ok bool) {
	findError(err, func(e error) bool {
		found, ok = e.(E)
		return ok
	})
	return found, ok
}

// findError walks err's tree in the order of errors.As and returns the first node that matches.
func findError(err error, match func(error) bool) (error, bool) {
	left := maxErrorNodes
	var walk func(error) (error, bool)
	walk = func(e error) (error, bool) {
		for e != nil && left > 0 {
			left--
			if match(e) {
				return e, true
			}
			next, many := unwrap(e)
			for _, m := range many {
				if found, ok := walk(m); ok {
					return found, true
				}
			}
			e = next
		}
		return nil, false
	}
	return walk(err)
}

func unwrap(err error) (next error, many []error) {
	defer func() {
		if recover() != nil {
			next, many = nil, nil
		}
	}()
	switch u := err.(type) {
	case interface{ Unwrap() error }:
		return u.Unwrap(), nil
	case interface{ Unwrap() []error }:
		return nil, u.Unwrap()
	}
	return nil, nil
}
