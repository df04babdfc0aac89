package stage

import (
	"slices"
	"time"

	"github.com/runnel-go/runnel/event"
)

// Delivery is one attempt at one event by one stage: what middleware sees of it. It is a view of a
// worker's slot, valid until the handler returns; Clone keeps one longer. Its fields are read-only.
type Delivery struct {
	// Meta is what is known about the event: identity, topic, key, sequence number, time, headers.
	*event.Meta
	// Stage is the name of the stage.
	Stage string
	// Lane is the key whose order this stage keeps for the event: the topic's key or the stage's
	// own. It means something only when Ordered.
	Lane string
	// Ordered reports whether the event runs in a lane, after its predecessors of the same key.
	Ordered bool
	// Batched reports whether the stage handles events in batches: then the attempts of those that are in
	// one batch overlap, within a lane too, and their handler call is one.
	Batched bool
	// Attempt numbers the attempts that count, from 1.
	Attempt int
	// Final is set when the pipeline drains and does not wait for another attempt: Retry gives up.
	Final bool
	// Redrive describes the dead letter that is being redriven; nil for a live event.
	Redrive *Redrive

	slot   slot
	memory *memory
}

// Redrive describes a dead letter on its way back through its stage.
type Redrive struct {
	Letter string // the letter's id
	Claim  any    // the drainer's claim on the letter's sequence, opaque to the engine
	Count  int    // how often the letter has been redriven, this time included
}

// slot is the worker's side of a delivery.
type slot interface {
	payload() any
	encode() (data []byte, codec string, err error)
	clone() slot
	memory() *memory
	undecodable() bool
	receipt() *receipt // of whoever waits for the event, or nil
}

// Payload returns the event's payload, boxed: it allocates unless the payload is a pointer.
func (d *Delivery) Payload() any { return d.slot.payload() }

// Encode returns the payload as its topic's codec writes it, with the codec's name; for an event that
// could not be decoded, the bytes that arrived, with an empty name. A codec that panics is an error.
func (d *Delivery) Encode() (data []byte, codec string, err error) { return d.slot.encode() }

// Undecodable reports whether the event could not be decoded: its payload is empty, and its handler is not called.
func (d *Delivery) Undecodable() bool { return d.slot.undecodable() }

// History returns the failed attempts so far, oldest first: the first and the last few of them.
func (d *Delivery) History() []Attempt {
	if d.memory == nil {
		return nil
	}
	return d.memory.attempts
}

// Clone returns a copy that stays valid after the handler has returned.
func (d *Delivery) Clone() *Delivery {
	c := *d
	meta := *d.Meta
	c.Meta = &meta
	c.slot = d.slot.clone()
	if d.memory != nil {
		m := *d.memory
		m.attempts = slices.Clone(m.attempts)
		m.kept = slices.Clone(m.kept)
		c.memory = &m
	}
	return &c
}

// Keep stores a value with the event, from this attempt to its later ones, under an owner that is
// compared with ==, as the keys of a context are. A nil value forgets.
func (d *Delivery) Keep(owner, value any) {
	if d.memory == nil {
		d.memory = d.slot.memory()
	}
	d.memory.keep(owner, value)
}

// Kept returns what an earlier attempt stored under owner, or nil.
func (d *Delivery) Kept(owner any) any {
	if d.memory == nil {
		return nil
	}
	return d.memory.get(owner)
}

// SetHandled notes that the event's handler has succeeded and is not called again, although the attempt is not over:
// its mark could not be stored, say. It lasts as long as what Keep keeps.
func (d *Delivery) SetHandled() { d.Keep(handledOwner{}, true) }

// Handled reports whether an earlier attempt called SetHandled. Such an event is past the order of its lane: what
// is left of it may end whatever has become of those ahead of it, and must not be put behind them.
func (d *Delivery) Handled() bool { return d.Kept(handledOwner{}) != nil }

// InDoubt reports whether an earlier attempt may have been committed, with what it emitted not published yet: only the
// middleware that commits can tell, so that the event must come to it.
func (d *Delivery) InDoubt() bool { return d.Kept(committedOwner{}) != nil }

type handledOwner struct{}

// Attempt is one failed attempt.
type Attempt struct {
	Number int
	At     time.Time // when it failed
	Err    error
}

// memory is what an event carries from one attempt to the next.
type memory struct {
	failed   int // attempts that counted
	attempts []Attempt
	awaits   error // why it was postponed last
	kept     []kept
}

type kept struct{ owner, value any }

// maxHistory bounds the failed attempts kept with an event: the first half of them and the last.
const maxHistory = 10

func (m *memory) fail(err error, now time.Time) {
	m.failed++
	if len(m.attempts) == maxHistory {
		m.attempts = slices.Delete(m.attempts, maxHistory/2, maxHistory/2+1)
	}
	m.attempts = append(m.attempts, Attempt{Number: m.failed, At: now, Err: err})
}

// last returns the newest failure, or, where no attempt has failed, what the event waits for.
func (m *memory) last() error {
	switch {
	case len(m.attempts) > 0:
		return m.attempts[len(m.attempts)-1].Err
	case m.awaits != nil:
		return m.awaits
	default:
		return errUnspecified
	}
}

func (m *memory) keep(owner, value any) {
	for i := range m.kept {
		if m.kept[i].owner == owner {
			m.kept[i].value = value
			return
		}
	}
	m.kept = append(m.kept, kept{owner, value})
}

func (m *memory) get(owner any) any {
	for i := range m.kept {
		if m.kept[i].owner == owner {
			return m.kept[i].value
		}
	}
	return nil
}
