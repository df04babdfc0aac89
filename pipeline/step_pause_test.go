package pipeline_test

import (
	"context"
	"errors"
	"slices"
	"testing"

	"github.com/runnel-go/runnel/event"
	"github.com/runnel-go/runnel/pipeline"
	"github.com/runnel-go/runnel/stage"
)

// TestT1_WhatAPausedStageHasKeepsItsTurn drains while a stage is paused; what it has is older than what comes later to
// another.
func TestT1_WhatAPausedStageHasKeepsItsTurn(t *testing.T) {
	topics := []*event.Topic[string]{event.NewTopic[string]("one"), event.NewTopic[string]("two")}
	var got []string
	note := func(_ context.Context, e event.Event[string]) error { got = append(got, e.Payload); return nil }
	p := pipeline.New(pipeline.Config{})
	p.Add(stage.Handle(topics[0], "second", note), stage.Handle(topics[1], "first", note))
	put := func(topic int, payload string) {
		t.Helper()
		if err := pipeline.NewPublisher(p, topics[topic]).Publish(t.Context(), payload); err != nil {
			t.Fatal(err)
		}
	}
	drain := func(want ...string) {
		t.Helper()
		got = nil
		if _, err := p.Drain(t.Context(), 0); err != nil || !slices.Equal(got, want) {
			t.Errorf("Drain handled %q, %v; want %q", got, err, want)
		}
	}
	if err := p.Pause("first"); err != nil {
		t.Fatal(err)
	}
	put(1, "a")
	put(0, "b")
	put(1, "c")
	drain("b")
	if err := p.Resume("first"); err != nil {
		t.Fatal(err)
	}
	put(0, "d")
	put(1, "e")
	put(0, "f")
	drain("a", "c", "d", "e", "f")
}

// TestT1_WhatWaitsBehindAHeldEventTakesNoTurn: it has none until the held one has ended.
func TestT1_WhatWaitsBehindAHeldEventTakesNoTurn(t *testing.T) {
	one := event.NewTopic("one", event.KeyBy(func(s string) string { return s[:1] }))
	two := event.NewTopic("two", event.KeyBy(func(s string) string { return s[:1] }))
	var got []string
	p := pipeline.New(pipeline.Config{})
	p.Add(stage.Handle(one, "one", func(_ context.Context, e event.Event[string]) error {
		got = append(got, e.Payload)
		if e.Payload == "h1" {
			return stage.Hold(errors.New("held"))
		}
		return nil
	}), stage.Handle(two, "two", func(_ context.Context, e event.Event[string]) error {
		got = append(got, e.Payload)
		return nil
	}))
	put := func(topic *event.Topic[string], payload string) {
		t.Helper()
		if err := pipeline.NewPublisher(p, topic).Publish(t.Context(), payload); err != nil {
			t.Fatal(err)
		}
	}
	put(one, "h1")
	put(one, "h2") // behind it
	if _, err := p.Drain(t.Context(), 0); err != nil {
		t.Fatal(err)
	}
	put(two, "a")
	put(one, "b")
	put(two, "c")
	put(one, "d")
	got = nil
	if _, err := p.Drain(t.Context(), 0); err != nil {
		t.Fatal(err)
	}
	if want := []string{"a", "b", "c", "d"}; !slices.Equal(got, want) {
		t.Errorf("handled %q, want %q, first in first out", got, want)
	}
}
