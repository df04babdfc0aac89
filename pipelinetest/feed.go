package pipelinetest

import (
	"context"
	"sync"

	"github.com/runnel-go/runnel/event"
	"github.com/runnel-go/runnel/pipeline"
)

// Feed publishes events and gives a receipt for each, which says how it ended. It is a source of the pipeline,
// so make it before the pipeline is put to use, and publish while it runs.
type Feed[T any] struct{ items chan fed[T] }

type fed[T any] struct {
	ctx      context.Context
	in       event.Incoming[T]
	accepted chan error // gets what the pipeline said
}

// NewFeed makes a feed of a topic and adds it to p.
func NewFeed[T any](p *pipeline.Pipeline, topic *event.Topic[T]) *Feed[T] {
	f := &Feed[T]{items: make(chan fed[T])}
	pipeline.From(p, topic, event.FromReceive(f.receive))
	return f
}

func (f *Feed[T]) receive(ctx context.Context, emit event.Emit[T]) error {
	for {
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case it := <-f.items:
			it.accepted <- emit(it.ctx, it.in)
		}
	}
}

// Publish publishes v and returns its receipt once every stage of the topic has it. It blocks while a stage is
// full, another publish of the feed is under way, or the pipeline does not run, until ctx ends.
func (f *Feed[T]) Publish(ctx context.Context, v T, opts ...event.PublishOption) (*Receipt, error) {
	r := &Receipt{settled: make(chan struct{})}
	it := fed[T]{ctx: ctx, accepted: make(chan error, 1), in: event.Incoming[T]{Payload: v, Options: opts, Settled: r.settle}}
	select {
	case f.items <- it:
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	if err := <-it.accepted; err != nil {
		return nil, err
	}
	return r, nil
}

// Receipt says how one event ended. It is safe for concurrent use.
type Receipt struct {
	once    sync.Once
	settled chan struct{} // closed when every stage of the topic has settled the event
	err     error         // read it when settled is closed
}

func (r *Receipt) settle(err error) {
	r.once.Do(func() {
		r.err = err
		close(r.settled)
	})
}

// Settled is closed when every stage of the topic has settled the event.
func (r *Receipt) Settled() <-chan struct{} { return r.settled }

// Wait waits for that and returns nil when the event is done with (handled, dropped on purpose or safe as a
// dead letter), what went wrong when it is not, or ctx's cause when ctx ends first.
func (r *Receipt) Wait(ctx context.Context) error {
	select {
	case <-r.settled:
		return r.err
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
