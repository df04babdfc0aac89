package event_test

import (
	"strings"
	"testing"

	"github.com/runnel-go/runnel/event"
)

func TestIDIsGivenOrItsOwn(t *testing.T) {
	if id := (&event.Meta{GivenID: "A1", Origin: 3, Seq: 4}).ID(); id != "A1" {
		t.Errorf("ID = %q, want the given A1", id)
	}
	seen := map[string]bool{}
	for _, m := range []event.Meta{{Origin: 1, Seq: 1}, {Origin: 1, Seq: 2}, {Origin: 2, Seq: 1}, {Origin: 1, Seq: 1 << 63}, {Origin: 36*36 + 1, Seq: 1}} {
		id := m.ID()
		if id == "" || seen[id] || id != m.ID() {
			t.Errorf("ID of %+v = %q, want one of its own, always the same", m, id)
		}
		seen[id] = true
	}
}

func TestHavingAnIDDoesNotAllocate(t *testing.T) {
	m := &event.Meta{GivenID: "A1"}
	if n := testing.AllocsPerRun(100, func() { _ = m.ID() }); n != 0 {
		t.Errorf("ID of a given identity allocates %v times, want 0", n)
	}
}

func TestHeaderClone(t *testing.T) {
	var none event.Header
	if none.Clone() != nil {
		t.Error("the clone of a nil header is not nil")
	}
	h := event.Header{"a": "1"}
	c := h.Clone()
	c["a"], c["b"] = "2", "3"
	if h["a"] != "1" || len(h) != 1 {
		t.Errorf("the header became %v when its clone was changed", h)
	}
}

// describe applies options to an event of a topic without any properties.
func describe(t *testing.T, opts ...event.PublishOption) event.Meta {
	t.Helper()
	var m event.Meta
	if err := event.NewTopic[int]("numbers").Describe(&m, 1, opts); err != nil {
		t.Fatal(err)
	}
	return m
}

func TestWithHeadersCopies(t *testing.T) {
	mine := event.Header{"a": "1"}
	m := describe(t, event.WithHeader("b", "2"), event.WithHeaders(mine))
	m.Header["a"] = "changed"
	if m.Header["b"] != "2" || mine["a"] != "1" {
		t.Errorf("headers %v, the caller's %v, want both options and the caller's untouched", m.Header, mine)
	}
}

func TestCausedBy(t *testing.T) {
	first := describe(t, event.WithID("A"))
	second := describe(t, event.WithID("B"), event.CausedBy(first))
	third := describe(t, event.WithID("C"), event.CausedBy(second))
	if h := second.Header; h[event.HeaderCausation] != "A" || h[event.HeaderCorrelation] != "A" {
		t.Errorf("the second has %v, want the first as its cause and as the beginning", h)
	}
	if h := third.Header; h[event.HeaderCausation] != "B" || h[event.HeaderCorrelation] != "A" {
		t.Errorf("the third has %v, want the second as its cause and the first as the beginning", h)
	}
	if h := describe(t, event.CausedBy(describe(t, event.WithCorrelation("talk")))).Header; h[event.HeaderCorrelation] != "talk" {
		t.Errorf("headers %v, want the correlation carried on", h)
	}
}

// upper is a codec of orders.
type upper struct{}

func (upper) Name() string                   { return "upper" }
func (upper) Encode(o order) ([]byte, error) { return []byte(strings.ToUpper(o.Number)), nil }
func (upper) Decode(b []byte) (order, error) { return order{Number: string(b)}, nil }

func TestJSONCarriesWhatItEncodes(t *testing.T) {
	codec := event.JSON[order]()
	want := order{"A1", "ann \x00 \u2028"}
	b, err := codec.Encode(want)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := codec.Decode(b); err != nil || got != want {
		t.Errorf("Decode = %+v, %v, want %+v", got, err, want)
	}
}

func TestJSONRefusesWhatItCannot(t *testing.T) {
	if _, err := event.JSON[func()]().Encode(func() {}); err == nil {
		t.Error("Encode of a func = nil, want an error")
	}
	for _, b := range []string{"", "{", `"a"`, `{"Number": 1}`} {
		if got, err := event.JSON[order]().Decode([]byte(b)); err == nil {
			t.Errorf("Decode(%q) = %+v, want an error", b, got)
		}
	}
}

func TestErrorsNameTheirMend(t *testing.T) {
	for _, err := range []error{event.ErrNoKey, event.ErrNoID, event.ErrTooLong} {
		if !strings.Contains(err.Error(), ";") {
			t.Errorf("%q names no mend", err)
		}
	}
}
