package event_test

import (
	"context"
	"testing"
	"time"

	"github.com/runnel-go/runnel/event"
)

func TestCarryAddsToWhatIsCarried(t *testing.T) {
	outer := event.Carry(context.Background(), event.Header{"a": "1", "b": "1"})
	inner := event.Carry(outer, event.Header{"b": "2"})
	if h := event.Carried(inner); h["a"] != "1" || h["b"] != "2" {
		t.Errorf("inside %v are carried, want both, the inner one winning", h)
	}
	if h := event.Carried(outer); h["b"] != "1" || len(event.Carried(context.Background())) != 0 {
		t.Errorf("outside %v are carried, want what was", h)
	}
}

func TestMetaCarryDoesNotReplaceItsOwnHeaders(t *testing.T) {
	m := describe(t, event.WithHeader("a", "own"))
	carried := event.Header{"a": "carried", "b": "carried"}
	m.Carry(carried)
	if m.Header["a"] != "own" || m.Header["b"] != "carried" || len(carried) != 2 {
		t.Errorf("headers %v", m.Header)
	}
	var bare event.Meta
	if n := testing.AllocsPerRun(100, func() { bare.Header = nil; bare.Carry(carried); bare.Carry(nil) }); n != 0 || bare.Header["b"] != "carried" {
		t.Errorf("headers %v after %v allocations, want those carried and none", bare.Header, n)
	}
}

// TestAtATimeThatCannotBeWrittenPutsOffForLong: a year of five digits cannot be read back, and what is not read is due
// at once.
func TestAtATimeThatCannotBeWrittenPutsOffForLong(t *testing.T) {
	for _, far := range []time.Time{
		time.Date(9999, 12, 31, 23, 0, 0, 0, time.FixedZone("x", -7200)), time.Date(10_000, 1, 1, 0, 0, 0, 0, time.UTC), time.Unix(1<<40, 0),
	} {
		m := describe(t, event.At(far))
		if due, ok := m.NotBefore(); !ok || due.Year() != 9999 {
			t.Errorf("NotBefore of %v = %v, %v, want the end of 9999", far, due, ok)
		}
	}
}

func TestNotBeforeIsWhatAtAndAfterSay(t *testing.T) {
	at := time.Date(2030, 1, 2, 3, 4, 5, 6, time.FixedZone("x", 3600))
	m := describe(t, event.At(at))
	if due, ok := m.NotBefore(); !ok || !due.Equal(at) {
		t.Errorf("NotBefore = %v, %v, want %v", due, ok, at)
	}
	m = describe(t, event.After(time.Hour))
	if due, ok := m.NotBefore(); !ok || time.Until(due) > time.Hour || time.Until(due) < 59*time.Minute {
		t.Errorf("NotBefore after an hour = %v, %v", due, ok)
	}
	for _, h := range []event.Header{nil, {}, {event.HeaderNotBefore: "tomorrow"}} {
		if _, ok := (&event.Meta{Header: h}).NotBefore(); ok {
			t.Errorf("%v puts the event off", h)
		}
	}
	m = describe(t, event.Unordered())
	if !m.IsUnordered() || (&event.Meta{}).IsUnordered() {
		t.Error("Unordered is not what IsUnordered reports")
	}
}
