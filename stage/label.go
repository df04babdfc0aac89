package stage

import (
	"context"
	"errors"
	"fmt"

	"github.com/runnel-go/runnel/event"
)

// candidate is an event that was not accepted yet, but for its payload, which is the publisher's and goes
// beside it: the compiler would move the payload to the heap if it were in here.
type candidate struct {
	meta event.Meta
	x    *extra
	few  [fewStages]own // of the stages that have a key or levels of their own, by index in the door
	more []own          // of those behind
}

// own is what a stage with a key or levels of its own makes of an event.
type own struct {
	key   string
	level uint8
}

// maxLevels keeps the levels few: each has its share.
const maxLevels = 8

// fewStages is of how many stages a publish makes what is their own without asking for memory.
const fewStages = 4

// own is what the stage of that index has of its own.
func (c *candidate) own(stage int) *own {
	if stage < fewStages {
		return &c.few[stage]
	}
	return &c.more[stage-fewStages]
}

// name fills in the meta of an event of which nothing is asked but where it comes from.
func (d *Door[T]) name(ctx context.Context, c *candidate) {
	c.meta.Topic, c.meta.Origin = d.topic.Name(), d.origin
	c.meta.Carry(carried(ctx))
}

// label fills in the event's meta and what is the stages' own. Functions of the user run here, so a panic of theirs
// is the publisher's error.
func (d *Door[T]) label(ctx context.Context, c *candidate, payload *T, opts []event.PublishOption, a *arrival) (err error) {
	returned := false
	defer func() {
		if !returned {
			err = d.refuse(fmt.Errorf("a key or identity function panicked: %s", valueText(recover())))
		}
	}()
	c.meta.Origin = d.origin
	switch {
	case a == nil || a.undecodable == nil:
		err = d.topic.DescribeAt(&c.meta, payload, opts)
	case a.unfit:
		d.salvage(c, payload, opts, a.undecodable)
	default:
		err = d.topic.DescribeRaw(&c.meta, opts)
	}
	c.meta.Carry(carried(ctx))
	if d.asks && err == nil {
		err = d.fillOwn(c, payload, a)
	}
	returned = true
	return err
}

// salvage labels an event that was refused for what it is, and becomes a letter: what of its key and identity can be
// used is, so that it has its place in its lane.
func (d *Door[T]) salvage(c *candidate, payload *T, opts []event.PublishOption, cause error) {
	if errors.Is(cause, event.ErrTooLarge) { // nothing looks at such a payload
		_ = d.topic.DescribeRaw(&c.meta, opts)
	} else {
		_ = d.topic.DescribeAt(&c.meta, payload, opts) // it says the cause again
	}
	if len(c.meta.Key) > event.MaxTextBytes {
		c.meta.Key = ""
	}
	if len(c.meta.GivenID) > event.MaxTextBytes {
		c.meta.GivenID = ""
	}
}

// fillOwn asks the stages that have a key or levels of their own for them, unless there is no payload to look at. One
// whose key cannot be used is an error, or, where the event is unfit, keeps it in no order. The stages' functions see
// all of the meta but Seq and Time.
func (d *Door[T]) fillOwn(c *candidate, payload *T, a *arrival) error {
	if n := len(d.stages) - fewStages; n > 0 {
		c.more = make([]own, n)
	}
	unfit := a != nil && a.unfit
	if a != nil && a.undecodable != nil && (!unfit || errors.Is(a.undecodable, event.ErrTooLarge)) {
		return nil
	}
	for i, s := range d.stages {
		if !s.asks() {
			continue
		}
		err := s.fillOwn(c.own(i), &c.meta, payload)
		if err != nil && !unfit {
			return d.refuse(fmt.Errorf("stage %s: %w", s.name, err))
		}
	}
	return nil
}

// asks reports whether the stage has a key or levels of its own.
func (s *running[T]) asks() bool { return s.ownKey != nil || s.level != nil }

// fillOwn writes down the stage's own key of an event and its level. After an error it has neither.
func (s *running[T]) fillOwn(o *own, m *event.Meta, payload *T) error {
	key := ""
	if s.ownKey != nil {
		key = s.ownKey(*payload)
		if key == "" && !s.set.allowNoKey {
			return event.ErrNoKey
		}
		if len(key) > event.MaxTextBytes {
			return fmt.Errorf("key of %d bytes: %w", len(key), event.ErrTooLong)
		}
	}
	o.key = key
	if s.level != nil {
		level := s.level(event.Event[T]{Meta: *m, Payload: *payload})
		o.level = uint8(min(max(level, 0), s.set.levels-1))
	}
	return nil
}

// levelOf is what the engine asks. A redriven letter, and what could not be decoded, is at the lowest.
func (s *running[T]) levelOf(p **item[T]) int { return int((*p).own.level) }
