package pipeline_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"

	"github.com/runnel-go/runnel/event"
	"github.com/runnel-go/runnel/pipeline"
	"github.com/runnel-go/runnel/pipelinetest"
	"github.com/runnel-go/runnel/stage"
)

// TestATopicWithoutAKeyIsAsked for each thing that something else declares: what is asked of nothing is accepted without
// a look at its payload.
func TestATopicWithoutAKeyIsAsked(t *testing.T) {
	type note struct{ Of, Text string }
	for name, c := range map[string]struct {
		topic   *event.Topic[note]
		options []stage.Option
		payload note
		want    error
		id, key string // of what the handler gets
	}{
		"nothing":           {topic: event.NewTopic[note]("notes"), payload: note{"a", "x"}},
		"a size":            {topic: event.NewTopic("notes", event.MaxSize(3, func(n note) int { return len(n.Text) })), payload: note{"a", "long"}, want: event.ErrTooLarge},
		"a size that fits":  {topic: event.NewTopic("notes", event.MaxSize(4, func(n note) int { return len(n.Text) })), payload: note{"a", "long"}},
		"an identity":       {topic: event.NewTopic("notes", event.IDBy(func(n note) string { return n.Of })), payload: note{"a", "x"}, id: "a"},
		"no identity":       {topic: event.NewTopic("notes", event.IDBy(func(n note) string { return n.Of })), want: event.ErrNoID},
		"a key of a stage":  {topic: event.NewTopic[note]("notes"), options: []stage.Option{stage.KeyBy(func(n note) string { return n.Of })}, payload: note{"a", "x"}, key: "a"},
		"no key of a stage": {topic: event.NewTopic[note]("notes"), options: []stage.Option{stage.KeyBy(func(n note) string { return n.Of })}, want: event.ErrNoKey},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var got []stage.Delivery
				sees := stage.Middleware{Name: "sees", Wrap: func(next stage.Handler) stage.Handler {
					return func(ctx context.Context, d *stage.Delivery) error {
						got = append(got, *d.Clone())
						return next(ctx, d)
					}
				}}
				p := pipeline.New(pipeline.Config{})
				p.Add(stage.Handle(c.topic, "read", func(context.Context, event.Event[note]) error { return nil },
					append(c.options, stage.Use(sees))...))
				run := pipelinetest.Start(t, p)
				err := pipeline.NewPublisher(p, c.topic).Publish(t.Context(), c.payload)
				run.Settle()
				if !errors.Is(err, c.want) {
					t.Errorf("Publish = %v, want %v", err, c.want)
				}
				switch {
				case c.want != nil && len(got) != 0:
					t.Errorf("%d events were handled, want none", len(got))
				case c.want == nil && (len(got) != 1 || got[0].Topic != "notes" || got[0].GivenID != c.id || got[0].Lane != c.key):
					t.Errorf("handled %+v, want one event of notes with the identity %q and the key %q", got, c.id, c.key)
				}
			})
		})
	}
}
