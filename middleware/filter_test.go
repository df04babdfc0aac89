package middleware_test

import (
	"strconv"
	"testing"

	"github.com/runnel-go/runnel/event"
	"github.com/runnel-go/runnel/idempotency"
	"github.com/runnel-go/runnel/middleware"
	"github.com/runnel-go/runnel/stage"
)

func TestFilterDropsWhatDoesNotMatch(t *testing.T) {
	s := results()
	h := stage.Chain(s.handle, middleware.Filter(func(d *stage.Delivery) bool { return d.Key == "ann" }))
	wantKind(t, settle(t, h, delivery("1", "ann")), stage.KindDone)
	v := settle(t, h, delivery("2", "bob"))
	if v.Kind != stage.KindSkip || v.Reason != middleware.ReasonFiltered || s.calls != 1 {
		t.Errorf("%+v after %d calls, want dropped as filtered", v, s.calls)
	}
	redriven := delivery("2", "bob")
	redriven.Redrive = &stage.Redrive{}
	wantKind(t, settle(t, h, redriven), stage.KindDone)
}

func TestSampleKeepsAboutItsPart(t *testing.T) {
	for _, part := range []float64{0, 0.01, 0.25, 0.5, 1} {
		for name, make := range map[string]func(i int) *stage.Delivery{
			"given identities": func(i int) *stage.Delivery { return delivery(strconv.Itoa(i), "ann") },
			"numbers": func(i int) *stage.Delivery {
				return stage.NewDelivery("s", event.Event[int]{Meta: event.Meta{Origin: 77, Seq: uint64(i)}})
			},
		} {
			s := results()
			h := stage.Chain(s.handle, middleware.Sample(part))
			for i := range 20_000 {
				_ = h(t.Context(), make(i))
			}
			if want := 20_000 * part; float64(s.calls) < want*0.9-1 || float64(s.calls) > want*1.1+1 {
				t.Errorf("%s: %d of 20,000 were kept, want %v of them", name, s.calls, part)
			}
		}
	}
}

func TestSampleDecidesByIdentity(t *testing.T) {
	first, second := results(), results()
	a, b := stage.Chain(first.handle, middleware.Sample(0.5)), stage.Chain(second.handle, middleware.Sample(0.5))
	for i := range 1000 {
		x, y := delivery(strconv.Itoa(i), "ann"), delivery(strconv.Itoa(i), "bob")
		y.Seq, y.Stage = uint64(i), "other"
		if stage.VerdictOf(a(t.Context(), x)).Kind != stage.VerdictOf(b(t.Context(), y)).Kind {
			t.Fatalf("event %d was kept at one stage and dropped at the other", i)
		}
	}
}

func TestSampleAndFilterRefuseNonsense(t *testing.T) {
	for name, m := range map[string]stage.Middleware{
		"nil": middleware.Filter(nil), "below 0": middleware.Sample(-0.1), "above 1": middleware.Sample(1.1),
		"no throttle": middleware.Throttle(0), "no age": middleware.Deadline(0), "nil option": middleware.Deadline(1, nil),
	} {
		if m.Fault == nil {
			t.Errorf("%s: no fault", name)
		}
	}
}

// TestI1_FilterLeavesAloneWhatWasHandled: the predicate has changed its mind when the event comes to be marked as done.
func TestI1_FilterLeavesAloneWhatWasHandled(t *testing.T) {
	s, m := results(), newMemory()
	m.fail["Confirm"] = []error{errStore}
	open := true
	h := stage.Chain(s.handle, middleware.Filter(func(*stage.Delivery) bool { defer func() { open = false }(); return open }), idempotent(m))
	wantKind(t, settle(t, h, delivery("1", "ann")), stage.KindDone)
	if s.calls != 1 || m.state() != idempotency.Done {
		t.Errorf("%d calls, state %d; want one call, and done", s.calls, m.state())
	}
	v := settle(t, h, delivery("2", "ann"))
	if v.Reason != middleware.ReasonFiltered {
		t.Errorf("%+v, want dropped as filtered: it is shut by now", v)
	}
}
