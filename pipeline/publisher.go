package pipeline

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"github.com/runnel-go/runnel/event"
	"github.com/runnel-go/runnel/stage"
)

// NewPublisher returns what a service holds to publish events of the topic. The pipeline's description
// is checked at the first publish, if it was not before, and its faults are returned then.
func NewPublisher[T any](p *Pipeline, topic *event.Topic[T]) event.Publisher[T] {
	return &publisher[T]{pipeline: p, topic: topic}
}

type publisher[T any] struct {
	pipeline *Pipeline
	topic    *event.Topic[T]
	door     atomic.Pointer[stage.Door[T]]
}

// Publish is described at event.Publisher.
func (p *publisher[T]) Publish(ctx context.Context, payload T, opts ...event.PublishOption) error {
	door, err := p.open()
	if err != nil {
		return err
	}
	if p.pipeline.cfg.Inline && ctx != nil {
		return sendInline(ctx, p.pipeline, func(ctx context.Context) error { return door.Publish(ctx, payload, opts...) })
	}
	return door.PublishFrom(ctx, &payload, opts)
}

// open returns the door of the topic.
func (p *publisher[T]) open() (*stage.Door[T], error) {
	if door := p.door.Load(); door != nil {
		return door, nil
	}
	return p.find()
}

// find finds the door of the topic; the first call of any publisher assembles the pipeline.
func (p *publisher[T]) find() (*stage.Door[T], error) {
	door, err := doorOf(p.pipeline, p.topic)
	if err == nil {
		p.door.Store(door)
	}
	return door, err
}

// sendInline has an event accepted, then handles all that is queued until it has settled, and whatever it
// led to. What a handler publishes is queued behind what runs, and its errors come out of the outer publish.
func sendInline(ctx context.Context, p *Pipeline, send func(context.Context) error) error {
	if p.collectorOf(ctx) != nil {
		return send(ctx)
	}
	c := &collector{pipeline: p}
	ctx = context.WithValue(ctx, collectorKey{}, c)
	if err := send(ctx); err != nil {
		return err
	}
	return p.settleInline(ctx, c)
}

type collectorKey struct{}

// collectorOf returns the collector of the inline publish that ctx belongs to, if it is one of p's.
func (p *Pipeline) collectorOf(ctx context.Context) *collector {
	if c, ok := ctx.Value(collectorKey{}).(*collector); ok && c.pipeline == p {
		return c
	}
	return nil
}

// follow is an inline pipeline's stage.Host.Follow.
func (p *Pipeline) follow(ctx context.Context) stage.Follower {
	if c := p.collectorOf(ctx); c != nil {
		return c
	}
	return nil
}

// collector gathers the errors of the events that one inline publish led to. It is a stage.Follower.
type collector struct {
	pipeline *Pipeline

	mu   sync.Mutex
	open int
	errs []error
}

func (c *collector) Expect() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.open++
}

func (c *collector) Done() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.open--
}

func (c *collector) Ended(_ string, _ stage.Outcome, err error) {
	if err == nil {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.errs = append(c.errs, err)
}

func (c *collector) result() (open bool, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.open > 0, errors.Join(c.errs...)
}

// settleInline steps until the collector's events have settled. It waits for parked ones.
func (p *Pipeline) settleInline(ctx context.Context, c *collector) error {
	select {
	case <-p.step:
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	defer func() { p.step <- struct{}{} }()
	for {
		for p.stepOnce(ctx) {
		}
		open, err := c.result()
		if !open {
			return err
		}
		due, ok := p.nextDue()
		if !ok {
			return errors.Join(err, ErrHeld)
		}
		if !sleepUntil(ctx, due) {
			return errors.Join(err, context.Cause(ctx))
		}
	}
}

// sleepUntil returns false when ctx ends first.
func sleepUntil(ctx context.Context, due time.Time) bool {
	t := time.NewTimer(time.Until(due))
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}
