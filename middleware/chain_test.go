package middleware_test

import (
	"context"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cenkalti/backoff/v4"

	"github.com/runnel-go/runnel/deadletter"
	"github.com/runnel-go/runnel/event"
	"github.com/runnel-go/runnel/idempotency"
	"github.com/runnel-go/runnel/middleware"
	"github.com/runnel-go/runnel/stage"
)

func full() []stage.Middleware {
	return middleware.Standard(middleware.StandardConfig{
		Letters: deadletter.NewMemory(), Followers: deadletter.Park, Idempotency: idempotency.NewMemory(),
		Retry: middleware.Exponential{}, Timeout: time.Second, Logger: quiet,
	})
}

func names(chain []stage.Middleware) (all []string) {
	for _, m := range chain {
		all = append(all, m.Name)
	}
	return all
}

func TestStandardIsTheCanonicalOrderAndNamesEveryOtherOneAsWrong(t *testing.T) {
	chain := full()
	if got := strings.Join(names(chain), " "); got != "log deadletter idempotent retry timeout recover" {
		t.Errorf("the chain is %s", got)
	}
	for i, m := range chain {
		for j, other := range chain {
			if j < i && slices.Contains(m.Outside, other.Name) || j > i && slices.Contains(m.Inside, other.Name) {
				t.Errorf("%s refuses its canonical place with regard to %s", m.Name, other.Name)
			}
			free := m.Name == "timeout" && other.Name == "recover" // a stage's own timeout stands inside of it
			refused := slices.Contains(m.Outside, other.Name) || slices.Contains(other.Inside, m.Name)
			if i < j && !refused && !free {
				t.Errorf("nobody refuses %s inside of %s", m.Name, other.Name)
			}
		}
		if m.Fault != nil {
			t.Errorf("%s: %v", m.Name, m.Fault)
		}
	}
}

func TestStandardLeavesOutWhatIsNotSet(t *testing.T) {
	if got := names(middleware.Standard(middleware.StandardConfig{})); !slices.Equal(got, []string{"retry", "recover"}) {
		t.Errorf("the smallest chain is %v", got)
	}
}

func TestDeadLetterSaysWhatItPromises(t *testing.T) {
	for _, policy := range []deadletter.Policy{deadletter.Park, deadletter.Continue, deadletter.Block, deadletter.HaltStage} {
		m := middleware.DeadLetter(deadletter.NewMemory(), middleware.WithPolicy(policy))
		if m.Promise == "" || m.Fault != nil || !m.Redrives || !m.NeedsCodec {
			t.Errorf("%s: %+v", policy, m)
		}
	}
}

func TestWrongSettingsAreAFaultThatNamesThem(t *testing.T) {
	letters, memory := deadletter.NewMemory(), idempotency.NewMemory()
	for want, m := range map[string]stage.Middleware{
		"Retry(nil)":           middleware.Retry(nil),
		"Exponential.Attempts": middleware.Retry(middleware.Exponential{Attempts: -1}),
		"Exponential.Initial":  middleware.Retry(middleware.Exponential{Initial: -1}),
		"Exponential.Max":      middleware.Retry(middleware.Exponential{Initial: 2, Max: 1}),
		"Exponential.Factor":   middleware.Retry(middleware.Exponential{Factor: 0.5}),
		"Exponential.Jitter":   middleware.Retry(middleware.Exponential{Jitter: 1.5}),
		"Factor is NaN":        middleware.Retry(middleware.Exponential{Factor: math.NaN()}),
		"Jitter is NaN":        middleware.Retry(middleware.Exponential{Jitter: math.NaN()}),
		"Constant.Attempts":    middleware.Retry(middleware.Constant{Attempts: -1}),
		"Constant.Delay":       middleware.Retry(middleware.Constant{Delay: -1}),
		"Schedule.Delays is":   middleware.Retry(middleware.Schedule{}),
		"Schedule.Delays[1]":   middleware.Retry(middleware.Schedule{Delays: []time.Duration{1, -1}}),
		"BackOff(nil)":         middleware.Retry(middleware.BackOff(nil)),
		"Retry: a nil option":  middleware.Retry(middleware.Exponential{}, nil),
		"MaxElapsed(-1ns)":     middleware.Retry(middleware.Exponential{}, middleware.MaxElapsed(-1)),
		"If(nil)":              middleware.Retry(middleware.Exponential{}, middleware.If(nil)),
		"Timeout(0s)":          middleware.Timeout(0),
		"Timeout(-1s)":         middleware.Timeout(-time.Second),
		"Idempotent(nil)":      middleware.Idempotent(nil),
		"Lease(0s)":            middleware.Idempotent(memory, middleware.Lease(0)),
		"Lease(2ns)":           middleware.Idempotent(memory, middleware.Lease(2)),
		"Lease(999.999µs)":     middleware.Idempotent(memory, middleware.Lease(time.Millisecond-1)),
		"Idempotent: a nil":    middleware.Idempotent(memory, nil),
		"DeadLetter(nil)":      middleware.DeadLetter(nil),
		"WithPolicy(\"\")":     middleware.DeadLetter(letters, middleware.WithPolicy("")),
		"WithPolicy(\"what\")": middleware.DeadLetter(letters, middleware.WithPolicy("what")),
		"MaxRedrives(-1)":      middleware.DeadLetter(letters, middleware.MaxRedrives(-1)),
		"WithLogger(nil)":      middleware.DeadLetter(letters, middleware.WithLogger(nil)),
		"DeadLetter: a nil":    middleware.DeadLetter(letters, nil),
	} {
		if m.Fault == nil || !strings.Contains(m.Fault.Error(), want) || !strings.HasPrefix(m.Fault.Error(), "middleware: ") {
			t.Errorf("%s: the fault is %v", want, m.Fault)
		}
	}
}

// TestL1_WhatWouldWaitForItselfIsRefused: the inner one would find the identity claimed, or the room taken, by the
// outer one for ever.
func TestL1_WhatWouldWaitForItselfIsRefused(t *testing.T) {
	memory, throttle := idempotency.NewMemory(), middleware.Throttle(1)
	check := func(outer, own stage.Middleware) []error {
		handle := func(context.Context, event.Event[order]) error { return nil }
		return stage.Handle(event.NewTopic[order]("orders"), "charge", handle, stage.Use(own)).Check([]stage.Middleware{outer})
	}
	for name, faults := range map[string][]error{
		"idempotent": check(middleware.Idempotent(memory), middleware.Idempotent(memory)),
		"throttle":   check(throttle, throttle),
	} {
		if len(faults) != 1 || !strings.Contains(faults[0].Error(), "charge: middleware "+name+" stands twice in the chain") {
			t.Errorf("%s twice: %v, want one fault that names it", name, faults)
		}
	}
	if faults := check(middleware.Throttle(1), throttle); len(faults) != 0 {
		t.Errorf("two throttles: %v, want none", faults)
	}
}

func TestAllWrongSettingsAreReportedTogether(t *testing.T) {
	m := middleware.Retry(middleware.Exponential{Attempts: -1, Initial: -1}, middleware.MaxElapsed(-1))
	if n := len(strings.Split(m.Fault.Error(), "\n")); n != 3 {
		t.Errorf("%d lines, want 3:\n%v", n, m.Fault)
	}
}

func TestRightSettingsAreNoFault(t *testing.T) {
	for _, p := range []middleware.Policy{
		middleware.Exponential{}, middleware.Exponential{Jitter: -1}, middleware.Exponential{Initial: time.Hour},
		middleware.Exponential{Max: 10 * time.Millisecond},
		middleware.Constant{}, middleware.Schedule{Delays: []time.Duration{0}},
		middleware.BackOff(func() backoff.BackOff { return &backoff.ZeroBackOff{} }),
	} {
		if m := middleware.Retry(p); m.Fault != nil {
			t.Errorf("%+v: %v", p, m.Fault)
		}
	}
	if m := middleware.Idempotent(idempotency.NewMemory(), middleware.Lease(time.Millisecond)); m.Fault != nil {
		t.Errorf("a lease of a millisecond: %v", m.Fault)
	}
}

func TestAHealthyChainDoesNotAllocate(t *testing.T) {
	ctx := context.Background()
	for name, c := range map[string]middleware.StandardConfig{
		"parking":    {Letters: deadletter.NewMemory(), Logger: quiet},
		"continuing": {Letters: deadletter.NewMemory(), Followers: deadletter.Continue},
		"idempotent, no given identity": {
			Letters: deadletter.NewMemory(), Idempotency: idempotency.NewMemory(),
		},
	} {
		h := stage.Chain(results().handle, middleware.Standard(c)...)
		d := stage.NewDelivery("charge", event.Event[order]{Meta: event.Meta{Key: "ann", Seq: 1}})
		if n := testing.AllocsPerRun(1000, func() { _ = h(ctx, d) }); n != 0 {
			t.Errorf("%s: %v allocations an event, want 0", name, n)
		}
	}
}

func TestAnIdempotentChainInMemoryDoesNotAllocateOnceItHasGrown(t *testing.T) {
	ctx := context.Background()
	h := stage.Chain(results().handle, middleware.Standard(middleware.StandardConfig{
		Letters: deadletter.NewMemory(), Idempotency: idempotency.NewMemory(idempotency.MemoryConfig{Capacity: 10}),
	})...)
	ds := []*stage.Delivery{}
	for i := range 50 {
		ds = append(ds, delivery(string(rune('a'+i)), "ann"))
	}
	i := 0
	if n := testing.AllocsPerRun(1000, func() { _ = h(ctx, ds[i%50]); i++ }); n != 0 {
		t.Errorf("%v allocations an event, want 0", n)
	}
}

func BenchmarkHealthyChain(b *testing.B) {
	ctx := context.Background()
	d := delivery("1", "ann")
	for name, chain := range map[string][]stage.Middleware{
		"retry and recover": middleware.Standard(middleware.StandardConfig{}),
		"with letters":      middleware.Standard(middleware.StandardConfig{Letters: deadletter.NewMemory()}),
		"with a timeout":    middleware.Standard(middleware.StandardConfig{Timeout: time.Second}),
	} {
		b.Run(name, func(b *testing.B) {
			h := stage.Chain(results().handle, chain...)
			b.ReportAllocs()
			for b.Loop() {
				_ = h(ctx, d)
			}
		})
	}
}
