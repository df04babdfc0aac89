package event

import (
	"errors"
	"fmt"
)

// MaxTextBytes bounds an identity, a key and a topic's name.
const MaxTextBytes = 1024

// Topic is a typed name: what kind of payload flows under it, and how its key, its identity and its
// bytes are made. It is declared once and belongs to no pipeline. A Topic is immutable and safe for
// concurrent use.
type Topic[T any] struct {
	name       string
	key        func(T) string
	id         func(T) string
	codec      Codec[T]
	size       func(T) int
	maxSize    int
	allowNoKey bool
	faults     []error
}

// TopicOption sets one property of a topic.
type TopicOption[T any] interface{ applyTopic(*Topic[T]) }

type topicOption[T any] func(*Topic[T])

func (f topicOption[T]) applyTopic(t *Topic[T]) { f(t) }

// NewTopic declares a topic. A fault in its description, such as an empty name, is reported by
// Check, which a pipeline calls before anything starts.
func NewTopic[T any](name string, opts ...TopicOption[T]) *Topic[T] {
	t := &Topic[T]{name: name, codec: JSON[T]()}
	if name == "" {
		t.faults = append(t.faults, errors.New("event: topic: the name is empty; give NewTopic a name"))
	}
	if len(name) > MaxTextBytes {
		t.faults = append(t.faults, fmt.Errorf("event: topic: the name has %d bytes; %d is the limit", len(name), MaxTextBytes))
	}
	for _, o := range opts {
		if o == nil {
			t.faults = append(t.faults, fmt.Errorf("event: topic %s: a nil option; leave it out", name))
			continue
		}
		o.applyTopic(t)
	}
	return t
}

// KeyBy reads the ordering key from a payload. Stages keep the order of events with equal keys. The
// function is called once a publish, on the publisher's goroutine.
func KeyBy[T any](key func(T) string) TopicOption[T] {
	return topicOption[T](func(t *Topic[T]) { t.key = nonNil(t, "KeyBy", key) })
}

// IDBy reads the identity from a payload. Two events with one identity are the same event sent
// twice: idempotent stages handle it once.
func IDBy[T any](id func(T) string) TopicOption[T] {
	return topicOption[T](func(t *Topic[T]) { t.id = nonNil(t, "IDBy", id) })
}

// AllowNoKey lets events whose key is empty through; they run in no order. Without it a keyed topic
// refuses them with ErrNoKey.
func AllowNoKey[T any]() TopicOption[T] {
	return topicOption[T](func(t *Topic[T]) { t.allowNoKey = true })
}

// WithCodec replaces the codec that turns payloads into bytes for dead letters. The default is JSON.
func WithCodec[T any](c Codec[T]) TopicOption[T] {
	return topicOption[T](func(t *Topic[T]) {
		if c == nil {
			t.faults = append(t.faults, fmt.Errorf("event: topic %s: WithCodec(nil); leave it out for JSON", t.name))
			return
		}
		t.codec = c
	})
}

// MaxSize refuses, with ErrTooLarge, a payload that is larger than limit bytes by what size says of it. It is
// asked first at a publish, before anything is copied.
func MaxSize[T any](limit int, size func(T) int) TopicOption[T] {
	return topicOption[T](func(t *Topic[T]) {
		if limit < 1 {
			t.faults = append(t.faults, fmt.Errorf("event: topic %s: MaxSize(%d); give it at least 1, or leave it out", t.name, limit))
		}
		t.maxSize, t.size = limit, nonNil(t, "MaxSize", size)
	})
}

func nonNil[T, R any](t *Topic[T], option string, f func(T) R) func(T) R {
	if f == nil {
		t.faults = append(t.faults, fmt.Errorf("event: topic %s: %s(nil); give it a function", t.name, option))
	}
	return f
}

// Name returns the topic's name.
func (t *Topic[T]) Name() string { return t.name }

// Codec returns how payloads become bytes.
func (t *Topic[T]) Codec() Codec[T] { return t.codec }

// Keyed reports whether the topic reads an ordering key from its payloads.
func (t *Topic[T]) Keyed() bool { return t.key != nil }

// Identified reports whether the topic reads an identity from its payloads.
func (t *Topic[T]) Identified() bool { return t.id != nil }

// Reads reports whether anything is read from its payloads at a publish: a key, an identity or a size.
func (t *Topic[T]) Reads() bool { return t.key != nil || t.id != nil || t.size != nil }

// AllowsNoKey reports whether events with an empty key are let through.
func (t *Topic[T]) AllowsNoKey() bool { return t.allowNoKey }

// Check returns every fault of the description, joined, or nil.
func (t *Topic[T]) Check() error { return errors.Join(t.faults...) }

// Describe fills in what the topic knows of a payload: topic, key and identity, then applies the
// publish options, which win. It returns ErrNoKey, ErrNoID, ErrTooLong or ErrTooLarge, wrapped with
// the topic's name, for an event that must not be published. It does not allocate without options.
func (t *Topic[T]) Describe(m *Meta, payload T, opts []PublishOption) error {
	return t.DescribeAt(m, &payload, opts)
}

// DescribeAt is Describe of a payload that lies elsewhere, and is copied once less.
func (t *Topic[T]) DescribeAt(m *Meta, payload *T, opts []PublishOption) error {
	m.Topic = t.name
	if t.size != nil {
		if n := t.size(*payload); n > t.maxSize {
			return fmt.Errorf("event: publish to %s: payload of %d bytes, %d is the limit: %w", t.name, n, t.maxSize, ErrTooLarge)
		}
	}
	if t.key != nil {
		m.Key = t.key(*payload)
	}
	if t.id != nil {
		m.GivenID = t.id(*payload)
	}
	if len(opts) > 0 {
		m.apply(opts)
	}
	if t.isFit(m) {
		return nil
	}
	return t.fault(m)
}

// DescribeRaw is Describe for an event that could not be decoded: only the options tell its key and its
// identity, and it may have neither. It returns ErrTooLong, wrapped with the topic's name.
func (t *Topic[T]) DescribeRaw(m *Meta, opts []PublishOption) error {
	m.Topic = t.name
	m.apply(opts)
	return t.bounded(m)
}

// isFit reports whether an event has the key and the identity that it needs, and neither is too long.
func (t *Topic[T]) isFit(m *Meta) bool {
	return (m.Key != "" || t.key == nil || t.allowNoKey) && (m.GivenID != "" || t.id == nil) &&
		len(m.Key) <= MaxTextBytes && len(m.GivenID) <= MaxTextBytes
}

// fault is what isFit finds.
func (t *Topic[T]) fault(m *Meta) error {
	switch {
	case m.Key == "" && t.key != nil && !t.allowNoKey:
		return fmt.Errorf("event: publish to %s: %w", t.name, ErrNoKey)
	case m.GivenID == "" && t.id != nil:
		return fmt.Errorf("event: publish to %s: %w", t.name, ErrNoID)
	}
	return t.bounded(m)
}

func (t *Topic[T]) bounded(m *Meta) error {
	switch {
	case len(m.Key) > MaxTextBytes:
		return fmt.Errorf("event: publish to %s: key of %d bytes: %w", t.name, len(m.Key), ErrTooLong)
	case len(m.GivenID) > MaxTextBytes:
		return fmt.Errorf("event: publish to %s: identity of %d bytes: %w", t.name, len(m.GivenID), ErrTooLong)
	}
	return nil
}

// Faults of a single event, returned by Publish.
var (
	// ErrNoKey refuses an event with an empty key on a keyed topic.
	ErrNoKey = errors.New("the key is empty; give the payload a key, or declare the topic with event.AllowNoKey")
	// ErrNoID refuses an event with an empty identity on a topic with IDBy.
	ErrNoID = errors.New("the identity is empty; give the payload one, or publish with event.WithID")
	// ErrTooLong refuses a key or an identity above MaxTextBytes.
	ErrTooLong = fmt.Errorf("longer than the limit of %d bytes; use a shorter one or a hash of it", MaxTextBytes)
	// ErrTooLarge refuses a payload above the topic's MaxSize.
	ErrTooLarge = errors.New("the payload is too large; publish a reference to it, or raise the topic's MaxSize")
)
