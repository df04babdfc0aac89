package middleware_test

import (
	"context"
	"errors"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/cenkalti/backoff/v4"
	"github.com/sourcegraph/conc"
	"github.com/sourcegraph/conc/panics"

	"github.com/runnel-go/runnel/middleware"
	"github.com/runnel-go/runnel/stage"
)

func recovered(f func()) error {
	return stage.Chain(func(context.Context, *stage.Delivery) error { f(); return nil }, middleware.Recover())(
		context.Background(), delivery("1", "ann"))
}

func TestFault11_EveryPanicIsAnErrorWithAStack(t *testing.T) {
	var nilMap map[string]int
	var nilFunc func()
	for name, f := range map[string]func(){
		"an error":         func() { panic(errBoom) },
		"nil":              func() { panic(nil) }, //nolint:govet // the nil is the point
		"a text":           func() { panic("text") },
		"a nil map":        func() { nilMap["a"] = 1 },
		"a nil func":       func() { nilFunc() },
		"a closed channel": func() { c := make(chan int); close(c); c <- 1 },
		"an index":         func() { _ = []int{}[len(name())] },
		"a deep stack":     func() { deep(5000) },
	} {
		t.Run(name, func(t *testing.T) {
			var p *stage.PanicError
			if err := recovered(f); !errors.As(err, &p) {
				t.Fatalf("the panic became %v", err)
			}
			if len(p.Stack) == 0 || len(p.Stack) > stage.MaxStackBytes || !strings.Contains(string(p.Stack), "middleware_test") {
				t.Errorf("a stack of %d bytes, want one that names this file: %.300s", len(p.Stack), p.Stack)
			}
		})
	}
}

func name() string { return "name" }

func deep(n int) {
	if n == 0 {
		panic("deep")
	}
	deep(n - 1)
}

func TestAPanicWithAnErrorIsThatError(t *testing.T) {
	if err := recovered(func() { panic(errBoom) }); !errors.Is(err, errBoom) {
		t.Errorf("%v is not boom", err)
	}
}

func TestAPanicPassedOnByConcKeepsTheInnerStack(t *testing.T) {
	err := recovered(func() {
		var group conc.WaitGroup
		group.Go(innocentName)
		group.Wait()
	})
	var p *stage.PanicError
	if !errors.As(err, &p) || p.Value != "inner" || !strings.Contains(string(p.Stack), "innocentName") {
		t.Errorf("the panic became %v", err)
	}
}

func TestFault11_AStackIsBounded(t *testing.T) {
	err := recovered(func() { panic(&panics.Recovered{Value: "x", Stack: make([]byte, 1<<20)}) })
	var p *stage.PanicError
	if !errors.As(err, &p) || len(p.Stack) != stage.MaxStackBytes {
		t.Errorf("the panic became %v", err)
	}
}

func innocentName() { panic("inner") }

func TestRecoverLetsGoexitPass(t *testing.T) {
	returned := false
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = recovered(runtime.Goexit)
		returned = true
	}()
	<-ended
	if returned {
		t.Error("Goexit was swallowed: the stage must see it")
	}
}

// TestD2_R1_APanicBesideTheHandlerMakesALetter: the functions that are given to middleware run in the chain too, and a
// panic of theirs must not pass by what stands outside.
func TestD2_R1_APanicBesideTheHandlerMakesALetter(t *testing.T) {
	for name, m := range map[string]stage.Middleware{
		"If": middleware.Retry(middleware.Exponential{}, middleware.If(func(err error) bool {
			return err.(interface{ Temporary() bool }).Temporary()
		})),
		"a filter":                    middleware.Filter(func(*stage.Delivery) bool { panic("panicky") }),
		"a policy":                    middleware.Retry(factory(panicky{})),
		"a policy that is being made": middleware.Retry(middleware.BackOff(func() backoff.BackOff { panic("panicky") })),
	} {
		t.Run(name, func(t *testing.T) {
			k := newKeeper()
			h := stage.Chain(always(errBoom).handle, middleware.DeadLetter(k), m, middleware.Recover())
			wantKind(t, settle(t, h, delivery("1", "ann")), stage.KindStored)
			ls := k.letters(t)
			if len(ls) != 1 || !strings.Contains(ls[0].Stack, "middleware_test") {
				t.Fatalf("letters %+v, want one with the stack of the panic", ls)
			}
			if name != "a filter" && !strings.Contains(ls[0].Error, "boom") {
				t.Errorf("the letter says %q, want the handler's error too", ls[0].Error)
			}
		})
	}
}

// panicky is a policy that cannot say how long to wait.
type panicky struct{}

func (panicky) NextBackOff() time.Duration { panic("panicky") }
func (panicky) Reset()                     {}
