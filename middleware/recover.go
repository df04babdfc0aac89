package middleware

import (
	"context"

	"github.com/sourcegraph/conc/panics"

	"github.com/runnel-go/runnel/stage"
)

// Recover turns a panic of the handler into a *stage.PanicError with the stack of the goroutine, at most
// stage.MaxStackBytes of it, so that Retry and DeadLetter treat it as any failure. It stands innermost. It
// neither costs nor allocates anything while nothing panics.
//
// It cannot help against what Go does not let a program recover from: concurrent map writes, a stack
// overflow, os.Exit, a panic in a goroutine that the handler started. runtime.Goexit is no panic: the
// stage itself makes a failed attempt of it, by entering the chain once more with the failure in the
// handler's place. It does so with a panic too where there is no Recover, which sees it sooner and at less cost.
func Recover() stage.Middleware {
	return stage.Middleware{
		Name:    "recover",
		Inside:  []string{"deadletter", "idempotent", "retry"},
		Promise: "a panic is a failed attempt",
		Wrap: func(next stage.Handler) stage.Handler {
			return func(ctx context.Context, d *stage.Delivery) (err error) {
				returned := false
				defer catchUnless(&returned, &err)
				err = next(ctx, d)
				returned = true
				return err
			}
		},
	}
}

// catch is deferred; it makes an error of a panic.
func catch(err *error) {
	if value := recover(); value != nil {
		*err = panicError(value)
	}
}

// asked calls a function of the user's; one that panics fails its event, which must not leave the chain: what stands
// outside would be passed by.
func asked[T any](f func() T) (v T, err error) {
	returned := false
	defer catchUnless(&returned, &err)
	v = f()
	returned = true
	return v, nil
}

// catchUnless is catch where every event passes: only what did not return asks whether there was a panic, which
// costs as much as all else here.
func catchUnless(returned *bool, err *error) {
	if !*returned {
		if value := recover(); value != nil {
			*err = panicError(value)
		}
	}
}

func panicError(value any) *stage.PanicError {
	r, passedOn := value.(*panics.Recovered)
	if !passedOn {
		fresh := panics.NewRecovered(2, value)
		r = &fresh
	}
	// A handler that uses conc itself panics with what conc recovered: the stack that tells more is
	// the one inside.
	return &stage.PanicError{Value: r.Value, Stack: r.Stack[:min(len(r.Stack), stage.MaxStackBytes)]}
}
