package stage

import (
	"context"
	"fmt"

	"github.com/runnel-go/runnel/event"
)

// Answers is told what becomes of one event. Its functions are called on the workers, so they must be quick.
type Answers struct {
	// Settled is called for each stage of the topic with how the event ended there.
	Settled func(stage string, o Outcome, err error)
	// Output is called for each event that a stage emitted for this one, after it was accepted.
	Output func(stage string, v any)
	// All is called when every stage has settled it.
	All func()
}

// Ask accepts one event, and tells what becomes of it.
func (d *Door[T]) Ask(ctx context.Context, payload T, opts []event.PublishOption, a Answers) error {
	r := &receipt{each: a.Settled, output: a.Output, done: func(error) { a.All() }}
	if f := d.follower(ctx); f != nil {
		return d.followed(ctx, f, &payload, opts, r)
	}
	return d.accept(ctx, &payload, opts, &arrival{receipt: r})
}

// Stages names the stages of the topic.
func (d *Door[T]) Stages() []string {
	var names []string
	for _, s := range d.stages {
		names = append(names, s.name)
	}
	return names
}

// Await notes that the handler which ctx belongs to, if it does to one of h's, waits for events in the named
// stages, until leave is called. A wait that would close a circle is refused with ErrCycle: a handler's own
// stage, among others, may have no other worker, and its own key never moves on before the handler has returned.
func (h *Host) Await(ctx context.Context, stages []string) (leave func(), err error) {
	m := h.markOf(ctx)
	if m == nil {
		return func() {}, nil
	}
	entered := 0
	leave = func() {
		for _, s := range stages[:entered] {
			h.waits.leave(m.stage, s)
		}
	}
	for _, s := range stages {
		if err := h.waits.enter(m.stage, s); err != nil {
			leave()
			return nil, fmt.Errorf("stage: %s waits for stage %s: %w", m.stage, s, err)
		}
		entered++
	}
	return leave, nil
}
