package event

import (
	"maps"
	"strconv"
	"time"
)

// Event is one thing that happened: a payload and what is known about it. Events are values; a
// pipeline hands each handler a copy. What a payload points to is shared by every handler of the
// topic, so treat it as read-only once it is published.
type Event[T any] struct {
	Meta
	Payload T
}

// Meta is what every event carries beside its payload. A pipeline fills it in when it accepts the
// event; handlers and middleware only read it.
type Meta struct {
	// GivenID is the identity that the producer named, by IDBy or WithID; empty when it named
	// none. Read ID for an identity that is always there.
	GivenID string
	// Topic is the name of the event's topic.
	Topic string
	// Key is the ordering key: events of one key keep their order. Empty means no key.
	Key string
	// Seq numbers the events of a topic in the order in which they were accepted, from 1.
	Seq uint64
	// Origin tells apart the generated identities of different pipelines.
	Origin uint64
	// Time is when the event was accepted, unless the producer gave another time. It may be some
	// milliseconds behind while tens of thousands of events a second come in: clocks are dear, and one
	// reading serves many events then.
	Time time.Time
	// Header carries small facts beside the payload. It is shared between handlers: read-only.
	Header Header
}

// ID is the event's identity: the one the producer gave, or else one that is unique to this
// event. A generated identity is put into words only here: asking allocates, having one does not.
func (m *Meta) ID() string {
	if m.GivenID != "" {
		return m.GivenID
	}
	b := make([]byte, 0, 40)
	b = strconv.AppendUint(b, m.Origin, 36)
	b = append(b, '-')
	b = strconv.AppendUint(b, m.Seq, 36)
	return string(b)
}

// Header is a set of short texts that travel with an event. A nil Header is empty.
type Header map[string]string

// The header names that the publish options write.
const (
	HeaderCorrelation = "correlation-id"
	HeaderCausation   = "causation-id"
)

// Clone returns a copy that the caller may change; nil stays nil.
func (h Header) Clone() Header {
	return maps.Clone(h)
}
