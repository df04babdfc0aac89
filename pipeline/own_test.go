package pipeline_test

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/runnel-go/runnel/event"
	"github.com/runnel-go/runnel/pipeline"
	"github.com/runnel-go/runnel/pipelinetest"
	"github.com/runnel-go/runnel/stage"
)

// TestManyStagesHaveKeysOfTheirOwn: each of many stages of a topic has the key that it asked for, and none for an event
// that nobody can ask anything of.
func TestManyStagesHaveKeysOfTheirOwn(t *testing.T) {
	pipelinetest.Bubble(t, func(t *testing.T) {
		const many = 7
		var stages []*stage.Stage
		name := func(i int) string { return fmt.Sprint("stage-", i) }
		for i := range many {
			opts := []stage.Option{stage.KeyBy(func(c crate) string { return fmt.Sprint(i, " of ", c.Key) })}
			if i%3 == 2 {
				opts = nil
			}
			stages = append(stages, stage.Handle(crates, name(i), pass, opts...))
		}
		y := newYard(t, pipeline.Config{OnUnhandled: func(*stage.Delivery, error) {}}, stages...)
		var a acks
		pipeline.From(y.p, crates, event.FromReceive(func(ctx context.Context, emit event.Emit[crate]) error {
			return errors.Join(emit(ctx, event.Incoming[crate]{Err: errDamaged, Raw: []byte{0}, Settled: a.of(crate{"raw", 1})}),
				emit(ctx, event.Incoming[crate]{Payload: crate{"ann", 1}, Settled: a.of(crate{"ann", 1})}))
		}))
		y.start()
		y.Settle()
		if raw, ann := a.got["raw1"], a.got["ann1"]; len(raw) != 1 || !errors.Is(raw[0], errDamaged) || len(ann) != 1 || ann[0] != nil {
			t.Errorf("Settled of what is damaged: %v, and of what is not: %v", raw, ann)
		}
		for i := range many {
			want := fmt.Sprint(i, " of ann")
			if i%3 == 2 {
				want = "ann"
			}
			for _, e := range y.rec.Started(name(i)) {
				if damaged := e.Key == ""; damaged && e.Ordered || !damaged && e.Lane != want {
					t.Errorf("%s ran %v in lane %q, want %q", name(i), e, e.Lane, want)
				}
			}
			if n := len(y.rec.Started(name(i))); n != 2 {
				t.Errorf("%s ran %d events, want 2", name(i), n)
			}
		}
	})
}
