package stage

import "github.com/runnel-go/runnel/event"

// What a Delivery asks of the runner that it is a view of; see slot.

func (r *runner[T]) undecodable() bool { return r.x.bad() != nil }

func (r *runner[T]) payload() any { return r.it.event.Payload }

func (r *runner[T]) encode() ([]byte, string, error) {
	if r.x.bad() != nil {
		return r.x.arrived.raw, "", nil
	}
	return encode(r.s.plain.topic.Codec(), r.it.event.Payload)
}

func (r *runner[T]) clone() slot {
	s := &looseSlot[T]{event: event.Event[T]{Meta: r.it.event.Meta, Payload: r.it.event.Payload}, codec: r.s.plain.topic.Codec()}
	if r.x.bad() != nil {
		s.raw, s.bad = r.x.arrived.raw, true
	}
	return s
}

func (r *runner[T]) receipt() *receipt {
	if r.x == nil {
		return nil
	}
	return r.x.receipt
}

func (r *runner[T]) memory() *memory { return &r.extra().memory }

// extra returns what the event carries, from now on.
func (r *runner[T]) extra() *extra {
	if r.x == nil {
		r.x = &extra{}
	}
	return r.x
}

// goAlone makes the event a batch of its own when it comes back.
func (r *runner[T]) goAlone() { r.extra().alone = true }
