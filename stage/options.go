package stage

import (
	"fmt"

	"github.com/runnel-go/runnel/event"
)

// Order is what order a stage keeps.
type Order uint8

// The orders.
const (
	// PerKey handles events with equal keys one at a time, in accept order. It is the default where
	// the topic or the stage has a key.
	PerKey Order = iota + 1
	// Serial handles all events one at a time, in accept order.
	Serial
	// Unordered promises only that attempts at one event never overlap. It is the default where there
	// is no key.
	Unordered
)

func (o Order) String() string {
	switch o {
	case PerKey:
		return "per key"
	case Serial:
		return "serial"
	case Unordered:
		return "unordered"
	}
	return fmt.Sprintf("stage.Order(%d)", o)
}

// Overflow is what a publish does that finds a stage full.
type Overflow uint8

// The overflow modes.
const (
	// Block waits until the stage has room or the publisher's context ends. The default.
	Block Overflow = iota
	// Reject returns ErrFull.
	Reject
	// DropOldest drops the stage's oldest event that no worker has seen yet, counts it as dropped, and
	// takes the new one.
	DropOldest
	// DropNewest drops the new event for this stage and counts it as dropped. Observer.Settled is told
	// of what either of them drops; it becomes no dead letter, for which the publisher would have to wait.
	DropNewest
)

func (o Overflow) String() string {
	switch o {
	case Block:
		return "block"
	case Reject:
		return "reject"
	case DropOldest:
		return "drop oldest"
	case DropNewest:
		return "drop newest"
	}
	return fmt.Sprintf("stage.Overflow(%d)", o)
}

// DrainPolicy is what becomes of parked events when the pipeline drains.
type DrainPolicy uint8

// The drain policies.
const (
	// WaitUntilDue waits for them, within the pipeline's grace. The default.
	WaitUntilDue DrainPolicy = iota
	// TryOnce tries them once, now; Retry does not park them again.
	TryOnce
	// GiveUp settles them with their last failure, or where there was none with what they wait for, untried: with
	// the dead-letter middleware they become letters.
	GiveUp
	// Return hands them back in the UnfinishedError, and what waits behind them with them.
	Return
)

func (p DrainPolicy) String() string {
	switch p {
	case WaitUntilDue:
		return "wait until due"
	case TryOnce:
		return "try once"
	case GiveUp:
		return "give up"
	case Return:
		return "return"
	}
	return fmt.Sprintf("stage.DrainPolicy(%d)", p)
}

// The defaults of a stage.
const (
	DefaultWorkers = 8
	DefaultBuffer  = 1024
)

// The most that a stage may have: its items are made with it.
const (
	MaxWorkers = 1 << 16
	MaxBuffer  = 1 << 24
)

// Option sets one property of a stage.
type Option interface{ applyStage(*settings) }

type option func(*settings)

func (f option) applyStage(s *settings) { f(s) }

type settings struct {
	order      Order
	workers    int
	buffer     int
	maxPerKey  int
	overflow   Overflow
	drain      DrainPolicy
	key        any // func(T) string
	allowNoKey bool
	levels     int
	level      any // func(event.Event[T]) int
	use        []Middleware
	batch      *Limits // of Batch, else nil
}

// Workers is how many events the stage handles at once, from 1 to MaxWorkers. The default is DefaultWorkers, and
// 1 for a Serial stage.
func Workers(n int) Option {
	return option(func(s *settings) { s.workers = n })
}

// Buffer is how many events may wait in the stage, from 1 to MaxBuffer: so many come in without waiting while every
// worker is busy. Beyond it the overflow mode decides. What waits in lanes, parked events and those behind them,
// may take half of it and the workers' number; the other half stays in the stage's inlet until then.
// The stage's capacity, the bound on all that is queued, running, parked and held, is the buffer and
// twice the workers: those that run, and as many redriven dead letters.
func Buffer(n int) Option {
	return option(func(s *settings) { s.buffer = n })
}

// WithOrder sets the order that the stage keeps.
func WithOrder(o Order) Option {
	return option(func(s *settings) { s.order = o })
}

// KeyBy gives the stage an ordering key of its own, in the place of the topic's. T is the topic's type.
func KeyBy[T any](key func(T) string) Option {
	return option(func(s *settings) { s.key = key })
}

// Priority has the events of a higher level handled before those of a lower one that wait in the stage too: levels is
// how many there are, from 2 to 8, and level returns the event's, from 0 for the least urgent to levels-1. T is the
// topic's type. Level is called by Publish, once an event, when the Seq is not known yet.
//
// It never changes the order of a key: an event that waits behind others of its key has their level until it
// is the first. A lower level does not starve: of the events that are ready, at most 8 of higher levels go before one of it, and
// one of each other level that has waited as long. Publishers that wait for room come in as ever, so a stage with levels
// wants a buffer in which there is something to choose from. Step by step, without workers, events are handled in accept order
// whatever their levels. It costs a lane for each event that waits.
func Priority[T any](levels int, level func(event.Event[T]) int) Option {
	return option(func(s *settings) { s.levels, s.level = levels, level })
}

// AllowNoKey lets events for which the stage's own key is empty run in no order. Without it they are
// refused at Publish.
func AllowNoKey() Option {
	return option(func(s *settings) { s.allowNoKey = true })
}

// MaxPerKey bounds how many events of one key the stage holds, so that one key cannot fill it. Beyond it
// the overflow mode decides, for that key only. It costs a lock and a map entry for each event.
func MaxPerKey(n int) Option {
	return option(func(s *settings) { s.maxPerKey = n })
}

// WithOverflow sets what a publish does that finds the stage full.
func WithOverflow(o Overflow) Option {
	return option(func(s *settings) { s.overflow = o })
}

// OnDrain sets what becomes of parked events when the pipeline drains.
func OnDrain(p DrainPolicy) Option {
	return option(func(s *settings) { s.drain = p })
}

// Use adds middleware inside of the pipeline's, the first outermost.
func Use(m ...Middleware) Option {
	return option(func(s *settings) { s.use = append(s.use, m...) })
}
