package stage

import (
	"fmt"

	"github.com/runnel-go/runnel/event"
)

// NewDelivery makes a delivery of e to the named stage without a pipeline, for tests of middleware: a
// first attempt, in the lane of e's key. The codec is JSON.
func NewDelivery[T any](stage string, e event.Event[T]) *Delivery {
	s := &looseSlot[T]{event: e}
	return &Delivery{
		Meta: &s.event.Meta, Stage: stage, Lane: e.Key, Ordered: e.Key != "", Attempt: 1,
		slot: s, memory: &s.mem,
	}
}

// looseSlot is a slot that belongs to no worker: a clone, or a delivery made for a test.
type looseSlot[T any] struct {
	event event.Event[T]
	codec event.Codec[T]
	raw   []byte
	bad   bool // undecodable: raw is all there is
	mem   memory
}

func (s *looseSlot[T]) memory() *memory { return &s.mem }

func (s *looseSlot[T]) receipt() *receipt { return nil }

func (s *looseSlot[T]) undecodable() bool { return s.bad }

func (s *looseSlot[T]) payload() any { return s.event.Payload }

func (s *looseSlot[T]) clone() slot { c := *s; return &c }

func (s *looseSlot[T]) encode() ([]byte, string, error) {
	if s.bad {
		return s.raw, "", nil
	}
	codec := s.codec
	if codec == nil {
		codec = event.JSON[T]()
	}
	return encode(codec, s.event.Payload)
}

// encode writes a payload; a codec that panics is an error.
func encode[T any](codec event.Codec[T], payload T) (data []byte, name string, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("stage: codec %T panicked: %s", codec, valueText(p))
		}
	}()
	data, err = codec.Encode(payload)
	return data, codec.Name(), err
}
