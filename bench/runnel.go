package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/runnel-go/runnel/deadletter"
	"github.com/runnel-go/runnel/event"
	"github.com/runnel-go/runnel/idempotency"
	"github.com/runnel-go/runnel/middleware"
	"github.com/runnel-go/runnel/pipeline"
	"github.com/runnel-go/runnel/stage"
)

const (
	workers = 8
	buffer  = 1024 // of every channel and every stage, where a scenario needs no other
)

// running is a pipeline at work.
type running struct {
	p     *pipeline.Pipeline
	ended chan struct{}
	err   error
}

func start(use []stage.Middleware, stages ...*stage.Stage) *running {
	r := &running{
		p:     pipeline.New(pipeline.Config{Logger: slog.New(slog.DiscardHandler)}),
		ended: make(chan struct{}),
	}
	r.p.Use(use...)
	r.p.Add(stages...)
	go func() {
		defer close(r.ended)
		r.err = r.p.Run(context.Background())
	}()
	return r
}

// stop drains the pipeline and checks its counters: every stage has done all events and no more.
func (r *running) stop(total uint64) error {
	_ = r.p.Shutdown(context.Background())
	<-r.ended
	snapshot := r.p.Snapshot()
	err := errors.Join(r.err, snapshot.Sum(true))
	for _, s := range snapshot.Stages {
		if s.Done != total {
			err = errors.Join(err, fmt.Errorf("stage %s has done %d events of %d", s.Name, s.Done, total))
		}
	}
	return err
}

// runnelSide publishes to one topic, whose stages are made by describe.
func runnelSide(name string, topic *event.Topic[payload], use func() []stage.Middleware, describe func(j *job) []*stage.Stage) side {
	return side{name: name, open: func(j *job) (*line, error) {
		var chain []stage.Middleware
		if use != nil {
			chain = use()
		}
		r := start(chain, describe(j)...)
		publisher := pipeline.NewPublisher(r.p, topic)
		return &line{run: publishing(j.feed, publisher), close: r.stop}, nil
	}}
}

// publishing sends events one after the other.
func publishing(f *feed, publisher event.Publisher[payload]) func(int) error {
	ctx := context.Background()
	return func(n int) error {
		var p payload
		for range n {
			f.next(&p)
			if err := publisher.Publish(ctx, p); err != nil {
				return err
			}
		}
		return nil
	}
}

// oneStage describes a stage whose handler only tells the probe.
func oneStage(topic *event.Topic[payload], opts ...stage.Option) func(j *job) []*stage.Stage {
	return func(j *job) []*stage.Stage { return []*stage.Stage{probing(topic, "handle", j.probe, opts...)} }
}

func probing(topic *event.Topic[payload], name string, p *probe, opts ...stage.Option) *stage.Stage {
	return stage.Handle(topic, name, func(_ context.Context, e event.Event[payload]) error {
		p.see(e.Payload.Number, e.Payload.KeyNo)
		return nil
	}, append([]stage.Option{stage.Workers(workers), stage.Buffer(buffer)}, opts...)...)
}

// standardChain is DeadLetter, Retry and Recover.
func standardChain() []stage.Middleware {
	return middleware.Standard(middleware.StandardConfig{Letters: deadletter.NewMemory()})
}

// remembered is how many identities the idempotency store holds. The warm-up fills it, so that what is
// measured is a store at its bound, which forgets an old identity for each new one.
const remembered = 1 << 16

// idempotentChain is DeadLetter, Idempotent, Retry and Recover.
func idempotentChain() []stage.Middleware {
	return middleware.Standard(middleware.StandardConfig{
		Letters:     deadletter.NewMemory(),
		Idempotency: idempotency.NewMemory(idempotency.MemoryConfig{Capacity: remembered, Shards: 1}), // one stage has it alone
	})
}

// retryForever repeats what fails after the same wait, as often as it takes.
func retryForever(wait time.Duration) stage.Middleware {
	return middleware.Retry(middleware.Constant{Attempts: 1 << 30, Delay: wait})
}
