package pipeline

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"

	"github.com/runnel-go/runnel/event"
	"github.com/runnel-go/runnel/stage"
)

// ErrNoOutput is returned by Output where a stage emitted nothing of the type.
var ErrNoOutput = errors.New("pipeline: the stage emitted no such output")

// Receipt tells what became of one event that was published by Ask.
type Receipt struct {
	host   *stage.Host
	stages []string
	all    chan struct{} // closed when every stage has settled the event
	works  func() bool   // whether the pipeline's own workers run

	mu      sync.Mutex // guards answers
	answers map[string]*Answer
}

// Answer is what became of an event at one stage.
type Answer struct {
	Stage   string
	Outcome stage.Outcome
	// Err is what it failed with, where it did; also when it became a dead letter.
	Err error
	// Output holds what a Map or Expand stage emitted for it, in its order.
	Output []any
}

// Ask publishes one event and returns a receipt for it, which resolves when every stage of the topic has
// settled the event: after its retries, and, where its key is blocked, after its release. The publisher must
// be one made by NewPublisher. Like Publish it returns once the event is accepted; Receipt.Wait waits for the answers. In
// an inline pipeline they are there when Ask returns, and an error of a handler is Ask's too.
//
// A receipt costs some allocations, and nothing of it is kept once it is forgotten.
func Ask[T any](ctx context.Context, pub event.Publisher[T], payload T, opts ...event.PublishOption) (*Receipt, error) {
	p, ok := pub.(*publisher[T])
	if !ok {
		return nil, fmt.Errorf("pipeline: Ask with a %T; give it a publisher made by pipeline.NewPublisher", pub)
	}
	door, err := p.open()
	if err != nil {
		return nil, err
	}
	r := &Receipt{
		host: p.pipeline.host, stages: door.Stages(), all: make(chan struct{}), works: p.pipeline.running.Load,
		answers: map[string]*Answer{},
	}
	for _, s := range r.stages {
		r.answers[s] = &Answer{Stage: s}
	}
	send := func(ctx context.Context) error {
		return door.Ask(ctx, payload, opts, stage.Answers{Settled: r.settled, Output: r.output, All: func() { close(r.all) }})
	}
	if p.pipeline.cfg.Inline && ctx != nil {
		err = sendInline(ctx, p.pipeline, send)
	} else {
		err = send(ctx)
	}
	return r, err
}

func (r *Receipt) settled(name string, o stage.Outcome, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.answers[name].Outcome, r.answers[name].Err = o, err
}

func (r *Receipt) output(name string, v any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.answers[name].Output = append(r.answers[name].Output, v)
}

// Done is closed when every stage has settled the event.
func (r *Receipt) Done() <-chan struct{} { return r.all }

// Wait waits until every stage has settled the event and returns the answers, in the order of the stages; or until
// ctx ends, with its cause.
//
// In a handler it holds the handler's worker. A wait that could never end is refused with ErrCycle: for an event that
// goes through the handler's own stage, so through its own key too, and for one whose stages wait for the handler's
// in turn. That is judged by stages and not by keys, so some waits are refused that might have ended: two handlers of one
// stage may each wait for the other's key, and as many as it has workers leave none for what they wait for. Publish
// instead, and let a stage take up the answer.
func (r *Receipt) Wait(ctx context.Context) ([]Answer, error) {
	select {
	case <-r.all:
		return r.list(), nil
	default:
	}
	if r.host.Inside(ctx) && !r.works() {
		return nil, fmt.Errorf("pipeline: Wait in a handler: %w: it runs on the goroutine that would handle the event", ErrCycle)
	}
	leave, err := r.host.Await(ctx, r.stages)
	if err != nil {
		return nil, fmt.Errorf("pipeline: Wait in a handler: %w", err)
	}
	defer leave()
	select {
	case <-r.all:
		return r.list(), nil
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

func (r *Receipt) list() []Answer {
	r.mu.Lock()
	defer r.mu.Unlock()
	all := make([]Answer, 0, len(r.stages))
	for _, s := range r.stages {
		a := *r.answers[s]
		a.Output = slices.Clone(a.Output)
		all = append(all, a)
	}
	return all
}

// Output returns what a Map stage emitted: the last output of the stage among the answers, as a U. Where there is
// none it returns the failure of the stage, or ErrNoOutput.
func Output[U any](answers []Answer, stage string) (output U, err error) {
	for _, a := range answers {
		if a.Stage != stage {
			continue
		}
		if n := len(a.Output); n > 0 {
			if u, ok := a.Output[n-1].(U); ok {
				return u, nil
			}
			return output, fmt.Errorf("%w: %s emitted a %T", ErrNoOutput, stage, a.Output[n-1])
		}
		if a.Err != nil {
			return output, a.Err
		}
		return output, fmt.Errorf("%w: %s ended as %v", ErrNoOutput, stage, a.Outcome)
	}
	return output, fmt.Errorf("%w: there is no answer of a stage %s", ErrNoOutput, stage)
}
