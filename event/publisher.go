package event

import (
	"context"
	"time"
)

// Publisher sends events of one topic. It is what a service holds, so that its tests can pass a fake
// of two lines; pipeline.NewPublisher makes the real one.
//
// Publish returns nil once every stage of the topic has accepted the event: it does not wait for any
// handler. It may block while a stage is full, as the stage's overflow mode says, until ctx ends. An
// error means that no stage has the event. It is safe for concurrent use and never panics.
type Publisher[T any] interface {
	Publish(ctx context.Context, payload T, opts ...PublishOption) error
}

// PublishOption adds to one event what its topic cannot read from the payload.
type PublishOption interface{ applyPublish(*Meta) }

type publishOption func(*Meta)

func (f publishOption) applyPublish(m *Meta) { f(m) }

// WithID names the event's identity.
func WithID(id string) PublishOption { return publishOption(func(m *Meta) { m.GivenID = id }) }

// WithKey names the ordering key.
func WithKey(key string) PublishOption { return publishOption(func(m *Meta) { m.Key = key }) }

// WithTime says when it happened, where that is not now.
func WithTime(at time.Time) PublishOption { return publishOption(func(m *Meta) { m.Time = at }) }

// WithHeader adds one header.
func WithHeader(name, value string) PublishOption {
	return publishOption(func(m *Meta) { m.setHeader(name, value) })
}

// WithHeaders adds all of h, which is copied.
func WithHeaders(h Header) PublishOption {
	return publishOption(func(m *Meta) {
		for name, value := range h {
			m.setHeader(name, value)
		}
	})
}

// WithCorrelation names the conversation that the event belongs to.
func WithCorrelation(id string) PublishOption { return WithHeader(HeaderCorrelation, id) }

// CausedBy links the event to the one that led to it: its identity becomes the causation, and its
// correlation is carried on (or begun with that identity).
func CausedBy(cause Meta) PublishOption {
	return publishOption(func(m *Meta) {
		id := cause.ID()
		m.setHeader(HeaderCausation, id)
		if c := cause.Header[HeaderCorrelation]; c != "" {
			id = c
		}
		m.setHeader(HeaderCorrelation, id)
	})
}

// apply applies options to a copy on the heap, so that m itself need not be there.
func (m *Meta) apply(opts []PublishOption) {
	c := new(Meta)
	*c = *m
	for _, o := range opts {
		if o != nil {
			o.applyPublish(c)
		}
	}
	*m = *c
}

func (m *Meta) setHeader(name, value string) {
	if m.Header == nil {
		m.Header = Header{}
	}
	m.Header[name] = value
}
